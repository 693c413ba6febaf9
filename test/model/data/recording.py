"""Small recordings for tests: frames, and the messages that describe them."""

from __future__ import annotations

import array
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from gnesf_model.frame import Camera, Frame
from gnesf_model.geometry import quaternion_from_pose

STORE = get_typestore(Stores.ROS2_JAZZY)
CAMERA = Camera(width=32, height=24, fx=30.0, fy=31.0, cx=15.5, cy=11.0)
OPTICAL = "camera_color_optical_frame"
PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000


class ListSource:
    """Frames in memory as a source."""

    name = "list"

    def __init__(self, frames: list[Frame], label_space: str | None = None) -> None:
        self.frames = frames
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self.label_space = label_space

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self):
        return iter(self.frames)


def pose(yaw_deg: float = 0.0, pitch_deg: float = 0.0, t: tuple = (0.0, 0.0, 0.0)) -> np.ndarray:
    """(4, 4) transform."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("zy", [yaw_deg, pitch_deg], degrees=True).as_matrix()
    matrix[:3, 3] = t
    return matrix


def make_frames(
    count: int = 8, *, millimetres: bool = True, labels: bool = False, camera: Camera = CAMERA
) -> list[Frame]:
    """Frames of a moving, turning camera at 10 Hz with random pixels."""
    rng = np.random.default_rng(7)
    frames = []
    for i in range(count):
        size = (camera.height, camera.width)
        depth = rng.integers(0, 5000, size).astype(np.float32) * np.float32(0.001)
        if not millimetres:
            depth = rng.uniform(0.0, 80.0, size).astype(np.float32)
        frames.append(
            Frame(
                START_NS + i * PERIOD_NS,
                rng.integers(0, 256, (*size, 3), dtype=np.uint8),
                camera,
                pose(3.0 * i, -2.0 * i, (0.1 * i, 0.02 * i, 1.0)),
                depth,
                rng.integers(0, 20, size, dtype=np.uint8) if labels else None,
            )
        )
    return frames


def assert_same(a: list[Frame], b: list[Frame], tolerance: float = 1e-12) -> None:
    """The same frames, bit for bit but for the poses, which pass through quaternions."""
    assert [f.stamp_ns for f in a] == [f.stamp_ns for f in b]
    for x, y in zip(a, b, strict=True):
        assert x.camera == y.camera
        np.testing.assert_array_equal(x.rgb, y.rgb)
        for name in ("depth", "labels"):
            left, right = getattr(x, name), getattr(y, name)
            assert (left is None) == (right is None), name
            if left is not None:
                np.testing.assert_array_equal(left, right)
        np.testing.assert_allclose(x.world_T_cam, y.world_T_cam, rtol=0, atol=tolerance)


def header(stamp_ns: int, frame_id: str) -> SimpleNamespace:
    """std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, 10**9)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def image(
    pixels: np.ndarray,
    encoding: str,
    *,
    padding: int = 0,
    big_endian: bool = False,
    stamp_ns: int = START_NS,
    frame_id: str = OPTICAL,
    live: bool = True,
) -> SimpleNamespace:
    """sensor_msgs/Image; `live` holds its data as rclpy does, else as rosbags does."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    rows = np.frombuffer(rows, np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    data = np.ascontiguousarray(rows).reshape(-1)
    return SimpleNamespace(
        header=header(stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=array.array("B", data.tobytes()) if live else data,
    )


def camera_info(camera: Camera = CAMERA, **fields: Any) -> SimpleNamespace:
    """sensor_msgs/CameraInfo without distortion, but for `fields`."""
    values = {
        "header": header(START_NS, OPTICAL),
        "width": camera.width,
        "height": camera.height,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": camera.K.ravel(),
        "r": np.eye(3).ravel(),
        "p": np.zeros(12),
    }
    return SimpleNamespace(**{**values, **fields})


def quaternion(x: float, y: float, z: float, w: float) -> Any:
    """geometry_msgs/Quaternion."""
    return STORE.types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)


def pose_message(a_T_b: np.ndarray) -> Any:
    """geometry_msgs/Pose."""
    point = STORE.types["geometry_msgs/msg/Point"](*map(float, a_T_b[:3, 3]))
    return STORE.types["geometry_msgs/msg/Pose"](point, quaternion(*quaternion_from_pose(a_T_b).tolist()))


def ros_header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header that can be serialised."""
    time = STORE.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return STORE.types["std_msgs/msg/Header"](time, frame_id)


def pose_stamped(stamp_ns: int, frame_id: str, a_T_b: np.ndarray) -> Any:
    """geometry_msgs/PoseStamped."""
    return STORE.types["geometry_msgs/msg/PoseStamped"](ros_header(stamp_ns, frame_id), pose_message(a_T_b))


def compressed(stamp_ns: int, data: bytes, form: str = "jpeg") -> Any:
    """sensor_msgs/CompressedImage."""
    pixels = np.frombuffer(data, np.uint8)
    return STORE.types["sensor_msgs/msg/CompressedImage"](ros_header(stamp_ns, OPTICAL), form, pixels)


def rewrite_bag(source, target, change, extra: dict[str, str] | None = None, storage=StoragePlugin.MCAP) -> None:
    """Copy a bag through `change(topic, log_ns, msg) -> iterable of (topic, log_ns, msg)`.

    Args:
        extra: topics that are new in `target`, with their types.
    """
    from gnesf_model.data.bag_file import BagFile

    bag = BagFile(source)
    types = {c.topic: c.msgtype for c in bag.connections} | (extra or {})
    with Writer(target, version=9, storage_plugin=storage) as writer:
        open_topics: dict[str, Any] = {}
        for connection, log_ns, raw in bag.raw(set(types)):
            for topic, at, msg in change(connection.topic, log_ns, bag.decode(connection, raw)):
                if topic not in open_topics:
                    open_topics[topic] = writer.add_connection(topic, types[topic], typestore=STORE)
                writer.write(open_topics[topic], at, STORE.serialize_cdr(msg, types[topic]))
