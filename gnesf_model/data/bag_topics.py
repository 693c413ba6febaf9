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
TF = "tf2_msgs/msg/TFMessage"
POSE_TYPES = {
    "pose": "geometry_msgs/msg/PoseStamped",
    "pose_with_covariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "transform": "geometry_msgs/msg/TransformStamped",
    "odom": "nav_msgs/msg/Odometry",
}
"""By pose source, in the order in which ``auto`` looks for them."""

MIN_POSES_PER_IMAGE = 0.1
"""A pose topic with fewer messages is no trajectory (a goal, an initial pose) and is not found by itself."""

FirstMessage = Callable[[Connection], Any]
"""The first message of a topic, deserialised; None where there is none."""


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera; `depth` and `depth_info` are None where there is none."""

    color: Connection
    camera_info: Connection
    depth: Connection | None
    depth_info: Connection | None

    def all(self) -> list[Connection]:
        """Those that there are."""
        return [c for c in (self.color, self.camera_info, self.depth, self.depth_info) if c]


@dataclass(frozen=True)
class BagTopics:
    """The topics that make frames; `pose` is None where TF is the source."""

    cameras: dict[str, CameraTopics]
    """By the camera's name; one without a name where the configuration names none."""
    pose: Connection | None
    pose_source: str
    """One of `POSE_SOURCES`."""
    tf: tuple[Connection, ...]

    @property
    def first(self) -> CameraTopics:
        """Those of the only camera, or of the first."""
        return next(iter(self.cameras.values()))

    @property
    def has_depth(self) -> bool:
        """Whether every camera has depth."""
        return all(camera.depth for camera in self.cameras.values())

    @property
    def images(self) -> int:
        """Colour images of all cameras."""
        return sum(camera.color.msgcount for camera in self.cameras.values())

    def names(self) -> set[str]:
        """Every topic that is read."""
        cameras = [c for camera in self.cameras.values() for c in camera.all()]
        return {c.topic for c in (*cameras, self.pose, *self.tf) if c}

    def describe(self) -> str:
        """One line for logs."""
        parts = []
        for name, camera in self.cameras.items():
            depth = camera.depth.topic if camera.depth else "none"
            text = f"colour {camera.color.topic}, camera info {camera.camera_info.topic}, depth {depth}"
            parts.append(f"{name}: {text}" if name else text)
        pose = self.pose.topic if self.pose else "/tf"
        return ", ".join([*parts, f"{self.pose_source} {pose}"])


def choose_topics(connections: list[Connection], config: InputConfig, first_message: FirstMessage) -> BagTopics:
    """The topics named by the configuration, and for empty names the best of each type.

    Of several colour topics one with a camera info beside it is preferred, then one named color or rgb,
    raw over compressed, and the first by name. Of several depth topics one in the colour image's frame,
    then one named aligned or registered, and raw over compressed. Of several pose topics the one with most
    messages. Of several cameras each has the topics with its name between slashes.

    Raises:
        ValueError: a named topic is not there, or nothing fits; the text lists topics and types.
    """
    cameras = {}
    for name in config.cameras or [""]:
        own = [c for c in connections if not name or f"/{name}/" in c.topic]
        choice = _Choice(own, config, first_message, connections)
        color = choice.color()
        depth = choice.depth(color)
        cameras[name] = CameraTopics(color, choice.camera_info(color), depth, choice.beside(depth) if depth else None)
    choice = _Choice(connections, config, first_message, connections)
    pose, source = choice.pose(next(iter(cameras.values())).color)
    return BagTopics(cameras, pose, source, tuple(c for c in choice.connections if c.msgtype == TF))


