"""A set of primitives with labels and materials, and the two exact questions one can ask it.

`Scene.cast` says what rays hit, `Scene.sdf` how far points are from the nearest surface. Both work on
groups of neighbouring rays or points: a bounding test per (group, primitive) leaves the few primitives
that can matter to a group, and only those pairs are evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnesf_model.data.procrooms.culling import cones_touch, morton_order, padded, tiles
from gnesf_model.data.procrooms.materials import Material
from gnesf_model.data.procrooms.primitives import NORMAL, RAY, SDF, Kind, Primitive
from gnesf_model.device import single_thread

PAIRS_AT_ONCE = 4096
"""Bounds the memory of an evaluation (times GROUP rays or points) and keeps it in the cache."""

POINTS_AT_ONCE = 1 << 18


class Hits(NamedTuple):
    """What rays of shape (...) hit.

    Attributes:
        t: (...) ray parameter, inf where nothing is hit; depth in metres for rays with z = 1.
        primitive: (...) int64 index into `Scene.primitives`, -1 where nothing is hit.
        normal: (..., 3) unit outward normal in the world, 0 where nothing is hit.
    """

    t: Tensor
    primitive: Tensor
    normal: Tensor


@dataclass(frozen=True)
class SceneObject:
    """One thing in the room: consecutive primitives `first` to `last` (exclusive)."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Light:
    """Point light at `position` (3,) metres in the world with linear RGB `intensity` (3,).

    `room`: x0, y0, x1, y1 in the room's frame of the floor that it lights; None lights everything. The light
    that falls through a doorway is left out.
    """

    position: np.ndarray
    intensity: np.ndarray
    room: tuple[float, float, float, float] | None = None


class _Table(NamedTuple):
    """The primitives as tensors, sorted by kind; `order` maps rows to `Scene.primitives`, `row_of` back."""

    order: Tensor
    row_of: Tensor
    centre: Tensor
    local_R_world: Tensor
    size: Tensor
    bounds: Tensor
    rows: dict[Kind, slice]


