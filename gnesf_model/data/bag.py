"""Frames of a ROS 2 bag, without ROS: MCAP and sqlite3 through rosbags."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from gnesf_model.config import InputConfig
from gnesf_model.data.assembler import DepthUse, FrameAssembler
from gnesf_model.data.bag_topics import BagTopics, choose_topics
from gnesf_model.data.feed import MessageFeed
from gnesf_model.data.source import BAG_SUFFIXES
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import CLASSES_FILE, LabelFolder

logger = logging.getLogger(__name__)


class BagSource:
    """Frames of a bag, assembled as the node would: in the order of the log, by the messages' stamps.

    A message that cannot be decoded is dropped and counted. Where the recording is damaged, reading stops:
    the frames before are yielded, and `drops` holds ``truncated_bag``.

    Args:
        path: folder with metadata.yaml (zstd-compressed or not), or a single .mcap or .db3 file.
        config: topics, frames, tolerances; pose_source auto takes the first of pose, odom, tf in the bag.
        depth: as `FrameAssembler`; None: required where the bag has depth.
        labels_dir: ground truth as ``<stamp_ns>.png``, with classes.yaml or in ScanNet-20 ids.

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
        self.path = _bag_path(Path(path).expanduser())
        self.name = self.path.stem
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self._config = config or InputConfig()
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._labels = _label_folder(labels_dir)
        self.label_space = self._labels.labels.name if self._labels else None
        with self._opened() as reader:
            self.topics: BagTopics = choose_topics(
                list(reader.connections), self._config, lambda c: self._first_message(reader, c)
            )
        logger.info("%s: %s", self.path, self.topics.describe())
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

    def _messages(self, assembler: FrameAssembler) -> Iterator[tuple[str, Any]]:
        """Topic and message in the order of the log, up to the end or to the first damage."""
        t = self.topics
        wanted = {c.topic for c in (t.color, t.camera_info, t.depth, t.pose, *t.tf) if c}
        with self._opened() as reader:
            connections = [c for c in reader.connections if c.topic in wanted]
            stream = reader.messages(connections=connections)
            while True:
                try:
                    connection, _, raw = next(stream)
                except StopIteration:
                    return
                except Exception as error:  # damaged bytes surface as whatever the decompressor raises
                    text = f"{self.path} is damaged ({error}): frames up to there are used"
                    logger.warning("%s", text)
                    assembler.drop(FrameDropped("truncated_bag", text))
                    return
                try:
                    msg = self._types.deserialize_cdr(raw, connection.msgtype)
                except (SerdeError, ValueError, IndexError) as error:
                    text = f"a message of {connection.topic} cannot be deserialised: {error}"
                    assembler.drop(FrameDropped("bad_message", text))
                    continue
                yield connection.topic, msg

    def _labelled(self, assembler: FrameAssembler, frames: list[Frame]) -> Iterator[Frame]:
        """The frames with their ground truth, which has the distortion of the recorded images."""
        for frame in frames:
            if self._labels is not None:
                try:
                    labels = assembler.rectifier.labels(self._labels(frame.stamp_ns))
                    frame = replace(frame, labels=labels)
                except KeyError:
                    logger.debug("no ground truth for %d", frame.stamp_ns)
                except FrameDropped as error:
                    assembler.drop(error)
                    continue
            yield frame

    def _first_message(self, reader: Reader, connection: Connection) -> Any:
        with closing(reader.messages(connections=[connection])) as stream:
            for _, _, raw in stream:
                return self._types.deserialize_cdr(raw, connection.msgtype)
        return None

    @contextmanager
    def _opened(self) -> Iterator[Reader]:
        """The bag, open for reading."""
        reader = Reader(self.path)
        try:
            reader.open()
        except (ReaderError, ValueError, TypeError, KeyError) as error:
            raise OSError(
                f"{self.path} cannot be read as a bag ({error}): it may be truncated, expected MCAP or sqlite3 "
                "of ROS 2. Try 'mcap recover' for an .mcap, or 'ros2 bag reindex' where metadata.yaml is broken"
            ) from error
        try:
            yield reader
        finally:
            reader.close()


def _bag_path(path: Path) -> Path:
    """The bag itself; for a folder whose recorder died before it wrote metadata.yaml its one file."""
    if not path.exists():
        raise FileNotFoundError(f"bag {path} does not exist")
    if not path.is_dir() or (path / "metadata.yaml").is_file():
        return path
    files = sorted(f for f in path.iterdir() if f.suffix in BAG_SUFFIXES)
    if len(files) != 1:
        raise FileNotFoundError(
            f"{path} has no metadata.yaml and {len(files)} .mcap or .db3 files, expected one: run "
            f"'ros2 bag reindex {path}'"
        )
    return files[0]


def _label_folder(labels_dir: str | Path | None) -> LabelFolder | None:
    if labels_dir is None:
        return None
    described = (Path(labels_dir).expanduser() / CLASSES_FILE).is_file()
    return LabelFolder(labels_dir, None if described else LabelSpace.load("scannet20"))
