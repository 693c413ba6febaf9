"""Mean and variance of features for many places that come and go in no order: a table that grows."""

from __future__ import annotations

import torch

from gnesf_model.field.moments import Moments


class MomentTable:
    """Moments of rows, kept in half precision.

    Args:
        channels: D of the features.
        longest: views that a row remembers at full weight; older ones fade beyond, so that changes still show.
        device: where it lives.
    """

    def __init__(self, channels: int, *, longest: float = 60.0, device: torch.device | str = "cpu") -> None:
        self.channels, self.longest, self.device = channels, longest, torch.device(device)
        self.clear()

    def clear(self) -> None:
        """Forget every row."""
        self._count = torch.zeros(0, device=self.device)
        self._mean = torch.zeros(0, self.channels, dtype=torch.float16, device=self.device)
        self._variance = torch.zeros(0, self.channels, dtype=torch.float16, device=self.device)

    @staticmethod
    def bytes_per_row(channels: int) -> int:
        """Memory of a row."""
        return 4 + 2 * 2 * channels

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return sum(t.numel() * t.element_size() for t in (self._count, self._mean, self._variance))

    def read(self, rows: torch.Tensor) -> Moments:
        """Moments (M, D) float32 of rows (M,); of no view where nothing was added."""
        self._reserve(rows)
        count = self._count[rows]
        return Moments(count, self._mean[rows].float(), self._variance[rows].float() * count[:, None])

    def add(self, rows: torch.Tensor, features: torch.Tensor, seen: torch.Tensor | None = None) -> Moments:
        """Eq. 1a with one view more: its features (M, D) at distinct rows (M,) that it sees (M,)."""
        seen = torch.ones_like(rows, dtype=torch.bool) if seen is None else seen
        found = self.read(rows).plus(features, seen)
        self._count[rows] = found.count.clamp_max(self.longest)
        self._mean[rows] = found.mean.clamp(-6e4, 6e4).half()
        self._variance[rows] = found.variance.clamp_max(6e4).half()
        return found

    def _reserve(self, rows: torch.Tensor) -> None:
        needed = int(rows.max()) + 1 if len(rows) else 0
        if needed <= len(self._count):
            return
        capacity = max(needed, int(1.5 * len(self._count)), 4096)
        for name in ("_count", "_mean", "_variance"):
            old = getattr(self, name)
            new = old.new_zeros(capacity, *old.shape[1:])
            new[: len(old)] = old
            setattr(self, name, new)