@dataclass
class Scene:
    """Primitives in the world (metres, z up).

    Attributes:
        primitives: all shapes; `Primitive.parent_T_local` is `world_T_local`.
        objects: the primitives by thing, in order; floor, walls and ceiling of a room come first.
        materials: rows that `Primitive.material` names.
        lights: point lights.
        room_size: (3,) inner width, depth and height in metres.
        world_T_room: (4, 4); the room's frame has its origin in the middle of the floor, z up.
        name: e.g. ``kitchen 3``.
        rooms: x0, y0, x1, y1 in the room's frame of the floor of each room of a flat.
    """

    primitives: Sequence[Primitive]
    objects: Sequence[SceneObject]
    materials: Sequence[Material]
    lights: Sequence[Light] = ()
    room_size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    world_T_room: np.ndarray = field(default_factory=lambda: np.eye(4))
    name: str = "scene"
    rooms: Sequence[tuple[float, float, float, float]] = ()

    def __post_init__(self) -> None:
        if not self.primitives:
            raise ValueError("a scene needs at least one primitive, got none")
        self.labels = np.array([p.label for p in self.primitives], dtype=np.uint8)
        self.gloss = np.array([self.materials[p.material].gloss for p in self.primitives])
        self._tables: dict[tuple[torch.dtype, torch.device], _Table] = {}

    @single_thread()
    def cast(self, origins: Tensor, directions: Tensor, t_max: float = torch.inf) -> Hits:
        """First surfaces along the rays origin + t * direction, 0 < t <= t_max.

        Rays that start inside a primitive do not see that primitive.

        Args:
            origins: (..., 3) metres in the world, broadcast to the shape of `directions`.
            directions: (..., 3), any length but zero. Images (H, W, 3) are fastest: their tiles are narrow.

        Returns:
            Hits with tensors of shape (...) of the same dtype and device.
        """
        shape = directions.shape[:-1]
        table = self._table(directions)
        origins = origins.expand(directions.shape).reshape(-1, 3)
        flat = directions.reshape(-1, 3)
        if not len(flat):
            empty = flat.new_empty(shape)
            return Hits(empty, empty.long(), directions.clone())
        groups = tiles(shape, flat.device)
        o = origins[groups].transpose(1, 2).contiguous()  # (G, 3, B)
        d = flat[groups].transpose(1, 2).contiguous()

        def entry(group: Tensor, row: Tensor, kind: Kind) -> Tensor:
            R = table.local_R_world[row]
            local = torch.bmm(R, o[group] - table.centre[row][:, :, None])
            return RAY[kind](local, torch.bmm(R, d[group]), table.size[row])

        touched = cones_touch(o, d, t_max, table.centre, table.local_R_world, table.bounds)
        t, row = _nearest(touched, table, entry, d.shape[2])
        t, row = torch.where(t <= t_max, t, torch.inf), torch.where(t <= t_max, row, -1)
        out_t = flat.new_empty(len(flat))
        out_row = torch.empty(len(flat), dtype=torch.int64, device=flat.device)
        out_t[groups.reshape(-1)] = t.reshape(-1)
        out_row[groups.reshape(-1)] = row.reshape(-1)
        normal = self._normals(table, origins, flat, out_t, out_row)
        primitive = torch.where(out_row >= 0, table.order[out_row.clamp_min(0)], -1)
        return Hits(out_t.reshape(shape), primitive.reshape(shape), normal.reshape(*shape, 3))

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (...) in metres from points (..., 3) in the world to the nearest surface.

        Exact outside of everything, negative inside of something (there it is a lower bound of the depth
        wherever primitives touch), and 1-Lipschitz everywhere.
        """
        return self.nearest(points)[0]

    @single_thread()
    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (...) as `sdf` gives it, and the primitive (...) int64 that it is measured to."""
        flat = points.reshape(-1, 3)
        parts = [self._nearest_points(part) for part in flat.split(POINTS_AT_ONCE)]
        distance = torch.cat([p[0] for p in parts])
        primitive = torch.cat([p[1] for p in parts])
        return distance.reshape(points.shape[:-1]), primitive.reshape(points.shape[:-1])

    def local(self, points: Tensor, primitive: Tensor) -> Tensor:
        """World points (N, 3) in the frames of the primitives (N,) int64."""
        table = self._table(points)
        return self.local_direction(points - table.centre[table.row_of[primitive]], primitive)

    def local_direction(self, directions: Tensor, primitive: Tensor) -> Tensor:
        """World directions (N, 3) in the frames of the primitives (N,) int64."""
        table = self._table(directions)
        R = table.local_R_world[table.row_of[primitive]]
        return torch.bmm(R, directions[:, :, None])[:, :, 0]

    def _nearest_points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if not len(points):
            return points.new_empty(0), torch.empty(0, dtype=torch.int64, device=points.device)
        table = self._table(points)
        groups = padded(morton_order(points))
        p = points[groups].transpose(1, 2).contiguous()  # (G, 3, B)
        centre = p.mean(2)
        radius = (p - centre[:, :, None]).square().sum(1).sqrt().amax(1)

        def distance(group: Tensor, row: Tensor, kind: Kind) -> Tensor:
            local = torch.bmm(table.local_R_world[row], p[group] - table.centre[row][:, :, None])
            return SDF[kind](local, table.size[row])

        # Distances are 1-Lipschitz: whatever is nearest somewhere in the group is at most 2 radii
        # farther from its centre than the primitive that is nearest there.
        at_centre = torch.cat(
            [
                SDF[kind](
                    table.local_R_world[rows] @ (centre[None] - table.centre[rows][:, None]).transpose(1, 2),
                    table.size[rows],
                )
                for kind, rows in table.rows.items()
            ]
        ).T  # (G, N): the rows of the kinds follow each other
        bound = at_centre.amin(1) + 2 * radius * (1 + 1e-4) + 1e-4
        near, row = _nearest(at_centre <= bound[:, None], table, distance, p.shape[2])
        out = points.new_empty(len(points))
        out_row = torch.empty(len(points), dtype=torch.int64, device=points.device)
        out[groups.reshape(-1)] = near.reshape(-1)
        out_row[groups.reshape(-1)] = row.reshape(-1)
        return out, table.order[out_row]

    def _normals(self, table: _Table, o: Tensor, d: Tensor, t: Tensor, row: Tensor) -> Tensor:
        normal = torch.zeros_like(d)
        for kind, rows in table.rows.items():
            index = ((row >= rows.start) & (row < rows.stop)).nonzero()[:, 0]
            if not len(index):
                continue
            r = row[index]
            R, size = table.local_R_world[r], table.size[r]
            point = o[index] + t[index, None] * d[index] - table.centre[r]
            point = torch.bmm(R, point[:, :, None])
            n = NORMAL[kind](point, torch.bmm(R, d[index, :, None]), size)
            normal[index] = torch.bmm(R.transpose(1, 2), n)[:, :, 0]
        return torch.nn.functional.normalize(normal, dim=1, eps=1e-20)

    def _table(self, like: Tensor) -> _Table:
        key = (like.dtype, like.device)
        if key not in self._tables:
            self._tables[key] = _make_table(self.primitives, *key)
        return self._tables[key]


