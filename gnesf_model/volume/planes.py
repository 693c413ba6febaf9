"""Planes through the pixels of a depth image, and the distance of points from the surface that they make up.

A camera that looks along a surface measures it at distances that say little of how far the space between is from it:
at 5 degrees a point 2 cm above a floor lies 23 cm before it, and one 2 cm below as far behind. Projective signed
distances (`tsdf`) lose such a surface between free space and what was never measured. The distance along the normal
(Bylow et al. 2013, point-to-plane) finds it, but goes on where the surface ends: it is taken only where the foot of
the perpendicular, looked up in the same image, is measured to be there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from gnesf_model.frame import Camera
from gnesf_model.geometry import pixel_rays

STEEP = 0.4
"""Surfaces that are seen at more than 66 degrees off their normal are steep."""
_STEEPEST = 0.05
"""Less than 3 degrees between ray and surface, which noise decides, count as not measured to be steep."""
_COLUMNS = 80
"""So many planes in a row, up to twice as many, where the image has four times as many pixels."""
_SHORTER = 4
"""Slopes are taken over this part of the step between planes where the whole is too long: seats are few rows high."""
_ALIKE = 0.2
"""Slopes to both sides of a pixel on one plane differ by less than this part of their sum: 2 to 3, at most."""
_FLAT = 1.0
"""Or by less than this (of the logarithm of the depth, in the normalised image), which noise does to flat surfaces."""
_EDGE = 6.0
"""A step of the depth to one side alone that is as steep as 80 degrees is the edge of an object."""
_STEP = 1.8
"""From pixel to pixel a steep surface goes on as steeply as from plane to plane, but for this factor: stairs do not."""
_FOOT_M = 0.1
"""Along the ray, a foot is measured to be on the surface within this, which noise may do, and no other object."""
_OFF_PLANE = 0.5
"""A pixel lies on the plane of its neighbourhood within this part of the tolerance; on a table's front it does not."""
_BESIDE = 1e-3
"""What a plane counts in a block between the pixels' places, where others may have theirs."""
_SAME_NORMAL = 0.8
"""Cosine between normals of one surface, at least."""


@dataclass(frozen=True)
class SteepSamples:
    """Places around the steep surfaces of a view, in its optical frame.

    Attributes:
        points: (3, S, K) float32 m, S around each of K pixels.
        weight: (S,) float32 how surely its surface passes there.
        normal: (3, K) float32 unit normals of the pixels' planes, pointing into the surface.
        offset: (K,) float32 distance m of the planes from the camera: ``normal . p`` of all p on them.
    """

    points: torch.Tensor
    weight: torch.Tensor
    normal: torch.Tensor
    offset: torch.Tensor

    @property
    def count(self) -> int:
        """K."""
        return len(self.offset)


