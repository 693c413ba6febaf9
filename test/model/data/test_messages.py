"""ROS messages as arrays and poses, as rclpy and as rosbags hold them."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from recording import START_NS, compressed, header, image, pose, pose_message, pose_stamped

from gnesf_model.data import messages
from gnesf_model.frame import FrameDropped

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
GRAY = RGB[..., 0]


def drop(reason: str, match: str = ""):
    """Expect `FrameDropped` with this reason."""

    class Expect:
        def __enter__(self):
            self._raises = pytest.raises(FrameDropped, match=match)
            self._caught = self._raises.__enter__()

        def __exit__(self, *details):
            result = self._raises.__exit__(*details)
            assert self._caught.value.reason == reason
            return result

    return Expect()


@pytest.mark.parametrize("live", [True, False], ids=["rclpy", "rosbags"])
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.dstack([RGB, GRAY])),
        ("bgra8", np.dstack([RGB[..., ::-1], GRAY])),
    ],
)
def test_colour_encodings_come_out_red_first(encoding, pixels, padding, live):
    rgb = messages.decode_image(image(pixels, encoding, padding=padding, live=live))
    np.testing.assert_array_equal(rgb, RGB)
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_gray_becomes_three_equal_channels(encoding):
    rgb = messages.decode_image(image(GRAY, encoding, padding=3))
    np.testing.assert_array_equal(rgb, np.dstack([GRAY] * 3))


# What a bayer sensor keeps of a colour image: which channel (of red, green, blue) at even and odd rows and columns.
PATTERNS = {
    "bayer_rggb8": ((0, 1), (1, 2)),
    "bayer_bggr8": ((2, 1), (1, 0)),
    "bayer_gbrg8": ((1, 2), (0, 1)),
    "bayer_grbg8": ((1, 0), (2, 1)),
}


def mosaic(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """What the sensor gives for an image."""
    raw = np.empty(rgb.shape[:2], np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            raw[row::2, column::2] = rgb[row::2, column::2, PATTERNS[encoding][row][column]]
    return raw


def smooth() -> np.ndarray:
    """An image whose three channels are different planes, which bilinear interpolation keeps exactly."""
    v, u = np.mgrid[:24, :32]
    return np.stack([20 + 4 * u, 200 - 6 * v, 10 + 2 * u + 4 * v], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("encoding", PATTERNS)
@pytest.mark.parametrize("padding", [0, 5])
def test_bayer_is_demosaiced_red_first(encoding, padding):
    rgb = messages.decode_image(image(mosaic(smooth(), encoding), encoding, padding=padding))
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], smooth()[2:-2, 2:-2])


def test_bayer_that_was_compressed_is_demosaiced():
    png = cv2.imencode(".png", mosaic(smooth(), "bayer_grbg8"))[1].tobytes()
    rgb = messages.decode_compressed(compressed(0, png, "bayer_grbg8; png compressed "))
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], smooth()[2:-2, 2:-2])


def yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U and V of BT.601 with limited range, U and V for pairs of pixels."""
    r, g, b = rgb.astype(np.float64).transpose(2, 0, 1)
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    return np.rint(y), np.rint(u[:, ::2]), np.rint(v[:, ::2])


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv422_becomes_rgb(encoding):
    rgb = np.repeat(np.random.default_rng(2).integers(0, 256, (8, 6, 3), dtype=np.uint8), 2, axis=1)
    y, u, v = yuv(rgb)
    packed = np.empty((8, 12, 2), np.uint8)
    luma = 0 if encoding in ("yuyv", "yuv422_yuy2") else 1
    packed[..., luma] = y
    packed[:, ::2, 1 - luma], packed[:, 1::2, 1 - luma] = u, v
    got = messages.decode_image(image(packed, encoding, padding=4))
    assert np.abs(got.astype(int) - rgb).max() <= 3  # of rounding Y, U and V


@pytest.mark.parametrize(
    ("encoding", "shape"), [("uyvy", (4, 5, 2)), ("yuyv", (4, 3, 2)), ("bayer_rggb8", (1, 1)), ("bayer_gbrg8", (1, 8))]
)
def test_sizes_that_an_encoding_cannot_have_are_dropped_or_decoded(encoding, shape):
    """OpenCV pads some and refuses others; whatever it does, the node lives and sizes agree."""
    try:
        rgb = messages.decode_image(image(np.zeros(shape, np.uint8), encoding))
    except FrameDropped as error:
        assert error.reason == "bad_image"
    else:
        assert rgb.shape == (*shape[:2], 3)


def test_rgb8_is_a_view_of_the_message():
    msg = image(RGB, "rgb8")
    rgb = messages.decode_image(msg)
    msg.data[0] = 255 - msg.data[0]
    assert rgb[0, 0, 0] == msg.data[0]


def test_last_row_may_lack_its_padding():
    msg = image(RGB, "rgb8", padding=9)
    msg.data = msg.data[:-9]
    np.testing.assert_array_equal(messages.decode_image(msg), RGB)


@pytest.mark.parametrize("decode", [messages.decode_image, messages.decode_depth])
def test_unknown_encoding_lists_what_is_accepted(decode):
    with drop("encoding", "nv21.*accepted are.*(rgb8, bgr8|16UC1, mono16, 32FC1)"):
        decode(image(GRAY, "nv21"))


