"""The class of each voxel at the surface, after the votes of its neighbours (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from gnesf_model.field.spatial_voting import SpatialVoting, SurfacePatch
from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.changes import BlockChanges, with_lower_neighbours, with_neighbours
from gnesf_model.volume.surface import surface_points, voxel_normals
from gnesf_model.volume.votes import VoteTable, strongest

_STEPS = 1024
"""Confidences are whole multiples of 1 / so many."""
_BLOCKS_AT_ONCE = 4096
_LEAST_BLOCKS = 8
"""Where a GPU has no memory for the neighbours of so few blocks, there is none to be had by halving."""
_REGION_BLOCKS = 16
"""More blocks than the first are worked on in regions of the second along each axis: scratch memory does not grow with
the map."""


class SurfaceClasses:
    """Labels of rows of the vote table; those at the surface take their neighbours' votes.

    A function of the map alone: what is kept is what would be found anew. Only what lies around changed blocks is
    computed again, and only when somebody asks.

    Args:
        grid, votes: give the map as it is now.
        spatial: how neighbours vote; None: they do not.
        min_weight: voxels measured less often are no surface.
    """

    def __init__(
        self,
        grid: Callable[[], BlockGrid],
        votes: Callable[[], VoteTable],
        spatial: SpatialVoting | None,
        min_weight: float,
    ) -> None:
        self._grid, self._votes, self._spatial = grid, votes, spatial
        self._min_weight = min_weight
        self._changes = BlockChanges(grid)
        self._forget()

    @property
    def min_weight(self) -> float:
        """As above; another one makes every label void."""
        return self._min_weight

    @min_weight.setter
    def min_weight(self, value: float) -> None:
        if value != self._min_weight:
            self._min_weight = value
            self._changes.all()

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return sum(t.numel() * t.element_size() for t in (self._label, self._share))

    def changed(self, slots: torch.Tensor) -> torch.Tensor:
        """Take note of blocks (N,) that changed; gives all those (M,) whose labels may be others now."""
        if self._spatial is None:
            return slots
        self._changes.add(slots)
        try:
            return self._around(slots)
        except torch.cuda.OutOfMemoryError:
            grid = self._grid()
            return torch.arange(grid.count, device=grid.device)  # more than is needed, and it takes next to nothing

    def labels(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class (M,) uint8 and confidence (M,) float32 of rows (M,) of the vote table, as `VoteTable.labels`."""
        label, share = self._votes().labels(rows)
        if self._spatial is None:
            return label, share
        self._refresh()
        # Rows that are not at the surface have no neighbours there; -1 is no row.
        known = (rows >= 0) & (rows < len(self._share))
        there = rows.clamp(0, max(len(self._share) - 1, 0))
        if len(self._share):
            known &= self._share[there] >= 0
            label = torch.where(known, self._label[there], label)
            share = torch.where(known, self._share[there], share)
        return label, share

    def _forget(self) -> None:
        device = self._grid().device
        self._label = torch.zeros(0, dtype=torch.uint8, device=device)
        self._share = torch.zeros(0, device=device)  # -1: not at the surface

    def _refresh(self) -> None:
        with self._changes.taken() as (slots, whole):
            self._compute(slots, whole)

    def _compute(self, slots: torch.Tensor, whole: bool) -> None:
        """Labels of and around changed blocks (N,)."""
        if whole:
            self._forget()
        else:
            slots = self._around(slots)
        missing = self._votes().count - len(self._share)
        if missing > 0:
            room = max(missing, len(self._share) // 2)
            self._label = torch.cat([self._label, self._label.new_zeros(room)])
            self._share = torch.cat([self._share, self._share.new_full((room,), -1.0)])
        if len(slots) <= _BLOCKS_AT_ONCE:
            self._refresh_region(slots)
        else:
            region = torch.div(self._grid().coords[slots].long(), _REGION_BLOCKS, rounding_mode="floor")
            _, place = torch.unique(region, dim=0, return_inverse=True)
            for number in range(int(place.max()) + 1):
                self._refresh_region(slots[place == number])

    def _refresh_region(self, slots: torch.Tensor) -> None:
        """Compute the labels of some blocks anew; in halves where the GPU has no memory for all at once."""
        try:
            self._refresh_blocks(slots)
            return
        except torch.cuda.OutOfMemoryError:
            if len(slots) <= _LEAST_BLOCKS:
                raise
        # Outside of the handler, whose traceback holds on to what did fit.
        for half in slots.tensor_split(2):
            self._refresh_region(half)

    def _refresh_blocks(self, slots: torch.Tensor) -> None:
        """`_refresh_region` at once; raises before anything is written, or not at all."""
        grid, votes = self._grid(), self._votes()
        owned = grid.voxels["row"][slots]
        owned = owned[owned >= 0].long()
        # A row's point is the mean of its crossings, some of which belong to the blocks below.
        near = with_lower_neighbours(grid, self._around(slots))
        surface = surface_points(grid, near, self._min_weight)
        voted = votes.total(surface.rows) > 0
        rows, place = surface.rows[voted].unique(return_inverse=True)
        if len(rows) == 0:
            self._share[owned] = -1.0
            return
        # In double precision: the order of the sum, which depends on how much is looked at, must not show.
        points = torch.zeros(len(rows), 3, dtype=torch.float64, device=rows.device)
        points.index_add_(0, place, surface.points[voted].double())
        points = (points / place.bincount()[:, None]).float()
        patch = SurfacePatch(points, voxel_normals(grid, points), votes.color(rows).float() / 255)
        neighbours = self._spatial.neighbours(points)
        found = self._spatial(patch, votes.distribution(rows), neighbours, votes.total(rows))
        label, share = strongest(found)
        share = share * votes.kept(rows)
        # Matrix products round differently with the number of rows: what is finer than that is not said.
        share = (share * _STEPS).round() / _STEPS
        wanted = torch.zeros(len(self._share), dtype=torch.bool, device=rows.device)
        wanted[owned] = True
        wanted = wanted[rows]
        rows, label, share = rows[wanted], label[wanted], share[wanted]
        self._share[owned] = -1.0
        self._label[rows], self._share[rows] = label, share

    def _around(self, slots: torch.Tensor) -> torch.Tensor:
        """Rows of blocks (N,) and of those that votes reach from them."""
        grid = self._grid()
        return with_neighbours(grid, slots, math.ceil(self._spatial.reach_m / grid.block_size_m))
