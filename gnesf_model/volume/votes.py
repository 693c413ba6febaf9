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
from gnesf_model.volume.limits import MapFull
from gnesf_model.volume.map_disk import MapDisk
from gnesf_model.volume.table import Column, Table

DENSE_CLASSES = 64
"""Label spaces of up to this many classes keep every class of a voxel."""
TOP_CLASSES = 16
"""Larger spaces keep this many classes of a voxel and the mass of the rest as one number."""


class VoteTable:
    """Rows of class votes and mean colours.

    Args:
        classes: size C of the label space.
        max_votes: cap of a row's denominator; beyond it old votes fade.
        max_rows: hard limit on the rows.
        device: where the table lives.
        disk: takes rows that were not seen for long; None: all stay in memory.
    """

    def __init__(
        self,
        classes: int,
        *,
        max_votes: float,
        max_rows: int,
        device: torch.device | str = "cpu",
        disk: MapDisk | None = None,
    ) -> None:
        self.classes = classes
        self.max_votes = max_votes
        self.max_rows = max_rows
        self.device = torch.device(device)
        self.dense = classes <= DENSE_CLASSES
        self._kept = classes if self.dense else TOP_CLASSES
        self._disk = disk
        columns = {
            "votes": Column(width=self._kept),
            "total": Column(),
            "color": Column(width=3),
            # Which class each kept vote is for; the identity, and not stored, when all are kept.
            "ids": Column(torch.int16, 0 if self.dense else self._kept),
            # Votes for named classes that are not kept: neither theirs any more nor unknown.
            "others": Column(width=0 if self.dense else 1),
        }
        self._table = Table(columns, least=4096, device=self.device, disk=disk)
        self.clear()

    @staticmethod
    def bytes_per_row(classes: int) -> int:
        """Memory of one voxel's votes and colour for a label space of that many classes."""
        return 4 * (classes + 1) + 12 if classes <= DENSE_CLASSES else 6 * TOP_CLASSES + 8 + 12

    def clear(self) -> None:
        """Forget every vote."""
        self.count = 0
        self._table.clear()

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return self._table.memory_bytes

    def allocate(self, number: int) -> torch.Tensor:
        """Indices (number,) int64 of new rows without votes.

        Raises:
            MapFull: they do not fit; nothing is changed then.
        """
        first, last = self.count, self.count + number
        if last > self.max_rows:
            raise MapFull(
                f"the map holds votes of {first} voxels and needs {number} more, at most {self.max_rows} "
                "fit volume.max_map_memory_mb (with disk_dir: max_map_disk_mb): raise it or the voxel size"
            )
        self._table.reserve(last, self.max_rows)
        self.count = last
        return torch.arange(first, last, device=self.device)

    def rows(self) -> dict[str, torch.Tensor]:
        """What the table holds: votes, total, color, ids and others, one row per voxel; views, not copies."""
        return {name: column[: self.count] for name, column in self._table.columns.items()}

    def filled(self, rows: dict[str, torch.Tensor]) -> VoteTable:
        """Another table of this kind that holds `rows`.

        Raises:
            MapFull: they do not fit.
        """
        limits = {"max_votes": self.max_votes, "max_rows": self.max_rows}
        table = VoteTable(self.classes, **limits, device=self.device, disk=self._disk)
        table.allocate(len(rows["total"]))
        for name, column in table._table.columns.items():
            column[: table.count] = rows[name].to(self.device)
        return table

    def add(self, rows: torch.Tensor, probabilities: torch.Tensor, weight: torch.Tensor, color: torch.Tensor) -> None:
        """Add one vote to each of some distinct rows.

        Args:
            rows: (M,) indices.
            probabilities: (M, C) S_i, sums at most 1; the remainder is unknown.
            weight: (M,) positive weights exp(v_i).
            color: (M, 3) RGB in 0..255.
        """
        self._table.seen(rows)
        t = self._table.columns
        total = t["total"][rows] + weight
        t["color"][rows] += (color - t["color"][rows]) * (weight / total)[:, None]
        votes = probabilities * weight[:, None]
        if self.dense:
            votes += t["votes"][rows]
        else:
            votes.scatter_add_(1, t["ids"][rows].long(), t["votes"][rows])
            every = votes.sum(dim=1, keepdim=True)
            votes, ids = votes.topk(self._kept, dim=1)
            t["ids"][rows] = ids.to(torch.int16)
            t["others"][rows] += every - votes.sum(dim=1, keepdim=True)
        fade = (self.max_votes / total).clamp_max(1.0)
        t["others"][rows] *= fade[:, None]
        t["votes"][rows] = votes * fade[:, None]
        t["total"][rows] = total * fade

    def forget(self, rows: torch.Tensor) -> None:
        """Take back every vote of rows (M,), whose voxels are no longer where the surface was that was voted on."""
        self._table.seen(rows)
        for name, column in self._table.columns.items():
            if name != "ids":
                column[rows] = 0.0

    def distribution(self, rows: torch.Tensor) -> torch.Tensor:
        """Class distribution (M, C) of rows (M,); all zero for index -1 and for rows without votes.

        The remainder 1 - sum is unknown. Beyond 64 classes this is the distribution of the `kept` votes: what went to
        other classes is neither theirs nor unknown.
        """
        total = self.total(rows) * self.kept(rows)
        mean = self._at("votes", rows) * torch.where(total > 0, 1.0 / total, 0.0)[:, None]
        if self.dense:
            return mean
        full = mean.new_zeros(len(rows), self.classes)
        return full.scatter_add_(1, self._at("ids", rows).long(), mean)

    def kept(self, rows: torch.Tensor) -> torch.Tensor:
        """Share (M,) of the votes of rows (M,) that `distribution` tells of: those for kept classes, and unknown."""
        if self.dense:
            return torch.ones(len(rows), device=self.device)
        total = self.total(rows)
        others = self._at("others", rows)[:, 0] * torch.where(total > 0, 1.0 / total, 0.0)
        return (1.0 - others).clamp(1e-6, 1.0)

    def total(self, rows: torch.Tensor) -> torch.Tensor:
        """Denominators (M,): weight of all votes; 0 for index -1."""
        return self._at("total", rows) * (rows >= 0)

    def color(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean colours (M, 3) uint8; black for index -1."""
        color = self._at("color", rows) * (rows >= 0)[:, None]
        return color.round().clamp(0, 255).to(torch.uint8)

    def labels(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Most likely class (M,) uint8 and its share (M,) float32 of rows (M,).

        255 (unknown), with the unknown share, where no class has more than what remains unnamed.
        """
        total = self.total(rows)
        known = total > 0
        scale = torch.where(known, 1.0 / total, 0.0)
        share = self._at("votes", rows) * scale[:, None]
        best, label = share.max(dim=1)
        others = self._at("others", rows).sum(dim=1) * scale
        rest = (1.0 - share.sum(dim=1) - others).clamp_min(0.0)
        if not self.dense:
            label = self._at("ids", rows).long().gather(1, label[:, None])[:, 0]
        named = known & (best >= rest)
        label = torch.where(named, label, UNKNOWN).to(torch.uint8)
        return label, torch.where(named, best, rest * known).clamp_max_(1.0)

    def _at(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        column = self._table.columns[name]
        if len(column) == 0:
            return column.new_zeros(len(rows), *column.shape[1:])
        return column[rows.clamp_min(0)]


def strongest(distribution: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Most likely class (M,) uint8 and its share (M,) of distributions (M, C), whose remainder is unknown.

    255 (unknown), with the unknown share, where no class has more than what remains unnamed.
    """
    best, label = distribution.max(dim=1)
    rest = (1.0 - distribution.sum(dim=1)).clamp_min(0.0)
    named = (best >= rest) & (best > 0)
    return torch.where(named, label, UNKNOWN).to(torch.uint8), torch.where(named, best, rest).clamp_max(1.0)
