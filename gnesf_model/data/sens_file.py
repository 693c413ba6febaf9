"""The recordings of ScanNet as they are downloaded: .sens files, version 4, of its SensReader."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gnesf_model.frame import MAX_IMAGE_SIDE_PX, FrameDropped

VERSION = 4
COLOR_TYPES = {1: "png", 2: "jpeg"}
DEPTH_ZLIB = 1
"""Depth of 16 bits, packed with zlib; ScanNet has no other."""

_MAX_NAME = 4096
_MATRICES = struct.Struct("<64f")
_REST = struct.Struct("<2i4IfQ")
_FRAME = struct.Struct("<16f4Q")


class SensFile:
    """Random access to the frames of a .sens file; opening it reads the headers of all frames, and no image.

    Layout, little-endian and without gaps: uint32 version; uint64 length and name of the sensor; four 4x4 float32
    matrices (intrinsics and extrinsics of colour, then of depth); int32 kind of colour (png, jpeg) and of depth (zlib);
    uint32 width and height of colour, then of depth; float32 units per metre; uint64 frames. Of each frame: 4x4 float32
    camera-to-world, two uint64 stamps, uint64 bytes of colour and of depth, and these. What follows (IMU) is not read.

    Attributes:
        numbers: of the frames, from 0.
        color_K, depth_K: (3, 3) float64.
        depth_unit_m: metres per unit of depth.
        moved: whether one of the extrinsics is not the identity.

    Raises:
        OSError: it cannot be read.
        ValueError: another version or kind of image, impossible sizes, or it ends too early.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            frames = self._read_header(file)
            self._at = self._index(file, frames, size)
        self.numbers = range(frames)

    def pose(self, number: int) -> np.ndarray:
        """(4, 4) float64 camera-to-world with six decimals, as ScanNet's own exporter writes it; not checked."""
        with self.path.open("rb") as file:
            file.seek(self._at[number][0])
            values = _FRAME.unpack(file.read(_FRAME.size))[:16]
        return np.round(np.array(values, np.float64).reshape(4, 4), 6)

    def color(self, number: int) -> bytes:
        """The image as JPEG or PNG."""
        at, color_bytes, _ = self._at[number]
        return self._read_at(at + _FRAME.size, color_bytes)

    def depth(self, number: int) -> np.ndarray:
        """(H, W) uint16 in `depth_unit_m`.

        Raises:
            FrameDropped: (``bad_depth``) damaged, or not as many pixels as the header says.
        """
        at, color_bytes, depth_bytes = self._at[number]
        width, height = self._depth_size
        wanted = 2 * width * height
        try:  # one byte more than there may be: what is larger shows, and is never unpacked
            pixels = zlib.decompressobj().decompress(
                self._read_at(at + _FRAME.size + color_bytes, depth_bytes), wanted + 1
            )
        except zlib.error as error:
            raise FrameDropped("bad_depth", f"depth of frame {number} of {self.path} is damaged: {error}") from error
        if len(pixels) != wanted:
            more = "more than " if len(pixels) > wanted else ""
            raise FrameDropped(
                "bad_depth",
                f"depth of frame {number} of {self.path} has {more}{min(len(pixels), wanted)} bytes, expected {wanted} "
                f"for {width}x{height}",
            )
        return np.frombuffer(pixels, "<u2").reshape(height, width).astype(np.uint16)

    def _read_header(self, file: BinaryIO) -> int:
        """Sets what the header says; gives the number of frames."""
        (version,) = self._unpack(file, struct.Struct("<I"))
        if version != VERSION:
            raise ValueError(f"{self.path} is of version {version}, expected a .sens file of version {VERSION}")
        (length,) = self._unpack(file, struct.Struct("<Q"))
        if length > _MAX_NAME:
            raise ValueError(f"{self.path} has a sensor name of {length} bytes, expected a .sens file of ScanNet")
        self._unpack(file, struct.Struct(f"<{length}s"))
        matrices = np.array(self._unpack(file, _MATRICES), np.float64).reshape(4, 4, 4)
        self.color_K, self.depth_K = matrices[0][:3, :3], matrices[2][:3, :3]
        self.moved = bool(np.abs(matrices[[1, 3]] - np.eye(4)).max() > 1e-3)
        color, depth, *sides, units_per_m, frames = self._unpack(file, _REST)
        if color not in COLOR_TYPES or depth != DEPTH_ZLIB:
            raise ValueError(
                f"{self.path} has colour of kind {color} and depth of kind {depth}, expected colour as "
                f"{' or '.join(f'{v} ({k})' for k, v in COLOR_TYPES.items())} and depth as zlib ({DEPTH_ZLIB})"
            )
        if not all(1 <= side <= MAX_IMAGE_SIDE_PX for side in sides):
            raise ValueError(f"{self.path} has images of {sides} pixels, expected sides of 1 to {MAX_IMAGE_SIDE_PX}")
        if not (np.isfinite(units_per_m) and units_per_m > 0):
            raise ValueError(f"{self.path} has {units_per_m} units of depth per metre, expected 1000 or the like")
        self._depth_size, self.depth_unit_m = (sides[2], sides[3]), 1.0 / units_per_m
        return frames

    def _index(self, file: BinaryIO, frames: int, size: int) -> list[tuple[int, int, int]]:
        """Where each frame begins, and the bytes of its colour and of its depth."""
        found: list[tuple[int, int, int]] = []
        at = file.tell()
        for number in range(frames):
            end = at + _FRAME.size
            if end <= size:
                file.seek(at)
                *_, color_bytes, depth_bytes = _FRAME.unpack(file.read(_FRAME.size))
                end += color_bytes + depth_bytes
            if end > size:
                raise ValueError(
                    f"{self.path} ends after {size} bytes, within frame {number} of {frames}: it was not copied "
                    "whole; download it again"
                )
            found.append((at, color_bytes, depth_bytes))
            at = end
        return found

    def _unpack(self, file: BinaryIO, form: struct.Struct) -> tuple:
        data = file.read(form.size)
        if len(data) != form.size:
            raise ValueError(f"{self.path} ends within its header, expected a .sens file of ScanNet")
        return form.unpack(data)

    def _read_at(self, at: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(at)
            return file.read(size)