class _Choice:
    def __init__(
        self,
        connections: list[Connection],
        config: InputConfig,
        first_message: FirstMessage,
        everything: list[Connection],
    ) -> None:
        self.connections = sorted(connections, key=lambda c: c.topic)
        self._everything = sorted(everything, key=lambda c: c.topic)
        self._config = config
        self._first_message = first_message

    def color(self) -> Connection:
        if self._config.color_topic:
            return self._named("color_topic", (IMAGE, COMPRESSED))
        found = [c for c in self._of_type(IMAGE) if self._encoding(c) in COLOR_ENCODINGS]
        found += [c for c in self._of_type(COMPRESSED) if not is_depth_format(self._format(c))]

        def rank(c: Connection) -> tuple:
            named = any(word in c.topic for word in ("color", "rgb"))
            gray = c.msgtype == IMAGE and self._encoding(c) in ("mono8", "8UC1")
            return (self.beside(c) is None, not named, gray, c.msgtype == COMPRESSED, c.topic)

        return self._best("colour image", sorted(found, key=rank), "color_topic")

    def camera_info(self, color: Connection) -> Connection:
        if self._config.camera_info_topic:
            return self._named("camera_info_topic", (CAMERA_INFO,))
        beside = self.beside(color)
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
            return self._named("depth_topic", (IMAGE, COMPRESSED))
        found = [c for c in self._of_type(IMAGE) if self._encoding(c) in DEPTH_ENCODINGS]
        found += [c for c in self._of_type(COMPRESSED) if is_depth_format(self._format(c))]
        if not found:
            return None
        color_frame = self._frame_id(color)

        def rank(c: Connection) -> tuple:
            same = self._frame_id(c) == color_frame
            named = any(word in c.topic for word in ("aligned", "registered"))
            return (not same, not named, c.msgtype == COMPRESSED, c.topic)

        return self._best("depth image", sorted(found, key=rank), "depth_topic")

    def pose(self, color: Connection) -> tuple[Connection | None, str]:
        """Topic and source; the topic is None when TF is the source."""
        wished = self._config.pose_source
        if self._config.pose_topic and wished != "tf":
            types = POSE_TYPES if wished == "auto" else {wished: POSE_TYPES[wished]}
            topic = self._named("pose_topic", tuple(types.values()))
            return topic, next(source for source, kind in types.items() if kind == topic.msgtype)
        for source, kind in POSE_TYPES.items():
            if wished not in ("auto", source):
                continue
            found = self._of_type(kind)
            if wished == "auto":
                found = [c for c in found if c.msgcount >= MIN_POSES_PER_IMAGE * color.msgcount]
            if found or wished == source:
                ranked = sorted(found, key=lambda c: (-c.msgcount, c.topic))
                return self._best(source, ranked, "pose_topic"), source
        if self._of_type(TF):
            return None, "tf"
        raise ValueError(
            "the bag holds no pose: expected PoseStamped, PoseWithCovarianceStamped, TransformStamped, Odometry or "
            f"/tf. {self._listing()}"
        )

    def _of_type(self, msgtype: str) -> list[Connection]:
        return [c for c in self.connections if c.msgtype == msgtype]

    def _encoding(self, image: Connection) -> str:
        return getattr(self._first_message(image), "encoding", "")

    def _frame_id(self, image: Connection) -> str:
        """Empty where the first message cannot be read."""
        header = getattr(self._first_message(image), "header", None)
        return getattr(header, "frame_id", "")

    def _format(self, compressed: Connection) -> str:
        return getattr(self._first_message(compressed), "format", "")

    def beside(self, image: Connection) -> Connection | None:
        """The camera info in the namespace of an image topic."""
        raw = image.topic.removesuffix("/compressed").removesuffix("/compressedDepth")
        wanted = raw.rsplit("/", 1)[0] + "/camera_info"
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
        topics = ", ".join(f"{c.topic} ({c.msgtype}, {c.msgcount})" for c in self._everything)
        return f"The bag holds: {topics or 'no message'}"


def is_depth_format(form: str) -> bool:
    """Whether the format of a compressed image says that it is depth."""
    return "compressedDepth" in form or form.startswith(("16UC1", "32FC1", "mono16"))
