"""Subscriptions: names, message types, quality of service, and what came."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from sensor_msgs.msg import CompressedImage, Image

from gnesf_ros import qos
from gnesf_ros.launch_arguments import REMAPPINGS

try:  # Humble calls the module otherwise
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:
    from rclpy.qos_event import SubscriptionEventCallbacks

Taker = Callable[[Any], None]
"""What a message is handed to."""


@dataclass
class Topic:
    """What is known of one input topic.

    Attributes:
        role: one of `POSE_SOURCES`, ``tf_static``, or of a camera ``color``, ``camera_info``, ``depth`` or
            ``depth_info``; with several cameras their name and a slash come first.
        name: the resolved name.
        kind: the message type that is expected, as `ros2 topic info` names it.
        received: messages so far.
        last_s: steady time of the latest one.
        lost: messages that were sent and never arrived whole, where that is watched.
        mismatched: whether there ever was a publisher that is not heard; `Subscriptions.mismatch` says of now.
    """

    role: str
    name: str
    kind: str = ""
    received: int = 0
    last_s: float = 0.0
    mismatched: bool = False
    lost: int = 0


class Subscriptions:
    """A node's subscriptions, by role.

    Args:
        node: whose they are.
        on_message: called with the topic, its taker and each message.

    Attributes:
        topics: by role.
    """

    def __init__(self, node: Node, on_message: Callable[[Topic, Taker, Any], None]) -> None:
        self.topics: dict[str, Topic] = {}
        self._node, self._on_message = node, on_message
        self._subscriptions: dict[str, Any] = {}
        self._profiles: dict[str, QoSProfile] = {}

    def add(
        self, role: str, kind: type, name: str, profile: QoSProfile, take: Taker, *, count_lost: bool = False
    ) -> None:
        """Subscribe to a topic; its quality of service can be overridden (qos_overrides)."""
        package = kind.__module__.partition(".")[0]
        topic = Topic(role, self._node.resolve_topic_name(name), f"{package}/msg/{kind.__name__}")
        self.topics[role] = topic
        # rclpy writes overrides into the profile, which are this topic's alone.
        profile = self._profiles[role] = copy.copy(profile)

        def on_message(msg: Any) -> None:
            topic.received += 1
            topic.last_s = time.monotonic()
            self._on_message(topic, take, msg)

        def on_incompatible(event: Any) -> None:
            topic.mismatched = True
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
            self._node.get_logger().warning(
                f"a publisher of {topic.name} is not heard: its {policy} does not match (ours: "
                f"{_words(profile)}); change it there, or here with qos_overrides.{topic.name}.subscription"
            )

        def on_lost(event: Any) -> None:
            topic.lost += event.total_count_change

        # No default ones: every event that is watched for costs time whenever anything happens (see `Outlet`), and
        # the diagnostics find another message type themselves.
        events = {"incompatible_qos": on_incompatible, **({"message_lost": on_lost} if count_lost else {})}
        self._subscriptions[role] = self._node.create_subscription(
            kind,
            name,
            on_message,
            profile,
            qos_overriding_options=qos.overridden(self._node, topic.name, "subscription"),
            event_callbacks=SubscriptionEventCallbacks(**events, use_default_callbacks=False),
        )

    def mismatch(self, topic: Topic) -> str:
        """The QoS policy in which a publisher that is there now does not match, empty where all do."""
        if not topic.mismatched:
            return ""
        profile = self._profiles[topic.role]
        for info in self._node.get_publishers_info_by_topic(topic.name):
            theirs = info.qos_profile
            if (theirs.reliability, profile.reliability) == (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
                return "reliability"
            if (theirs.durability, profile.durability) == (
                DurabilityPolicy.VOLATILE,
                DurabilityPolicy.TRANSIENT_LOCAL,
            ):
                return "durability"
        return ""

    def misses_the_past(self, topic: Topic) -> bool:
        """Whether a publisher keeps what it sent for late subscribers that ask for it, and this one does not."""
        if self._profiles[topic.role].durability == DurabilityPolicy.TRANSIENT_LOCAL:
            return False
        publishers = self._node.get_publishers_info_by_topic(topic.name)
        return any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in publishers)

    def image_topic(self, raw: str, transport: str) -> tuple[str, type]:
        """An image topic and its type; that of compressed images follows a remapping of the raw one."""
        if transport == "raw":
            return raw, Image
        compressed = f"{raw}/{transport}"
        if self._is_remapped(compressed):
            return compressed, CompressedImage
        return f"{self._node.resolve_topic_name(raw)}/{transport}", CompressedImage

    def depth_info_topic(self, camera: str, depth: str) -> str:
        """The depth camera's info: beside its images, as image_transport has it, unless it is remapped.

        Args:
            camera: the camera's name.
            depth: the resolved name of its depth images.
        """
        topic = camera_role(camera, "depth/camera_info")
        if self._is_remapped(topic):
            return topic
        image = depth.removesuffix("/compressedDepth").removesuffix("/compressed")
        return image.rsplit("/", 1)[0] + "/camera_info"

    def _is_remapped(self, topic: str) -> bool:
        return self._node.resolve_topic_name(topic) != self._node.resolve_topic_name(topic, only_expand=True)


def camera_role(camera: str, kind: str) -> str:
    """A role, or a topic's relative name, of a camera."""
    return f"{camera}/{kind}" if camera else kind


def renaming(role: str) -> str:
    """How a user tells the node another topic for one of the roles that a launch file has an argument for."""
    camera, _, kind = role.rpartition("/")
    (name,) = (name for name, argument in REMAPPINGS.items() if argument == f"{kind}_topic")
    if camera:
        return f"remap {camera_role(camera, name)}"
    return f"launch with {kind}_topic:=NAME, or remap {name}"


def _words(profile: QoSProfile) -> str:
    return f"{profile.reliability.name}, {profile.durability.name}".lower()
