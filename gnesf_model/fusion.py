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
        points: (M, 3) float32 points in the world, m.
        pixels: (M, 2) float32 their pixels (u, v) in the view.
        depth: (M,) float32 their depth in the view, m.
        probabilities: (M, C) float32 S_i(x), the view's class probabilities there.
        mean: (M, C) float32 distribution of the votes so far.
        total: (M,) float32 weight of the votes so far.
        rows: (M,) int64 rows of the vote table, for a fusion that remembers something of each; None: not said.
    """

    frame: Frame
    points: torch.Tensor
    pixels: torch.Tensor
    depth: torch.Tensor
    probabilities: torch.Tensor
    mean: torch.Tensor
    total: torch.Tensor
    rows: torch.Tensor | None = None


class ViewFusion(Protocol):
    """Gives exp(v_i) of eq. 4 for every point that a view sees; never sees the class count."""

    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """Positive weights (M,) float32 of this view's votes."""
        ...


class UniformFusion:
    """Every view counts the same: the map holds the average of all views (v_i = 0)."""

    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """Ones (M,)."""
        return torch.ones_like(samples.depth)
