"""The geometry encoding volume M of eq. 1, coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gnesf_model.field.cells import CellIndex, Lattice, box_cells, children, parents, unique_cells
from gnesf_model.field.geometry_head import GeometryHead
from gnesf_model.field.moments import Moments
from gnesf_model.field.sparse_convolution import SparseUNet
from gnesf_model.field.views import SourceViews

CELL_SIZES_M = (0.16, 0.08, 0.04)
"""Coarse to fine; level l reads the features of stride 16 / 2^l."""
TRUNCATION_CELLS = 3.0
"""The signed distance of a level is cut at this many of its cells (NeuralRecon: 0.12 m at 4 cm)."""

Occupied = Callable[[torch.Tensor, float], torch.Tensor]
"""Centres (V, 3) in the world and a distance in m -> flags (V,): is there a surface within that distance?"""


@dataclass(frozen=True, eq=False)
class EncodedLevel:
    """M at the cells of one size.

    Attributes:
        size_m: of a cell.
        cells: (V, 3) int64.
        index: finds them.
        encoding: (V, D) M.
        occupancy: (V,) logits that a surface is near.
        views: (V,) how many views see the cell.
    """

    size_m: float
    cells: torch.Tensor
    index: CellIndex
    encoding: torch.Tensor
    occupancy: torch.Tensor
    views: torch.Tensor

    @property
    def truncation_m(self) -> float:
        """Distance that an SDF of 1 stands for."""
        return TRUNCATION_CELLS * self.size_m


@dataclass(frozen=True, eq=False)
class Encoding:
    """M over some part of the world, coarse level first.

    Attributes:
        lattice: where the cells lie.
        levels: at most one per entry of `CELL_SIZES_M`.
    """

    lattice: Lattice
    levels: tuple[EncodedLevel, ...]

    def at(self, points: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
        """M(x) (K, D) of points (K, 3), trilinear, and the share (K,) of the eight cells around that exist."""
        found = self.levels[level]
        return found.index.trilinear(found.encoding, self.lattice.coordinates(points, found.size_m))


class EncodingVolume(nn.Module):
    """H_g of eq. 1b, three levels, and the geometry heads of each.

    Args:
        features: channels of F_i, finest first (as `ImageEncoder` gives them).
        channels: of M, coarse level first.
        max_cells: at most so many cells of a level are kept for the next; the likeliest ones.
    """

    def __init__(
        self,
        features: tuple[int, ...] = (32, 32, 48),
        channels: tuple[int, ...] = (32, 24, 16),
        max_cells: int = 60_000,
    ) -> None:
        super().__init__()
        self.features, self.channels, self.max_cells = features, channels, max_cells
        inputs = [2 * f + 1 for f in reversed(features)]
        above = (0, *(c + 1 for c in channels[:-1]))
        self.nets = nn.ModuleList(SparseUNet(i + a, c) for i, a, c in zip(inputs, above, channels))
        self.heads = nn.ModuleList(GeometryHead(c) for c in channels)

    def forward(
        self, views: SourceViews, lattice: Lattice, cells: torch.Tensor, occupied: Occupied | None = None
    ) -> Encoding:
        """Eq. 1 and 2, coarse to fine: each level only within the cells that the level above found near a surface.

        Args:
            views: with feature maps; where they have depth, cells behind it are not seen.
            lattice: any origin and orientation.
            cells: (V, 3) of the coarsest size, distinct; those that no view sees are left out.
            occupied: tells what is near a surface instead of the prediction ("with mesh", or to learn by).
        """
        levels: list[EncodedLevel] = []
        for level in range(len(self.nets)):
            moments = self.moments(views, lattice, cells, level)
            seen = (moments.count > 0).nonzero()[:, 0]
            moments = Moments(moments.count[seen], moments.mean[seen], moments.squares[seen])
            levels.append(self.encode(level, cells[seen], moments, levels[-1] if levels else None))
            if level + 1 < len(self.nets):
                cells = children(self._kept(levels[-1], lattice, occupied))
        return Encoding(lattice, tuple(levels))

    def around(self, views: SourceViews, lattice: Lattice, points: torch.Tensor, depth: int = 2) -> Encoding:
        """Eq. 1 for known surface points (K, 3): the first `depth` levels, in the cells around the points alone."""
        levels: list[EncodedLevel] = []
        for level, cells in enumerate(cells_at(lattice, points, depth)):
            moments = self.moments(views, lattice, cells, level)
            levels.append(self.encode(level, cells, moments, levels[-1] if levels else None))
        return Encoding(lattice, tuple(levels))

    def moments(self, views: SourceViews, lattice: Lattice, cells: torch.Tensor, level: int) -> Moments:
        """Eq. 1a: mean and variance of F_i(k) over the views that see each cell (V, 3), one view after the other."""
        size, source = CELL_SIZES_M[level], len(views.features) - 1 - level
        centres = lattice.centres(cells, size)
        found = Moments.none(len(cells), self.features[source], centres)
        for number in range(len(views)):
            view = views.select([number])
            pixels, seen = seen_cells(view, centres, size)
            found = found.plus(view.sample_features(pixels, source)[0], seen)
        return found

    def encode(self, level: int, cells: torch.Tensor, moments: Moments, above: EncodedLevel | None) -> EncodedLevel:
        """Eq. 1b at one level: M of distinct cells (V, 3) with their moments, and of the level above."""
        size = CELL_SIZES_M[level]
        parts = [moments.mean, moments.variance, moments.count.log1p()[:, None] / 3]
        if above is not None:
            row = above.index.find(parents(cells))
            inherited = torch.cat([above.encoding, self.heads[level - 1].distance(above.encoding)[:, None]], dim=1)
            parts.append(inherited[row.clamp_min(0)] * (row >= 0)[:, None])
        index = CellIndex(cells)
        encoding = self.nets[level](torch.cat(parts, dim=1), cells, index)
        return EncodedLevel(size, cells, index, encoding, self.heads[level].occupancy(encoding), moments.count)

    def _kept(self, level: EncodedLevel, lattice: Lattice, occupied: Occupied | None) -> torch.Tensor:
        """Cells (U, 3) to look into more finely."""
        if occupied is not None:
            flags = occupied(lattice.centres(level.cells, level.size_m), level.truncation_m)
        else:
            flags = level.occupancy > 0
        rows = flags.nonzero()[:, 0]
        if len(rows) > self.max_cells:
            rows = rows[level.occupancy[rows].topk(self.max_cells).indices].sort().values
        return level.cells[rows]


def cells_in_sight(views: SourceViews, lattice: Lattice, far_m: float) -> torch.Tensor:
    """Distinct cells (V, 3) of the coarsest size whose centres lie in a view's image, nearer to it than `far_m`."""
    size = CELL_SIZES_M[0]
    around = math.ceil(far_m / size) + 1
    found = [torch.zeros(0, 3, dtype=torch.int64, device=views.intrinsics.device)]
    for number in range(len(views)):
        view = views.select([number])
        low = lattice.coordinates(view.origins, size)[0].round().long() - around
        cells = box_cells(tuple(low.tolist()), (2 * around + 1,) * 3, low.device)
        place = view.project(lattice.centres(cells, size))
        found.append(cells[place.inside[0] & (place.depth[0] < far_m)])
    return unique_cells(torch.cat(found))


def seen_cells(view: SourceViews, centres: torch.Tensor, size_m: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (1, V, 2) of cells' centres (V, 3) in one view, and which cells (V,) it sees.

    It sees those within the image that are not further than a cell behind the measured depth.
    """
    place = view.project(centres)
    seen = place.inside[0]
    if view.depth is not None:
        depth = view.sample_depth(place.pixels)[0]
        seen = seen & ((depth <= 0) | (place.depth[0] <= depth + size_m))
    return place.pixels, seen


def cells_at(lattice: Lattice, points: torch.Tensor, depth: int) -> list[torch.Tensor]:
    """Cells (V, 3) of the first `depth` levels that M(x) at points (K, 3) needs, coarse level first."""
    found = [lattice.cells_around(points, CELL_SIZES_M[depth - 1])]
    for _ in range(depth - 1):
        found.insert(0, unique_cells(parents(found[0])))
    return found
