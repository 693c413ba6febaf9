"""A ROS 2 bag on disk, MCAP or sqlite3, whole or cut short: its topics and its messages."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
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
from gnesf_model.frame import FrameDropped

logger = logging.getLogger(__name__)

BAG_SUFFIXES = (".mcap", ".db3")
# MemoryError: a string or chunk that claims more bytes than any machine has, in a file of a few.
_UNREADABLE = (ReaderError, ValueError, TypeError, KeyError, IndexError, struct.error, MemoryError)


@cache
def jazzy_types() -> Typestore:
    """The message types of ROS 2 Jazzy, whose code takes a third of a second to generate."""
    return get_typestore(Stores.ROS2_JAZZY)


class BagFile:
    """Messages of a bag, in the order of its log.

    A folder with metadata.yaml is read as that says (zstd included). Without it, as a recorder leaves that
    was killed, its one file is read. An MCAP file without an end is read up to where it was cut.

    Args:
        path: folder, .mcap or .db3 file.

    Attributes:
        connections: topics with types and counts (`rosbags.interfaces.Connection`) that have messages.
        damage: what is wrong with the bag although it can be read; empty for a whole one.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _bag_path(Path(path).expanduser())
        self.damage = ""
        self._mended: MendedMcap | None = None
        self._types = jazzy_types()
        try:
            with self._opened() as reader:
                connections = list(reader.connections)
        except _UNREADABLE as error:
            connections = self._mend(error)
        self.connections = sorted((c for c in connections if c.msgcount), key=lambda c: c.topic)

    def raw(self, topics: set[str]) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, log time in ns and CDR bytes of the messages of some topics.

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
                yield item

    def first(self, connection: Connection) -> Any:
        """The first message of a topic; None where it cannot be read."""
        with closing(self.raw({connection.topic})) as stream:
            try:
                return next((self.decode(connection, raw) for _, _, raw in stream), None)
            except FrameDropped as error:
                logger.warning("first message of %s: %s", connection.topic, error)
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
        files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix in BAG_SUFFIXES)
        if len(files) == 1 and files[0].suffix == ".mcap":
            try:
                self._mended = MendedMcap(files[0])
                with self._opened() as reader:
                    connections = list(reader.connections)
            except (OSError, *_UNREADABLE) as second:
                error = second
            else:
                self.damage = f"{files[0]} has no end ({error}): its whole records are used"
                logger.warning("%s", self.damage)
                return connections
        raise OSError(
            f"{path} cannot be read as a ROS 2 bag ({error}): it may be truncated or of another type. Try "
            "'ros2 bag reindex' where metadata.yaml is broken, or sqlite3's '.recover' for a .db3"
        ) from error

    @contextmanager
    def _opened(self) -> Iterator[Reader]:
        reader = Reader(self._mended or self.path)
        reader.open()
        try:
            yield reader
        finally:
            reader.close()


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
