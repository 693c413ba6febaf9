"""The part of a map that was not seen for long, on a disk.

Tables lie in files that are mapped into memory, so every row can be read and written like any other, wherever it is:
a map on a disk is the same map. What was seen longest ago is handed to the operating system to be written out; it is
read back when somebody touches it. The files have no name: they are gone with the process, however it ends.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from itertools import zip_longest
from pathlib import Path

import torch

from gnesf_model.volume.limits import MapFull

_PAGE = mmap.PAGESIZE
_SEGMENT_BYTES = 1 << 18
"""What is written out or kept together takes about so much, over all columns of a table."""
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
_REFILL = 0.9
"""When the memory is used up, so much of it stays in use."""


class MapDisk:
    """Bounds the memory of some tables, and the room on the disk that they take.

    Args:
        folder: on a disk; nothing that has a name is written there.
        memory_bytes: of all tables together between two frames; a frame has what it needs besides.
        disk_bytes: of all tables together.

    Raises:
        OSError: there is no such folder, or nothing can be written there.
        ValueError: it is no disk, but memory.
    """

    def __init__(self, folder: Path, *, memory_bytes: int, disk_bytes: int) -> None:
        folder = folder.expanduser()
        if not folder.is_dir():
            raise OSError(f"volume.disk_dir is {str(folder)!r}, which is no folder: make it, or name another one")
        if (kind := _file_system(folder)) in _IN_MEMORY:
            raise ValueError(
                f"volume.disk_dir is {str(folder)!r}, which lies in memory ({kind}): name a folder on a disk, or "
                "leave it empty and raise volume.max_map_memory_mb"
            )
        self.folder, self.memory_bytes, self.disk_bytes = folder, memory_bytes, disk_bytes
        self._tables: weakref.WeakSet[DiskTable] = weakref.WeakSet()
        self.now = 1
        """Counts frames."""
        with tempfile.TemporaryFile(dir=folder):  # whether that is possible is known before a map is begun
            pass

    @property
    def resident_bytes(self) -> int:
        """What the tables hold in memory now."""
        return sum(table.resident_bytes for table in self._tables)

    @property
    def used_bytes(self) -> int:
        """What the tables take on the disk now."""
        return sum(table.used_bytes for table in self._tables)

    def table(self, bytes_per_row: dict[str, int]) -> DiskTable:
        """An empty table whose columns have rows of so many bytes."""
        table = DiskTable(self, bytes_per_row)
        self._tables.add(table)
        return table

    def end_frame(self) -> None:
        """Write out what was seen longest ago where the tables take more memory than they may.

        What somebody has only looked at (a cloud of the whole map) goes first.
        """
        for table in self._tables:
            table.drop_unseen()
        excess = self.resident_bytes - self.memory_bytes
        if excess > 0:
            excess += (1 - _REFILL) * self.memory_bytes
            ages = [(int(age), table, number) for table in self._tables for number, age in table.ages()]
            for _, table, number in sorted(ages, key=lambda found: found[0]):
                if excess <= 0:
                    break
                table.drop(number)
                excess -= table.segment_bytes
        self.now += 1


class DiskTable:
    """Columns in mapped files, which go when nobody reads them any more; `MapDisk.table` makes it.

    Attributes:
        buffers: mapped memory by column, longer than what may be used of it: `reserve` tells.
        segment_rows, segment_bytes: of what is written out or kept together.
    """

    def __init__(self, disk: MapDisk, bytes_per_row: dict[str, int]) -> None:
        self._disk = disk
        self._widths = {name: width for name, width in bytes_per_row.items() if width}
        # Of every column, a segment fills whole pages.
        whole = math.lcm(*(_PAGE // math.gcd(_PAGE, width) for width in self._widths.values()))
        row = sum(self._widths.values())
        self.segment_rows = whole * max(1, round(_SEGMENT_BYTES / (whole * row)))
        self.segment_bytes = self.segment_rows * row
        self.buffers: dict[str, mmap.mmap] = {}
        self._files = {}
        for name, width in self._widths.items():
            file = tempfile.TemporaryFile(dir=disk.folder)  # noqa: SIM115 - it lives as long as the table
            length = disk.disk_bytes // row // self.segment_rows * self.segment_rows * width
            os.ftruncate(file.fileno(), max(length, self.segment_rows * width))  # takes no room on the disk
            self._files[name], self.buffers[name] = file, mmap.mmap(file.fileno(), 0)
        self._seen = torch.zeros(0, dtype=torch.int64)  # by segment: the frame that used it last, 0: written out

    @property
    def resident_bytes(self) -> int:
        """What is in memory."""
        return int((self._seen > 0).sum()) * self.segment_bytes

    @property
    def used_bytes(self) -> int:
        """What is on the disk, or will be."""
        return len(self._seen) * self.segment_bytes

    def reserve(self, rows: int) -> int:
        """Make room for so many rows; gives how many there is room for then.

        Raises:
            MapFull: the disk is full, or the map takes more of it than it may.
        """
        first, last = len(self._seen), -(-rows // self.segment_rows)
        if self._disk.used_bytes + (last - first) * self.segment_bytes > self._disk.disk_bytes:
            raise MapFull(
                f"the map takes {self._disk.used_bytes / 1e6:.0f} MB in {self._disk.folder}, no more than "
                f"{self._disk.disk_bytes / 1e6:.0f} MB are allowed: raise volume.max_map_disk_mb or the voxel size"
            )
        for name, width in self._widths.items():
            step = self.segment_rows * width
            try:  # before it is used: a disk that is full under a mapped file ends the process
                os.posix_fallocate(self._files[name].fileno(), first * step, (last - first) * step)
            except OSError as error:
                raise MapFull(f"{self._disk.folder} has no room for the map ({error.strerror}): free some") from error
        self._seen = torch.cat([self._seen, torch.full((last - first,), self._disk.now)])
        return last * self.segment_rows

    def seen(self, rows: torch.Tensor) -> None:
        """Note that rows (N,) are in use."""
        self._seen[torch.div(rows, self.segment_rows, rounding_mode="floor")] = self._disk.now

    def ages(self) -> list[tuple[int, int]]:
        """Segments in memory, each with the frame that used it last."""
        found = (self._seen > 0).nonzero()[:, 0]
        return list(zip(found.tolist(), self._seen[found].tolist(), strict=True))

    def drop(self, number: int) -> None:
        """Write a segment out."""
        self._seen[number] = 0
        self._advise(number, number + 1)

    def drop_unseen(self) -> None:
        """Write out again what was only looked at, and what the system has read ahead, beyond the last row too."""
        gone = torch.cat([self._seen == 0, torch.ones(1, dtype=torch.bool)]).int()
        edges = torch.cat([gone[:1], gone.diff()]).nonzero()[:, 0].tolist()
        for first, last in zip_longest(edges[::2], edges[1::2]):
            self._advise(first, last)

    def _advise(self, first: int, last: int | None) -> None:
        for name, buffer in self.buffers.items():
            step = self.segment_rows * self._widths[name]
            start, stop = first * step, len(buffer) if last is None else last * step
            if start == stop:
                continue
            # Out of this process: nothing is lost, the file has it. (MADV_PAGEOUT leaves what is just being written.)
            buffer.madvise(mmap.MADV_DONTNEED, start, stop - start)
            # Out of the system's cache: what differs from the disk begins to be written, and goes the next time.
            os.posix_fadvise(self._files[name].fileno(), start, stop - start, os.POSIX_FADV_DONTNEED)


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder lies on; empty where the system does not tell."""
    folder, best, kind = folder.resolve(), -1, ""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, found, *_ = line.split(" ")
        mount = Path(place.replace("\\040", " "))
        if (folder == mount or mount in folder.parents) and len(mount.parts) >= best:
            best, kind = len(mount.parts), found
    return kind
