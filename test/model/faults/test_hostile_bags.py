"""Bags as somebody may hand them over: sqlite3 databases, metadata.yaml and zstd that are damaged or were made to harm.

Each ends in the documented error or in counted drops; what frames there are, are those that were recorded.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import yaml
from damage import FILES, damaged, memory
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from gnesf_model.cli import main
from gnesf_model.data import stored_bag
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.stored_bag import zstd
from gnesf_model.frame import Frame

EXTRA_MB = 256
FRAMES = list(RoomSource(1, frames=3, width=32, height=24, shading=False))
COLOR = "(SELECT id FROM topics WHERE name = '/camera/color/image_raw')"


@dataclass
class Result:
    """What reading a bag came to: frames and drops, or an error's text."""

    frames: list[Frame] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    error: str = ""


def read(path: Path) -> Result:
    """Read everything in little memory; any other error than those of `BagSource` goes through."""
    with memory(EXTRA_MB):
        try:
            source = BagSource(path)
            return Result(list(source), source.drops)
        except (OSError, ValueError) as error:
            assert str(path) in str(error) and len(str(error)) < 2000
            return Result(error=str(error))


def assert_recorded(frames: list[Frame], but: tuple[str, ...] = ()) -> None:
    """Each frame is one that was recorded: a checksum that SQLite does not have would say so of a flipped pixel."""
    recorded = {frame.stamp_ns: frame for frame in FRAMES}
    for frame in frames:
        wanted = recorded[frame.stamp_ns]
        assert frame.camera == wanted.camera
        for name in {"rgb", "depth", "world_T_cam"} - set(but):
            np.testing.assert_allclose(getattr(frame, name), getattr(wanted, name), atol=1e-3)
    assert len({frame.stamp_ns for frame in frames}) == len(frames)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "bag"
    write_bag(RoomSource(1, frames=3, width=32, height=24, shading=False), path, storage="sqlite3")
    return path


@pytest.fixture
def bag(whole: Path, tmp_path: Path) -> Path:
    """A copy to harm."""
    return Path(shutil.copytree(whole, tmp_path / "bag"))


def database(bag: Path) -> Path:
    (file,) = bag.glob("*.db3")
    return file


def run_sql(bag: Path, script: str) -> Path:
    with closing(sqlite3.connect(database(bag))) as connection:
        connection.executescript(script)
    return database(bag)


def rebuilt(table: str, select: str) -> str:
    """SQL: the same table without types and constraints, from other columns."""
    made = f"CREATE TABLE made AS SELECT {select} FROM {table}; DROP TABLE {table};"
    return f"{made} ALTER TABLE made RENAME TO {table};"


# Databases


