"""How a map grows: its size at every keyframe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from gnesf_model.mapper import SemanticMapper
from gnesf_model.volume.changes import BlockChanges, with_lower_neighbours


@dataclass
class Growth:
    """Columns of one length, a row for every keyframe; None where nobody told.

    Attributes:
        stamp_s: from the first row on.
        frames: in the map.
        points: of its surface.
        voxels: that hold votes.
        memory_mb: reserved for voxels and votes.
    """

    stamp_s: list[float] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    points: list[int | None] = field(default_factory=list)
    voxels: list[int] = field(default_factory=list)
    memory_mb: list[float | None] = field(default_factory=list)
    _first_ns: int | None = None

    def add(self, stamp_ns: int, frames: int, points: int | None, voxels: int, memory_mb: float | None) -> None:
        """One more row."""
        self._first_ns = stamp_ns if self._first_ns is None else self._first_ns
        self.stamp_s.append(round((stamp_ns - self._first_ns) * 1e-9, 3))
        self.frames.append(frames)
        self.points.append(points)
        self.voxels.append(voxels)
        self.memory_mb.append(None if memory_mb is None else round(memory_mb, 3))

    def columns(self) -> dict[str, list[int | float | None]]:
        """The columns by name."""
        return {name: values for name, values in asdict(self).items() if not name.startswith("_")}


class SurfacePointCount:
    """Counts the points of a growing surface; only blocks that changed are extracted again.

    Args:
        mapper: holds the map.
    """

    def __init__(self, mapper: SemanticMapper) -> None:
        self._mapper = mapper
        self._changes = BlockChanges(lambda: mapper.grid)
        self._counts = np.zeros(0, np.int64)

    def changed(self, blocks: torch.Tensor) -> None:
        """Rows (N,) of blocks that changed."""
        self._changes.add(blocks)

    def total(self) -> int:
        """How many points the surface has now."""
        grid = self._mapper.grid
        blocks, whole = self._changes.take()
        counts = np.zeros(grid.count, np.int64)
        if not whole:
            blocks = with_lower_neighbours(grid, blocks)
            counts[: len(self._counts)] = self._counts
            counts[blocks.cpu().numpy()] = 0
        counts += np.bincount(self._mapper.surface(blocks).blocks, minlength=grid.count)
        self._counts = counts
        return int(counts.sum())
