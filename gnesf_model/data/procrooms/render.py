"""Images of a scene: colour with lights and shadows, exact depth, labels, normals.

Colour is made to read well rather than to be physically right: point lights with hard shadows, ambient
light dimmed near surfaces (ambient occlusion from the signed distance, after Evans, "Fast approximations
for global illumination on dynamic scenes", 2006), a highlight, a tone curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnesf_model.data.procrooms.flat import WALL_M
from gnesf_model.data.procrooms.materials import albedo
from gnesf_model.data.procrooms.scene import Hits, Scene
from gnesf_model.device import single_thread
from gnesf_model.frame import Camera
from gnesf_model.geometry import pixel_rays

UNLABELLED = 255


class Images(NamedTuple):
    """What a camera sees.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres along the optical axis, 0 where nothing is hit.
        labels: (H, W) uint8, 255 where unlabelled.
        normals: (H, W, 3) float32 in the world, unit, towards the camera.
        primitive: (H, W) int64 index into `Scene.primitives`, -1 where nothing is hit.
    """

    rgb: Tensor
    depth: Tensor
    labels: Tensor
    normals: Tensor
    primitive: Tensor


class DistanceGrid:
    """Signed distance sampled on a grid over the room, for soft effects that need no exact value."""

    def __init__(self, scene: Scene, device: torch.device | str = "cpu", cell_m: float = 0.08) -> None:
        size = np.asarray(scene.room_size)
        counts = [max(2, int(np.ceil(s / cell_m)) + 1) for s in size]
        axes = [
            torch.linspace(float(low), float(high), n, device=device)
            for low, high, n in zip((-size[0] / 2, -size[1] / 2, 0.0), (size[0] / 2, size[1] / 2, size[2]), counts)
        ]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        world_T_room = torch.as_tensor(scene.world_T_room, dtype=torch.float32, device=device)
        self.distance = scene.sdf(points @ world_T_room[:3, :3].T + world_T_room[:3, 3])
        self.axes = axes
        room_T_world = torch.linalg.inv(world_T_room.double()).float()
        low = torch.tensor([a[0] for a in axes], device=device)
        span = torch.tensor([a[-1] - a[0] for a in axes], device=device)
        # One affine map from the world to grid_sample's -1..1, whose axes are z, y, x.
        self._R = (room_T_world[:3, :3] * (2 / span)[:, None]).flip(0)
        self._t = ((room_T_world[:3, 3] - low) * (2 / span) - 1).flip(0)

    def __call__(self, points: Tensor) -> Tensor:
        """Interpolated distance (N,) in metres at world points (N, 3)."""
        where = (points @ self._R.T + self._t)[None, None, None]
        return torch.nn.functional.grid_sample(
            self.distance[None, None], where, padding_mode="border", align_corners=True
        ).reshape(-1)


@dataclass
class Renderer:
    """Renders one scene.

    Attributes:
        scene: what to look at.
        device: where to work.
        shading: False leaves lights and shadows out (bare material colours), several times faster.
        antialias: cast more rays on outlines, for colour only.
        exposure: factor on the light.
        white_balance: (3,) factors on linear red, green, blue.
    """

    scene: Scene
    device: torch.device | str = "cpu"
    shading: bool = True
    antialias: bool = True
    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        self._grid: DistanceGrid | None = None
        self._labels = torch.as_tensor(self.scene.labels, device=self.device)
        rows = self.scene.primitives
        self._material = torch.tensor([p.material for p in rows], device=self.device)
        self._size = torch.tensor([p.size for p in rows], dtype=torch.float32, device=self.device)
        for name in ("gloss", "glow"):
            values = [getattr(m, name) for m in self.scene.materials]
            setattr(self, f"_{name}", torch.tensor(values, dtype=torch.float32, device=self.device))

    @property
    def distance_grid(self) -> DistanceGrid:
        """Made on first use and kept."""
        if self._grid is None:
            self._grid = DistanceGrid(self.scene, self.device)
        return self._grid

    @single_thread()
    @torch.inference_mode()
    def render(self, camera: Camera, world_T_cam: np.ndarray, gain: float = 1.0) -> Images:
        """Images of `camera` (pixel centres at integers) at the pose `world_T_cam` (4, 4).

        Args:
            gain: factor on the exposure of this picture.
        """
        pose = torch.as_tensor(world_T_cam, dtype=torch.float32, device=self.device)
        directions = pixel_rays(camera, self.device) @ pose[:3, :3].T
        hits = self.scene.cast(pose[:3, 3], directions)
        seen = hits.primitive >= 0
        depth = torch.where(seen, hits.t, 0.0)  # rays have z = 1, so t is depth
        labels = torch.where(seen, self._labels[hits.primitive.clamp_min(0)], UNLABELLED).to(torch.uint8)
        colour = self._colour(camera, pose[:3, 3], directions, hits, gain)
        if self.antialias:
            self._refine(colour, camera, pose, hits, gain)
        rgb = (colour * 255 + 0.5).to(torch.uint8)
        return Images(rgb, depth, labels, hits.normal, hits.primitive)

    def _refine(self, colour: Tensor, camera: Camera, pose: Tensor, hits: Hits, gain: float) -> None:
        """Replace the colour of pixels on outlines by the mean of four rays, as a finite pixel sees it."""
        v, u = _outlines(hits).nonzero(as_tuple=True)
        if not len(v):
            return
        order = torch.argsort((v // 8) * camera.width + u // 8, stable=True)  # by tile: narrow cones
        v, u = v[order], u[order]
        offset = torch.tensor([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]]).to(pose)
        rays = torch.ones(len(v), 4, 3, device=pose.device)
        rays[..., 0] = (u[:, None] + offset[:, 0] - camera.cx) / camera.fx
        rays[..., 1] = (v[:, None] + offset[:, 1] - camera.cy) / camera.fy
        directions = rays.reshape(-1, 3) @ pose[:3, :3].T
        finer = self._colour(camera, pose[:3, 3], directions, self.scene.cast(pose[:3, 3], directions), gain)
        colour[v, u] = finer.reshape(-1, 4, 3).mean(1)

    def _colour(self, camera: Camera, eye: Tensor, directions: Tensor, hits: Hits, gain: float) -> Tensor:
        """Display RGB (..., 3) in 0..1 of rays (..., 3)."""
        shape = hits.t.shape
        seen = (hits.primitive >= 0).reshape(-1)
        t = torch.where(seen, hits.t.reshape(-1), 1.0)
        primitive = hits.primitive.reshape(-1).clamp_min(0)
        normal, d = hits.normal.reshape(-1, 3), directions.reshape(-1, 3)
        length = d.square().sum(1).sqrt()
        point = eye + t[:, None] * d
        facing = -(normal * d).sum(1) / length
        pixel = t * length / camera.fx / facing.clamp_min(0.15)
        colour = albedo(
            self.scene.materials,
            self._material[primitive],
            self.scene.local(point, primitive),
            self.scene.local_direction(normal, primitive),
            self._size[primitive],
            pixel,
        )
        if self.shading:
            colour = self._lit(colour, point, normal, d / length[:, None], primitive, shape)
            colour = colour * (self.exposure * gain) * torch.tensor(self.white_balance, device=colour.device)
            colour = colour * (1 + colour / 6) / (1 + colour)  # shoulder, after Reinhard 2002
        colour = torch.where(seen[:, None], colour, 0.0).clamp(0, 1) ** (1 / 2.2)
        return colour.reshape(*shape, 3)

    def _lit(
        self, base: Tensor, point: Tensor, normal: Tensor, view: Tensor, primitive: Tensor, shape: torch.Size
    ) -> Tensor:
        ambient = self._openness(point, normal)
        sky = 0.5 + 0.5 * normal[:, 2]
        light = (ambient * (0.55 + 0.25 * sky))[:, None] * base.new_tensor([1.0, 0.99, 0.97])
        shine = torch.zeros_like(light)
        reflected = view - 2 * (view * normal).sum(1, keepdim=True) * normal
        material = self._material[primitive]
        gloss = self._gloss[material]
        start = point + 2e-3 * normal
        for lamp in self.scene.lights:
            position = torch.as_tensor(lamp.position, dtype=torch.float32, device=base.device)
            intensity = torch.as_tensor(lamp.intensity, dtype=torch.float32, device=base.device)
            inside = self._in_room(start, lamp.room)
            if inside is not None and not inside.any():
                continue
            # From the lamp to the surface: the rays share an origin, which keeps their cones narrow.
            way = start - position
            distance2 = way.square().sum(1).clamp_min(0.04)
            to_lamp = -way / distance2.sqrt()[:, None]
            free = (self.scene.cast(position, way.reshape(*shape, 3), t_max=0.999).primitive < 0).float()
            if len(shape) == 2:
                free = _softened(free, primitive.reshape(shape))
            strength = free.reshape(-1) / (distance2 + 1.0)
            if inside is not None:
                strength = strength * inside
            cosine = (normal * to_lamp).sum(1).clamp_min(0)
            light += (strength * cosine)[:, None] * intensity
            glint = (reflected * to_lamp).sum(1).clamp_min(0) ** (10 + 60 * gloss)
            shine += (strength * glint * gloss)[:, None] * intensity
        return base * light + 0.5 * shine + base * (2.2 * self._glow[material])[:, None]

    def _in_room(self, points: Tensor, room: tuple[float, float, float, float] | None) -> Tensor | None:
        """(N,) bool: which points (N, 3) in the world lie over a floor, its walls' halves included?"""
        if room is None:
            return None
        room_T_world = torch.as_tensor(np.linalg.inv(self.scene.world_T_room), dtype=torch.float32).to(points.device)
        xy = points @ room_T_world[:2, :3].T + room_T_world[:2, 3]
        low, high = points.new_tensor(room[:2]) - WALL_M / 2, points.new_tensor(room[2:]) + WALL_M / 2
        return ((xy > low) & (xy < high)).all(1)

    def _openness(self, point: Tensor, normal: Tensor) -> Tensor:
        """1 in the open, towards 0 in corners and gaps: free distance along the normal, few samples."""
        grid, occluded = self.distance_grid, torch.zeros(len(point), device=point.device)
        for reach, weight in ((0.08, 0.9), (0.2, 0.55), (0.45, 0.35)):
            free = grid(point + reach * normal)
            occluded += weight * (1 - free / reach).clamp(0, 1)
        return (1 - 0.75 * occluded).clamp_min(0.15)


