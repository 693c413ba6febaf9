"""The node's subscriptions: callbacks that decode, hand to the assembler, and pass on what is complete."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gnesf_model.config import Config
from gnesf_model.data.assembler import FrameAssembler
from gnesf_model.data.feed import MessageFeed
from gnesf_model.data.pose_chain import POSE_SOURCES
from gnesf_model.frame import Frame, FrameDropped
from gnesf_ros import qos

try:  # Humble calls the module otherwise
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:
    from rclpy.qos_event import SubscriptionEventCallbacks

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

NO_TF = (
    "the message package tf2_msgs is not installed, so /tf and /tf_static cannot be read: install "
    "ros-$ROS_DISTRO-tf2-msgs"
)
SILENCE_S = 2.0
"""With ``queue: all``, so long after the last message a recording counts as over."""
_HELD_POSES = 4000
"""Poses kept until the pose source is settled: 10 s at 400 Hz."""


@dataclass
class Topic:
    """What is known of one input topic.

    Attributes:
        role: ``color``, ``camera_info``, ``depth``, ``pose``, ``odom``, ``tf`` or ``tf_static``.
        name: the resolved name.
        received: messages so far.
        last_s: steady time of the latest one.
        incompatible: the QoS policy in which a publisher does not match, empty while all do.
    """

    role: str
    name: str
    received: int = 0
    last_s: float = 0.0
    incompatible: str = ""


class FrameInput:
    """Everything from subscriptions to frames; belongs to the executor's thread.

    Attributes:
        assembler: makes the frames, and counts what is dropped.
        topics: by role.
        color_frame: frame_id of the latest colour image.
        trouble: why the pose source could not be settled; empty while there is no such trouble.

    Args:
        node: whose subscriptions they are.
        config: settings.
        submit: takes each complete frame.
        idle: whether all frames submitted so far are done.

    Raises:
        ValueError: settings that contradict each other, or TF is asked for and its message type is missing.
    """

    def __init__(self, node: Node, config: Config, submit: Callable[[Frame], None], idle: Callable[[], bool]) -> None:
        self.assembler = FrameAssembler(config.input, "required" if config.node.use_depth else "none")
        self.color_frame = ""
        self.trouble = ""
        self._node, self._config, self._submit, self._idle = node, config, submit, idle
        self._every_frame = config.node.queue == "all"
        self._held: deque[tuple[str, Any]] = deque(maxlen=_HELD_POSES)
        self._ended = True
        self.topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Any] = {}
        if TFMessage is None and config.input.pose_source == "tf":
            raise ValueError(f"input.pose_source is tf, but {NO_TF}")
        color_topic = node.resolve_topic_name("color/image_raw")
        self._feed = MessageFeed(self.assembler, config.input.depth_unit_m, "image_rect" in color_topic)
        self._subscribe_all()
        if config.input.pose_source != "auto":
            self._log_pose_source(config.input.pose_source)

    def poll(self) -> None:
        """Pass on what is complete by now, and give up on what waited too long."""
        self._guarded("the frame", self._poll)

    def _poll(self) -> None:
        if self.assembler.pose_source is None and self.topics["color"].received:
            self._settle_pose_source()
        if not self._every_frame:
            frames = self.assembler.poll(self._node.get_clock().now().nanoseconds)
        else:
            # Stamps alone decide, so that the map is that of the recording however fast it is played.
            frames = self.assembler.poll(flush=self._recording_ended())
        for frame in frames:
            self._submit(frame)

    def publishers(self, role: str) -> int:
        """How many publishers an input topic has."""
        return self._node.count_publishers(self.topics[role].name)

    @property
    def required(self) -> list[Topic]:
        """The topics without which nothing can be mapped."""
        roles = ["color", "camera_info", *(["depth"] if self._config.node.use_depth else [])]
        source = self.assembler.pose_source
        return [self.topics[role] for role in [*roles, *([source] if source else [])]]

    def _subscribe_all(self) -> None:
        source, node_config = self._config.input.pose_source, self._config.node
        images = qos.images(node_config.queue, node_config.max_queue)
        poses = qos.poses(node_config.queue, node_config.max_queue)
        # Static transforms first: what they say is needed from the first image on.
        if TFMessage is not None:
            self._subscribe("tf_static", TFMessage, "/tf_static", qos.static_transforms(), self._on_tf_static)
            self._subscribe("tf", TFMessage, "/tf", poses, self._feed.tf)
        else:
            self._node.get_logger().warning(f"{NO_TF}. Set input.body_T_camera where poses are not the camera's.")
        if source in ("auto", "pose"):
            self._subscribe("pose", PoseStamped, "pose", poses, lambda msg: self._on_pose("pose", msg))
        if source in ("auto", "odom"):
            self._subscribe("odom", Odometry, "odom", poses, lambda msg: self._on_pose("odom", msg))
        self._subscribe("camera_info", CameraInfo, "color/camera_info", images, self._feed.camera_info)
        if node_config.use_depth:
            self._subscribe("depth", Image, "depth/image_raw", images, self._feed.depth)
        kind = Image if node_config.image_transport == "raw" else CompressedImage
        self._subscribe("color", kind, self._color_topic(), images, self._on_color)

    def _color_topic(self) -> str:
        """The colour topic; that of compressed images follows a remapping of the raw one."""
        raw, compressed = "color/image_raw", "color/image_raw/compressed"
        if self._config.node.image_transport == "raw":
            return raw
        resolved = self._node.resolve_topic_name(compressed)
        untouched = self._node.resolve_topic_name(compressed, only_expand=True)
        return resolved if resolved != untouched else f"{self._node.resolve_topic_name(raw)}/compressed"

    def _subscribe(self, role: str, kind: type, name: str, profile: QoSProfile, take: Callable[[Any], None]) -> None:
        topic = Topic(role, self._node.resolve_topic_name(name))
        self.topics[role] = topic

        def on_message(msg: Any) -> None:
            topic.received += 1
            topic.last_s = time.monotonic()
            self._ended = False
            self._guarded(f"a message of {topic.name}", take, msg)
            self.poll()

        def on_incompatible(event: Any) -> None:
            topic.incompatible = qos_policy_name_from_kind(event.last_policy_kind).lower()
            self._node.get_logger().warning(
                f"a publisher of {topic.name} is not heard: its {topic.incompatible} does not match (ours: "
                f"{_words(profile)}); change it there, or here with qos_overrides.{topic.name}.subscription"
            )

        self._subscriptions[role] = self._node.create_subscription(
            kind,
            name,
            on_message,
            profile,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=on_incompatible),
        )

    def _guarded(self, what: str, action: Callable[..., None], *arguments: Any) -> None:
        """Count and log an unexpected error: no message may end the node."""
        try:
            action(*arguments)
        except Exception as error:
            self.assembler.drop(FrameDropped("internal_error", f"{what}: {type(error).__name__}: {error}"))
            self._node.get_logger().error(f"internal error, {what} is lost:\n{traceback.format_exc()}")

    def _on_color(self, msg: Any) -> None:
        self.color_frame = msg.header.frame_id
        if self.assembler.pose_source is None:
            self._settle_pose_source()
        self._feed.color(msg)

    def _on_tf_static(self, msg: Any) -> None:
        self._feed.tf(msg, static=True)

    def _on_pose(self, source: str, msg: Any) -> None:
        if self.assembler.pose_source is None:
            self._held.append((source, msg))
        elif self.assembler.pose_source == source:
            self._feed.pose(msg)

    def _settle_pose_source(self) -> None:
        """pose_source auto: the first of pose, odom and tf that is published, once there are images."""
        for source in POSE_SOURCES:
            if source in self.topics and self.publishers(source):
                break
        else:
            return
        try:
            self.assembler.use_pose_source(source)
        except ValueError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        self._log_pose_source(source)
        for held_source, msg in self._held:
            if held_source == source:
                self._feed.pose(msg)
        self._held.clear()

    def _log_pose_source(self, source: str) -> None:
        whose = f", as those of {self._config.input.pose_frame} (input.pose_frame)" if source == "pose" else ""
        self._node.get_logger().info(f"poses come from {source} ({self.topics[source].name}){whose}")

    def _recording_ended(self) -> bool:
        """Whether all is quiet, so that what still waits waits in vain."""
        if self._ended or not self.assembler.waiting or not self._idle():
            return self._ended
        newest = max(topic.last_s for topic in self.topics.values())
        self._ended = time.monotonic() - newest > SILENCE_S
        return self._ended


def _words(profile: QoSProfile) -> str:
    return f"{profile.reliability.name}, {profile.durability.name}".lower()
