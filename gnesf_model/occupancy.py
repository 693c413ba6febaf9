"""The labelled surface as a grid to drive on: free floor, occupied cells, and unknown.

A cell is occupied where the surface in its column lies between `min_height_m` and `max_height_m` above the
floor, whatever its class, or where something labelled structure or furniture rises above
`min_labelled_height_m`: geometry sees what no class names, classes see what is flat. It is free where
the surface at floor height is labelled floor, and unknown elsewhere: what lies at floor height without being
called floor, or was never seen, is nothing to drive on. Things that move (label kind ``dynamic``) do not count.

One floor: a storey above or below needs a map of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from gnesf_model.config import Config, OccupancyConfig
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints, SemanticMapper
from gnesf_model.up import FLOOR_WANTED_M2, floor_normal, level_rotation
from gnesf_model.volume.changes import BlockChanges, with_lower_neighbours

FREE, OCCUPIED, UNKNOWN_CELL = 0, 100, -1
"""Cell values, those of nav_msgs/OccupancyGrid."""

_GROWTH_CELLS = 64
"""The grid grows by whole tiles of so many cells, so that its origin and size seldom change."""
_NEW_UP_DEG = 1.0
"""``up: auto`` is taken anew when the floor's normal has turned by this much: every cell moves then."""
_FLOOR, _SOLID, _OTHER, _MOVING = range(4)


@dataclass(frozen=True)
class OccupancyGrid:
    """A grid over the levelled frame, whose z axis is up.

    Attributes:
        cells: (H, W) int8, row 0 at the smallest y: 0 free, 100 occupied, -1 unknown.
        resolution_m: edge of a cell; exact in float32, as the message has it.
        origin_m: (x, y) of the outer corner of cell (0, 0), whole multiples of the resolution.
        floor_m: height of the floor in the levelled frame.
        world_T_level: (4, 4) pose of the levelled frame, a pure rotation; the identity where up is z.
    """

    cells: np.ndarray
    resolution_m: float
    origin_m: tuple[float, float]
    floor_m: float
    world_T_level: np.ndarray

    @property
    def layout(self) -> dict[str, float | int]:
        """The numbers of a nav_msgs/MapMetaData: resolution (m), width and height (cells)."""
        height, width = self.cells.shape
        return {"resolution": self.resolution_m, "width": width, "height": height}

    @property
    def level_T_grid(self) -> np.ndarray:
        """(4, 4) pose of the outer corner of cell (0, 0) on the floor, in the levelled frame."""
        pose = np.eye(4)
        pose[:3, 3] = (*self.origin_m, self.floor_m)
        return pose

    def changed(self, before: OccupancyGrid | None) -> tuple[int, int, int, int] | None:
        """Smallest box (x, y, width, height) of cells that differ from another grid.

        None where the grids are not over the same cells, so that no box can say it; empty where they are equal.
        """
        if before is None or before.cells.shape != self.cells.shape or before.origin_m != self.origin_m:
            return None
        if not np.array_equal(before.world_T_level, self.world_T_level) or before.floor_m != self.floor_m:
            return None
        rows, columns = np.nonzero(before.cells != self.cells)
        if not len(rows):
            return 0, 0, 0, 0
        x, y = int(columns.min()), int(rows.min())
        return x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1


def grid_frame(config: Config) -> str:
    """Frame of the grid: the map's where up is its z axis, else the levelled one beside it."""
    frame = config.input.global_frame
    return frame if config.occupancy.up == "z" else f"{frame}_level"


