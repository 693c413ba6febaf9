"""Truncated signed distances from depth images (Curless and Levoy 1996), in sparse blocks.

Distances are along the optical axis, in units of the truncation distance: +1 is free space, 0 the
surface, -1 one truncation distance behind it. Voxels further behind are never written. That loses surfaces which are
seen along rather than at: around those, distances are along the normal (`planes`), over `STEEP`, where both are equal.

On the CPU the operations are chosen by measurement (docs/performance.md): thresholds instead of masks, which cost
10 to 30 times as much, and one contiguous row per coordinate instead of a short last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from gnesf_model.frame import Camera
from gnesf_model.geometry import invert, pixel_rays, project, transform
from gnesf_model.volume.block_grid import VOXELS, BlockGrid, OutOfReach
from gnesf_model.volume.planes import STEEP, PixelPlanes, SteepSamples

_MAX_STRIDE_PX = 4
"""At most every fourth row and column of a depth image allocates: 4 px at 5 m and f = 525 px are 4 cm."""
_FOOT_VOX = 0.5
"""The foot of a voxel's perpendicular on a steep surface is measured to be there, within this."""
_MAX_BOX_BLOCKS = 1 << 26
"""Bound on the scratch memory of an allocation, one byte a block."""
_LEAST_BLOCKS = 64
"""Integrated at once however little memory there is: some megabytes."""


@dataclass(frozen=True)
class DepthView:
    """A depth image and where it was taken from.

    Attributes:
        depth: (H, W) float32 metres on the map's device, 0 where there is no measurement or it is out
            of range.
        camera: its intrinsics.
        world_T_cam: (4, 4) float64 on the host.
    """

    depth: torch.Tensor
    camera: Camera
    world_T_cam: np.ndarray

    @cached_property
    def planes(self) -> PixelPlanes:
        """Planes through its pixels."""
        return PixelPlanes.of(self.depth, self.camera)


@dataclass(frozen=True)
class Band:
    """Blocks around the surface that a view measured.

    Attributes:
        slots: (N,) int64 their rows.
        steep: (E,) int64 which of them are near a surface that the view sees along rather than at; once for each
            axis of the world that such surfaces face there.
        normal: (3, E) float32 its unit normal, pointing into it, in the optical frame.
        offset: (E,) float32 its distance from the camera, m.
    """

    slots: torch.Tensor
    steep: torch.Tensor
    normal: torch.Tensor
    offset: torch.Tensor

    @classmethod
    def flat(cls, slots: torch.Tensor) -> Band:
        """Blocks (N,) without steep surfaces."""
        none = torch.zeros(3, 0, device=slots.device)
        return cls(slots, slots[:0], none, none[0])

    def halves(self) -> list[Band]:
        """Its first and its second half."""
        parts, first = [], 0
        for slots in self.slots.tensor_split(2):
            here = (self.steep >= first) & (self.steep < first + len(slots))
            parts.append(Band(slots, self.steep[here] - first, self.normal[:, here], self.offset[here]))
            first += len(slots)
        return parts


@dataclass(frozen=True)
class Observation:
    """What one depth image says of the voxels around the surface it measured.

    Attributes:
        slots: (N,) int64 rows of the blocks.
        distance: (N, 512) float32 signed distance in metres along the optical axis, positive in front of the
            surface; along the normal, over `STEEP`, near steep surfaces; infinite where the voxel was not seen.
    """

    slots: torch.Tensor
    distance: torch.Tensor


def in_range(depth: torch.Tensor, low_m: float, high_m: float) -> torch.Tensor:
    """A copy of a depth image (H, W) float32 with 0 wherever it is not within [low, high]."""
    # A threshold keeps what is greater: the next number below lets the limit itself pass. The lower limit comes last,
    # because it leaves no -0.
    below, above = np.nextafter(np.float32(low_m), np.float32(-1)), np.nextafter(np.float32(high_m), np.float32(np.inf))
    near = F.threshold_(depth.neg(), -float(above), 0.0).neg_()
    return F.threshold_(near, max(float(below), 0.0), 0.0)