@FILES
@given(data=st.data())
def test_a_database_with_damage_anywhere(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "bag.db3"
    path.write_bytes(data.draw(damaged(database(whole).read_bytes())))
    result = read(path)
    assert len({frame.stamp_ns for frame in result.frames}) == len(result.frames) <= 3


@FILES
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), alone=st.booleans())
def test_a_database_with_a_flipped_bit(whole: Path, tmp_path: Path, at: float, bit: int, alone: bool) -> None:
    """Wherever it is: beside its metadata.yaml, or alone."""
    content = bytearray(database(whole).read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    folder = tmp_path / "bag"
    folder.mkdir(exist_ok=True)
    shutil.copy(whole / "metadata.yaml", folder)
    (folder / "bag.db3").write_bytes(content)
    result = read(folder / "bag.db3" if alone else folder)
    assert len({frame.stamp_ns for frame in result.frames}) == len(result.frames) <= 3


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_database_that_was_cut(bag: Path, share: float) -> None:
    file = database(bag)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    for path in (bag, file):
        assert "cannot be read as a ROS 2 bag" in read(path).error


@pytest.mark.parametrize(
    "value", ["'text'", "NULL", "7", "1.5", "zeroblob(0)", "substr(data, 1, 20)", "randomblob(90)"]
)
def test_messages_that_are_none_are_counted_and_the_rest_are_mapped(bag: Path, value: str) -> None:
    """The colour image of the second frame."""
    second = f"topic_id = {COLOR} AND timestamp = (SELECT max(timestamp) FROM messages) - 100000000"
    select = f"id, topic_id, timestamp, CASE WHEN {second} THEN {value} ELSE data END AS data"
    result = read(run_sql(bag, rebuilt("messages", select)))
    assert [frame.stamp_ns for frame in result.frames] == [FRAMES[0].stamp_ns, FRAMES[2].stamp_ns], result
    assert result.drops["bad_message"] == 1
    assert_recorded(result.frames)


@pytest.mark.parametrize("value", ["'text'", "NULL", "-1", "9223372036854775807", "x'00'", "1e300"])
def test_messages_without_a_possible_time_are_counted(bag: Path, value: str) -> None:
    """And none of the others waits for them; a player would, for 292 years."""
    first = f"topic_id = {COLOR} AND timestamp = (SELECT min(timestamp) FROM messages)"
    select = f"id, topic_id, CASE WHEN {first} THEN {value} ELSE timestamp END AS timestamp, data"
    result = read(run_sql(bag, rebuilt("messages", select)))
    assert [frame.stamp_ns for frame in result.frames] == [frame.stamp_ns for frame in FRAMES[1:]], result
    assert result.drops["bad_message"] == 1
    assert_recorded(result.frames)
    times = [log_ns for _, log_ns, _ in BagFile(bag).raw({"/camera/color/image_raw"})]
    assert len(times) == 2 and all(isinstance(log_ns, int) for log_ns in times)


def test_where_no_message_can_be_used_the_error_says_what_is_wrong_with_them(bag: Path) -> None:
    run_sql(bag, "UPDATE messages SET timestamp = -timestamp")
    assert "has no time that ROS knows" in read(bag).error
    run_sql(bag, "UPDATE messages SET timestamp = -timestamp, data = 'text'")
    assert "is of type str, expected bytes" in read(bag).error


@pytest.mark.parametrize(
    "statement",
    [
        "type = 'evil/msg/Bomb'",
        "type = x'00ff'",
        "type = NULL",
        "name = x'00ff'",
        "name = 7",
        "serialization_format = 1",
    ],
)
def test_topics_of_unknown_kind(bag: Path, statement: str) -> None:
    file = run_sql(bag, f"{rebuilt('topics', '*')} UPDATE topics SET {statement}")
    for path in (bag, file):
        result = read(path)
        assert result.error or len(result.frames) in (0, 3), result
        assert_recorded(result.frames)
    if "format" not in statement:
        assert read(file).error
        # metadata.yaml tells of topics that the file does not have.
        assert "'ros2 bag reindex'" in read(bag).error


LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20))])


@pytest.mark.parametrize(
    "profile",
    ["- history: null", "5", "- 5", "2001-99-99", "[" * 3000, LAUGHS, "!!python/object/apply:os.system [x]", "&a [*a]"],
    ids=["null", "number", "numbers", "date", "nested", "laughs", "object", "endless"],
)
def test_quality_of_service_that_was_made_to_harm(bag: Path, profile: str) -> None:
    file = run_sql(bag, f"UPDATE topics SET offered_qos_profiles = {json.dumps(profile)!r}".replace(r"\\n", "\n"))
    for path in (bag, file):
        assert "cannot be read as a ROS 2 bag" in read(path).error


ENDLESS = "WITH RECURSIVE more(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM more) SELECT"


