"""Which blocks changed since somebody last looked: what lets outputs follow the map without copying all of it."""

from __future__ import annotations

import itertools

import torch

from gnesf_model.volume.block_grid import BlockGrid


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


def with_lower_neighbours(grid: BlockGrid, slots: torch.Tensor) -> torch.Tensor:
    """Rows of some blocks (N,) and of the blocks whose surface depends on theirs: those at -x, -y, -z and between."""
    coords = grid.coords[slots].long()
    found = [slots]
    for step in itertools.product((0, 1), repeat=3):
        if any(step):
            found.append(grid.find(coords - torch.tensor(step, device=grid.device)))
    every = torch.cat(found)
    return every[every >= 0].unique()
