"""ROS messages as arrays and poses, as rclpy and as rosbags hold them."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from recording import CAMERA, START_NS, camera_info, compressed, header, image, pose, pose_message, pose_stamped

from gnesf_model.data import messages
from gnesf_model.data.camera_info import decode_camera_info
from gnesf_model.data.rectify import Rectifier
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
    with drop("encoding", "bayer_rggb8.*accepted are.*(rgb8, bgr8|16UC1, mono16, 32FC1)"):
        decode(image(GRAY, "bayer_rggb8"))


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


def test_camera_info_without_distortion_passes_images_through():
    rectifier = decode_camera_info(camera_info())
    assert rectifier == Rectifier(CAMERA)
    rgb = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    assert rectifier.color(rgb) is rgb


@pytest.mark.parametrize(
    "fields",
    [
        {"k": np.zeros(9)},
        {"k": np.full(9, np.nan)},
        {"width": 0},
        {"height": 1 << 30},
        {"d": [np.nan] * 5},
        {"d": [0.1] * 5, "distortion_model": "kannala_brandt4"},
        {"d": [0.1] * 3},
        {"d": [0.1] * 5, "distortion_model": "equidistant"},
    ],
    ids=str,
)
def test_unusable_camera_info_is_dropped(fields):
    with drop("bad_camera_info"):
        decode_camera_info(camera_info(**fields))


def test_zero_distortion_of_any_model_passes():
    assert decode_camera_info(camera_info(d=[], distortion_model="")) == Rectifier(CAMERA)
    assert decode_camera_info(camera_info(d=[0.0] * 7, distortion_model="odd")) == Rectifier(CAMERA)


def test_rectified_topic_takes_p_and_ignores_distortion():
    P = np.array([[20.0, 0, 14, 0], [0, 21, 12, 0], [0, 0, 1, 0]])
    rectifier = decode_camera_info(camera_info(d=[0.3] * 5, p=P.ravel()), rectified=True)
    assert (rectifier.camera.fx, rectifier.camera.cy, rectifier.coefficients) == (20.0, 12.0, ())


def test_pose_messages_of_all_kinds():
    expected = pose(30.0, 10.0, (1.0, 2.0, 3.0))
    inner = pose_message(expected)
    odometry = SimpleNamespace(
        header=header(START_NS + 5, "/odom"),
        child_frame_id="/base_link",
        pose=SimpleNamespace(pose=inner, covariance=[]),
    )
    covariance = SimpleNamespace(header=header(START_NS + 5, "odom"), pose=SimpleNamespace(pose=inner))
    for msg, child in (
        (odometry, "base_link"),
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