def _make_table(primitives: Sequence[Primitive], dtype: torch.dtype, device: torch.device) -> _Table:
    order = sorted(range(len(primitives)), key=lambda i: primitives[i].kind)
    kinds = np.array([primitives[i].kind for i in order])
    poses = np.stack([primitives[i].parent_T_local for i in order])

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype, device=device)

    return _Table(
        order=torch.as_tensor(order, device=device),
        row_of=torch.as_tensor(np.argsort(order), device=device),
        centre=tensor(poses[:, :3, 3]),
        local_R_world=tensor(poses[:, :3, :3].transpose(0, 2, 1)),
        size=tensor(np.array([primitives[i].size for i in order])),
        bounds=tensor(np.array([primitives[i].bounds for i in order])),
        rows={kind: slice(*np.searchsorted(kinds, [kind, kind + 1]).tolist()) for kind in Kind if kind in kinds},
    )


def _nearest(
    touched: Tensor, table: _Table, value: Callable[[Tensor, Tensor, Kind], Tensor], width: int
) -> tuple[Tensor, Tensor]:
    """Smallest value (G, B) over the touched (group, primitive) pairs and the table row it comes from.

    Ties go to the first row, so the answer does not depend on how the work is cut.
    """
    groups = touched.shape[0]
    best = table.centre.new_full((groups, width), torch.inf)
    best_row = torch.full((groups, width), -1, dtype=torch.int64, device=touched.device)
    for group, row, kind in _pairs(touched, table):
        v = value(group, row, kind)
        first, count = torch.unique_consecutive(group, return_counts=True)
        lowest = torch.segment_reduce(v, "min", lengths=count, axis=0)
        better = lowest < best[first]
        owner = torch.repeat_interleave(torch.arange(len(first), device=group.device), count)
        rows = torch.where(v == lowest[owner], row[:, None], len(table.order)).to(v.dtype)
        rows = torch.segment_reduce(rows, "min", lengths=count, axis=0).long()
        best_row[first] = torch.where(better, rows, best_row[first])
        best[first] = torch.where(better, lowest, best[first])
    return best, best_row


def _pairs(touched: Tensor, table: _Table) -> Iterator[tuple[Tensor, Tensor, Kind]]:
    for kind, rows in table.rows.items():
        pairs = touched[:, rows].nonzero()
        for part in pairs.split(PAIRS_AT_ONCE):
            if len(part):
                yield part[:, 0], part[:, 1] + rows.start, kind
