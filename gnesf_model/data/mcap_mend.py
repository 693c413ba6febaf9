"""MCAP files without an end, as a robot leaves them that lost power while recording."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"\x89MCAP0\r\n"
_DATA_END, _FOOTER = 0x0F, 0x02
_TAIL = bytes([_FOOTER]) + struct.pack("<QQQI", 20, 0, 0, 0) + _MAGIC
"""A footer that says "no summary", so a reader scans the file, and the closing magic."""


class MendedMcap:
    """Path-like view of a cut MCAP file: its whole records, and an end. Nothing is written.

    It offers what rosbags asks of a path. What was being written when the file was cut is lost: at most the
    last chunk.

    Args:
        path: an .mcap file that begins well.

    Raises:
        OSError: it cannot be read, or is no MCAP.
    """

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = _end_of_whole_records(path)

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        """Always: the constructor opened it."""
        return True

    def is_dir(self) -> bool:
        """Never."""
        return False

    def open(self, mode: str = "rb") -> BinaryIO:
        """The file with its new end, for reading."""
        if mode != "rb":
            raise ValueError(f"mode is {mode!r}, expected 'rb': a mended file cannot be written")
        return io.BufferedReader(_WithTail(self._path.open("rb"), self._end))


class _WithTail(io.RawIOBase):
    """The first `end` bytes of a file, then `_TAIL`."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        super().__init__()
        self._file = file
        self._end = end
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end + len(_TAIL)}[whence]
        self._at = min(max(start + offset, 0), self._end + len(_TAIL))
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        if self._at < self._end:
            self._file.seek(self._at)
            data = self._file.read(min(len(buffer), self._end - self._at))
        else:
            start = self._at - self._end
            data = _TAIL[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _end_of_whole_records(path: Path) -> int:
    """Offset behind the last record of the data section that is there in full."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise OSError(f"{path} does not begin as an MCAP file: it is damaged or of another type")
        end = len(_MAGIC)
        while len(header := file.read(9)) == 9:
            opcode, length = struct.unpack("<BQ", header)
            if opcode in (0, _DATA_END, _FOOTER) or end + 9 + length > size:
                break
            end += 9 + length
            file.seek(end)
    return end
