"""Depth and votes of the map as a camera would see them, by marching rays through the blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gnesf_model.frame import Camera
from gnesf_model.geometry import pixel_rays
from gnesf_model.volume.block_grid import SIDE_VOX, BlockGrid

_REFINEMENTS = 3
"""Secant steps after the sign change; the third moves the depth by less than a tenth of a voxel."""


@dataclass(frozen=True)
class Raycast:
    """What each pixel of a camera sees of the map.

    Attributes:
        depth: (H, W) float32 metres along the optical axis, 0 where no surface is met.
        rows: (H, W) int64 rows of the vote table, -1 where there is no surface or no vote.
    """

    depth: torch.Tensor
    rows: torch.Tensor


def raycast(
    grid: BlockGrid,
    camera: Camera,
    world_T_cam: np.ndarray,
    *,
    truncation_m: float,
    min_depth_m: float,
    max_depth_m: float,
    min_weight: float,
) -> Raycast:
    """First change from free to occupied along every pixel's ray.

    Args:
        grid: blocks with attributes tsdf, weight and row.
        camera: pixels to render.
        world_T_cam: (4, 4) float64 pose.
        truncation_m: distance that a tsdf of 1 stands for.
        min_depth_m, max_depth_m: part of the ray that is looked at, m along the optical axis.
        min_weight: voxels measured less often than this count as unknown.
    """
    march = _March(grid, camera, world_T_cam, truncation_m, max_depth_m, min_weight)
    depth = torch.full((march.count,), min_depth_m, device=grid.device)
    hit_near = torch.zeros_like(depth)
    hit_far = torch.zeros_like(depth)
    active = torch.arange(march.count, device=grid.device)
    last = torch.full_like(depth, -1.0)  # tsdf at the previous sample; <= 0: not in known free space
    last_depth = depth.clone()
    while len(active):
        t = depth[active]
        value, known, skip = march.step(active, t)
        crossing = known & (value <= 0) & (last[active] > 0)
        found = active[crossing]
        hit_near[found], hit_far[found] = last_depth[found], t[crossing]
        last[active] = torch.where(known, value, -1.0)
        last_depth[active] = t
        t = t + skip
        depth[active] = t
        active = active[~crossing & (t < max_depth_m)]
    hits = (hit_far > 0).nonzero()[:, 0]
    surface = march.refine(hits, hit_near[hits], hit_far[hits])
    image = torch.zeros_like(depth)
    image[hits] = surface
    rows = torch.full((march.count,), -1, dtype=torch.int64, device=grid.device)
    rows[hits] = march.rows(hits, surface)
    shape = (camera.height, camera.width)
    return Raycast(image.view(shape), rows.view(shape))


class _March:
    """Samples of the field along rays; coordinates are voxels relative to a box around the view."""

    def __init__(
        self,
        grid: BlockGrid,
        camera: Camera,
        world_T_cam: np.ndarray,
        truncation_m: float,
        max_depth_m: float,
        min_weight: float,
    ) -> None:
        self.grid = grid
        self.min_weight = min_weight
        self.truncation_m = truncation_m
        rays = pixel_rays(camera, grid.device).view(-1, 3)
        self.count = len(rays)
        turn = torch.from_numpy(world_T_cam[:3, :3].T).float().to(grid.device)
        self.direction = rays @ turn / grid.voxel_size_m
        self.length_m = rays.norm(dim=1)
        low, high = self._box(world_T_cam[:3, 3], max_depth_m)
        self.shape = torch.from_numpy(high - low).to(grid.device)
        self.origin = torch.from_numpy(
            world_T_cam[:3, 3] / grid.voxel_size_m - low * SIDE_VOX
        ).float().to(grid.device)
        self.directory = grid.directory(torch.from_numpy(low), tuple((high - low).tolist()))

    def _box(self, origin: np.ndarray, max_depth_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Blocks [low, high) around the rays, no larger than the box around the whole map."""
        grid = self.grid
        ends = self.direction.double() * grid.voxel_size_m * max_depth_m
        ends = np.stack([ends.amin(dim=0).cpu().numpy(), ends.amax(dim=0).cpu().numpy()]) + origin
        ends = np.concatenate([ends, origin[None]]) / grid.block_size_m
        low, high = np.floor(ends.min(axis=0)).astype(np.int64), np.ceil(ends.max(axis=0)).astype(np.int64)
        if grid.count == 0:
            return low, low + 1
        used = grid.coords[: grid.count]
        low = np.maximum(low, used.amin(dim=0).cpu().numpy())
        high = np.minimum(high, used.amax(dim=0).cpu().numpy() + 1)
        return low, np.maximum(high, low + 1)

    def step(self, rays: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """tsdf (N,) of the nearest voxel at depths (N,), whether it is known, and the depth to skip."""
        direction = self.direction[rays]
        point = self.origin + t[:, None] * direction
        slot, column = self._locate(point.floor().long())
        present = slot >= 0
        safe = slot.clamp_min(0)
        if self.grid.count:
            value = self.grid.voxels["tsdf"][safe, column]
            weight = self.grid.voxels["weight"][safe, column]
        else:
            value = weight = torch.zeros_like(t)
        known = present & (weight > 0) & (weight >= self.min_weight)
        # Without a block: to the far side of the empty block. Otherwise by most of the distance that
        # the field promises, at least half a voxel.
        block = point / SIDE_VOX
        edge = torch.where(direction > 0, block.floor() + 1, block.ceil() - 1)
        leave = torch.where(
            direction.abs() > 1e-6, (edge - block) * SIDE_VOX / direction, torch.inf
        ).amin(dim=1)
        per_m = 1.0 / self.length_m[rays]
        voxel = self.grid.voxel_size_m * per_m
        free = (value.clamp_min(0) * (0.8 * self.truncation_m) * per_m).maximum(0.5 * voxel)
        near = torch.where(known, free, 0.5 * voxel)
        return value, known, torch.where(present, near, leave.clamp_min(0) + 0.01 * voxel)

    def refine(self, rays: torch.Tensor, near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        """Depth (N,) of the zero of the interpolated field between depths `near` and `far`."""
        # The nearest-voxel samples that bracket the zero are up to half a voxel off.
        margin = self.grid.voxel_size_m / self.length_m[rays]
        near, far = near - margin, far + margin
        a, b = self._interpolated(rays, near), self._interpolated(rays, far)
        t = 0.5 * (near + far)
        for _ in range(_REFINEMENTS):
            bracket = (a > 0) & (b <= 0)
            t = torch.where(bracket, near + (far - near) * (a / (a - b)), 0.5 * (near + far))
            value = self._interpolated(rays, t)
            front = value > 0
            near, a = torch.where(front, t, near), torch.where(front, value, a)
            far, b = torch.where(front, far, t), torch.where(front, b, value)
        bracket = (a > 0) & (b <= 0)
        return torch.where(bracket, near + (far - near) * (a / (a - b)), t)

    def rows(self, rays: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Vote row (N,) of the voxel nearest to the points at depths (N,) that has one, else -1."""
        slot, column, weight = self._corners(rays, t)
        if self.grid.count == 0:
            return torch.full_like(rays, -1)
        row = torch.where(slot >= 0, self.grid.voxels["row"][slot.clamp_min(0), column].long(), -1)
        best = (weight + 2.0 * (row >= 0)).argmax(dim=1, keepdim=True)
        return row.gather(1, best)[:, 0]

    def _interpolated(self, rays: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Trilinear tsdf (N,) over the known ones of the eight voxels around; 1 where none is."""
        if self.grid.count == 0:
            return torch.ones_like(t)
        slot, column, weight = self._corners(rays, t)
        safe = slot.clamp_min(0)
        seen = self.grid.voxels["weight"][safe, column]
        weight = weight * ((slot >= 0) & (seen > 0) & (seen >= self.min_weight))
        total = weight.sum(dim=1)
        value = (weight * self.grid.voxels["tsdf"][safe, column]).sum(dim=1)
        return torch.where(total > 0, value / total.clamp_min(1e-9), 1.0)

    def _corners(
        self, rays: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Slots, columns and trilinear weights (N, 8) of the voxel centres around points."""
        point = self.origin + t[:, None] * self.direction[rays] - 0.5
        base = point.floor()
        fraction = point - base
        corner = torch.tensor(
            [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)], device=point.device
        )
        weight = torch.where(corner == 1, fraction[:, None], 1 - fraction[:, None]).prod(dim=2)
        slot, column = self._locate(base.long()[:, None] + corner)
        return slot, column, weight

    def _locate(self, voxel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Slot, -1 without a block, and column of integer voxels (..., 3) relative to the box."""
        block = voxel >> 3
        inside = ((block >= 0) & (block < self.shape)).all(dim=-1)
        block = block.clamp_min(0).minimum(self.shape - 1)
        slot = self.directory[block[..., 0], block[..., 1], block[..., 2]]
        v = voxel & 7
        column = (v[..., 0] * SIDE_VOX + v[..., 1]) * SIDE_VOX + v[..., 2]
        return torch.where(inside, slot, -1), column
