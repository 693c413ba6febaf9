"""The paper's ablation "predict directly": classes regressed from the features, without votes."""

from __future__ import annotations

import torch
from torch import nn


class DirectHead(nn.Module):
    """s(x) from what voting reads, but for S_i. It knows the classes: it serves the label space it was trained on.

    Args:
        classes: of that label space.
        features: channels of F_i.
        encoding: channels of M(x).
    """

    def __init__(self, classes: int, features: int = 32, encoding: int = 24, hidden: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * features + encoding, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU()
        )
        self.last = nn.Linear(hidden, classes)

    def forward(
        self, mean: torch.Tensor, variance: torch.Tensor, encoding: torch.Tensor, count: torch.Tensor
    ) -> torch.Tensor:
        """s(x) (K, C) of the features' mean and variance (K, D) over `count` (K,) views and of M(x) (K, Dm).

        All zero (unknown) where no view sees the point.
        """
        logits = self.last(self.body(torch.cat([mean, variance, encoding], dim=-1)))
        return logits.softmax(dim=-1) * (count > 0)[:, None]
