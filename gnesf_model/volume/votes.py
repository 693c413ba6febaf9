"""Class votes of surface voxels: every view counts once, memory stays constant, unknown is explicit.

A voxel's class distribution is ``sum_i w_i S_i / sum_i w_i`` over the views i that voted on it: eq. 4
of the paper over every view ever seen, kept as a running numerator and denominator. What a view
could not name (1 - sum of S_i) stays in the denominator, so "unknown" competes like a class.

Only voxels near the surface hold votes; they are rows of a table of their own. A row takes
``4 (C + 1)`` bytes for C <= 64 classes and ``6 * 16 + 8`` beyond (the 16 strongest classes, their
ids, and the mass of all others as one number), plus 12 for its mean colour.
"""

from __future__ import annotations

import torch

from gnesf_model.labels import UNKNOWN
from gnesf_model.volume.block_grid import MapFull

DENSE_CLASSES = 64
"""Label spaces of up to this many classes keep every class of a voxel."""
TOP_CLASSES = 16
"""Larger spaces keep this many classes of a voxel and the mass of the rest as one number."""
_TABLES = ("_votes", "_total", "_color", "_ids", "_others")


class VoteTable:
    """Rows of class votes and mean colours.

    Args:
        classes: size C of the label space.
        max_votes: cap of a row's denominator; beyond it old votes fade.
        max_rows: hard limit on the rows.
        device: where the table lives.
    """

    def __init__(self, classes: int, *, max_votes: float, max_rows: int, device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self.max_votes = max_votes
        self.max_rows = max_rows
        self.device = torch.device(device)
        self.dense = classes <= DENSE_CLASSES
        self._kept = classes if self.dense else TOP_CLASSES
        self.clear()

    @staticmethod
    def bytes_per_row(classes: int) -> int:
        """Memory of one voxel's votes and colour for a label space of that many classes."""
        return 4 * (classes + 1) + 12 if classes <= DENSE_CLASSES else 6 * TOP_CLASSES + 8 + 12

    def clear(self) -> None:
        """Forget every vote."""
        self.count = 0
        self._votes = torch.zeros(0, self._kept, device=self.device)
        self._total = torch.zeros(0, device=self.device)
        self._color = torch.zeros(0, 3, device=self.device)
        # Which class each kept vote is for; the identity, and not stored, when all are kept.
        ids = 0 if self.dense else self._kept
        self._ids = torch.zeros(0, ids, dtype=torch.int16, device=self.device)
        # Votes for named classes that are not kept: neither theirs any more nor unknown.
        self._others = torch.zeros(0, 0 if self.dense else 1, device=self.device)

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        tensors = (getattr(self, name) for name in _TABLES)
        return sum(t.numel() * t.element_size() for t in tensors)

    def allocate(self, number: int) -> torch.Tensor:
        """Indices (number,) int64 of new rows without votes.

        Raises:
            MapFull: they do not fit; nothing is changed then.
        """
        first, last = self.count, self.count + number
        if last > self.max_rows:
            raise MapFull(
                f"the map holds votes of {first} voxels and needs {number} more, at most {self.max_rows} "
                "fit volume.max_map_memory_mb: raise it or the voxel size"
            )
        # Of all tables: the GPU's memory may have ended between two of them.
        if last > min(len(getattr(self, name)) for name in _TABLES):
            capacity = min(max(last, int(len(self._total) * 1.5), 4096), self.max_rows)
            for name in _TABLES:
                old = getattr(self, name)
                if len(old) >= capacity:
                    continue
                new = old.new_zeros(capacity, *old.shape[1:])
                new[: len(old)] = old
                setattr(self, name, new)
        self.count = last
        return torch.arange(first, last, device=self.device)

    def rows(self) -> dict[str, torch.Tensor]:
        """What the table holds: votes, total, color, ids and others, one row per voxel; views, not copies."""
        return {name.lstrip("_"): getattr(self, name)[: self.count] for name in _TABLES}

    def filled(self, rows: dict[str, torch.Tensor]) -> VoteTable:
        """Another table of this kind that holds `rows`.

        Raises:
            MapFull: they do not fit.
        """
        table = VoteTable(self.classes, max_votes=self.max_votes, max_rows=self.max_rows, device=self.device)
        table.allocate(len(rows["total"]))
        for name in _TABLES:
            getattr(table, name)[: table.count] = rows[name.lstrip("_")].to(self.device)
        return table

    def add(self, rows: torch.Tensor, probabilities: torch.Tensor, weight: torch.Tensor, color: torch.Tensor) -> None:
        """Add one vote to each of some distinct rows.

        Args:
            rows: (M,) indices.
            probabilities: (M, C) S_i, sums at most 1; the remainder is unknown.
            weight: (M,) positive weights exp(v_i).
            color: (M, 3) RGB in 0..255.
        """
        total = self._total[rows] + weight
        self._color[rows] += (color - self._color[rows]) * (weight / total)[:, None]
        votes = probabilities * weight[:, None]
        if self.dense:
            votes += self._votes[rows]
        else:
            votes.scatter_add_(1, self._ids[rows].long(), self._votes[rows])
            every = votes.sum(dim=1, keepdim=True)
            votes, ids = votes.topk(self._kept, dim=1)
            self._ids[rows] = ids.to(torch.int16)
            self._others[rows] += every - votes.sum(dim=1, keepdim=True)
        fade = (self.max_votes / total).clamp_max(1.0)
        self._others[rows] *= fade[:, None]
        self._votes[rows] = votes * fade[:, None]
        self._total[rows] = total * fade

    def distribution(self, rows: torch.Tensor) -> torch.Tensor:
        """Class distribution (M, C) of rows (M,); all zero for index -1 and for rows without votes.

        The remainder 1 - sum is unknown (and, beyond 64 classes, whatever was not kept).
        """
        total = self.total(rows)
        mean = self._at(self._votes, rows) * torch.where(total > 0, 1.0 / total, 0.0)[:, None]
        if self.dense:
            return mean
        full = mean.new_zeros(len(rows), self.classes)
        return full.scatter_add_(1, self._at(self._ids, rows).long(), mean)

    def total(self, rows: torch.Tensor) -> torch.Tensor:
        """Denominators (M,): weight of all votes; 0 for index -1."""
        return self._at(self._total, rows) * (rows >= 0)

    def color(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean colours (M, 3) uint8; black for index -1."""
        color = self._at(self._color, rows) * (rows >= 0)[:, None]
        return color.round().clamp(0, 255).to(torch.uint8)

    def labels(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Most likely class (M,) uint8 and its share (M,) float32 of rows (M,).

        255 (unknown), with the unknown share, where no class has more than what remains unnamed.
        """
        total = self.total(rows)
        known = total > 0
        scale = torch.where(known, 1.0 / total, 0.0)
        share = self._at(self._votes, rows) * scale[:, None]
        best, label = share.max(dim=1)
        others = self._at(self._others, rows).sum(dim=1) * scale
        rest = (1.0 - share.sum(dim=1) - others).clamp_min(0.0)
        if not self.dense:
            label = self._at(self._ids, rows).long().gather(1, label[:, None])[:, 0]
        named = known & (best >= rest)
        label = torch.where(named, label, UNKNOWN).to(torch.uint8)
        return label, torch.where(named, best, rest * known).clamp_max_(1.0)

    def _at(self, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        if len(table) == 0:
            return table.new_zeros(len(rows), *table.shape[1:])
        return table[rows.clamp_min(0)]


def strongest(distribution: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Most likely class (M,) uint8 and its share (M,) of distributions (M, C), whose remainder is unknown.

    255 (unknown), with the unknown share, where no class has more than what remains unnamed.
    """
    best, label = distribution.max(dim=1)
    rest = (1.0 - distribution.sum(dim=1)).clamp_min(0.0)
    named = (best >= rest) & (best > 0)
    return torch.where(named, label, UNKNOWN).to(torch.uint8), torch.where(named, best, rest).clamp_max(1.0)