@pytest.mark.parametrize(
    "script",
    [
        f"DROP TABLE messages; CREATE VIEW messages AS {ENDLESS} x AS id, 1 AS topic_id, x AS timestamp, 'a' AS data "
        "FROM more",
        f"DROP TABLE topics; CREATE VIEW topics AS {ENDLESS} x AS id, 'a' AS name, 'b' AS type FROM more",
        f"DROP TABLE message_definitions; CREATE VIEW Message_Definitions AS {ENDLESS} x AS id, 'a' AS topic_type, "
        "'ros2msg' AS encoding, 'x' AS encoded_message_definition, '' AS type_description_hash FROM more",
        f"DROP TABLE schema; CREATE VIEW schema AS {ENDLESS} x AS schema_version FROM more",
        "CREATE TABLE made (id INTEGER PRIMARY KEY, topic_id, timestamp, data AS (zeroblob(900000000))); INSERT INTO "
        "made (id, topic_id, timestamp) SELECT id, topic_id, timestamp FROM messages; DROP TABLE messages; ALTER TABLE "
        "made RENAME TO messages",
        "CREATE TABLE made (id INTEGER PRIMARY KEY, name, type, serialization_format, offered_qos_profiles AS "
        "(hex(zeroblob(400000000))), type_description_hash); INSERT INTO made (id, name, type, serialization_format) "
        "SELECT id, name, type, serialization_format FROM topics; DROP TABLE topics; ALTER TABLE made RENAME TO topics",
    ],
    ids=["messages", "topics", "definitions", "schema", "generated data", "generated profiles"],
)
def test_tables_that_are_computed_are_refused(bag: Path, script: str) -> None:
    """Their rows have no end, or are made up with sizes that are nowhere in the file."""
    file = run_sql(bag, script)
    for path in (bag, file):
        assert "computes" in read(path).error


def test_rows_that_are_gone_are_missed_aloud(bag: Path) -> None:
    """metadata.yaml counts messages, and so does the database; a flipped bit in a page's header may take some away."""
    run_sql(
        bag,
        f"DELETE FROM messages WHERE topic_id = {COLOR} AND id = (SELECT max(id) FROM messages WHERE "
        f"topic_id = {COLOR})",
    )
    result = read(bag)
    assert len(result.frames) == 2 and result.drops["truncated_bag"] == 1
    assert "lacks 1 of the 3 messages of /camera/color/image_raw" in BagFile(bag).damage
    assert_recorded(result.frames)


def test_triggers_do_nothing_to_who_reads(bag: Path) -> None:
    run_sql(bag, "CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM messages; END")
    before = database(bag).read_bytes()
    assert_recorded(result := read(bag).frames)
    assert len(result) == 3 and database(bag).read_bytes() == before


@pytest.mark.parametrize("tree", ["table", "index"])
def test_pages_that_are_named_again_and_again_are_counted(bag: Path, tree: str) -> None:
    """Each level of a tree multiplies what a page holds: six pages more, and the rows take years."""
    rows = "WITH RECURSIVE more(x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM more LIMIT 3000) SELECT x FROM more"
    file = run_sql(
        bag, f"PRAGMA page_size = 512; VACUUM; INSERT INTO messages SELECT x, 1, x, zeroblob(1) FROM ({rows})"
    )
    with closing(sqlite3.connect(file)) as connection:
        name = "messages" if tree == "table" else "timestamp_idx"
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    file.write_bytes(deepened(file.read_bytes(), root, 512))
    for path in (bag, file):
        assert "has more rows in messages than fit into its" in read(path).error


def deepened(content: bytes, root: int, size: int, levels: int = 6) -> bytes:
    """A database in which each child of a tree's root is the same new page, each child of that the next, and so on."""
    pages = [bytearray(content[at : at + size]) for at in range(0, len(content), size)]
    inner = pages[root - 1]
    while pages[child(inner) - 1][0] in (2, 5):  # the fullest pages that lead to leaves
        inner = pages[child(inner) - 1]
    leaf, template = child(inner), bytes(inner)
    lead_to(pages[root - 1], len(pages) + 1)
    for level in range(levels):
        pages.append(bytearray(template))
        lead_to(pages[-1], len(pages) + 1 if level < levels - 1 else leaf)
    pages[0][28:32] = len(pages).to_bytes(4, "big")
    return b"".join(pages)


def cells(page: bytearray) -> tuple[int, ...]:
    """Where the cells of an inner page begin; the first four bytes of each are the number of a child."""
    (count,) = struct.unpack_from(">H", page, 3)
    return struct.unpack_from(f">{count}H", page, 12)


