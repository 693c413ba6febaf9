"""Cubic cells of a lattice that may lie anywhere in the world, turned anyhow: where they are, who is next to whom."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding_bag

from gnesf_model.field.precision import full_precision
from gnesf_model.volume.limits import OutOfReach

NEIGHBOURS = tuple(itertools.product((-1, 0, 1), repeat=3))
"""Offsets of the 27 cells of a 3 x 3 x 3 kernel."""
_CORNERS = tuple(itertools.product((0, 1), repeat=3))
_TABLE_LIMIT = 1 << 26
"""Cells of a bounding box up to which look-ups go through a table (int32: 256 MB)."""
_LIMIT = 1 << 20
"""Coordinates lie within +- this: three of them fit one int64 key."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cell c of size s has its centre at world_T_lattice ((c + 0.5) s).

    Attributes:
        world_T_lattice: (4, 4) rigid transform.
    """

    world_T_lattice: torch.Tensor

    @classmethod
    def world(cls, like: torch.Tensor) -> Lattice:
        """The lattice along the axes of the world, with dtype and device of `like`."""
        return cls(torch.eye(4, dtype=like.dtype, device=like.device))

    @full_precision
    def centres(self, cells: torch.Tensor, size_m: float) -> torch.Tensor:
        """World coordinates (V, 3) m of the centres of cells (V, 3) int64."""
        T = self.world_T_lattice
        return ((cells.to(T.dtype) + 0.5) * size_m) @ T[:3, :3].T + T[:3, 3]

    @full_precision
    def coordinates(self, points: torch.Tensor, size_m: float) -> torch.Tensor:
        """Points (K, 3) of the world in units of cells: the centre of cell c has the coordinates c."""
        T = self.world_T_lattice
        return (points - T[:3, 3]) @ T[:3, :3] / size_m - 0.5

    def cells_around(self, points: torch.Tensor, size_m: float) -> torch.Tensor:
        """Distinct cells (V, 3) that the trilinear interpolation at points (K, 3) uses."""
        base = unique_cells(self.coordinates(points, size_m).floor().long())
        corners = torch.tensor(_CORNERS, device=points.device)
        return unique_cells((base[:, None] + corners).view(-1, 3))


class CellIndex:
    """Finds the rows of distinct cells (V, 3) int64.

    A table over their bounding box where it is small enough, a sorted list of keys beyond.
    """

    def __init__(self, cells: torch.Tensor) -> None:
        self.count = len(cells)
        device = cells.device
        zero = torch.zeros(3, dtype=torch.int64, device=device)
        self.low = cells.amin(0) if self.count else zero
        self.shape = (cells.amax(0) - self.low + 1) if self.count else zero
        # A border of "no cell" takes every look-up beyond the box.
        padded = [n + 2 for n in self.shape.tolist()]
        self.table = self.keys = None
        rows = torch.arange(self.count, device=device)
        if not self.count or math.prod(padded) <= _TABLE_LIMIT:
            self.stride = torch.tensor([padded[1] * padded[2], padded[2], 1], device=device)
            self.table = torch.full((math.prod(padded),), -1, dtype=torch.int32, device=device)
            self.table[((cells - self.low + 1) * self.stride).sum(1)] = rows.int()
        else:
            self.keys, self.rows = pack(cells).sort()

    def find(self, cells: torch.Tensor) -> torch.Tensor:
        """Rows (...) int64 of cells (..., 3), -1 where there is none."""
        if self.table is not None:
            place = (cells - self.low + 1).clamp_min(0).minimum(self.shape + 1)
            return self.table[(place * self.stride).sum(-1)].long()
        wanted = pack(cells.clamp(-_LIMIT, _LIMIT - 1))
        place = torch.searchsorted(self.keys, wanted).clamp_max(self.count - 1)
        return torch.where(self.keys[place] == wanted, self.rows[place], -1)

    def neighbours(self, cells: torch.Tensor) -> torch.Tensor:
        """Rows (V, 27) of the cells around its own cells (V, 3), in the order of `NEIGHBOURS`; -1: there is none."""
        offsets = torch.tensor(NEIGHBOURS, device=cells.device)
        if self.table is None:
            return torch.stack([self.find(cells + offset) for offset in offsets], dim=1)
        # The border of the table is wide enough for a step in any direction.
        place = ((cells - self.low + 1) * self.stride).sum(1, keepdim=True) + (offsets * self.stride).sum(1)
        return self.table[place].long()

    def trilinear(self, values: torch.Tensor, coordinates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (V, D) interpolated at `Lattice.coordinates` (K, 3), over those of the eight cells that exist.

        Returns:
            (K, D), zero where none of them exists, and their share (K,) of the weight: 1 where all eight do.
        """
        base = coordinates.floor()
        fraction = (coordinates - base).to(values.dtype)[:, None]
        if self.count == 0:
            return values.new_zeros(len(coordinates), values.shape[1]), values.new_zeros(len(coordinates))
        corners = torch.tensor(_CORNERS, device=base.device)
        rows = self.find(base.long()[:, None] + corners)
        # Autocast makes products float32; the rows may be bfloat16.
        weight = (torch.where(corners > 0, fraction, 1 - fraction).prod(-1) * (rows >= 0)).to(values.dtype)
        total = weight.sum(1)
        # One pass over the rows, none of which is copied.
        result = embedding_bag(rows.clamp_min(0), values, mode="sum", per_sample_weights=weight)
        return result / total.clamp_min(1e-6)[:, None], total


def box_cells(
    low: tuple[int, int, int], shape: tuple[int, int, int], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """All cells (V, 3) int64 of a box: `shape` cells from `low` on."""
    axes = [torch.arange(n, device=device) + o for o, n in zip(low, shape)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)


def parents(cells: torch.Tensor) -> torch.Tensor:
    """Cells (V, 3) of twice the size that hold cells (V, 3)."""
    return cells >> 1


def children(cells: torch.Tensor) -> torch.Tensor:
    """The (8 V, 3) cells of half the size within cells (V, 3)."""
    corners = torch.tensor(_CORNERS, device=cells.device)
    return (2 * cells[:, None] + corners).view(-1, 3)


def unique_cells(cells: torch.Tensor) -> torch.Tensor:
    """The distinct ones (U, 3) of cells (V, 3), in the order of their coordinates."""
    return grouped_cells(cells)[0]


def grouped_cells(cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct cells (U, 3) and, for each of cells (V, 3), the row (V,) of it among them."""
    keys, place = torch.unique(pack(cells), return_inverse=True)
    return unpack(keys), place


def pack(cells: torch.Tensor) -> torch.Tensor:
    """One int64 per cell (..., 3).

    Raises:
        OutOfReach: a coordinate that does not fit.
    """
    if cells.numel() and int(cells.abs().max()) > _LIMIT:
        raise OutOfReach(f"cell coordinate {int(cells.abs().max())} is beyond {_LIMIT}: is a point not finite?")
    c = cells + _LIMIT
    return (c[..., 0] << 42) | (c[..., 1] << 21) | c[..., 2]


def unpack(keys: torch.Tensor) -> torch.Tensor:
    """The cells (..., 3) of `pack`."""
    mask = (1 << 21) - 1
    return torch.stack([keys >> 42, (keys >> 21) & mask, keys & mask], dim=-1) - _LIMIT
