"""Which blocks changed since somebody last looked: what lets outputs follow the map without copying all of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gnesf_model.volume.block_grid import BlockGrid

_BOX_LIMIT = 1 << 22
"""Blocks of a box up to which neighbours are looked for in a table of it."""


class BlockChanges:
    """Collects changed blocks between two looks; one of these for everybody who looks.

    Args:
        grid: the blocks; when it is cleared, everything there is counts as changed.
    """

    def __init__(self, grid: BlockGrid) -> None:
        self._grid = grid
        self.all()

    def add(self, slots: torch.Tensor) -> None:
        """Rows (N,) of blocks that changed."""
        self._parts.append(slots)
        if len(self._parts) > 64:  # a camera that stands still must not fill the memory
            self._parts = [torch.cat(self._parts).unique()]

    def all(self) -> None:
        """Let every block count as changed, as for somebody who has seen none."""
        self._seen: tuple[BlockGrid | None, int] = (None, 0)
        self._parts: list[torch.Tensor] = []

    def take(self) -> tuple[torch.Tensor, bool]:
        """Rows (N,) of the blocks that changed since the last look, in ascending order, and whether those are all.

        True means that what was known of the map before is void.
        """
        grid = self._grid()
        whole = self._seen != (grid, grid.generation)
        parts, self._parts, self._seen = self._parts, [], (grid, grid.generation)
        if whole:
            return torch.arange(grid.count, device=grid.device), True
        empty = torch.zeros(0, dtype=torch.int64, device=grid.device)
        return torch.cat([empty, *parts]).unique(), False

    @contextmanager
    def taken(self) -> Iterator[tuple[torch.Tensor, bool]]:
        """What `take` gives, for work that may fail: then the blocks count as changed still."""
        slots, whole = self.take()
        try:
            yield slots, whole
        except BaseException:
            if whole:
                self.all()
            else:
                self.add(slots)
            raise


def with_lower_neighbours(grid: BlockGrid, slots: torch.Tensor) -> torch.Tensor:
    """Rows of some blocks (N,) and of the blocks whose surface depends on theirs: those at -x, -y, -z and between."""
    coords = grid.coords[slots].long()
    found = [slots]
    for step in itertools.product((0, 1), repeat=3):
        if any(step):
            found.append(grid.find(coords - torch.tensor(step, device=grid.device)))
    every = torch.cat(found)
    return every[every >= 0].unique()


def with_neighbours(grid: BlockGrid, slots: torch.Tensor, steps: int) -> torch.Tensor:
    """Rows (M,) of some blocks (N,) and of all that are at most so many blocks away along each axis, ascending."""
    if len(slots) == 0 or steps == 0:
        return slots.unique()
    coords = grid.coords[slots].long()
    low = coords.amin(0) - steps
    shape = tuple((coords.amax(0) + steps - low + 1).tolist())
    if math.prod(shape) > _BOX_LIMIT:  # far apart: half by half
        axis = int((coords.amax(0) - coords.amin(0)).argmax())
        nearer = coords[:, axis] <= coords[:, axis].median()
        if bool(nearer.all()):
            nearer = coords[:, axis] < coords[:, axis].max()
        return torch.cat([with_neighbours(grid, slots[part], steps) for part in (nearer, ~nearer)]).unique()
    wanted = torch.zeros(shape, device=grid.device)
    wanted[tuple((coords - low).unbind(1))] = 1.0
    wanted = torch.nn.functional.max_pool3d(wanted[None, None], 2 * steps + 1, 1, steps)[0, 0] > 0
    found = grid.directory(low, shape)[wanted]
    return found[found >= 0].sort().values
