"""JPEG and PNG: the size in the header is checked before anything is decoded."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from gnesf_model.frame import MAX_IMAGE_SIDE_PX, FrameDropped

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers: every 0xC? but Huffman tables, extensions and arithmetic conditioning."""
_JPEG_PIXELS_PER_BYTE = 1024
"""A block of 8 x 8 pixels takes one bit at least; half of that rate, for what the standard may allow beyond."""
_DEFLATE_RATIO = 1032
"""Bytes of which deflate makes one at best (zlib's technical notes)."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type."""


def decode_bytes(data: bytes | memoryview | np.ndarray, flags: int) -> np.ndarray:
    """Image of JPEG or PNG bytes as `cv2.imdecode` gives it, never turned by EXIF.

    Args:
        data: the file's bytes.
        flags: ``cv2.IMREAD_COLOR`` or ``cv2.IMREAD_UNCHANGED``.

    Raises:
        FrameDropped: (``unreadable_image``) neither JPEG nor PNG, damaged, or absurdly large.
    """
    view = memoryview(data).cast("B")
    width, height = _header_size(view)
    if not (1 <= width <= MAX_IMAGE_SIDE_PX and 1 <= height <= MAX_IMAGE_SIDE_PX):
        raise FrameDropped(
            "unreadable_image",
            f"compressed image claims {width}x{height} pixels, expected sides of 1 to {MAX_IMAGE_SIDE_PX}",
        )
    if not _can_hold(view, width, height):
        raise FrameDropped(
            "unreadable_image",
            f"compressed image claims {width}x{height} pixels in {len(view)} bytes, more than its format can pack into "
            "them: it is damaged",
        )
    if flags != cv2.IMREAD_UNCHANGED:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(view, np.uint8), flags)
    except cv2.error as error:
        raise FrameDropped("unreadable_image", f"compressed image is damaged: {error}") from error
    if image is None:
        raise FrameDropped("unreadable_image", f"compressed image of {len(view)} bytes is damaged")
    return image


def decode_rgb(data: bytes | memoryview | np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of JPEG or PNG bytes; errors as `decode_bytes`."""
    return cv2.cvtColor(decode_bytes(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _can_hold(view: memoryview, width: int, height: int) -> bool:
    """Whether so many bytes can stand for so many pixels: otherwise a few of them would take gigabytes to decode."""
    if bytes(view[:2]) == b"\xff\xd8":
        return width * height <= _JPEG_PIXELS_PER_BYTE * len(view)
    bits = view[24] * _PNG_CHANNELS.get(view[25], 1)
    return (width * bits + 7) // 8 * height <= _DEFLATE_RATIO * len(view)


def _header_size(view: memoryview) -> tuple[int, int]:
    if bytes(view[:8]) == _PNG_MAGIC and len(view) >= 26:
        return struct.unpack(">II", view[16:24])
    if bytes(view[:2]) == b"\xff\xd8":
        return _jpeg_size(view)
    raise FrameDropped(
        "unreadable_image",
        f"image of {len(view)} bytes begins with {bytes(view[:8])!r}, expected a JPEG or a PNG",
    )


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack(">HH", view[at + 5 : at + 9])
            return width, height
        at += 1 if marker == 0xFF else 2 + struct.unpack(">H", view[at + 2 : at + 4])[0]
    raise FrameDropped("unreadable_image", f"JPEG of {len(view)} bytes has no frame header: truncated")