@dataclass(frozen=True)
class PixelPlanes:
    """The planes at some pixels of a depth image, every `stride_px` of them, in the optical frame.

    On a plane the inverse depth is linear in the pixel, so its two slopes are the plane. They are taken where they are
    alike to both sides, so that the edge of an object does not count as a steep surface.

    Attributes:
        depth: (H, W) float32 metres, 0 where there is no measurement.
        camera: its intrinsics.
        pixels: those with a plane.
        normal: (3, h, w) float32 unit normals, pointing into the surface, 0 where there is no measurement;
            h = ceil(H / stride), w = ceil(W / stride).
        offset: (h, w) float32 distance m of the planes from the camera, ``normal . p`` of all p on them.
        scale: (h, w) float32 distance along the normal that a distance along the optical axis is worth; 1 where
            there is no measurement. In the middle of the image it is the cosine between ray and normal.
        steep: (h, w) flags of surfaces seen along rather than at; single ones among others are noise.
    """

    depth: torch.Tensor
    camera: Camera
    pixels: PlanePixels
    normal: torch.Tensor
    offset: torch.Tensor
    scale: torch.Tensor
    steep: torch.Tensor

    @classmethod
    def of(cls, depth: torch.Tensor, camera: Camera) -> PixelPlanes:
        """Of a depth image (H, W) float32 in metres, 0 where there is no measurement."""
        depth, pixels = depth.contiguous(), _plane_pixels(camera, depth.device)
        inverse = depth[:: pixels.stride, :: pixels.stride].reciprocal()
        measured = inverse.isfinite()
        a, b = _slopes(depth, inverse, measured, pixels, camera)
        # a X + b Y + c Z = 1 on the plane.
        c = inverse - a * pixels.x - b * pixels.y
        offset = torch.sqrt(a * a + b * b + c * c).reciprocal_()
        scale = torch.where(measured, inverse * offset, 1.0)
        normal = torch.where(measured, torch.stack([a, b, c]).mul_(offset), 0.0)
        steep = (scale < STEEP) & (scale >= _STEEPEST)
        place = steep.view(-1).nonzero()[:, 0]
        steep.view(-1)[place] = _goes_on_nearby(depth, a, b, place, pixels, camera)
        steep = F.pad(steep, (1, 1, 1, 1))
        beside = steep[1:-1, :-2] | steep[1:-1, 2:] | steep[:-2, 1:-1] | steep[2:, 1:-1]
        return cls(depth, camera, pixels, normal, offset, scale, steep[1:-1, 1:-1] & beside)

    @property
    def stride_px(self) -> int:
        """Step between pixels with a plane, a power of two."""
        return self.pixels.stride

    def at(self, row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices (...) into the planes for pixels (...)."""
        shift = self.stride_px.bit_length() - 1
        return row >> shift, column >> shift

    def steep_samples(self, reach_m: float, step_m: float, max_depth_m: float) -> SteepSamples:
        """Where voxels may lie within `reach_m` of steep surfaces, along the normal.

        Along the rays as well, at most `step_m` apart in depth, because the pixels lie far apart on such a surface.
        """
        row, column = self.steep.nonzero(as_tuple=True)
        normal, scale = self.normal[:, row, column], self.scale[row, column]
        depth = self.depth.view(-1)[self.pixels.index[row, column]]
        ray = torch.stack([self.pixels.x[0, column], self.pixels.y[row, 0], torch.ones_like(depth)])
        place = ray * depth
        sides = torch.tensor([0.0, -reach_m, reach_m], device=depth.device)
        number = 1 + math.ceil(2 * reach_m / (_STEEPEST * step_m))
        along = depth + reach_m / scale * torch.linspace(-1.0, 1.0, number, device=depth.device)[:, None]
        points = [place[:, None] + normal[:, None] * sides[:, None], ray[:, None] * along.clamp_(0.0, max_depth_m)]
        weight = torch.full((3 + number,), _BESIDE, device=depth.device)
        weight[:3] = 1.0
        return SteepSamples(torch.cat(points, dim=1), weight, normal, self.offset[row, column])

    def find(self, feet: torch.Tensor, normal: torch.Tensor, tolerance_m: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Which (M,) of some points (3, N) lie on the surface, and how far (M,) from it, m, positive in front.

        They do within `tolerance_m` of a pixel that sees them and lies on a plane of the direction `normal` (3, N).
        """
        camera = self.camera
        z = feet[2].clamp_min(1e-6)
        u = (feet[0] / z).mul_(camera.fx).add_(camera.cx)
        v = (feet[1] / z).mul_(camera.fy).add_(camera.cy)
        column, row = u.round().clamp_(0, camera.width - 1), v.round().clamp_(0, camera.height - 1)
        # The rest of the way from the pixel's middle to the point, for the plane goes on meanwhile.
        u -= column
        v -= row
        column, row = column.int(), row.int()
        depth = self.depth.view(-1).index_select(0, row * camera.width + column)
        row, column = self.at(row, column)
        place = row.mul_(self.scale.shape[1]).add_(column)
        rest = (depth - z).mul_(self.scale.view(-1).index_select(0, place))
        # Most are far off: a first look without the rest of the way, which is half a diagonal of the pixel at most.
        farthest = (z * (0.71 / min(camera.fx, camera.fy))).add_(tolerance_m)
        near = (rest.abs() < farthest) & (depth > 0) & (torch.maximum(u.abs(), v.abs()) <= 0.5)
        near = near.nonzero()[:, 0]
        feet, place = feet.index_select(1, near), place[near]
        there = self.normal.view(3, -1).index_select(1, place)
        beside = there[0] * u[near] / camera.fx + there[1] * v[near] / camera.fy
        rest = rest[near] - z[near] * beside
        # Seen along, what is near the plane may be far before or behind the surface that the pixel measures.
        on = rest.abs() < (_FOOT_M * self.scale.view(-1)[place]).clamp_max_(tolerance_m)
        off_plane = self.offset.view(-1)[place] - (there * feet).sum(dim=0) - rest
        on &= off_plane.abs() < _OFF_PLANE * tolerance_m
        on &= (normal.index_select(1, near) * there).sum(dim=0) > _SAME_NORMAL
        return near[on], rest[on]


@dataclass(frozen=True)
class PlanePixels:
    """The pixels of an image that have a plane; made once for a camera.

    Attributes:
        stride: step between them.
        x, y: (1, w) and (h, 1) float32 places in the normalised image.
        index: (h, w) int64 into the pixels of the image, row by row.
        neighbour: (2, h, w) int64 from that to the index of a near pixel along x and y; 0 at the border of the image.
    """

    stride: int
    x: torch.Tensor
    y: torch.Tensor
    index: torch.Tensor
    neighbour: torch.Tensor


@lru_cache(maxsize=4)
def _plane_pixels(camera: Camera, device: torch.device) -> PlanePixels:
    stride = 1 << max(2, (camera.width // _COLUMNS).bit_length() - 1)
    u = torch.arange(0, camera.width, stride, device=device)
    v = torch.arange(0, camera.height, stride, device=device)[:, None]
    neighbour = torch.zeros(2, len(v), u.shape[0], dtype=torch.int64, device=device)
    neighbour[0, :, 1:-1] = stride // _SHORTER
    neighbour[1, 1:-1] = stride // _SHORTER * camera.width
    rays = pixel_rays(camera, device)[::stride, ::stride]
    return PlanePixels(stride, rays[:1, :, 0].clone(), rays[:, :1, 1].clone(), v * camera.width + u, neighbour)


def _slopes(
    depth: torch.Tensor, inverse: torch.Tensor, measured: torch.Tensor, pixels: PlanePixels, camera: Camera
) -> torch.Tensor:
    """Change (2, h, w) of the inverse depth (h, w) along x and y of the normalised image, 0 at the edges of objects.

    Over steps from one plane's pixel to the next; over shorter ones where the surface does not go on alike that far.
    """
    x = F.pad(inverse.diff(dim=1).mul_(camera.fx / pixels.stride), (1, 1), value=torch.inf)
    y = F.pad(inverse.diff(dim=0).mul_(camera.fy / pixels.stride), (0, 0, 1, 1), value=torch.inf)
    before, after = torch.stack([x[:, :-1], y[:-1]]), torch.stack([x[:, 1:], y[1:]])
    slopes, alike = _both_sides(before, after, inverse * _FLAT)
    place = (measured > alike).view(-1).nonzero()[:, 0]
    before, after = before.view(-1)[place], after.view(-1)[place]
    along_y = place >= inverse.numel()
    cell = torch.where(along_y, place - inverse.numel(), place)
    here, index, neighbour = inverse.view(-1)[cell], pixels.index.view(-1)[cell], pixels.neighbour.view(-1)[place]
    # Not alike over short steps, either: the slope to one side, unless that is the edge of an object.
    found = torch.where(before.abs() < after.abs(), before, after)
    found = torch.where(found.abs() < _EDGE * here, found, 0.0)
    before, after = (depth.view(-1)[index + way].reciprocal_() for way in (-neighbour, neighbour))
    mean, alike = _both_sides(here - before, after - here, 0.0)
    per_step = torch.where(along_y, camera.fy, camera.fx) * (_SHORTER / pixels.stride)
    slopes.view(-1)[place] = torch.where(alike, mean * per_step, found)
    return slopes


def _goes_on_nearby(
    depth: torch.Tensor, a: torch.Tensor, b: torch.Tensor, place: torch.Tensor, pixels: PlanePixels, camera: Camera
) -> torch.Tensor:
    """Flags (K,) of planes, at `place` (K,) with slopes a, b (h, w), whose surface is as steep from pixel to pixel.

    Objects behind one another, whose edges lie as far apart as planes do, would be taken for a steep surface otherwise.
    """
    a, b = a.reshape(-1)[place], b.reshape(-1)[place]
    along_y = b.abs() > a.abs()
    index = pixels.index.view(-1)[place]
    jump = pixels.neighbour.view(2, -1)[along_y.long(), place]
    step = depth.view(-1)[index + jump].reciprocal_() - depth.view(-1)[index - jump].reciprocal_()
    per_step = torch.where(along_y, camera.fy, camera.fx) * (0.5 * _SHORTER / pixels.stride)
    ratio = step * per_step / torch.where(along_y, b, a)
    return (ratio > 1.0 / _STEP) & (ratio < _STEP)


def _both_sides(
    before: torch.Tensor, after: torch.Tensor, apart: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of two slopes (...), and whether they are those of one plane: alike, or less than `apart` apart."""
    both = before + after
    return both * 0.5, (before - after).abs_() < (both.abs() * _ALIKE).clamp_min_(apart)
