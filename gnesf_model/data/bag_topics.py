"""Which topics of a bag are the camera, its depth and its pose: by name, or found by type."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rosbags.interfaces import Connection

from gnesf_model.config import InputConfig
from gnesf_model.data.messages import COLOR_ENCODINGS, DEPTH_ENCODINGS

logger = logging.getLogger(__name__)

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF = "tf2_msgs/msg/TFMessage"
POSES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")

MIN_POSES_PER_IMAGE = 0.1
"""A pose topic with fewer messages is no trajectory (a goal, an initial pose) and is not found by itself."""

FirstMessage = Callable[[Connection], Any]
"""The first message of a topic, deserialised; None where there is none."""


@dataclass(frozen=True)
class BagTopics:
    """The topics that make frames; `depth` and `pose` are None where there is none."""

    color: Connection
    camera_info: Connection
    depth: Connection | None
    pose: Connection | None
    pose_source: str
    """``pose``, ``odom`` or ``tf``."""
    tf: tuple[Connection, ...]

    @property
    def rectified(self) -> bool:
        """Whether the colour images are rectified already, which ROS says in the topic's name."""
        return "image_rect" in self.color.topic

    def names(self) -> set[str]:
        """Every topic that is read."""
        return {c.topic for c in (self.color, self.camera_info, self.depth, self.pose, *self.tf) if c}

    def describe(self) -> str:
        """One line for logs."""
        pose = self.pose.topic if self.pose else "/tf"
        depth = self.depth.topic if self.depth else "none"
        return (
            f"colour {self.color.topic}, camera info {self.camera_info.topic}, depth {depth}, {self.pose_source} {pose}"
        )


def choose_topics(connections: list[Connection], config: InputConfig, first_message: FirstMessage) -> BagTopics:
    """The topics named by the configuration, and for empty names the best of each type.

    Of several colour topics one with a camera info beside it is preferred, then one named color or rgb,
    raw over compressed, and the first by name. Of several depth topics one in the colour image's frame,
    then one named aligned or registered. Of several pose topics the one with most messages.

    Raises:
        ValueError: a named topic is not there, or nothing fits; the text lists topics and types.
    """
    choice = _Choice(connections, config, first_message)
    color = choice.color()
    pose, source = choice.pose(color)
    return BagTopics(
        color,
        choice.camera_info(color),
        choice.depth(color),
        pose,
        source,
        tuple(c for c in choice.connections if c.msgtype == TF),
    )


class _Choice:
    def __init__(self, connections: list[Connection], config: InputConfig, first_message: FirstMessage) -> None:
        self.connections = sorted(connections, key=lambda c: c.topic)
        self._config = config
        self._first_message = first_message

    def color(self) -> Connection:
        if self._config.color_topic:
            return self._named("color_topic", (IMAGE, COMPRESSED))
        found = [c for c in self._of_type(IMAGE) if self._encoding(c) in COLOR_ENCODINGS]
        found += [c for c in self._of_type(COMPRESSED) if "compressedDepth" not in self._format(c)]

        def rank(c: Connection) -> tuple:
            named = any(word in c.topic for word in ("color", "rgb"))
            gray = c.msgtype == IMAGE and self._encoding(c) in ("mono8", "8UC1")
            return (self._beside(c) is None, not named, gray, c.msgtype == COMPRESSED, c.topic)

        return self._best("colour image", sorted(found, key=rank), "color_topic")

    def camera_info(self, color: Connection) -> Connection:
        if self._config.camera_info_topic:
            return self._named("camera_info_topic", (CAMERA_INFO,))
        beside = self._beside(color)
        if beside is not None:
            return beside
        infos = self._of_type(CAMERA_INFO)
        if len(infos) == 1:
            logger.info("taking %s for %s: it is the only camera info", infos[0].topic, color.topic)
            return infos[0]
        raise ValueError(
            f"there is no camera info beside {color.topic}: set input.camera_info_topic. {self._listing()}"
        )

    def depth(self, color: Connection) -> Connection | None:
        if self._config.depth_topic:
            return self._named("depth_topic", (IMAGE,))
        found = [c for c in self._of_type(IMAGE) if self._encoding(c) in DEPTH_ENCODINGS]
        if not found:
            return None
        color_frame = self._first_message(color).header.frame_id

        def rank(c: Connection) -> tuple:
            same = self._first_message(c).header.frame_id == color_frame
            named = any(word in c.topic for word in ("aligned", "registered"))
            return (not same, not named, c.topic)

        return self._best("depth image", sorted(found, key=rank), "depth_topic")

    def pose(self, color: Connection) -> tuple[Connection | None, str]:
        """Topic and source; the topic is None when TF is the source."""
        kinds = {"pose": POSES, "odom": (ODOMETRY,)}
        wished = self._config.pose_source
        if self._config.pose_topic and wished != "tf":
            types = kinds.get(wished, (*POSES, ODOMETRY))
            topic = self._named("pose_topic", types)
            return topic, "odom" if topic.msgtype == ODOMETRY else "pose"
        for source, types in kinds.items():
            if wished not in ("auto", source):
                continue
            found = [c for c in self.connections if c.msgtype in types]
            if wished == "auto":
                found = [c for c in found if c.msgcount >= MIN_POSES_PER_IMAGE * color.msgcount]
            if found or wished == source:
                ranked = sorted(found, key=lambda c: (-c.msgcount, c.topic))
                return self._best(source, ranked, "pose_topic"), source
        if self._of_type(TF):
            return None, "tf"
        raise ValueError(f"the bag holds no pose: expected PoseStamped, Odometry or /tf. {self._listing()}")

    def _of_type(self, msgtype: str) -> list[Connection]:
        return [c for c in self.connections if c.msgtype == msgtype]

    def _encoding(self, image: Connection) -> str:
        return getattr(self._first_message(image), "encoding", "")

    def _format(self, compressed: Connection) -> str:
        return getattr(self._first_message(compressed), "format", "")

    def _beside(self, color: Connection) -> Connection | None:
        """The camera info in the namespace of an image topic."""
        image = color.topic.removesuffix("/compressed")
        wanted = image.rsplit("/", 1)[0] + "/camera_info"
        return next((c for c in self._of_type(CAMERA_INFO) if c.topic == wanted), None)

    def _named(self, setting: str, types: tuple[str, ...]) -> Connection:
        name = getattr(self._config, setting)
        for connection in self.connections:
            if connection.topic.lstrip("/") != name.lstrip("/"):
                continue
            if connection.msgtype not in types:
                raise ValueError(
                    f"input.{setting} {name} has the type {connection.msgtype}, expected {' or '.join(types)}"
                )
            return connection
        raise ValueError(f"input.{setting} {name} is not in the bag. {self._listing()}")

    def _best(self, what: str, ranked: list[Connection], setting: str) -> Connection:
        if not ranked:
            raise ValueError(f"no topic found for the {what}: record one or set input.{setting}. {self._listing()}")
        if len(ranked) > 1:
            others = ", ".join(c.topic for c in ranked[1:])
            logger.info("%s: taking %s (input.%s chooses), not %s", what, ranked[0].topic, setting, others)
        return ranked[0]

    def _listing(self) -> str:
        topics = ", ".join(f"{c.topic} ({c.msgtype}, {c.msgcount})" for c in self.connections)
        return f"The bag holds: {topics or 'no message'}"
