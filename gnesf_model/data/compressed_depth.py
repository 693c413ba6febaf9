"""Depth as image_transport's plugin compressedDepth sends it: a header of 12 bytes, then a PNG or RVL.

The layout is that of compressed_depth_image_transport (image_transport_plugins). Sizes are checked before
anything is decoded or allocated.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from gnesf_model.data.encoded import decode_bytes
from gnesf_model.frame import MAX_IMAGE_SIDE_PX, FrameDropped, clean_depth

_HEADER = struct.Struct("<iff")
"""Format (0: inverse depth), then the two parameters of the quantisation of float depth."""
_RVL_SIZE = struct.Struct("<ii")


def decode_compressed_depth(data: bytes | memoryview | np.ndarray, form: str, depth_unit_m: float) -> np.ndarray:
    """Depth (H, W) float32 metres, 0 where there is no measurement.

    Float depth is sent as 16 bits q of inverse depth: z = a / (q - b), 0 where there was none.

    Args:
        data: the message's bytes.
        form: its format, e.g. ``16UC1; compressedDepth png``.
        depth_unit_m: metres per unit of 16UC1.

    Raises:
        FrameDropped: ``encoding`` (neither 16UC1 nor 32FC1) or ``unreadable_image``.
    """
    encoding = form.split(";")[0].strip()
    if encoding not in ("16UC1", "mono16", "32FC1"):
        raise FrameDropped(
            "encoding",
            f"compressed depth has the format {form!r}, expected '16UC1; compressedDepth' or "
            "'32FC1; compressedDepth': change the publisher's",
        )
    view = memoryview(data).cast("B")
    if len(view) < _HEADER.size:
        raise _unreadable(f"compressed depth has {len(view)} bytes, expected a header of {_HEADER.size} and an image")
    _, a, b = _HEADER.unpack_from(view)
    body = view[_HEADER.size :]
    values = decode_rvl(body) if "rvl" in form.split(";")[-1].lower() else decode_depth_png(body)
    if encoding != "32FC1":
        return clean_depth(values, depth_unit_m)
    if not np.isfinite((a, b)).all():
        raise _unreadable(f"compressed depth has the quantisation {a}, {b}, expected finite numbers")
    with np.errstate(divide="ignore"):
        metres = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    metres[values == 0] = 0.0
    return clean_depth(metres)


def decode_depth_png(data: bytes | memoryview | np.ndarray) -> np.ndarray:
    """(H, W) uint16 of a PNG of 16 bits.

    Raises:
        FrameDropped: (``unreadable_image``) another image, or a damaged one.
    """
    image = decode_bytes(data, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise _unreadable(
            f"compressed depth is an image of {image.dtype} {image.shape}, expected 16 bits and one channel: "
            "subscribe to the depth image, not to a colour image"
        )
    return image


def decode_rvl(data: bytes | memoryview) -> np.ndarray:
    """(H, W) uint16 of an RVL image (Wilson, Fast Lossless Depth Image Compression, 2017) behind its two sizes.

    Runs of zeros and of differences to the value before alternate; every number is a sequence of nibbles, three
    bits each with the lowest first, whose highest bit says that more follow. Eight nibbles fill a word of 32 bits
    from its top.

    Raises:
        FrameDropped: (``unreadable_image``) sizes and data do not fit each other.
    """
    view = memoryview(data).cast("B")
    if len(view) < _RVL_SIZE.size:
        raise _unreadable(f"RVL depth has {len(view)} bytes, expected its width and height first")
    width, height = _RVL_SIZE.unpack_from(view)
    if not (1 <= width <= MAX_IMAGE_SIDE_PX and 1 <= height <= MAX_IMAGE_SIDE_PX):
        raise _unreadable(f"RVL depth claims {width}x{height} pixels, expected sides of 1 to {MAX_IMAGE_SIDE_PX}")
    numbers = _numbers(view[_RVL_SIZE.size :])
    pixels = width * height
    # Where each number stands: lengths of runs are taken out one by one, differences all at once.
    steps, places, at, filled = [], [], 0, 0
    while filled < pixels and at + 1 < len(numbers):
        zeros, others = int(numbers[at]), int(numbers[at + 1])
        filled += zeros + others
        at += 2 + others
        if filled > pixels or at > len(numbers):
            raise _unreadable(f"RVL depth of {width}x{height} pixels has more or fewer values than that: it is damaged")
        if others:
            steps.append(slice(at - others, at))
            places.append(slice(filled - others, filled))
    if filled < pixels:
        raise _unreadable(f"RVL depth of {width}x{height} pixels ends after {filled}: it is cut short")
    image = np.zeros(pixels, np.uint16)
    if steps:
        coded = np.concatenate([numbers[s] for s in steps])
        values = np.cumsum((coded >> 1) ^ -(coded & 1)).astype(np.uint16)
        done = 0
        for place in places:
            count = place.stop - place.start
            image[place] = values[done : done + count]
            done += count
    return image.reshape(height, width)


def _numbers(view: memoryview) -> np.ndarray:
    """All numbers of an RVL stream, int64; the last ones may be padding."""
    words = np.frombuffer(view[: len(view) // 4 * 4], "<u4")
    shifts = np.arange(28, -1, -4, dtype=np.uint32)
    nibbles = ((words[:, None] >> shifts) & 0xF).astype(np.int64).ravel()
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        return np.zeros(0, np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 10:  # 32 bits take 11 nibbles
        raise _unreadable("RVL depth holds a number of more than 32 bits: it is damaged")
    nibbles = nibbles[: ends[-1] + 1]
    digit = np.arange(len(nibbles)) - np.repeat(starts, ends - starts + 1)
    return np.add.reduceat((nibbles & 7) << (3 * digit), starts)


def _unreadable(text: str) -> FrameDropped:
    return FrameDropped("unreadable_image", text)