class OccupancyMapper:
    """Follows a map and makes its grid; only blocks that changed are looked at again.

    Args:
        mapper: the map; somebody tells `changes` of every frame.
        config: what counts as what.

    Attributes:
        changes: takes the blocks that each frame touched.
        why: why there is no grid, in words; empty where there is one.
        left_out: surface points beyond `max_size_m` in the latest grid.
    """

    def __init__(self, mapper: SemanticMapper, config: OccupancyConfig) -> None:
        self.changes = BlockChanges(lambda: mapper.grid)
        self.why = "the map is empty"
        self.left_out = 0
        self._mapper, self._config = mapper, config
        self._min_weight = mapper.config.volume.min_weight
        self._resolution_m = float(np.float32(max(config.resolution_m, mapper.grid.voxel_size_m)))
        self._role = _roles(mapper.labels)
        self._forget()

    def adjust(self, config: OccupancyConfig) -> None:
        """Go on with other heights and sizes; `up` and the resolution stay, which the cells are made by."""
        self._config = replace(config, up=self._config.up, resolution_m=self._config.resolution_m)

    def grid(self) -> OccupancyGrid | None:
        """The grid of the map as it is now; None, and `why` says it, while there is no floor to measure from."""
        self._follow()
        self.why = ""
        level_R_world = self._level()
        if level_R_world is None:
            return None
        points = self._points @ level_R_world.T.astype(np.float32)
        floor_m = self._floor_height(points[:, 2])
        if floor_m is None:
            return None
        cells, origin = self._cells(points[:, :2], points[:, 2] - np.float32(floor_m))
        if self._config.robot_radius_m > 0:
            cells = _inflated(cells, self._config.robot_radius_m / self._resolution_m)
        world_T_level = np.eye(4)
        world_T_level[:3, :3] = level_R_world.T
        corner = (origin * self._resolution_m).tolist()
        return OccupancyGrid(cells, self._resolution_m, (corner[0], corner[1]), floor_m, world_T_level)

    def _forget(self) -> None:
        self._points = np.zeros((0, 3), np.float32)
        self._block = np.zeros(0, np.int64)
        self._kind = np.zeros(0, np.uint8)
        self._up: np.ndarray | None = None
        self._box: np.ndarray | None = None  # (2, 2) first and last + 1 cell in x and y
        self._anchor: np.ndarray | None = None

    def _follow(self) -> None:
        """Take over the surface of the blocks that changed."""
        if self._min_weight != self._mapper.config.volume.min_weight:  # other voxels count as surface now
            self._min_weight = self._mapper.config.volume.min_weight
            self.changes.all()
        with self.changes.taken() as (slots, whole):
            self._take_over(slots, whole)

    def _take_over(self, slots: torch.Tensor, whole: bool) -> None:
        if whole:
            self._forget()
        if not len(slots):
            return
        grid = self._mapper.grid
        slots = with_lower_neighbours(grid, slots)
        surface: LabelledPoints = self._mapper.surface(slots)
        stale = np.zeros(grid.count, bool)
        stale[slots.cpu().numpy()] = True
        keep = ~stale[self._block]
        self._points = np.concatenate([self._points[keep], surface.points])
        self._block = np.concatenate([self._block[keep], surface.blocks])
        self._kind = np.concatenate([self._kind[keep], self._role[surface.labels]])

    def _level(self) -> np.ndarray | None:
        """level_R_world (3, 3), or None while up is not known."""
        given = self._config.up_vector()
        if given is not None:
            return level_rotation(np.array(given))
        found = floor_normal(self._points, self._kind == _FLOOR, self._mapper.grid.voxel_size_m)
        if found is None and self._up is None:
            self.why = (
                f"occupancy.up is auto, and less than {FLOOR_WANTED_M2:g} m2 of plane surface are labelled floor: look "
                "at the floor, use a label space with a class of kind floor, or set occupancy.up"
            )
            return None
        if found is not None and (self._up is None or found @ self._up < np.cos(np.radians(_NEW_UP_DEG))):
            self._up, self._box, self._anchor = found, None, None
        return level_rotation(self._up)

    def _floor_height(self, heights: np.ndarray) -> float | None:
        """Height at which most of the floor lies, m."""
        if self._config.floor_height_m:
            return self._config.floor_height_m[0]
        floor = heights[self._kind == _FLOOR]
        if not len(floor):
            self.why = (
                "nothing in the map is labelled floor: look at the floor, use a label space with a class of kind "
                "floor, or set occupancy.floor_height_m"
            )
            return None
        # The middle of the fullest window: what is labelled floor elsewhere, on a table, does not count.
        bins = np.floor(floor / self._config.min_height_m).astype(np.int64)
        bins -= bins.min()
        counts = np.bincount(bins)
        best = int((counts + np.append(counts[1:], 0)).argmax())
        # In steps of a millimetre, so that cells do not flicker with the last digit.
        return round(float(np.median(floor[(bins == best) | (bins == best + 1)])), 3)

    def _cells(self, xy: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cells (H, W) int8 and the index (2,) of cell (0, 0), from points and their heights above the floor."""
        config, kind = self._config, self._kind
        near = (kind != _MOVING) & (height <= config.max_height_m)
        obstacle = near & (height > config.min_height_m)
        obstacle |= near & (kind == _SOLID) & (height > config.min_labelled_height_m)
        low = near & ~obstacle & (height >= -config.min_height_m)
        pit = near & (height < -config.min_height_m)
        index = np.floor(xy / self._resolution_m).astype(np.int64)
        inside = self._grow(index, near, low & (kind == _FLOOR))
        origin, size = self._box[0], self._box[1] - self._box[0]

        def count(which: np.ndarray, at: np.ndarray) -> np.ndarray:
            column, row = (at[which] - origin).T
            return np.bincount(row * size[0] + column, minlength=size[0] * size[1])

        # A surface voxel covers its square: without that a levelled grid would have holes between the voxels.
        quarter = 0.25 * self._mapper.grid.voxel_size_m
        free, solid = 0, 0
        for offset in ((-quarter, -quarter), (-quarter, quarter), (quarter, -quarter), (quarter, quarter)):
            at = np.floor((xy + np.array(offset, np.float32)) / self._resolution_m).astype(np.int64)
            at = np.clip(at, origin, self._box[1] - 1)
            free = free + count(inside & low & (kind == _FLOOR), at)
            solid = solid + count(inside & low & (kind == _SOLID), at)
        cells = np.full(size[0] * size[1], UNKNOWN_CELL, np.int8)
        cells[count(inside & pit, index) > 0] = OCCUPIED
        cells[(free > 0) & (free >= solid)] = FREE
        cells[count(inside & obstacle, index) > 0] = OCCUPIED
        return cells.reshape(size[1], size[0]), origin

    def _grow(self, index: np.ndarray, near: np.ndarray, floor: np.ndarray) -> np.ndarray:
        """Let the box hold the cells `index` (N, 2) of the points `near`, as far as it may; gives those inside."""
        reach = int(self._config.max_size_m / self._resolution_m) // 2 // _GROWTH_CELLS * _GROWTH_CELLS
        reach = max(reach, _GROWTH_CELLS)
        if self._anchor is None:
            some = index[floor] if floor.any() else index[near] if near.any() else np.zeros((1, 2), np.int64)
            self._anchor = np.floor(np.median(some, axis=0) / _GROWTH_CELLS).astype(np.int64) * _GROWTH_CELLS
        inside = near & (np.abs(index - self._anchor) < reach).all(axis=1)
        self.left_out = int(near.sum() - inside.sum())
        found = index[inside] if inside.any() else self._anchor[None]
        low = (found.min(axis=0) - 1) // _GROWTH_CELLS * _GROWTH_CELLS
        high = -(-(found.max(axis=0) + 2) // _GROWTH_CELLS) * _GROWTH_CELLS
        if self._box is not None:
            low, high = np.minimum(low, self._box[0]), np.maximum(high, self._box[1])
        self._box = np.stack([low, high])
        return inside


def _roles(labels: LabelSpace) -> np.ndarray:
    """(256,) what each label value means to the grid; unknown is other."""
    roles = np.full(256, _OTHER, np.uint8)
    for name, role in (("floor", _FLOOR), ("structure", _SOLID), ("furniture", _SOLID), ("dynamic", _MOVING)):
        roles[: len(labels)][labels.of_kind(name)] = role
    return roles


def _inflated(cells: np.ndarray, radius_cells: float) -> np.ndarray:
    """Cells whose centre is no farther than that from an occupied one's are occupied, too."""
    occupied = cells == OCCUPIED
    if not occupied.any():
        return cells
    distance = cv2.distanceTransform((~occupied).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(distance <= radius_cells, np.int8(OCCUPIED), cells)