@pytest.mark.parametrize(
    "change",
    [
        {"step": 14},
        {"height": 7},
        {"width": 0},
        {"height": 0},
        {"width": 1 << 31, "height": 1 << 31},
        {"data": b""},
    ],
    ids=lambda c: ",".join(c),
)
def test_sizes_are_checked_before_use(change):
    msg = image(RGB, "rgb8")
    vars(msg).update(change)
    with drop("bad_image"):
        messages.decode_image(msg)


@pytest.mark.parametrize("live", [True, False], ids=["rclpy", "rosbags"])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_integer_depth_is_scaled_to_metres(encoding, padding, big_endian, live):
    raw = np.array([[0, 1, 258], [1000, 4321, 65535]], np.uint16)
    msg = image(raw, encoding, padding=padding, big_endian=big_endian, live=live)
    depth = messages.decode_depth(msg)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, raw.astype(np.float32) * np.float32(0.001))
    np.testing.assert_allclose(messages.decode_depth(msg, 0.0002), raw * 0.0002, rtol=1e-6)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 2])
def test_float_depth_is_metres_and_zero_where_there_is_none(padding, big_endian):
    raw = np.array([[0.5, np.nan, np.inf], [-1.0, 0.0, 3.25]], np.float32)
    depth = messages.decode_depth(image(raw, "32FC1", padding=padding, big_endian=big_endian), 0.5)
    np.testing.assert_array_equal(depth, np.array([[0.5, 0, 0], [0, 0, 3.25]], np.float32))
    assert depth.dtype == np.dtype("=f4")


def _encode(suffix: str, pixels: np.ndarray = RGB) -> bytes:
    return cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()


def test_compressed_png_is_exact_and_red_first():
    np.testing.assert_array_equal(messages.decode_compressed(compressed(0, _encode(".png"), "png")), RGB)


def test_compressed_jpeg_is_red_first():
    red = np.zeros((32, 48, 3), np.uint8)
    red[..., 0] = 200
    rgb = messages.decode_compressed(compressed(0, _encode(".jpg", red), "rgb8; jpeg compressed bgr8"))
    assert rgb.shape == red.shape
    assert np.abs(rgb.astype(int) - red).max() < 6


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "expected a JPEG or a PNG"),
        (b"GIF89a" + bytes(50), "expected a JPEG or a PNG"),
        (_encode(".jpg")[:60], "truncated"),
        (_encode(".png")[:20], "expected a JPEG or a PNG"),
        (_encode(".png")[:40], "damaged"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65535, 65535) + bytes(30), "65535x65535"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1 << 31, 1) + bytes(30), "2147483648x1"),
    ],
)
def test_damaged_or_absurd_compressed_images_are_dropped(data, text):
    with drop("unreadable_image", text):
        messages.decode_compressed(compressed(0, data))


def test_compressed_depth_is_refused_as_colour():
    with drop("encoding", "accepted are jpeg, png"):
        messages.decode_compressed(compressed(0, b"", "16UC1; compressedDepth png"))


def test_pose_messages_of_all_kinds():
    expected = pose(30.0, 10.0, (1.0, 2.0, 3.0))
    inner = pose_message(expected)
    odometry = SimpleNamespace(
        header=header(START_NS + 5, "/odom"),
        child_frame_id="/base_link",
        pose=SimpleNamespace(pose=inner, covariance=[]),
    )
    covariance = SimpleNamespace(header=header(START_NS + 5, "odom"), pose=SimpleNamespace(pose=inner))
    tracked = SimpleNamespace(
        header=header(START_NS + 5, "odom"),
        child_frame_id="drone",
        transform=SimpleNamespace(translation=inner.position, rotation=inner.orientation),
    )
    for msg, child in (
        (odometry, "base_link"),
        (tracked, "drone"),
        (covariance, None),
        (pose_stamped(START_NS + 5, "odom", expected), None),
    ):
        decoded = messages.decode_pose(msg)
        assert (decoded.stamp_ns, decoded.frame, decoded.child) == (START_NS + 5, "odom", child)
        np.testing.assert_allclose(decoded.pose, expected, atol=1e-15)


@pytest.mark.parametrize("field", ["position.x", "orientation.w"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 5.0])
def test_bad_poses_are_dropped(field, value):
    msg = pose_stamped(0, "odom", np.eye(4))
    outer, inner = field.split(".")
    object.__setattr__(getattr(msg.pose, outer), inner, value)
    if field == "position.x" and value == 5.0:
        assert messages.decode_pose(msg).pose[0, 3] == 5.0
        return
    with drop("bad_pose"):
        messages.decode_pose(msg)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_few_bytes_that_claim_many_pixels_are_not_decoded(suffix):
    """268 million pixels would be 805 MB; a plain picture, packed as well as can be, is fine."""
    plain = cv2.imencode(suffix, np.zeros((700, 900, 3), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    message = SimpleNamespace(format=suffix, data=plain)
    assert messages.decode_compressed(message).shape == (700, 900, 3)
    huge = bytearray(plain)
    if suffix == ".png":
        huge[16:24] = struct.pack(">II", 16384, 16384)
    else:
        at = next(i for i in range(len(plain)) if plain[i] == 0xFF and plain[i + 1] in (0xC0, 0xC2))
        huge[at + 5 : at + 9] = struct.pack(">HH", 16384, 16384)
    with pytest.raises(FrameDropped, match="more than its format can pack") as drop:
        messages.decode_compressed(SimpleNamespace(format=suffix, data=bytes(huge)))
    assert drop.value.reason == "unreadable_image"
