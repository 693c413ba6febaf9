"""What the standard packages read from the same messages, where they are installed."""

from __future__ import annotations

import numpy as np
import pytest
from ros_robot import transform
from sensor_msgs.msg import Image

from gnesf_model.data.messages import COLOR_ENCODINGS, decode_depth, decode_image
from gnesf_model.transforms import TransformTree
from gnesf_ros.conversions import cloud_message, fill, image_message
from gnesf_ros.stamps import header

CHANNELS = {
    "rgb8": 3,
    "bgr8": 3,
    "8UC3": 3,
    "rgba8": 4,
    "bgra8": 4,
    "uyvy": 2,
    "yuv422": 2,
    "yuyv": 2,
    "yuv422_yuy2": 2,
}
SECOND = 1_000_000_000


def image(encoding: str, pixels: np.ndarray) -> Image:
    data = np.ascontiguousarray(pixels)
    return Image(
        header=header(SECOND, "camera"), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
        step=data.strides[0], data=fill(data),
    )  # fmt: skip


@pytest.mark.parametrize("encoding", COLOR_ENCODINGS)
def test_cv_bridge_reads_the_same_colours(encoding: str) -> None:
    pytest.importorskip("cv_bridge.boost.cv_bridge_boost", reason="cv_bridge is not installed, or not for this NumPy")
    from cv_bridge import CvBridge, CvBridgeError

    rng = np.random.default_rng(0)
    channels = CHANNELS.get(encoding, 1)
    pixels = rng.integers(0, 256, (16, 24, channels) if channels > 1 else (16, 24), dtype=np.uint8)
    message = image(encoding, pixels)
    wanted = "passthrough" if encoding.startswith("8U") else "rgb8"
    try:
        theirs = CvBridge().imgmsg_to_cv2(message, wanted)
    except CvBridgeError as error:
        pytest.skip(f"this cv_bridge does not read {encoding}: {error}")
    if encoding == "8UC3":
        theirs = theirs[..., ::-1]
    if encoding == "8UC1":
        theirs = np.dstack([theirs] * 3)
    np.testing.assert_array_equal(decode_image(message), theirs)


@pytest.mark.parametrize(("encoding", "kind"), [("16UC1", np.uint16), ("32FC1", np.float32)])
def test_cv_bridge_reads_the_same_depth(encoding: str, kind: type) -> None:
    pytest.importorskip("cv_bridge.boost.cv_bridge_boost", reason="cv_bridge is not installed, or not for this NumPy")
    from cv_bridge import CvBridge

    pixels = np.random.default_rng(0).integers(0, 9000, (16, 24)).astype(kind)
    theirs = CvBridge().imgmsg_to_cv2(image(encoding, pixels), "passthrough").astype(np.float32)
    unit = np.float32(0.001) if kind is np.uint16 else np.float32(1.0)
    np.testing.assert_allclose(decode_depth(image(encoding, pixels)), theirs * unit, rtol=1e-6)


@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 3)], ids=["mono8", "rgb8"])
def test_cv_bridge_reads_our_images(shape: tuple[int, ...]) -> None:
    pytest.importorskip("cv_bridge.boost.cv_bridge_boost", reason="cv_bridge is not installed, or not for this NumPy")
    from cv_bridge import CvBridge

    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    message = image_message(pixels, header(SECOND, "camera"))
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message, "passthrough"), pixels)
    depth = pixels.reshape(16, -1).astype(np.float32)
    message = image_message(depth, header(SECOND, "camera"))
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message, "32FC1"), depth)


def test_sensor_msgs_py_reads_our_clouds() -> None:
    point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed")
    kinds = {"x": "<f4", "y": "<f4", "z": "<f4", "rgb": "<u4", "label": "<u4", "confidence": "<f4"}
    points = np.zeros(50, list(kinds.items()))
    rng = np.random.default_rng(0)
    for name in kinds:
        points[name] = rng.integers(0, 200, 50)
    read = point_cloud2.read_points(cloud_message(points, header(SECOND, "odom")))
    assert read.dtype.names == tuple(kinds)
    for name in kinds:
        np.testing.assert_array_equal(read[name].view(kinds[name]), points[name])
    organised = points.reshape(5, 10).copy()
    organised["z"][0] = np.nan
    message = cloud_message(organised, header(SECOND, "camera"))
    assert len(point_cloud2.read_points(message, ("x", "y", "z"), skip_nans=True)) == 40


def test_tf2_interpolates_the_same_chain() -> None:
    tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed (it is not among the wheels)")
    from rclpy.time import Time
    from scipy.spatial.transform import Rotation

    def pose(turn_deg: float, x: float) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("zx", [turn_deg, turn_deg / 3], degrees=True).as_matrix()
        matrix[0, 3] = x
        return matrix

    ours, theirs = TransformTree(1.0), tf2_ros.BufferCore()
    for i in range(3):
        stamp = SECOND + i * 100_000_000
        for parent, child, matrix in (
            ("map", "odom", pose(4.0 * i, 0.1 * i)),
            ("odom", "base", pose(-9.0 * i, 0.2 * i)),
        ):
            ours.add(parent, child, stamp, matrix, static=False)
            theirs.set_transform(transform(stamp, parent, child, matrix), "test")
    link = pose(30.0, 0.5)
    ours.add("base", "camera", 0, link, static=True)
    theirs.set_transform_static(transform(0, "base", "camera", link), "test")
    stamp = SECOND + 130_000_000
    found = theirs.lookup_transform_core("map", "camera", Time(nanoseconds=stamp)).transform
    q = found.rotation
    expected = np.eye(4)
    expected[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    expected[:3, 3] = found.translation.x, found.translation.y, found.translation.z
    np.testing.assert_allclose(ours.lookup("map", "camera", stamp), expected, atol=1e-9)


def test_message_filters_pairs_the_same_depth() -> None:
    message_filters = pytest.importorskip("message_filters", reason="message_filters is not installed")
    from gnesf_model.data.depth_buffer import DepthBuffer, DepthImage

    colors = [SECOND + i * 33_000_000 for i in range(6)]
    depths = [stamp + 7_000_000 for stamp in colors]
    pairs: list[tuple[int, int]] = []

    def stamp_of(message: Image) -> int:
        return message.header.stamp.sec * SECOND + message.header.stamp.nanosec

    color, depth = message_filters.SimpleFilter(), message_filters.SimpleFilter()
    synchroniser = message_filters.ApproximateTimeSynchronizer([color, depth], 10, 0.02)
    synchroniser.registerCallback(lambda a, b: pairs.append((stamp_of(a), stamp_of(b))))
    buffer = DepthBuffer(20_000_000)
    for a, b in zip(colors, depths):
        color.signalMessage(Image(header=header(a, "camera")))
        depth.signalMessage(Image(header=header(b, "camera")))
        buffer.add(DepthImage(b, "camera", np.zeros((1, 1), np.float32), False))
    assert pairs == [(stamp, buffer.at(stamp, ended=True).stamp_ns) for stamp in colors]
