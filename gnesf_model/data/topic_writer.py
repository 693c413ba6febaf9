"""Messages of an open bag, made and written without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import Writer
from rosbags.typesys.store import Typestore

from gnesf_model.frame import Camera
from gnesf_model.geometry import quaternion_from_pose

OPTICAL = "camera_color_optical_frame"
"""Frame of images whose own frame is not known."""
_FOREVER = QosTime(9223372036, 854775807)
RELIABLE = Qos(
    QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.VOLATILE,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
LATCHED = RELIABLE._replace(depth=1, durability=QosDurability.TRANSIENT_LOCAL)


class TopicWriter:
    """Writes to the topics of a bag.

    Args:
        writer: the open bag.
        topics: type and quality of service by topic.
        types: knows these types.
        frame_id: of images.
    """

    def __init__(
        self, writer: Writer, topics: Mapping[str, tuple[str, Qos]], types: Typestore, frame_id: str = OPTICAL
    ) -> None:
        self.types, self.frame_id = types, frame_id
        self._writer = writer
        self._topics = {topic: kind for topic, (kind, _) in topics.items()}
        self._connections = {
            topic: writer.add_connection(topic, kind, typestore=types, offered_qos_profiles=[qos])
            for topic, (kind, qos) in topics.items()
        }

    def camera_info(self, t: int, camera: Camera) -> dict[str, Any]:
        """Fields of a sensor_msgs/CameraInfo of images without distortion."""
        K = camera.K
        return {
            "header": self.header(t, self.frame_id),
            "height": camera.height,
            "width": camera.width,
            "distortion_model": "plumb_bob",
            "d": np.zeros(5),
            "k": K.ravel(),
            "r": np.eye(3).ravel(),
            "p": np.hstack([K, np.zeros((3, 1))]).ravel(),
            "binning_x": 0,
            "binning_y": 0,
            "roi": self.make(
                "sensor_msgs/msg/RegionOfInterest",
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
            ),
        }  # fmt: skip

    def write_image(self, topic: str, t: int, encoding: str, pixels: np.ndarray) -> None:
        """Write a sensor_msgs/Image of pixels (H, W) or (H, W, C)."""
        pixels = np.ascontiguousarray(pixels)
        self.write(
            topic,
            t,
            header=self.header(t, self.frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )

    def transform(self, t: int, parent: str, child: str, parent_T_child: np.ndarray) -> Any:
        """geometry_msgs/TransformStamped."""
        pose = self.pose(parent_T_child)
        return self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(t, parent),
            child_frame_id=child,
            transform=self.make(
                "geometry_msgs/msg/Transform",
                translation=self.vector(*parent_T_child[:3, 3]),
                rotation=pose.orientation,
            ),
        )

    def pose(self, a_T_b: np.ndarray) -> Any:
        """geometry_msgs/Pose of a (4, 4) transform."""
        x, y, z = a_T_b[:3, 3].tolist()
        qx, qy, qz, qw = quaternion_from_pose(a_T_b).tolist()
        return self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=self.make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        )

    def vector(self, x: float, y: float, z: float) -> Any:
        """geometry_msgs/Vector3."""
        return self.make("geometry_msgs/msg/Vector3", x=float(x), y=float(y), z=float(z))

    def header(self, t: int, frame_id: str) -> Any:
        """std_msgs/Header."""
        sec, nanosec = divmod(t, 1_000_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def make(self, kind: str, /, **fields: Any) -> Any:
        """A message of a type with these fields."""
        return self.types.types[kind](**fields)

    def write(self, topic: str, t: int, /, **fields: Any) -> None:
        """Write a message of a topic's type with these fields, logged at `t` nanoseconds."""
        kind = self._topics[topic]
        data = self.types.serialize_cdr(self.make(kind, **fields), kind)
        self._writer.write(self._connections[topic], t, data)
