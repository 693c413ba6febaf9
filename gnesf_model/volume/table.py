"""Rows of several tensors that grow together: where voxels, votes and moments are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gnesf_model.volume.map_disk import DiskTable, MapDisk

_GROWTH = 1.5


@dataclass(frozen=True)
class Column:
    """One tensor of a table.

    Attributes:
        dtype: of its numbers.
        width: numbers of a row; None: one, and the tensor has one axis.
        fill: what a new row holds.
    """

    dtype: torch.dtype = torch.float32
    width: int | None = None
    fill: float = 0.0

    @property
    def bytes_per_row(self) -> int:
        """Memory of a row."""
        return self.dtype.itemsize * (1 if self.width is None else self.width)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Of a tensor of so many rows."""
        return (rows,) if self.width is None else (rows, self.width)


class Table:
    """Rows of several tensors that grow together.

    Args:
        columns: by name.
        least: rows that are reserved at least, once there are any.
        device: where they live.
        disk: takes what was not seen for long; None: everything stays in memory.

    Attributes:
        columns: name -> (capacity, width) tensor, another one after each `reserve` or `clear`.
    """

    def __init__(
        self,
        columns: dict[str, Column],
        *,
        least: int = 256,
        device: torch.device | str = "cpu",
        disk: MapDisk | None = None,
    ) -> None:
        self._kinds, self._least, self._device, self._disk = columns, least, torch.device(device), disk
        self._stored: DiskTable | None = None
        self.columns: dict[str, torch.Tensor] = {}
        self.clear()

    def clear(self) -> None:
        """Forget every row."""
        if self._disk is not None:
            self._stored = self._disk.table({name: kind.bytes_per_row for name, kind in self._kinds.items()})
        for name, kind in self._kinds.items():
            self.columns[name] = torch.zeros(kind.shape(0), dtype=kind.dtype, device=self._device)

    @property
    def capacity(self) -> int:
        """Rows there is room for; the GPU's memory may have ended between two columns."""
        return min(len(column) for column in self.columns.values())

    @property
    def bytes_per_row(self) -> int:
        """Memory of a row."""
        return sum(kind.bytes_per_row for kind in self._kinds.values())

    @property
    def memory_bytes(self) -> int:
        """Memory that is taken now; what is on the disk takes none."""
        if self._stored is not None:
            return self._stored.resident_bytes
        return sum(t.numel() * t.element_size() for t in self.columns.values())

    def reserve(self, rows: int, at_most: int) -> None:
        """Make room for so many rows, and some more, but no more than `at_most`.

        Raises:
            torch.cuda.OutOfMemoryError: what there was is as it was.
            MapFull: the disk has no room for them; what there was is as it was.
        """
        if rows <= self.capacity:
            return
        if self._stored is not None:
            self._reserve_on_disk(rows)
            return
        capacity = min(max(rows, int(_GROWTH * self.capacity), self._least), at_most)
        for name, kind in self._kinds.items():
            old = self.columns[name]
            if len(old) >= capacity:  # from an attempt for whose rest there was no memory
                continue
            new = old.new_full(kind.shape(capacity), kind.fill)
            new[: len(old)] = old
            self.columns[name] = new

    def seen(self, rows: torch.Tensor) -> None:
        """Note that rows (N,) are in use; a disk takes others first."""
        if self._stored is not None:
            self._stored.seen(rows)

    def _reserve_on_disk(self, rows: int) -> None:
        before, capacity = self.capacity, self._stored.reserve(rows)
        for name, kind in self._kinds.items():
            whole = torch.frombuffer(self._stored.buffers[name], dtype=kind.dtype) if kind.bytes_per_row else None
            column = torch.zeros(kind.shape(capacity), dtype=kind.dtype) if whole is None else whole
            self.columns[name] = column[: capacity * (kind.width or 1)].view(kind.shape(capacity))
            if kind.fill:
                self.columns[name][before:] = kind.fill
