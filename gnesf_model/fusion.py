"""How much each view's vote on a point counts: the one object that the learned voting replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from gnesf_model.frame import Frame


@dataclass(frozen=True)
class ViewSamples:
    """What one view sees of M surface points.

    Attributes:
        frame: the view.
        points: (M, 3) points in the world, m.
        pixels: (M, 2) float32 their pixels (u, v) in the view.
        depth: (M,) float32 their depth in the view, m.
        probabilities: (M, C) float32 S_i(x), the view's class probabilities there.
        mean: (M, C) float32 distribution of the votes so far.
        total: (M,) float32 weight of the votes so far.
        rows: (M,) int64 rows of the vote table, all different.
    """

    frame: Frame
    points: torch.Tensor
    pixels: torch.Tensor
    depth: torch.Tensor
    probabilities: torch.Tensor
    mean: torch.Tensor
    total: torch.Tensor
    rows: torch.Tensor


class ViewFusion(Protocol):
    """Gives exp(v_i) of eq. 4 for every point that a view sees; never sees the class count."""

    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """Positive weights (M,) float32 of this view's votes."""
        ...

    def clear(self) -> None:
        """Forget every view: rows of the vote table mean other voxels from now on."""
        ...

    def forget(self, rows: torch.Tensor) -> None:
        """Forget what was seen at rows (M,) of the vote table: the surface that stood there is gone."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        ...

    def bytes_per_block(self, block_size_m: float, rows: int) -> int:
        """Memory that a block of voxels with so many rows of votes is to be budgeted with."""
        ...


class UniformFusion:
    """Every view counts the same: the map holds the average of all views (v_i = 0)."""

    memory_bytes = 0

    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """Ones (M,)."""
        return torch.ones_like(samples.depth)

    def clear(self) -> None:
        """Nothing is remembered."""

    def forget(self, rows: torch.Tensor) -> None:
        """Nothing is remembered."""

    def bytes_per_block(self, block_size_m: float, rows: int) -> int:
        """None."""
        return 0
