"""The node's subscriptions: callbacks that decode, hand to the assembler, and pass on what is complete."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from gnesf_model.config import Config
from gnesf_model.data.camera_rig import CameraRig
from gnesf_model.data.feed import MessageFeed
from gnesf_model.data.pose_chain import POSE_SOURCES
from gnesf_model.frame import Frame, FrameDropped
from gnesf_ros import qos, transports
from gnesf_ros.subscriptions import Subscriptions, Topic, camera_role

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
_PATIENCE_S = 2.0
"""A pose source that was chosen and sends nothing for so long gives way to one that does."""
_HELD_POSES = 4000
"""Poses kept until the pose source is settled: 10 s at 400 Hz."""
_POSE_TYPES = {
    "pose": PoseStamped,
    "pose_with_covariance": PoseWithCovarianceStamped,
    "transform": TransformStamped,
    "odom": Odometry,
}
"""By pose source, which is also the topic's name."""


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
        use = "none" if not config.node.use_depth else "required" if config.geometry == "depth" else "optional"
        self.assembler = CameraRig(config.input, use)
        self.color_frame = ""
        self.trouble = ""
        self._node, self._config, self._submit, self._idle = node, config, submit, idle
        self._every_frame = config.node.queue == "all"
        self._held: deque[tuple[str, Any]] = deque(maxlen=_HELD_POSES)
        self._ended = True
        self._settled_s = 0.0
        self._subscriptions = Subscriptions(node, self._on_message)
        self.topics = self._subscriptions.topics
        if TFMessage is None and config.input.pose_source == "tf":
            raise ValueError(f"input.pose_source is tf, but {NO_TF}")
        self._shared = MessageFeed(self.assembler, config.input)
        self._subscribe_poses()
        for name in self.assembler.cameras:
            self._subscribe_camera(name)
        if config.input.pose_source != "auto":
            self._log_pose_source(config.input.pose_source)

    def adjust(self, config: Config) -> None:
        """Go on with other tolerances, waiting times and limits, from the next frame on."""
        self._config = config
        self.assembler.adjust(config.input)

    def poll(self) -> None:
        """Pass on what is complete by now, and give up on what waited too long."""
        self._guarded("the frame", self._poll)

    def _poll(self) -> None:
        if self._pose_is_open() and self.images_received:
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

    def types(self, name: str) -> set[str]:
        """The message types that publishers of a topic send."""
        return {info.topic_type for info in self._node.get_publishers_info_by_topic(name)}

    def unheard(self, topic: Topic) -> str:
        """The quality of service in which a publisher of a topic does not match ours now; empty where all do."""
        return self._subscriptions.mismatch(topic)

    def keeps_for_late(self, topic: Topic) -> bool:
        """Whether a publisher of a topic keeps what it sent for late subscribers that ask for it, and ours does not."""
        return self._subscriptions.misses_the_past(topic)

    def elsewhere(self, topic: Topic) -> str:
        """Where the images of a silent topic come by another transport, with the remedy; empty where they do not."""
        return transports.elsewhere(topic, self._config.node, self.types)

    @property
    def images_received(self) -> int:
        """Colour images so far, of all cameras."""
        return sum(topic.received for topic in self.colors)

    @property
    def colors(self) -> list[Topic]:
        """The colour topics of all cameras."""
        return [self.topics[camera_role(name, "color")] for name in self.assembler.cameras]

    @property
    def required(self) -> list[Topic]:
        """The topics without which nothing can be mapped."""
        kinds = ["color", "camera_info"]
        if self._config.node.use_depth and self._config.geometry == "depth":
            kinds.append("depth")
        roles = [camera_role(name, kind) for name in self.assembler.cameras for kind in kinds]
        source = self.assembler.pose_source
        return [self.topics[role] for role in [*roles, *([source] if source else [])]]

    def _subscribe_poses(self) -> None:
        source, node_config = self._config.input.pose_source, self._config.node
        poses = qos.poses(node_config.queue, node_config.max_queue)
        # Static transforms first: what they say is needed from the first image on.
        if TFMessage is not None:
            self._subscriptions.add("tf_static", TFMessage, "/tf_static", qos.static_transforms(), self._on_tf_static)
            self._subscriptions.add("tf", TFMessage, "/tf", poses, self._shared.tf)
        else:
            self._node.get_logger().warning(f"{NO_TF}. Set input.body_T_camera where poses are not the camera's.")
        for name, kind in _POSE_TYPES.items():
            if source in ("auto", name):
                self._subscriptions.add(name, kind, name, poses, lambda msg, name=name: self._on_pose(name, msg))

    def _subscribe_camera(self, name: str) -> None:
        """The topics of one camera, below its name if it has one."""
        node_config, subscriptions = self._config.node, self._subscriptions
        images = qos.images(node_config.queue, node_config.max_queue)
        raw = [camera_role(name, f"{kind}/image_raw") for kind in ("color", "depth")]
        color, color_kind = subscriptions.image_topic(raw[0], node_config.image_transport)
        depth, depth_kind = subscriptions.image_topic(raw[1], node_config.depth_transport)
        resolved = [self._node.resolve_topic_name(topic) for topic in (color, depth)]
        feed = MessageFeed(self.assembler.cameras[name], self._config.input, *resolved)
        info = camera_role(name, "color/camera_info")
        subscriptions.add(camera_role(name, "camera_info"), CameraInfo, info, images, feed.camera_info)
        if node_config.use_depth:
            depth_info = subscriptions.depth_info_topic(name, resolved[1])
            if self._node.resolve_topic_name(depth_info) != self._node.resolve_topic_name(info):
                role = camera_role(name, "depth_info")
                subscriptions.add(role, CameraInfo, depth_info, images, feed.depth_info)
            subscriptions.add(camera_role(name, "depth"), depth_kind, depth, images, feed.depth)

        def on_color(msg: Any) -> None:
            self._on_color(feed, msg)

        subscriptions.add(camera_role(name, "color"), color_kind, color, images, on_color, count_lost=True)

    def _on_message(self, topic: Topic, take: Callable[[Any], None], msg: Any) -> None:
        self._ended = False
        self._guarded(f"a message of {topic.name}", take, msg)
        self.poll()

    def _guarded(self, what: str, action: Callable[..., None], *arguments: Any) -> None:
        """Count and log an unexpected error: no message may end the node."""
        try:
            action(*arguments)
        except Exception as error:
            self.assembler.drop(FrameDropped("internal_error", f"{what}: {type(error).__name__}: {error}"))
            self._node.get_logger().error(f"internal error, {what} is lost:\n{traceback.format_exc()}")

    def _on_color(self, feed: MessageFeed, msg: Any) -> None:
        self.color_frame = msg.header.frame_id
        if self._pose_is_open():
            self._settle_pose_source()
        feed.color(msg)

    def _on_tf_static(self, msg: Any) -> None:
        self._shared.tf(msg, static=True)

    def _on_pose(self, source: str, msg: Any) -> None:
        if self.assembler.pose_source is None:
            self._held.append((source, msg))
        elif self.assembler.pose_source == source:
            self._shared.pose(msg)

    def _pose_is_open(self) -> bool:
        """Whether the pose source is not chosen, or was by ``auto`` and has sent nothing so far."""
        chosen = self.assembler.pose_source
        return chosen is None or (self._config.input.pose_source == "auto" and not self.topics[chosen].received)

    def _settle_pose_source(self) -> None:
        """pose_source auto: the first of `POSE_SOURCES` that is published, once there are images.

        One that then sends nothing, and not one pose has come from, gives way to one that does.
        """
        chosen = self.assembler.pose_source
        if chosen is None:
            found = [source for source in POSE_SOURCES if self._published(source)]
        elif time.monotonic() - self._settled_s > _PATIENCE_S:
            found = [source for source in POSE_SOURCES if source in self.topics and self.topics[source].received]
        else:
            return
        if not found:
            return
        (source, *_) = found
        try:
            self.assembler.use_pose_source(source)
        except ValueError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        self._settled_s = time.monotonic()
        if chosen is not None:
            self._node.get_logger().warning(
                f"{self.topics[chosen].name} is published, but not one pose came from it (input.pose_source chooses)"
            )
        self._log_pose_source(source)
        for held_source, msg in self._held:
            if held_source == source:
                self._shared.pose(msg)
        self._held.clear()

    def _published(self, source: str) -> bool:
        """Whether somebody publishes the topic of a pose source, as messages of its type."""
        topic = self.topics.get(source)
        return topic is not None and topic.kind in self.types(topic.name)

    def _log_pose_source(self, source: str) -> None:
        unnamed = source in ("pose", "pose_with_covariance")
        whose = f", as those of {self._config.input.pose_frame} (input.pose_frame)" if unnamed else ""
        self._node.get_logger().info(f"poses come from {source} ({self.topics[source].name}){whose}")

    def _recording_ended(self) -> bool:
        """Whether all is quiet, so that what still waits waits in vain."""
        if self._ended or not self.assembler.waiting or not self._idle():
            return self._ended
        newest = max(topic.last_s for topic in self.topics.values())
        self._ended = time.monotonic() - newest > SILENCE_S
        return self._ended