class TsdfVolume:
    """Integrates depth views into the ``tsdf`` and ``weight`` attributes of a `BlockGrid`.

    Args:
        grid: blocks with attributes tsdf (float32, fill 1) and weight (float32, fill 0).
        truncation_m: distance at which the signed distance is cut.
        max_depth_m: largest depth that a view may hold; bounds the region that a view can touch.
        max_weight: cap of the weight.
        steep: measure surfaces that are seen along rather than at along their normal. Not for depth that runs smoothly
            from one object to the next, as networks predict it: that is steep where there is no surface.
    """

    def __init__(
        self, grid: BlockGrid, *, truncation_m: float, max_depth_m: float, max_weight: float, steep: bool = True
    ) -> None:
        self.grid = grid
        self.truncation_m = truncation_m
        self.max_depth_m = max_depth_m
        self.max_weight = max_weight
        self.steep = steep
        # Samples at most half a block apart along the ray leave no block of the band out, save for
        # corners that the ray crosses for less than that; neighbouring pixels catch those.
        samples = 1 + math.ceil(4 * truncation_m / grid.block_size_m)
        self._band = torch.linspace(-truncation_m, truncation_m, samples, device=grid.device)
        self._rays: dict[Camera, torch.Tensor] = {}
        self._offsets = ((grid.offsets_vox + 0.5).double() * grid.voxel_size_m).T.contiguous()

    def allocate(self, view: DepthView) -> Band:
        """The blocks within the truncation distance of the measured surface.

        Raises:
            MapFull, OutOfReach: as `BlockGrid.allocate`.
        """
        stride = self._stride(view.camera)
        depth = view.depth[stride // 2 :: stride, stride // 2 :: stride].reshape(-1)
        rays = self._camera_rays(view.camera)
        scale = 1.0 / self.grid.block_size_m
        low, shape = self._reachable_blocks(view)
        # Relative to the box, in blocks: float32 stays exact far from the world's origin.
        start = torch.from_numpy(view.world_T_cam[:3, 3] * scale - low).float().to(rays.device)
        turn = torch.from_numpy(view.world_T_cam[:3, :3] * scale).float().to(rays.device)
        along = (depth + self._band[:, None]).clamp_min_(0.0)
        index = torch.zeros(along.shape, dtype=torch.int32, device=along.device)
        for axis, (direction, origin) in enumerate(zip(turn @ rays, start.tolist(), strict=True)):
            cell = torch.mul(along, direction).add_(origin).floor_()
            index = index.mul_(shape[axis]).add_(cell.int())
        outside = math.prod(shape)
        index = torch.where(depth > 0, index, outside)
        cells = torch.zeros(outside + 1, dtype=torch.bool, device=depth.device)
        cells.index_fill_(0, index.view(-1).long(), True)
        samples = self._steep_samples(view)
        if samples is not None:
            x, y, z = (turn @ samples.points.view(3, -1)).add_(start[:, None]).floor_().int()
            steep = x.mul_(shape[1]).add_(y).mul_(shape[2]).add_(z).long()
            cells.index_fill_(0, steep, True)
        flat = cells[:-1].nonzero()[:, 0]
        coords = torch.stack([flat // (shape[1] * shape[2]), flat // shape[2] % shape[1], flat % shape[2]], dim=1)
        slots = self.grid.allocate(coords + torch.from_numpy(low).to(coords.device))
        if samples is None:
            return Band.flat(slots)
        place = torch.empty(outside, dtype=torch.int64, device=flat.device)
        place[flat] = torch.arange(len(flat), device=flat.device)
        return Band(slots, *_block_planes(samples, place[steep].view(samples.points.shape[1:]), turn, len(slots)))

    def _steep_samples(self, view: DepthView) -> SteepSamples | None:
        """Around steep surfaces: the band reaches further there along the rays, which may lie blocks apart."""
        if not self.steep:
            return None
        samples = view.planes.steep_samples(
            STEEP * self.truncation_m, self.grid.block_size_m, self.max_depth_m + self.truncation_m
        )
        return samples if samples.count else None

    def seen_through(self, view: DepthView, slots: torch.Tensor) -> torch.Tensor:
        """Rows (M,) of blocks in front of the measured surface, `slots` (N,) of `allocate` left out.

        What stood there when they were made is gone, or never was there. Looked at is the middle of each block, and
        its voxels only where that promises something.
        """
        grid, camera = self.grid, view.camera
        here = torch.arange(grid.count, device=grid.device)
        middle = (grid.coords[: grid.count].float() + 0.5) * grid.block_size_m
        cam_T_world = torch.from_numpy(invert(view.world_T_cam)).float().to(grid.device)
        pixels, depth = project(transform(cam_T_world, middle), camera)
        # A block whose middle is just outside of the image is looked at through the pixel at the edge.
        reach = (0.87 * grid.block_size_m * max(camera.fx, camera.fy)) / depth.clamp_min(1e-6)
        u, v = pixels.unbind(1)
        near = (depth > 0) & (u > -reach) & (u < camera.width + reach) & (v > -reach) & (v < camera.height + reach)
        near[slots] = False
        u = u.round().clamp_(0, camera.width - 1).long()
        v = v.round().clamp_(0, camera.height - 1).long()
        here, u, v, depth = here[near], u[near], v[near], depth[near]
        here = here[view.depth[v, u] > depth + self.truncation_m]
        return here[self.has_inside(here)]

    def has_inside(self, slots: torch.Tensor) -> torch.Tensor:
        """Flags (N,) of blocks in which a voxel lies at or behind a surface."""
        inside = (self.grid.voxels["tsdf"][slots] <= 0) & (self.grid.voxels["weight"][slots] > 0)
        return inside.any(dim=1)

    def integrate(self, view: DepthView, band: Band, gain: float = 1.0) -> Observation:
        """Fold a view into blocks; each voxel takes its running average.

        Where the GPU has no memory for all blocks at once, they are done in halves, down to `_LEAST_BLOCKS`.

        Args:
            view: the depth.
            band: blocks of `allocate`, or of `seen_through`.
            gain: how much it counts.

        Raises:
            torch.cuda.OutOfMemoryError: not even for these; some of the blocks may have the view already.
        """
        try:
            return self._fold(view, band, gain)
        except torch.cuda.OutOfMemoryError:
            if len(band.slots) <= _LEAST_BLOCKS:
                raise
        # Outside of the handler, whose traceback holds on to what did fit.
        halves = [self.integrate(view, half, gain) for half in band.halves()]
        return Observation(band.slots, torch.cat([half.distance for half in halves]))

    def _fold(self, view: DepthView, band: Band, gain: float) -> Observation:
        """`integrate` at once; raises before anything is written, or not at all."""
        distance = self._distances(view, band)
        grid, factor, slots = self.grid, gain, band.slots
        tsdf, weight = (grid.voxels[name].index_select(0, slots) for name in ("tsdf", "weight"))
        # Full weight in front of the surface and one voxel behind, then falling to none: what an object
        # hides from this view must not outvote what another view saw of it.
        fall = self.truncation_m - grid.voxel_size_m
        gain = (distance + self.truncation_m).mul_(1.0 / fall).clamp_(0.0, 1.0)
        if factor != 1.0:
            gain *= factor
        measured = (distance * (1.0 / self.truncation_m)).clamp_(-1.0, 1.0)
        weight += gain
        tsdf.lerp_(measured, gain.div_(weight.clamp_min(1e-6)))
        weight.clamp_max_(self.max_weight)
        grid.voxels["tsdf"].index_copy_(0, slots, tsdf)
        grid.voxels["weight"].index_copy_(0, slots, weight)
        return Observation(slots, F.threshold_(distance, -self.truncation_m, torch.inf))

    def _distances(self, view: DepthView, band: Band) -> torch.Tensor:
        """Signed distance (N, 512) in metres, -inf without measurement.

        Measured depth minus voxel depth; near steep surfaces the distance along the normal, over `STEEP`.
        """
        grid, camera = self.grid, view.camera
        # Half a pixel to round, and one for a border of "no measurement", which takes every voxel outside.
        K = camera.K
        K[:2, 2] += 1.5
        cam_T_world = invert(view.world_T_cam)
        P = torch.from_numpy(K @ cam_T_world[:3]).to(grid.device)
        blocks = grid.coords[band.slots].T.double() * grid.block_size_m
        # P p is linear in p: each image coordinate of a voxel is its block's plus its offset's.
        corner = (P[:, :3] @ blocks + P[:, 3:]).float()[..., None]
        within = (P[:, :3] @ self._offsets).float()
        z = corner[2] + within[2]
        # Behind the camera the quotients are so large that they, too, end in the border.
        scale = z.clamp_min(1e-12).reciprocal_()
        u = (corner[0] + within[0]).mul_(scale)
        v = (corner[1] + within[1]).mul_(scale)
        depth = F.pad(view.depth, (1, 1, 1, 1))
        width = camera.width + 2
        u = u.clamp_(0, camera.width + 1).int()
        v = v.clamp_(0, camera.height + 1).int()
        pixel = v.mul_(width).add_(u)
        measured = depth.view(-1).index_select(0, pixel.view(-1)).view_as(z)
        distance = F.threshold_(measured, 0.0, -torch.inf).sub_(z)
        if len(band.steep):
            self._measure_along_normals(view, torch.from_numpy(cam_T_world).to(grid.device), band, distance)
        return distance

    def _measure_along_normals(
        self, view: DepthView, cam_T_world: torch.Tensor, band: Band, distance: torch.Tensor
    ) -> None:
        """Replace signed distances (N, 512) by those along the normal, over `STEEP`, near steep surfaces."""
        grid = self.grid
        corner = grid.coords[band.slots[band.steep]].T.double() * grid.block_size_m
        corner = (cam_T_world[:3, :3] @ corner + cam_T_world[:3, 3:]).float()
        within = (cam_T_world[:3, :3] @ self._offsets).float()
        to_plane = (band.offset - (band.normal * corner).sum(dim=0))[:, None]
        for direction, way in zip(
            band.normal, within, strict=True
        ):  # no product of matrices: sums of those vary with E
            to_plane = to_plane - direction[:, None] * way
        candidate = (to_plane.abs() < STEEP * self.truncation_m).view(-1).nonzero()[:, 0]
        entry, voxel = candidate // VOXELS, candidate % VOXELS
        near, normal = to_plane.view(-1)[candidate], band.normal.index_select(1, entry)
        foot = corner.index_select(1, entry).add_(within.index_select(1, voxel)).add_(near * normal)
        there, rest = view.planes.find(foot, normal, _FOOT_VOX * grid.voxel_size_m)
        place = band.steep[entry[there]] * VOXELS + voxel[there]
        found = (near[there] + rest).mul_(1.0 / STEEP)
        # Where two surfaces meet, the nearer one counts.
        distance = distance.view(-1)
        distance[place] = torch.inf
        distance.scatter_reduce_(0, place, found, "amin")

    def _reachable_blocks(self, view: DepthView) -> tuple[np.ndarray, tuple[int, int, int]]:
        """First block (3,) and size in blocks of the box around all that the view can touch."""
        camera, reach = view.camera, self.max_depth_m + self.truncation_m
        left, right = (reach * (u - camera.cx) / camera.fx for u in (0, camera.width))
        top, bottom = (reach * (v - camera.cy) / camera.fy for v in (0, camera.height))
        corners = [(left, top, reach), (right, top, reach), (left, bottom, reach), (right, bottom, reach), (0, 0, 0)]
        corners = np.array(corners) @ view.world_T_cam[:3, :3].T + view.world_T_cam[:3, 3]
        blocks = np.floor(corners / self.grid.block_size_m).astype(np.int64)
        # One block of margin: float32 may round a point over the edge of the box.
        low, high = blocks.min(axis=0) - 1, blocks.max(axis=0) + 2
        shape = tuple((high - low).tolist())
        if math.prod(shape) > _MAX_BOX_BLOCKS:
            raise OutOfReach(
                f"a view to {self.max_depth_m} m touches a box of {shape} blocks of "
                f"{self.grid.block_size_m} m, at most {_MAX_BOX_BLOCKS} blocks are expected: lower "
                "volume.max_depth_m or raise volume.voxel_size_m"
            )
        return low, shape

    def _stride(self, camera: Camera) -> int:
        """Step between allocating pixels: rays no more than a quarter of a block apart at full reach."""
        apart = 0.25 * self.grid.block_size_m * min(camera.fx, camera.fy) / self.max_depth_m
        return min(max(int(apart), 1), _MAX_STRIDE_PX)

    def _camera_rays(self, camera: Camera) -> torch.Tensor:
        """Directions (3, N), z = 1, of the allocating pixels; kept until the camera changes."""
        if camera not in self._rays:
            stride = self._stride(camera)
            rays = pixel_rays(camera, self.grid.device)[stride // 2 :: stride, stride // 2 :: stride]
            self._rays = {camera: rays.reshape(-1, 3).T.contiguous()}
        return self._rays[camera]


def _block_planes(
    samples: SteepSamples, block: torch.Tensor, turn: torch.Tensor, blocks: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The planes of a `Band` from those of pixels: in each block, the mean of those that face the same axis.

    Args:
        samples: places around the surfaces.
        block: (S, K) which of the blocks they lie in.
        turn: (3, 3) from the optical frame to the axes of the world.
        blocks: how many there are.
    """
    axis = (turn @ samples.normal).abs_().argmax(dim=0)
    entry = (block * 3 + axis).view(-1)
    a, b, c, offset = (
        torch.bincount(entry, (samples.weight[:, None] * part).view(-1), minlength=3 * blocks)
        for part in (*samples.normal, samples.offset)
    )
    length = torch.sqrt(a * a + b * b + c * c)
    used = length.nonzero()[:, 0]
    planes = torch.stack([a, b, c, offset]).index_select(1, used).div_(length[used]).float()
    return used // 3, planes[:3], planes[3]
