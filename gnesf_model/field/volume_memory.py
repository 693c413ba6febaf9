"""The encoding volume online: mean and variance over every view so far; only the new view is projected."""

from __future__ import annotations

import torch

from gnesf_model.field.cells import Lattice, grouped_cells
from gnesf_model.field.encoding_volume import (
    CELL_SIZES_M,
    EncodedLevel,
    Encoding,
    EncodingVolume,
    cells_at,
    seen_cells,
)
from gnesf_model.field.moment_table import MomentTable
from gnesf_model.field.views import SourceViews
from gnesf_model.volume.block_grid import SIDE_VOX, BlockGrid
from gnesf_model.volume.map_disk import MapDisk

_ROW = {"row": (torch.int32, -1.0)}
_LAYERS = 2
"""Layers of cells that the interpolation at a surface reads."""


class VolumeMemory:
    """Eq. 1 around the surface that the newest view sees, from all views so far.

    The moments of eq. 1a are kept for each cell near the surface; H_g (eq. 1b) runs over the cells around the points
    asked for. Cells lie along the axes of the world.

    Args:
        volume: the networks.
        depth: how many levels, coarse first: 2 ends at 8 cm.
        max_blocks: limit of the blocks of 8^3 cells of a level.
        device: where the memory lives.
        disk: takes cells that were not seen for long; None: all stay in memory.
    """

    def __init__(
        self,
        volume: EncodingVolume,
        *,
        depth: int = 2,
        max_blocks: int = 100_000,
        device: torch.device | str = "cpu",
        disk: MapDisk | None = None,
    ) -> None:
        self.volume, self.depth = volume, depth
        limits = {"max_blocks": max_blocks, "device": device, "disk": disk}
        self.grids = [BlockGrid(s, _ROW, **limits) for s in CELL_SIZES_M[:depth]]
        channels = list(reversed(volume.features))[:depth]
        self.tables = [MomentTable(c, device=device, disk=disk) for c in channels]
        self.counts = [0] * depth

    def clear(self) -> None:
        """Forget every view."""
        for part in (*self.grids, *self.tables):
            part.clear()
        self.counts = [0] * self.depth

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return sum(part.memory_bytes for part in (*self.grids, *self.tables))

    def bytes_within(self, side_m: float) -> int:
        """Memory of the cells around a flat surface through a cube of that side."""
        cells = [max(side_m / size, 1.0) ** 2 * _LAYERS for size in CELL_SIZES_M[: self.depth]]
        moments = sum(n * MomentTable.bytes_per_row(t.channels) for n, t in zip(cells, self.tables))
        return int(moments + sum(4 * n * SIDE_VOX / _LAYERS for n in cells))

    def add(self, view: SourceViews, points: torch.Tensor) -> Encoding:
        """Add one view, and encode the surroundings of the surface points (K, 3) that it sees.

        Raises:
            MapFull, OutOfReach: as `BlockGrid.allocate`.
        """
        lattice = Lattice.world(points)
        levels: list[EncodedLevel] = []
        for level, cells in enumerate(cells_at(lattice, points, self.depth)):
            size, source = CELL_SIZES_M[level], len(view.features) - 1 - level
            pixels, seen = seen_cells(view, lattice.centres(cells, size), size)
            features = view.sample_features(pixels, source)[0].float()
            moments = self.tables[level].add(self._rows(level, cells), features, seen)
            levels.append(self.volume.encode(level, cells, moments, levels[-1] if levels else None))
        return Encoding(lattice, tuple(levels))

    def _rows(self, level: int, cells: torch.Tensor) -> torch.Tensor:
        """Table rows (V,) of distinct cells (V, 3), made where missing."""
        grid = self.grids[level]
        blocks, place = grouped_cells(cells >> 3)
        slot = grid.allocate(blocks)[place]
        within = cells & (SIDE_VOX - 1)
        column = (within[:, 0] * SIDE_VOX + within[:, 1]) * SIDE_VOX + within[:, 2]
        rows = grid.voxels["row"][slot, column].long()
        missing = (rows < 0).nonzero()[:, 0]
        first, self.counts[level] = self.counts[level], self.counts[level] + len(missing)
        rows[missing] = torch.arange(first, self.counts[level], device=rows.device)
        grid.voxels["row"][slot[missing], column[missing]] = rows[missing].int()
        return rows
