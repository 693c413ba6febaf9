"""Mean and variance of features for many places that come and go in no order: a table that grows."""

from __future__ import annotations

import torch

from gnesf_model.field.moments import Moments
from gnesf_model.volume.map_disk import MapDisk
from gnesf_model.volume.table import Column, Table

_MOST = 1 << 40
"""Rows are those of other tables, which are bounded."""


class MomentTable:
    """Moments of rows, kept in half precision.

    Args:
        channels: D of the features.
        longest: views that a row remembers at full weight; older ones fade beyond, so that changes still show.
        device: where it lives.
        disk: takes rows that were not seen for long; None: all stay in memory.
    """

    def __init__(
        self,
        channels: int,
        *,
        longest: float = 60.0,
        device: torch.device | str = "cpu",
        disk: MapDisk | None = None,
    ) -> None:
        self.channels, self.longest = channels, longest
        features = Column(torch.float16, channels)
        columns = {"count": Column(), "mean": features, "variance": features}
        self._table = Table(columns, least=4096, device=device, disk=disk)

    def clear(self) -> None:
        """Forget every row."""
        self._table.clear()

    @staticmethod
    def bytes_per_row(channels: int) -> int:
        """Memory of a row."""
        return 4 + 2 * 2 * channels

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return self._table.memory_bytes

    def read(self, rows: torch.Tensor) -> Moments:
        """Moments (M, D) float32 of rows (M,); of no view where nothing was added."""
        self._table.reserve(int(rows.max()) + 1 if len(rows) else 0, _MOST)
        self._table.seen(rows)
        t = self._table.columns
        count = t["count"][rows]
        return Moments(count, t["mean"][rows].float(), t["variance"][rows].float() * count[:, None])

    def forget(self, rows: torch.Tensor) -> None:
        """Take back every view of rows (M,)."""
        rows = rows[rows < self._table.capacity]  # the others were never added to
        self._table.seen(rows)
        for column in self._table.columns.values():
            column[rows] = 0.0

    def add(self, rows: torch.Tensor, features: torch.Tensor, seen: torch.Tensor | None = None) -> Moments:
        """Eq. 1a with one view more: its features (M, D) at distinct rows (M,) that it sees (M,)."""
        seen = torch.ones_like(rows, dtype=torch.bool) if seen is None else seen
        found = self.read(rows).plus(features, seen)
        t = self._table.columns
        t["count"][rows] = found.count.clamp_max(self.longest)
        t["mean"][rows] = found.mean.clamp(-6e4, 6e4).half()
        t["variance"][rows] = found.variance.clamp_max(6e4).half()
        return found
