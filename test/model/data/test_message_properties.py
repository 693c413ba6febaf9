"""Images of any layout come out as they went in, and no message, however absurd, does more than be dropped."""

from __future__ import annotations

import struct
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gnesf_model.data.messages import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    decode_compressed,
    decode_depth,
    decode_depth_compressed,
    decode_image,
    decode_pose,
    stamp_ns,
)
from gnesf_model.frame import FrameDropped, check_pose

QUICK = settings(max_examples=80, deadline=None)
SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9))
COLOURS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "8UC3": (2, 1, 0), "rgba8": (0, 1, 2, 0), "bgra8": (2, 1, 0, 1)}


def message(
    rows: np.ndarray, width: int, encoding: str, big_endian: bool = False, kind: type = bytes
) -> SimpleNamespace:
    """A message with these rows of bytes, as rclpy (array) or rosbags (NumPy) hold it, or as bytes."""
    data = rows.tobytes()
    made = {bytes: data, array: array("B", data), np.ndarray: np.frombuffer(data, np.uint8)}[kind]
    return SimpleNamespace(
        height=len(rows), width=width, encoding=encoding, is_bigendian=big_endian, step=rows.shape[1], data=made
    )


@QUICK
@given(
    pixels=SIDES.flatmap(lambda size: arrays.arrays(np.uint8, (*size, 3))),
    encoding=st.sampled_from(sorted(COLOURS)),
    padding=st.integers(0, 5),
    kind=st.sampled_from([bytes, array, np.ndarray]),
)
def test_colour_is_red_first_whatever_the_layout(pixels, encoding, padding, kind) -> None:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels[..., list(COLOURS[encoding])].reshape(height, -1), ((0, 0), (0, padding)))
    np.testing.assert_array_equal(decode_image(message(rows, width, encoding, kind=kind)), pixels)


@QUICK
@given(
    raw=SIDES.flatmap(lambda size: arrays.arrays(np.uint16, size)),
    padding=st.integers(0, 5),
    big_endian=st.booleans(),
    unit=st.floats(1e-6, 1.0),
)
def test_integer_depth_is_metres_in_any_unit_and_byte_order(raw, padding, big_endian, unit) -> None:
    stored = raw.astype(">u2" if big_endian else "<u2")
    rows = np.pad(stored.view(np.uint8).reshape(len(raw), -1), ((0, 0), (0, padding)))
    depth = decode_depth(message(rows, raw.shape[1], "16UC1", big_endian), unit)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, raw * unit, rtol=1e-5)


@QUICK
@given(raw=SIDES.flatmap(lambda size: arrays.arrays(np.float32, size)), big_endian=st.booleans())
def test_metres_are_kept_and_everything_else_is_nothing(raw, big_endian) -> None:
    """NaN, infinity, zero and what lies behind the camera."""
    stored = np.ascontiguousarray(raw.astype(">f4" if big_endian else "<f4"))
    rows = stored.view(np.uint8).reshape(len(raw), -1)
    depth = decode_depth(message(rows, raw.shape[1], "32FC1", big_endian))
    measured = np.isfinite(raw) & (raw > 0)
    np.testing.assert_array_equal(depth, np.where(measured, raw, 0.0))


NUMBERS = st.integers(0, 20) | st.sampled_from([2**16, 2**31, 2**32 - 1])


@QUICK
@given(
    height=NUMBERS, width=NUMBERS, step=NUMBERS, data=st.binary(max_size=400), big_endian=st.booleans(),
    encoding=st.sampled_from([*COLOR_ENCODINGS, *DEPTH_ENCODINGS]) | st.text(max_size=8),
)  # fmt: skip
def test_sizes_that_lie_are_dropped(height, width, step, data, big_endian, encoding) -> None:
    image = SimpleNamespace(
        height=height, width=width, step=step, data=data, is_bigendian=big_endian, encoding=encoding
    )
    for decode, channels in ((decode_image, (3,)), (decode_depth, ())):
        try:
            assert decode(image).shape == (height, width, *channels)
        except FrameDropped as drop:
            assert drop.reason in ("encoding", "bad_image")


PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
FILES = [cv2.imencode(".png", PICTURE)[1].tobytes(), cv2.imencode(".jpg", PICTURE)[1].tobytes()]
FILES.append(cv2.imencode(".png", PICTURE[..., 0].astype(np.uint16) * 30)[1].tobytes())


@QUICK
@given(
    data=st.sampled_from(FILES), cut=st.integers(0, 3000), place=st.integers(0, 3000), bits=st.binary(max_size=4),
    form=st.sampled_from(
        ["jpeg", "png", "rgb8; jpeg compressed bgr8", "bayer_rggb8; png", "16UC1; compressedDepth png", "16UC1; png",
         "32FC1; compressedDepth rvl", ""]
    ),
)  # fmt: skip
def test_damaged_pictures_are_pictures_or_dropped(data, cut, place, bits, form) -> None:
    damaged = bytearray(data[: len(data) - cut] if cut < len(data) else data)
    damaged[place : place + len(bits)] = bits
    for body in (bytes(damaged), struct.pack("<iff", 0, 1.0, 0.0) + bytes(damaged)):
        for decode, shape in ((decode_compressed, 3), (decode_depth_compressed, 2)):
            try:
                assert decode(SimpleNamespace(format=form, data=body)).ndim == shape
            except FrameDropped as drop:
                assert drop.reason in ("encoding", "unreadable_image", "bad_image")


@QUICK
@given(
    sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 10**9 - 1),
    values=st.lists(st.floats(), min_size=7, max_size=7),
)  # fmt: skip
def test_a_pose_is_rigid_or_dropped_and_its_stamp_exact(sec, nanosec, values) -> None:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="/odom")
    assert stamp_ns(header) == sec * 10**9 + nanosec
    position = SimpleNamespace(**dict(zip("xyz", values)))
    orientation = SimpleNamespace(**dict(zip("xyzw", values[3:])))
    pose = SimpleNamespace(header=header, pose=SimpleNamespace(position=position, orientation=orientation))
    try:
        decoded = decode_pose(pose)
    except FrameDropped as drop:
        assert drop.reason == "bad_pose"
    else:
        check_pose(decoded.pose)
        assert (decoded.frame, decoded.child) == ("odom", None)
