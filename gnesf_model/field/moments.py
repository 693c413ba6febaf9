"""Mean and variance of features over views: eq. 1a, all views at once or one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and variance over the views seen so far, of K places (Welford's recurrence).

    Attributes:
        count: (K,) views.
        mean: (K, D); zero where there is none.
        squares: (K, D) sum of squared deviations from the mean.
    """

    count: torch.Tensor
    mean: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def none(cls, places: int, channels: int, like: torch.Tensor) -> Moments:
        """Of no view, with dtype and device of `like`."""
        zeros = like.new_zeros(places, channels)
        return cls(like.new_zeros(places), zeros, zeros)

    @property
    def variance(self) -> torch.Tensor:
        """(K, D) variance over the views; zero for fewer than two."""
        return self.squares / self.count.clamp_min(1.0)[:, None]

    def plus(self, values: torch.Tensor, seen: torch.Tensor) -> Moments:
        """With one view more: its features (K, D) where it sees the place, `seen` (K,) bool."""
        once = seen.to(self.count.dtype)
        count = self.count + once
        share = (once / count.clamp_min(1.0))[:, None]
        step = values - self.mean
        mean = self.mean + step * share
        return Moments(count, mean, self.squares + step * (values - mean) * once[:, None])


def masked_moments(values: torch.Tensor, seen: torch.Tensor) -> Moments:
    """Eq. 1a: moments of features (N, K, D) over the views with `seen` (N, K)."""
    weight = seen.to(values.dtype)[..., None]
    count = weight.sum(0)
    share = 1.0 / count.clamp_min(1.0)
    mean = (values * weight).sum(0) * share
    return Moments(count[:, 0], mean, ((values - mean) * weight).square().sum(0))
