"""Compressed depth, against what the publisher's side does, written down here from its description."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording import compressed

from gnesf_model.data import messages
from gnesf_model.data.compressed_depth import decode_rvl
from gnesf_model.frame import FrameDropped

RAW = np.random.default_rng(3).integers(0, 9000, (12, 17)).astype(np.uint16)
RAW[RAW < 2000] = 0
NO_HEADER = struct.pack("<iff", 0, 0.0, 0.0)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def rvl(image: np.ndarray) -> bytes:
    """Wilson's encoder, number by number."""
    nibbles: list[int] = []

    def put(value: int) -> None:
        while True:
            nibble, value = value & 7, value >> 3
            nibbles.append(nibble | (8 if value else 0))
            if not value:
                return

    values, at, previous = image.ravel().tolist(), 0, 0
    while at < len(values):
        start = at
        while at < len(values) and not values[at]:
            at += 1
        put(at - start)
        start = at
        while at < len(values) and values[at]:
            at += 1
        put(at - start)
        for value in values[start:at]:
            delta, previous = value - previous, value
            put(2 * delta if delta >= 0 else -2 * delta - 1)
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{n:x}" for n in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)]
    return struct.pack("<ii", image.shape[1], image.shape[0]) + struct.pack(f"<{len(words)}I", *words)


def quantised(depth: np.ndarray, nearest: float = 100.0, farthest: float = 10.0) -> tuple[bytes, np.ndarray]:
    """Header and 16 bits of inverse depth, as compressed_depth_image_transport makes them."""
    a = np.float32(nearest * (nearest + 1))
    b = np.float32(1 - a / farthest)
    valid = (depth > 0) & (depth < farthest)
    coded = np.zeros(depth.shape, np.uint16)
    coded[valid] = a / depth[valid] + b
    return struct.pack("<iff", 0, a, b), coded


def decode(data: bytes, form: str, unit: float = 0.001) -> np.ndarray:
    return messages.decode_depth_compressed(compressed(0, data, form), unit)


@pytest.mark.parametrize(
    "form", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "mono16; compressedDepth png"]
)
def test_integer_depth_is_exact(form):
    depth = decode(NO_HEADER + png(RAW), form)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, RAW.astype(np.float32) * np.float32(0.001))


def test_the_unit_is_that_of_the_configuration():
    depth = decode(NO_HEADER + png(RAW), "16UC1; compressedDepth png", 0.0002)
    np.testing.assert_allclose(depth, RAW * 0.0002, rtol=1e-6)


def test_rvl_is_exact():
    depth = decode(NO_HEADER + rvl(RAW), "16UC1; compressedDepth rvl")
    np.testing.assert_array_equal(depth, RAW.astype(np.float32) * np.float32(0.001))


@pytest.mark.parametrize("code", [png, rvl])
def test_float_depth_comes_back_as_fine_as_it_was_sent(code):
    sent = np.random.default_rng(4).uniform(0.3, 9.5, (20, 30)).astype(np.float32)
    sent[::3, ::4] = 0.0
    sent[1, 1] = 25.0  # beyond what is sent
    header, coded = quantised(sent)
    depth = decode(header + code(coded), f"32FC1; compressedDepth {code.__name__}")
    there = (sent > 0) & (sent < 10)
    assert (depth[~there] == 0).all()
    step = sent[there] ** 2 / 10100  # of a bit in inverse depth
    assert (np.abs(depth[there] - sent[there]) <= step + 1e-5).all()


def test_a_png_of_16_bits_as_the_plugin_compressed_sends_it():
    depth = decode(png(RAW), "16UC1; png compressed ")
    np.testing.assert_array_equal(depth, RAW.astype(np.float32) * np.float32(0.001))


depths = st.tuples(st.integers(1, 40), st.integers(1, 25), st.randoms(use_true_random=False), st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(depths)
def test_every_rvl_image_comes_back(case):
    width, height, random, holes = case
    image = np.zeros((height, width), np.uint16)
    value = random.randrange(65536)
    for place in np.ndindex(image.shape):
        value = (value + random.choice([0, 1, -1, 7, -300, random.randrange(65536)])) % 65536
        image[place] = 0 if random.random() < holes else value
    np.testing.assert_array_equal(decode_rvl(rvl(image)), image)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(-1, 30), st.integers(-1, 30))
def test_no_bytes_break_the_rvl_decoder(data, width, height):
    try:
        image = decode_rvl(struct.pack("<ii", width, height) + data)
    except FrameDropped as error:
        assert error.reason == "unreadable_image"
    else:
        assert image.shape == (height, width)


@pytest.mark.parametrize(
    ("data", "form", "reason", "text"),
    [
        (b"", "16UC1; compressedDepth png", "unreadable_image", "0 bytes, expected a header of 12"),
        (NO_HEADER, "16UC1; compressedDepth png", "unreadable_image", "expected a JPEG or a PNG"),
        (NO_HEADER, "16UC1; compressedDepth rvl", "unreadable_image", "width and height"),
        (NO_HEADER + rvl(RAW)[:-20], "16UC1; compressedDepth rvl", "unreadable_image", "17x12"),
        (NO_HEADER + struct.pack("<ii", 1 << 20, 5), "16UC1; compressedDepth rvl", "unreadable_image", "1048576x5"),
        (NO_HEADER + png(RAW)[:60], "16UC1; compressedDepth png", "unreadable_image", "damaged"),
        (NO_HEADER + png((RAW >> 8).astype(np.uint8)), "16UC1; compressedDepth png", "unreadable_image", "16 bits"),
        (NO_HEADER + png(RAW), "8UC1; compressedDepth png", "encoding", "expected '16UC1; compressedDepth'"),
        (struct.pack("<iff", 0, float("nan"), 1.0) + png(RAW), "32FC1; compressedDepth", "unreadable_image", "finite"),
        (png(RAW), "16UC1; jpeg compressed ", "encoding", "compressedDepth png, compressedDepth rvl, png of 16 bits"),
    ],
)  # fmt: skip
def test_damaged_and_other_images_are_dropped(data, form, reason, text):
    with pytest.raises(FrameDropped, match=text) as caught:
        decode(data, form)
    assert caught.value.reason == reason
