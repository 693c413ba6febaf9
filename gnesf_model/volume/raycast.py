"""Depth and votes of the map as a camera would see them, by marching rays through the blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from gnesf_model.frame import Camera
from gnesf_model.geometry import pixel_rays
from gnesf_model.volume.block_grid import COORDINATE_LIMIT, SIDE_VOX, VOXELS, BlockGrid, OutOfReach

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

    Raises:
        OutOfReach: the camera is further from the world's origin than any block can be.
    """
    reach_m = COORDINATE_LIMIT * grid.block_size_m
    if not np.abs(world_T_cam[:3, 3]).max() < reach_m:
        raise OutOfReach(
            f"the camera is at {world_T_cam[:3, 3].tolist()}, expected within {reach_m:.0f} m of the origin"
        )
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
    """Samples of the field along rays; coordinates are voxels relative to a box around the view.

    Coordinates are kept as three tensors of one value a ray: operations over a short last axis cost
    several times as much.
    """

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
        # A voxel that was never measured stays unknown even where any weight is enough.
        self.min_weight = max(min_weight, 1e-6)
        self.truncation_m = truncation_m
        rays = pixel_rays(camera, grid.device).view(-1, 3)
        self.count = len(rays)
        turn = torch.from_numpy(world_T_cam[:3, :3].T).float().to(grid.device)
        self.direction = (rays @ turn / grid.voxel_size_m).T.contiguous()
        self.voxel_depth = grid.voxel_size_m / rays.norm(dim=1)
        """Depth along the optical axis that one voxel along the ray is worth."""
        low, high = self._box(world_T_cam[:3, 3], max_depth_m)
        self.shape = (high - low).tolist()
        self.origin = (world_T_cam[:3, 3] / grid.voxel_size_m - low * SIDE_VOX).tolist()
        # A border without blocks takes every sample outside of the box.
        directory = grid.directory(torch.from_numpy(low), tuple(self.shape))
        self.directory = F.pad(directory, (1,) * 6, value=-1).reshape(-1)
        empty = grid.count == 0
        self.tsdf = torch.ones(1, device=grid.device) if empty else grid.voxels["tsdf"].view(-1)
        self.weight = torch.zeros(1, device=grid.device) if empty else grid.voxels["weight"].view(-1)
        self.row = torch.full((1,), -1, device=grid.device) if empty else grid.voxels["row"].view(-1)

    def _box(self, origin: np.ndarray, max_depth_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Blocks [low, high) around the rays, no larger than the box around the whole map."""
        grid = self.grid
        ends = self.direction.double() * grid.voxel_size_m * max_depth_m
        ends = np.stack([ends.amin(dim=1).cpu().numpy(), ends.amax(dim=1).cpu().numpy()]) + origin
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
        direction = self.direction[:, rays].unbind()
        point = [torch.mul(t, d).add_(o) for d, o in zip(direction, self.origin, strict=True)]
        voxel, present = self._locate([p.floor().int() for p in point])
        value = self.tsdf[voxel]
        known = present & (self.weight[voxel] >= self.min_weight)
        # Most of the distance that the field promises; a voxel where nothing is known.
        in_voxels = (0.8 * self.truncation_m / self.grid.voxel_size_m) * value
        skip = torch.where(known, in_voxels.clamp_min_(0.5), 1.0) * self.voxel_depth[rays]
        absent = (~present).nonzero()[:, 0]
        if len(absent):
            leave = torch.full_like(t[absent], torch.inf)
            for p, d in zip(point, direction, strict=True):
                p, d = p[absent], d[absent]
                block = torch.floor(p / SIDE_VOX)
                side = (block + (d > 0)) * SIDE_VOX - p
                leave = leave.minimum(torch.where(d.abs() > 1e-6, side / d, torch.inf))
            skip[absent] = leave.clamp_min_(0) + 0.01 * self.voxel_depth[rays[absent]]
        return value, known, skip

    def refine(self, rays: torch.Tensor, near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        """Depth (N,) of the zero of the interpolated field between depths `near` and `far`."""
        # The nearest-voxel samples that bracket the zero are up to half a voxel off.
        margin = self.voxel_depth[rays]
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
        best = torch.full_like(t, -1.0)
        found = torch.full_like(rays, -1)
        for voxel, present, weight in self._corners(rays, t):
            row = torch.where(present, self.row[voxel].long(), -1)
            better = (row >= 0) & (weight > best)
            best, found = torch.where(better, weight, best), torch.where(better, row, found)
        return found

    def _interpolated(self, rays: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Trilinear tsdf (N,) over the known ones of the eight voxels around; 1 where none is."""
        total, value = torch.zeros_like(t), torch.zeros_like(t)
        for voxel, present, weight in self._corners(rays, t):
            weight = weight * (present & (self.weight[voxel] >= self.min_weight))
            total += weight
            value += weight * self.tsdf[voxel]
        return torch.where(total > 0, value / total.clamp_min(1e-9), 1.0)

    def _corners(
        self, rays: torch.Tensor, t: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Voxel, whether it exists, and trilinear weight (N,) of the eight centres around points."""
        base, fraction = [], []
        for axis in range(3):
            p = torch.mul(t, self.direction[axis, rays]).add_(self.origin[axis] - 0.5)
            whole = p.floor()
            base.append(whole.int())
            fraction.append(p - whole)
        for corner in itertools.product((0, 1), repeat=3):
            voxel, present = self._locate([b + c for b, c in zip(base, corner, strict=True)])
            weight = torch.ones_like(t)
            for f, c in zip(fraction, corner, strict=True):
                weight = weight * (f if c else 1 - f)
            yield voxel, present, weight

    def _locate(self, voxel: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat index of three int32 coordinates (N,) into the grid's voxels, and whether it exists."""
        place, column = None, None
        for v, size in zip(voxel, self.shape, strict=True):
            block = (v >> 3).clamp_(-1, size).add_(1)
            place = block if place is None else place.mul_(size + 2).add_(block)
            within = v & (SIDE_VOX - 1)
            column = within if column is None else column.mul_(SIDE_VOX).add_(within)
        slot = self.directory[place]
        present = slot >= 0
        return (slot * VOXELS + column).mul_(present), present
