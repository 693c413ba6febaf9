"""A mapping node and the robot that feeds it: frames go out one by one, as whatever messages a test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from gnesf_msgs.msg import MapperStatus
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import NodeProcess, Peer, new_domain
from ros_recording import OPTICAL, REMAPS
from sensor_msgs.msg import CameraInfo, Image

from gnesf_model.data.bag import BagSource
from gnesf_model.frame import Frame
from gnesf_model.geometry import quaternion_from_pose
from gnesf_ros import qos
from gnesf_ros.conversions import camera_info_message, image_message
from gnesf_ros.stamps import header

BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
TOPICS: dict[str, tuple[type, str]] = {
    "info": (CameraInfo, "/camera/color/camera_info"),
    "pose": (PoseStamped, "/pose"),
    "depth": (Image, "/camera/depth/image_raw"),
    "color": (Image, "/camera/color/image_raw"),
}
"""By role, in the order in which they are sent."""


class Robot:
    """A node in its process, and publishers for its inputs.

    Args:
        room: folder of the recording whose frames are sent.
        log: the node's.
        topics: role -> type and topic, where they differ from `TOPICS`, and the publisher's quality of service,
            where it differs from `profile`.
        profile: quality of service of the publishers.
        extra: further ROS arguments of the node.
        remaps: of the node's inputs.
        parameters: of the node.
    """

    def __init__(
        self,
        room: Path,
        log: Path,
        topics: dict[str, tuple] | None = None,
        profile: QoSProfile | int = 50,
        extra: tuple[str, ...] = (),
        remaps: dict[str, str] | None = None,
        **parameters: Any,
    ) -> None:
        self.frames: list[Frame] = list(BagSource(room / "bag"))
        domain = new_domain()
        self.peer = Peer(domain)
        self.statuses = self.peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        self.diagnostics = self.peer.listen(DiagnosticArray, "/diagnostics")
        given = {"segmenter.model": f"oracle:{room / 'labels'}", "input.pose_wait_s": 5.0, **parameters}
        self.node = NodeProcess(domain, given, REMAPS if remaps is None else remaps, log, extra=extra)
        self.publishers: dict[str, Any] = {}
        try:
            for role, (kind, topic, *own) in {**TOPICS, **(topics or {})}.items():
                self.publishers[role] = self.peer.node.create_publisher(kind, topic, *(own or [profile]))
            self.peer.matched(*self.publishers.values())
            self.peer.wait(lambda: self.statuses, "the node's first status")
        except BaseException:
            self.close()
            raise

    def advertise(self, role: str, kind: type, topic: str, profile: QoSProfile | int = 50) -> None:
        """Publish a further topic; waits until the node hears it."""
        self.publishers[role] = self.peer.node.create_publisher(kind, topic, profile)
        self.peer.matched(self.publishers[role])

    @property
    def status(self) -> MapperStatus:
        """The newest one."""
        return self.statuses[-1]

    @property
    def drops(self) -> dict[str, int]:
        """Drops so far, by reason."""
        return dict(zip(self.status.drop_reasons, self.status.drop_counts))

    def send(self, frame: Frame, images: int = 1, **messages: Any) -> None:
        """One frame, with `messages` by role in place of the usual ones (None: nothing); waits until it is dealt with.

        Args:
            images: how many colour images are among the messages.
        """
        wanted = self.status.frames_received + images
        usual = usual_messages(frame)
        for role in [*usual, *(set(messages) - set(usual))]:
            message = messages.get(role, usual.get(role))
            if message is not None:
                self.publishers[role].publish(message)
        self.peer.wait(
            lambda: self.status.frames_received >= wanted and self.status.frames_pending == 0,
            f"the node to deal with image {wanted}; {self.drops}",
        )

    def says(self, words: str, level: bytes | None = None) -> None:
        """Wait until the diagnostics say something."""

        def said() -> bool:
            statuses = [s for array in self.diagnostics for s in array.status]
            return any(words in s.message and level in (None, s.level) for s in statuses)

        self.peer.wait(said, f"diagnostics with {words!r}")

    def shows(self, key: str, beginning: str) -> None:
        """Wait until the diagnostics say something under a key that begins so."""
        self.peer.wait(lambda: self.value(key).startswith(beginning), f"{beginning!r} under {key!r} in the diagnostics")

    def value(self, key: str) -> str:
        """What the newest diagnostics say under a key; empty where they say nothing."""
        newest = self.diagnostics[-1].status if self.diagnostics else []
        return next((v.value for s in newest for v in s.values if v.key == key), "")

    def close(self) -> None:
        """End the node and leave."""
        self.peer.close()
        self.node.kill()


def usual_messages(frame: Frame, frame_id: str = OPTICAL) -> dict[str, Any]:
    """The messages of a frame, by role."""
    head = header(frame.stamp_ns, frame_id)
    return {
        "info": camera_info_message(frame.camera, head),
        "pose": PoseStamped(header=header(frame.stamp_ns, "odom"), pose=pose_message(frame.world_T_cam)),
        "depth": image_message(frame.depth, head),
        "color": image_message(frame.rgb, head),
    }


def pose_message(a_T_b: np.ndarray) -> Pose:
    """geometry_msgs/Pose of a (4, 4) transform."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = a_T_b[:3, 3].tolist()
    turn = pose.orientation
    turn.x, turn.y, turn.z, turn.w = quaternion_from_pose(a_T_b).tolist()
    return pose


def odometry(stamp_ns: int, child: str, odom_T_child: np.ndarray) -> Odometry:
    """nav_msgs/Odometry in the frame odom."""
    message = Odometry(header=header(stamp_ns, "odom"), child_frame_id=child)
    message.pose.pose = pose_message(odom_T_child)
    return message


def transform(stamp_ns: int, parent: str, child: str, parent_T_child: np.ndarray) -> TransformStamped:
    """geometry_msgs/TransformStamped."""
    pose = pose_message(parent_T_child)
    message = TransformStamped(header=header(stamp_ns, parent), child_frame_id=child)
    translation = message.transform.translation
    translation.x, translation.y, translation.z = pose.position.x, pose.position.y, pose.position.z
    message.transform.rotation = pose.orientation
    return message