def child(page: bytearray) -> int:
    at = cells(page)[len(cells(page)) // 2]
    return int.from_bytes(page[at : at + 4], "big")


def lead_to(page: bytearray, number: int) -> None:
    for at in (8, *cells(page)):
        page[at : at + 4] = number.to_bytes(4, "big")


def test_what_a_recorder_had_not_yet_moved_into_the_database_is_missed_aloud(bag: Path, tmp_path: Path) -> None:
    """rosbag2's resilient preset writes ahead; a robot that loses power leaves half of the bag in the journal."""
    connection = sqlite3.connect(run_sql(bag, "PRAGMA journal_mode = WAL"))
    rows = connection.execute(f"SELECT * FROM messages WHERE topic_id = {COLOR}").fetchall()[1:]
    connection.executemany("DELETE FROM messages WHERE id = ?", [row[:1] for row in rows])
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    killed = Path(shutil.copytree(bag, tmp_path / "killed"))
    connection.close()
    result = read(killed)
    assert len(result.frames) == 1 and result.drops["truncated_bag"] == 1
    assert_recorded(result.frames)
    assert "'PRAGMA wal_checkpoint(TRUNCATE)' moves it into the bag" in BagFile(killed).damage
    run_sql(killed, "PRAGMA wal_checkpoint(TRUNCATE)")
    result = read(killed)
    assert len(result.frames) == 3 and not result.drops
    assert_recorded(result.frames)


@pytest.mark.parametrize("name", ["run #3", "what?", "100%41", "a?mode=rwc&x=%00"])
@pytest.mark.parametrize("folder", [True, False], ids=["folder", "file"])
def test_names_that_are_addresses_of_something_else(bag: Path, tmp_path: Path, name: str, folder: bool) -> None:
    if folder:
        path = bag.rename(tmp_path / name)
        assert BagSource(path).name == name
    else:
        path = database(bag).rename(tmp_path / f"{name}.db3")
    result = read(path)
    assert len(result.frames) == 3, result
    assert_recorded(result.frames)


# metadata.yaml and what it names


def described(bag: Path, change: Callable[[dict], None]) -> None:
    content = yaml.safe_load((bag / "metadata.yaml").read_text())
    change(content["rosbag2_bagfile_information"])
    (bag / "metadata.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    "names, text",
    [
        (["bag.db3", "bag.db3"], "names bag.db3 twice"),
        (["bag.db3", "there/bag.db3"], "names bag.db3 twice"),
        (["bag.db3", "bag_1.db3"], "bag_1.db3 does not exist"),
        (["bag.db3", "loop.db3"], "loop.db3 does not exist"),
        (["bag.db3", "dangling.db3"], "dangling.db3 does not exist"),
        (["bag.db3", "pipe.db3"], "pipe.db3 is no regular file"),
        (["zero.db3"], "zero.db3 is no regular file"),
        (["folder.db3"], "folder.db3 is no regular file"),
        ([".."], "is no regular file"),
        ([""], "is no regular file"),
        ([], "expected names of files"),
        ("bag.db3", "expected names of files"),
        ([["bag.db3"]], "expected names of files"),
        ([7], "expected names of files"),
        (None, "expected names of files"),
    ],
)
def test_files_that_cannot_be_those_of_a_bag(bag: Path, names: object, text: str) -> None:
    """A pipe would be waited for, a device has no end."""
    os.mkfifo(bag / "pipe.db3")
    (bag / "folder.db3").mkdir()
    (bag / "zero.db3").symlink_to("/dev/zero")
    (bag / "dangling.db3").symlink_to(bag / "nowhere")
    (bag / "loop.db3").symlink_to(bag / "loop.db3")
    described(bag, lambda information: information.update(relative_file_paths=names))
    assert text in read(bag).error


@pytest.mark.parametrize("name", ["pipe.db3", "pipe.mcap"])
def test_a_pipe_is_no_bag(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "is no regular file" in read(tmp_path / name).error


def test_a_bag_behind_links_is_read(bag: Path, tmp_path: Path) -> None:
    """As on machines that keep recordings on another disk."""
    elsewhere = database(bag).rename(tmp_path / "elsewhere.db3")
    (bag / "bag.db3").symlink_to(elsewhere)
    (tmp_path / "link").symlink_to(bag)
    for path in (bag, tmp_path / "link", bag / "bag.db3"):
        assert len(read(path).frames) == 3
        assert_recorded(read(path).frames)


@FILES
@given(data=st.data())
def test_the_description_of_a_database(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "bag"
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    (folder / "metadata.yaml").write_bytes(data.draw(damaged((whole / "metadata.yaml").read_bytes())))
    result = read(folder)
    assert len(result.frames) <= 3
    assert_recorded(result.frames)


@pytest.mark.parametrize("key", ["compression_format", "version", "files"])
@pytest.mark.parametrize(
    "value",
    ["*a19", "!!python/object/apply:os.system ['true']", "[" * 20_000, "2001-99-99", "{[]: 1}", "-1", "null", "1e999"],
    ids=["laughs", "object", "nested", "date", "unhashable", "minus", "null", "infinite"],
)
def test_yaml_that_was_made_to_harm(bag: Path, key: str, value: str) -> None:
    """Nothing runs, and no message of an error spells out nine to the power of nineteen values."""
    lines = [line for line in (bag / "metadata.yaml").read_text().splitlines() if f"  {key}:" not in line]
    laughs = f"{LAUGHS}\n" if value.startswith("*") else ""
    (bag / "metadata.yaml").write_text("\n".join([laughs + lines[0], f"  {key}: {value}", *lines[1:]]))
    result = read(bag)
    assert result.error or len(result.frames) == 3
    assert_recorded(result.frames)
    if len(value) > 5 or laughs:
        assert "is not valid YAML" in result.error or "more than 100000 values" in result.error


def test_a_description_without_end(bag: Path) -> None:
    with (bag / "metadata.yaml").open("a") as file:
        file.write("# comment\n" * 1_000_000)
    assert "more than 4000000 bytes" in read(bag).error


# Compression


def packed(bag: Path, out: Path, mode: CompressionMode) -> Path:
    """The same bag, compressed."""
    store, plain = get_typestore(Stores.ROS2_JAZZY), BagFile(bag)
    writer = Writer(out, version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=store) for c in plain.connections}
        for connection, log_ns, raw in plain.raw(set(topics)):
            writer.write(topics[connection.topic], log_ns, raw)
    return out


CLAIM_AT, CLAIM = 5, struct.pack("<Q", 1 << 44)
"""In a zstd frame of one segment the size follows magic and descriptor: 16 terabytes."""


def claiming(frame: bytes) -> bytes:
    """A zstd frame whose header claims 16 terabytes."""
    size = (0, 2, 4, 8)[frame[4] >> 6] or 1
    return frame[:4] + bytes([frame[4] | 0b11100000]) + CLAIM + frame[CLAIM_AT + size :]


HARM: dict[str, Callable[[bytes], bytes]] = {
    "claims terabytes": claiming,
    "cut": lambda frame: frame[: len(frame) // 2],
    "no zstd": lambda frame: b"SQLite format 3\0" + frame,
    "empty": lambda frame: b"",
    "flipped": lambda frame: frame[:30] + bytes([frame[30] ^ 255]) + frame[31:],
    "bomb": lambda frame: zstd.compress(bytes(100_000_000)),
}


@pytest.mark.parametrize("harm", HARM)
def test_compressed_files_that_were_made_to_harm(bag: Path, tmp_path: Path, harm: str, monkeypatch) -> None:
    folder = packed(bag, tmp_path / "packed", CompressionMode.FILE)
    assert_recorded(read(folder).frames)
    (file,) = folder.glob("*.zstd")
    file.write_bytes(HARM[harm](file.read_bytes()))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    result = read(folder)
    assert str(file) in result.error and "decompress" in result.error, result
    assert not list(scratch.iterdir()), "what was decompressed is gone"


@pytest.mark.parametrize("harm", HARM)
def test_compressed_messages_that_were_made_to_harm(bag: Path, tmp_path: Path, harm: str) -> None:
    folder = packed(bag, tmp_path / "packed", CompressionMode.MESSAGE)
    assert len(read(folder).frames) == 3
    with closing(sqlite3.connect(database(folder))) as connection:
        connection.create_function("harm", 1, HARM[harm])
        second = f"topic_id = {COLOR} AND timestamp = (SELECT max(timestamp) FROM messages) - 100000000"
        connection.execute(f"UPDATE messages SET data = harm(data) WHERE {second}")
        connection.commit()
    result = read(folder)
    assert [frame.stamp_ns for frame in result.frames] == [FRAMES[0].stamp_ns, FRAMES[2].stamp_ns], result
    assert result.drops["bad_message"] == 1
    assert_recorded(result.frames)


def test_a_compressed_bag_is_decompressed_once_and_leaves_nothing(bag: Path, tmp_path: Path, monkeypatch) -> None:
    folder = packed(bag, tmp_path / "packed", CompressionMode.FILE)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    source = BagSource(folder)
    (made,) = scratch.iterdir()
    (file,) = made.glob("*.db3")
    written = file.stat().st_mtime_ns
    assert_recorded(list(source))
    assert_recorded(list(source))
    assert file.stat().st_mtime_ns == written and source.name == "packed" and source.path == folder
    del source
    assert not list(scratch.iterdir())


def test_without_room_for_what_is_compressed_the_error_says_where(bag: Path, tmp_path: Path, monkeypatch) -> None:
    folder = packed(bag, tmp_path / "packed", CompressionMode.FILE)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
    program = f"{limit}from gnesf_model.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "map", str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "TMPDIR names a folder with more room" in done.stderr, done.stderr


def test_what_compresses_well_is_no_bomb() -> None:
    assert stored_bag.decompressed(zstd.compress(bytes(10_000_000))) == bytes(10_000_000)


def mcap(compression: str, records: bytes, claimed: int) -> bytes:
    """An MCAP file of one chunk, without a summary."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    def record(code: int, content: bytes) -> bytes:
        return bytes([code]) + struct.pack("<Q", len(content)) + content

    chunk = struct.pack("<QQQI", 0, 9, claimed, 0) + text(compression) + struct.pack("<Q", len(records)) + records
    magic = b"\x89MCAP0\r\n"
    parts = [record(1, text("ros2") + text("")), record(6, chunk), record(15, bytes(4)), record(2, bytes(20))]
    return magic + b"".join(parts) + magic


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("claimed", ["all of it", "little"])
def test_chunks_of_mcap_that_come_to_gigabytes_are_refused(tmp_path: Path, compression: str, claimed: str) -> None:
    """2 GB of zeros in under 10 MB, in the 256 MB that `read` allows."""
    part = 16_000_000
    frame = zstd.compress(bytes(part)) if compression == "zstd" else lz4.frame.compress(bytes(part))
    bomb = frame * 125
    path = tmp_path / "bomb.mcap"
    path.write_bytes(mcap(compression, bomb, 125 * part if claimed == "all of it" else 1000))
    found = read(path)
    assert found.error and not found.frames
    if compression == "zstd":
        assert ("no recording needs" if claimed == "all of it" else "Chunk size mismatch") in found.error


@pytest.mark.parametrize("make", [zstd.ZstdDecompressor, lz4.frame.LZ4FrameDecompressor])
def test_chunks_of_mcap_are_decompressed_as_they_were_packed(make: Callable) -> None:
    pack = zstd.compress if make is zstd.ZstdDecompressor else lz4.frame.compress
    one, two = os.urandom(100_000), bytes(300_000)
    decompress = stored_bag._chunk_decompressor(make)
    assert decompress(pack(one), 100_000) == one
    assert decompress(pack(one) + pack(two), 400_000) == one + two, "a chunk may be several frames"
    assert len(decompress(pack(two), 1000)) == 1001, "one byte too many tells that it claims too little"
    assert decompress(pack(one)[:-2000], 100_000) != one
    assert decompress(b"", 0) == b""


# The command


@pytest.mark.parametrize("harm", ["cut", "view", "twice"])
def test_the_command_ends_with_status_2_and_one_line(bag: Path, tmp_path: Path, harm: str, caplog) -> None:
    if harm == "cut":
        database(bag).write_bytes(database(bag).read_bytes()[:5000])
    elif harm == "view":
        run_sql(bag, f"DROP TABLE messages; CREATE VIEW messages AS {ENDLESS} x AS id FROM more")
    else:
        described(bag, lambda information: information.update(relative_file_paths=["bag.db3"] * 2))
    assert main(["map", str(bag), "--out", str(tmp_path / "out")]) == 2
    (said,) = (record.message for record in caplog.records if record.levelname == "ERROR")
    assert "cannot be read as a ROS 2 bag" in said and len(said.splitlines()) == 1
