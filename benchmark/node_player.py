"""The other process of benchmark.node: a camera, and somebody who listens to what the node says of its images."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from benchmark.node import HEIGHT, WIDTH
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.geometry import quaternion_from_pose
from gnesf_ros import qos
from gnesf_ros.conversions import camera_info_message, fill, image_message
from gnesf_ros.recorder import OutputRecorder
from gnesf_ros.stamps import header

INPUTS: dict[str, type] = {
    "color/camera_info": CameraInfo,
    "pose": PoseStamped,
    "depth/image_raw": Image,
    "color/image_raw": Image,
}
"""In the order in which they are sent."""
_WAIT_S = 120.0
_VIEWS, _PERIOD_NS = 12, 33_333_333


def main(frames: int, points: bool) -> None:
    """Send that many frames, each when the one before is done: a few views, forth and back."""
    views = list(RoomSource(1, frames=_VIEWS, width=WIDTH, height=HEIGHT, shading=False))
    order = [*range(_VIEWS), *range(_VIEWS - 2, 0, -1)]
    room = [replace(views[order[i % len(order)]], stamp_ns=(i + 1) * _PERIOD_NS) for i in range(frames)]
    rclpy.init(args=[])
    heard = OutputRecorder("/gnesf", Image, "/color/image_raw", qos.images("all", 10))
    node = rclpy.create_node("gnesf_player")
    wanted: list[tuple[type, str]] = [(Image, "semantic_color/image_raw")] + [(PointCloud2, "points")] * points
    wanted += [(CameraInfo, f"{name}/camera_info") for name in ("semantic", "semantic_color", "semantic_overlay")]
    for kind, name in wanted:
        node.create_subscription(kind, f"/gnesf/{name}", lambda message: None, 10)
    publishers = {topic: node.create_publisher(kind, topic, qos.images("all", 10)) for topic, kind in INPUTS.items()}
    try:
        _wait(heard, lambda: heard.active, "the node to be active")
        _wait(heard, lambda: all(p.get_subscription_count() for p in publishers.values()), "the node to subscribe")
        for number, frame in enumerate(room, 1):
            for topic, message in _messages(frame).items():
                publishers[topic].publish(message)
            _wait(heard, lambda n=number: _dealt_with(heard) == n, f"frame {number}")
    finally:
        heard.close()
        node.destroy_node()
        rclpy.try_shutdown()


def _dealt_with(heard: OutputRecorder) -> int:
    status = heard.status
    return 0 if status.frames_pending else status.frames_processed + sum(status.drop_counts)


def _wait(heard: OutputRecorder, condition: Any, what: str) -> None:
    if not heard.wait(condition, lambda: None, _WAIT_S):
        raise RuntimeError(f"waited {_WAIT_S:.0f} s in vain for {what}")


def _messages(frame: Frame) -> dict[str, Any]:
    """A frame as a depth camera sends it: rgb8, and millimetres."""
    head = header(frame.stamp_ns, "camera_color_optical_frame")
    pose = PoseStamped(header=header(frame.stamp_ns, "odom"))
    position, turn = pose.pose.position, pose.pose.orientation
    position.x, position.y, position.z = frame.world_T_cam[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = quaternion_from_pose(frame.world_T_cam).tolist()
    depth = np.rint(frame.depth * 1000).astype(np.uint16)
    height, width = depth.shape
    return {
        "color/camera_info": camera_info_message(frame.camera, head),
        "pose": pose,
        "depth/image_raw": Image(
            header=head, height=height, width=width, encoding="16UC1", step=2 * width, data=fill(depth)
        ),
        "color/image_raw": image_message(frame.rgb, head),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), "points" in sys.argv[2:])
