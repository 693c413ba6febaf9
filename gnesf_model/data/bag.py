"""Frames of a ROS 2 bag, without ROS."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnesf_model.config import InputConfig
from gnesf_model.data.assembler import DepthUse, FrameAssembler
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.bag_topics import BagTopics, choose_topics
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
        config: topics, frames, tolerances; pose_source auto takes the first of pose, odom, tf in the bag.
        depth: as `FrameAssembler`; None: required where the bag has depth.
        labels_dir: ground truth as ``<stamp_ns>.png``, with classes.yaml or in ScanNet-20 ids.

    Attributes:
        path: folder or file.
        topics: which topics make the frames.
        name, drops, last_message, label_space: as `FrameSource`.

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
        self.last_message: dict[str, str] = {}
        self.label_space = self._labels.labels.name if self._labels else None
        try:
            self.topics: BagTopics = choose_topics(self._bag.connections, self._config, self._bag.first)
        except ValueError as error:
            raise ValueError(". ".join(filter(None, [f"{self._bag.path}: {error}", self._bag.damage]))) from error
        logger.info("%s: %s", self._bag.path, self.topics.describe())
        self._depth_use: DepthUse = depth or ("required" if self.topics.depth else "none")

    def __len__(self) -> int:
        return self.topics.color.msgcount

    def __iter__(self) -> Iterator[Frame]:
        assembler = FrameAssembler(self._config, self._depth_use)
        assembler.use_pose_source(self.topics.pose_source)
        self.drops, self.last_message = assembler.drops, assembler.last_message
        feed = MessageFeed(assembler, self._config.depth_unit_m, self.topics.rectified)
        for topic, msg in self._messages(assembler):
            self._handle(feed, topic, msg)
            yield from self._labelled(assembler, assembler.poll())
        yield from self._labelled(assembler, assembler.poll(flush=True))

    def _messages(self, assembler: FrameAssembler) -> Iterator[tuple[str, Any]]:
        """Topic and message in the order of the log, up to the end or to the first damage."""
        try:
            for connection, _, raw in self._bag.raw(self.topics.names()):
                try:
                    msg = self._bag.decode(connection, raw)
                except FrameDropped as error:
                    assembler.drop(error)
                else:
                    yield connection.topic, msg
            if self._bag.damage:
                assembler.drop(FrameDropped("truncated_bag", self._bag.damage))
        except FrameDropped as error:
            logger.warning("%s", error)
            assembler.drop(error)

    def _handle(self, feed: MessageFeed, topic: str, msg: Any) -> None:
        topics = self.topics
        if topic == topics.color.topic:
            feed.color(msg)
        elif topics.depth and topic == topics.depth.topic:
            feed.depth(msg)
        elif topic == topics.camera_info.topic:
            feed.camera_info(msg)
        elif topics.pose and topic == topics.pose.topic:
            feed.pose(msg)
        else:
            feed.tf(msg, static=topic.endswith("tf_static"))

    def _labelled(self, assembler: FrameAssembler, frames: list[Frame]) -> Iterator[Frame]:
        """The frames with their ground truth, which has the distortion of the recorded images."""
        for frame in frames:
            if self._labels is not None:
                try:
                    labels = assembler.rectifier.labels(self._labels(frame.stamp_ns))
                    frame = replace(frame, labels=labels)
                except KeyError:
                    logger.debug("no ground truth for the stamp %d", frame.stamp_ns)
                except FrameDropped as error:
                    assembler.drop(error)
                    continue
            yield frame


def _label_folder(labels_dir: str | Path | None) -> LabelFolder | None:
    if labels_dir is None:
        return None
    described = (Path(labels_dir).expanduser() / CLASSES_FILE).is_file()
    return LabelFolder(labels_dir, None if described else LabelSpace.load("scannet20"))
