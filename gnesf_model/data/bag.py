"""Frames of a ROS 2 bag, without ROS."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnesf_model.config import InputConfig
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.bag_topics import BagTopics, choose_topics
from gnesf_model.data.camera_rig import CameraRig
from gnesf_model.data.depth_input import DepthUse
from gnesf_model.data.feed import MessageFeed
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import CLASSES_FILE, LabelFolder

logger = logging.getLogger(__name__)


class BagSource:
    """Frames of a bag, assembled as the node would: in the order of the log, by the messages' stamps.

    A message that cannot be decoded is dropped and counted. Where the recording is damaged, reading stops:
    the frames before are yielded, and `drops` holds ``truncated_bag``.

    Args:
        path: folder with metadata.yaml, or a single .mcap or .db3 file; see `BagFile`.
        config: cameras, topics, frames, tolerances; pose_source auto takes the first of `POSE_SOURCES` in the bag.
        depth: as `FrameAssembler`; None: required where the bag has depth.
        labels_dir: ground truth as ``<stamp_ns>.png``, with classes.yaml or in ScanNet-20 ids.

    Attributes:
        path: folder or file.
        topics: which topics make the frames.
        name, drops, last_message, label_space: as `FrameSource`.
        notices: what is no drop and yet worth a warning in the latest iteration, by reason: pose_jumped.

    Raises:
        OSError: the bag cannot be read.
        ValueError: a topic is missing; the text lists topics and types in the bag.
    """

    def __init__(
        self,
        path: str | Path,
        config: InputConfig | None = None,
        *,
        depth: DepthUse | None = None,
        labels_dir: str | Path | None = None,
    ) -> None:
        self._bag = BagFile(path)
        self.path = self._bag.path
        self._config = config or InputConfig()
        self._labels = _label_folder(labels_dir)
        self.name = self._bag.path.name if self._bag.path.is_dir() else self._bag.path.stem
        self.drops: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self.label_space = self._labels.labels.name if self._labels else None
        try:
            self.topics: BagTopics = choose_topics(self._bag.connections, self._config, self._bag.first)
        except ValueError as error:
            reasons = [f"{self._bag.path}: {error}", *self._bag.unreadable.values(), self._bag.damage]
            raise ValueError(". ".join(filter(None, reasons))) from error
        logger.info("%s: %s", self._bag.path, self.topics.describe())
        self._depth_use: DepthUse = depth or ("required" if self.topics.has_depth else "none")

    def __len__(self) -> int:
        return self.topics.images

    def __iter__(self) -> Iterator[Frame]:
        rig = CameraRig(self._config, self._depth_use)
        rig.use_pose_source(self.topics.pose_source)
        takers = self._takers(rig)
        for topic, msg in self._messages(rig):
            takers[topic](msg)
            yield from self._labelled(rig, rig.poll())
        yield from self._labelled(rig, rig.poll(flush=True))
        self._count(rig)
        for reason, count in self.notices.items():
            logger.warning("%s %d times, the last: %s", reason, count, self.last_message[reason])

    def _takers(self, rig: CameraRig) -> dict[str, Callable[[Any], None]]:
        """What each topic's messages are handed to."""
        shared = MessageFeed(rig, self._config)
        takers: dict[str, Callable[[Any], None]] = {}
        for connection in self.topics.tf:
            static = connection.topic.endswith("tf_static")
            takers[connection.topic] = lambda msg, static=static: shared.tf(msg, static)
        if self.topics.pose:
            takers[self.topics.pose.topic] = shared.pose
        for name, topics in self.topics.cameras.items():
            depth = topics.depth.topic if topics.depth else ""
            feed = MessageFeed(rig.cameras[name], self._config, topics.color.topic, depth)
            takers[topics.color.topic] = feed.color
            takers[topics.camera_info.topic] = feed.camera_info
            if topics.depth:
                takers[depth] = feed.depth
            if topics.depth_info and topics.depth_info.topic != topics.camera_info.topic:
                takers[topics.depth_info.topic] = feed.depth_info
        return takers

    def _count(self, rig: CameraRig) -> None:
        self.drops, self.notices, self.last_message = rig.drops, rig.notices, rig.last_message

    def _messages(self, rig: CameraRig) -> Iterator[tuple[str, Any]]:
        """Topic and message in the order of the log, up to the end or to the first damage."""
        try:
            for connection, _, raw in self._bag.raw(self.topics.names(), rig.drop):
                try:
                    msg = self._bag.decode(connection, raw)
                except FrameDropped as error:
                    rig.drop(error)
                else:
                    yield connection.topic, msg
            if self._bag.damage:
                rig.drop(FrameDropped("truncated_bag", self._bag.damage))
        except FrameDropped as error:
            logger.warning("%s", error)
            rig.drop(error)

    def _labelled(self, rig: CameraRig, frames: list[Frame]) -> Iterator[Frame]:
        """The frames with their ground truth, which has the distortion of the recorded images."""
        if frames:
            self._count(rig)
        for frame in frames:
            if self._labels is not None:
                rectifier = rig.cameras[frame.source].rectifier(frame.stamp_ns)
                try:
                    labels = rectifier.labels(self._labels(frame.stamp_ns))
                    frame = replace(frame, labels=labels)
                except KeyError:
                    logger.debug("no ground truth for the stamp %d", frame.stamp_ns)
                except FrameDropped as error:
                    rig.drop(error)
                    continue
            yield frame


def _label_folder(labels_dir: str | Path | None) -> LabelFolder | None:
    if labels_dir is None:
        return None
    described = (Path(labels_dir).expanduser() / CLASSES_FILE).is_file()
    return LabelFolder(labels_dir, None if described else LabelSpace.load("scannet20"))