def _softened(free: Tensor, primitive: Tensor, reach: int = 3) -> Tensor:
    """Shadow edges of a light (H, W) blurred over 2 reach + 1 pixels, not across outlines."""
    for axis in (0, 1):
        total, count = free.clone(), torch.ones_like(free)
        length = free.shape[axis]
        for shift in range(1, min(reach, length - 1) + 1):
            a, b = (x.narrow(axis, 0, length - shift) for x in (free, primitive))
            c, d = (x.narrow(axis, shift, length - shift) for x in (free, primitive))
            same = (b == d).float()
            total.narrow(axis, 0, length - shift).add_(c * same)
            total.narrow(axis, shift, length - shift).add_(a * same)
            count.narrow(axis, 0, length - shift).add_(same)
            count.narrow(axis, shift, length - shift).add_(same)
        free = total / count
    return free


def _outlines(hits: Hits) -> Tensor:
    """(H, W) bool: pixels where the primitive or the normal changes to a neighbour."""
    primitive, normal = hits.primitive, hits.normal
    edge = torch.zeros(primitive.shape, dtype=torch.bool, device=primitive.device)
    across = (primitive[:, 1:] != primitive[:, :-1]) | ((normal[:, 1:] * normal[:, :-1]).sum(2) < 0.9)
    down = (primitive[1:] != primitive[:-1]) | ((normal[1:] * normal[:-1]).sum(2) < 0.9)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
