"""A ROS 2 bag on disk, MCAP or sqlite3, whole or cut short: its topics and its messages."""

from __future__ import annotations

import logging
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from gnesf_model.data.mcap_mend import MendedMcap
from gnesf_model.data.stored_bag import StoredBag, decompressed
from gnesf_model.frame import FrameDropped

logger = logging.getLogger(__name__)

BAG_SUFFIXES = (".mcap", ".db3")
_END_NS = 2**31 * 1_000_000_000
"""Behind the last time that a ROS message can tell."""


@cache
def jazzy_types() -> Typestore:
    """The message types of ROS 2 Jazzy, whose code takes a third of a second to generate."""
    return get_typestore(Stores.ROS2_JAZZY)


class BagFile:
    """Messages of a bag, in the order of its log.

    A folder with metadata.yaml is read as that says (zstd included). Without it, as a recorder leaves that
    was killed, its one file is read. An MCAP file without an end is read up to where it was cut. What a bag says of
    itself is not believed: `StoredBag`.

    Args:
        path: folder, .mcap or .db3 file.

    Attributes:
        connections: topics with types and counts (`rosbags.interfaces.Connection`) that have messages.
        damage: what is wrong with the bag although it can be read; empty for a whole one.
        unreadable: topic -> why its first message could not be read; of those that `first` was asked for.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _bag_path(Path(path).expanduser())
        self.damage = ""
        self.unreadable: dict[str, str] = {}
        self._stored: StoredBag | None = None
        self._mended: MendedMcap | None = None
        self._types = jazzy_types()
        try:
            self._stored = StoredBag(self.path)
            connections = self._read_connections()
            self.damage = self._stored.damage or self.damage
        except OSError:
            raise
        except Exception as error:  # damaged bytes surface as whatever they lead to, in rosbags, YAML and SQLite
            connections = self._mend(error)
        self.connections = sorted((c for c in connections if c.msgcount), key=lambda c: c.topic)

    def raw(
        self, topics: set[str], skipped: Callable[[FrameDropped], None] | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, log time in ns and CDR bytes of the messages of some topics.

        Args:
            topics: their names.
            skipped: called for each message (``bad_message``) that has no bytes or no time; None: each is logged.

        Raises:
            FrameDropped: (``truncated_bag``) the recording is damaged at this place; messages before it were
                yielded.
        """
        with self._opened() as reader:
            connections = [c for c in reader.connections if c.topic in topics]
            stream = reader.messages(connections=connections) if connections else iter(())
            while True:
                try:
                    item = next(stream)
                except StopIteration:
                    return
                except Exception as error:  # damaged bytes surface as whatever the decompressor raises
                    text = f"{self.path} is damaged ({error}): what comes before is used"
                    raise FrameDropped("truncated_bag", text) from error
                connection, log_ns, raw = item
                try:
                    raw = self._plain(log_ns, raw)
                except ValueError as error:
                    text = f"a message of {connection.topic} (in the log at {log_ns!s:.40}) {error}"
                    (skipped or _warn)(FrameDropped("bad_message", text))
                else:
                    yield connection, log_ns, raw

    def _plain(self, log_ns: Any, raw: Any) -> bytes:
        """The bytes of a message as they were sent; SQLite keeps any value in any column.

        Raises:
            ValueError: it has no time or no bytes; the text goes on from the message's name.
        """
        if not isinstance(log_ns, int) or not 0 <= log_ns < _END_NS:
            raise ValueError(f"has no time that ROS knows, expected 0 to {_END_NS - 1} ns")
        if not isinstance(raw, (bytes, bytearray, memoryview)):
            raise ValueError(f"is of type {type(raw).__name__}, expected bytes")
        if self._stored and self._stored.compressed_messages and not self._mended:
            return decompressed(bytes(raw))
        return raw

    def first(self, connection: Connection) -> Any:
        """The first message of a topic that has bytes and a time; None where it cannot be read."""
        # A folder's metadata.yaml tells which topics there are, its files may tell of others.
        problems = ["no file of the bag holds it as described: 'ros2 bag reindex' writes metadata.yaml anew"]
        with closing(self.raw({connection.topic}, lambda error: problems.append(str(error)))) as stream:
            try:
                for _, _, raw in stream:
                    return self.decode(connection, raw)
            except FrameDropped as error:
                problems.append(str(error))
        self.unreadable[connection.topic] = f"first message of {connection.topic}: {problems[-1]}"
        logger.warning("%s", self.unreadable[connection.topic])
        return None

    def decode(self, connection: Connection, raw: bytes) -> Any:
        """A message with fields as in rclpy, images as NumPy views of `raw`.

        Raises:
            FrameDropped: (``bad_message``) the bytes do not fit the type.
        """
        try:
            return self._types.deserialize_cdr(raw, connection.msgtype)
        except (SerdeError, ValueError, IndexError, struct.error) as error:
            raise FrameDropped(
                "bad_message", f"a message of {connection.topic} is not a {connection.msgtype}: {error}"
            ) from error

    def _mend(self, error: Exception) -> list[Connection]:
        """Topics of a bag that does not open as it is, if it is one MCAP file that was cut."""
        path = self.path
        files = sorted(f for f in path.iterdir() if f.suffix in BAG_SUFFIXES) if path.is_dir() else [path]
        if len(files) == 1 and files[0].suffix == ".mcap" and files[0].is_file():
            try:
                self._mended = MendedMcap(files[0])
                connections = self._read_connections()
            except Exception as second:
                error = second
            else:
                self.damage = f"{files[0]} has no end ({error}): its whole records are used"
                logger.warning("%s", self.damage)
                return connections
        told = isinstance(error, (OSError, ValueError, ReaderError, sqlite3.Error))
        damage = self._stored.damage if self._stored else ""
        reason = f"{str(error) if told else repr(error):.500}. {damage}".removesuffix(". ")
        raise OSError(
            f"{path} cannot be read as a ROS 2 bag ({reason}): it may be truncated or of another type. Try "
            "'ros2 bag reindex' where metadata.yaml is broken, or sqlite3's '.recover' for a .db3"
        ) from error

    def _read_connections(self) -> list[Connection]:
        held: Counter[str] = Counter()
        with self._opened() as reader:
            connections = list(reader.connections)
            if counted := bool(self._stored and self._stored.counted and not self._mended):
                for storage in reader.storage.storages:
                    for c in storage.connections:  # a topic may have two entries
                        held[c.topic] += c.msgcount
        for connection in connections:
            named = isinstance(connection.topic, str) and isinstance(connection.msgtype, str)
            if not named or not isinstance(connection.msgcount, int):
                what = (
                    f"{connection.topic!s:.80} (type {connection.msgtype!s:.80}, {connection.msgcount!s:.20} messages)"
                )
                raise ValueError(f"its topic {what} is not described by two names and a number")
            if counted and held[connection.topic] < connection.msgcount:
                self.damage = (
                    f"{self.path} lacks {connection.msgcount - held[connection.topic]} of the {connection.msgcount} "
                    f"messages of {connection.topic:.80} that metadata.yaml counts"
                )
        return connections

    @contextmanager
    def _opened(self) -> Iterator[Reader]:
        reader = Reader(self._mended or (self._stored.path if self._stored else self.path))
        reader.open()
        try:
            yield reader
        finally:
            reader.close()


def _warn(error: FrameDropped) -> None:
    logger.warning("%s", error)


def _bag_path(path: Path) -> Path:
    """The bag itself; for a folder without metadata.yaml its one file."""
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
