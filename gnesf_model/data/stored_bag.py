"""The files of a bag, looked at before anything is made of them.

rosbags trusts what a bag says of itself: it decompresses files, chunks and messages to whatever size they come to, and
asks SQLite for tables that may be views without an end. A bag that somebody else made is a file like any other.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from lz4.frame import LZ4FrameDecompressor
from rosbags.rosbag2 import ReaderError, storage_mcap

from gnesf_model.resources import read_yaml

# What rosbags decompresses with: Python's own, or the package that rosbags brings along.
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METADATA = "metadata.yaml"
_INFORMATION = "rosbag2_bagfile_information"
_METADATA_BYTES = 4_000_000
"""Some ten thousand files of a split recording."""
_EXPANSION, _SURE_BYTES = 1000, 1 << 26
"""A file or message may have so many times its compressed size, or so many bytes: no sensor comes near."""
_MESSAGE_BYTES = 1 << 30
"""No message has more, whatever its compressed size."""
_SPARE_BYTES = 100_000_000
"""Left on the disk that files are decompressed to: a recording shall not take the robot's last byte."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROW_BYTES = 4
"""A row takes more than that in a file."""
_TABLES = ("messages", "topics", "schema", "metadata", "message_definitions")


class StoredBag:
    """A bag as it may be given to rosbags: plain files that are there, each once, with databases that hold their rows.

    Files that are compressed as a whole are decompressed once, into a folder that is removed with this object.

    Args:
        path: folder with metadata.yaml, .mcap or .db3 file.

    Attributes:
        path: what to open.
        compressed_messages: each message is still a zstd frame: `decompressed`.
        counted: metadata.yaml and databases count messages independently of each other.
        damage: what is missing although the rest can be read; empty for a whole bag.

    Raises:
        OSError: a file is not there, or cannot be read or decompressed.
        ValueError, sqlite3.Error: something is damaged, or not what a recorder writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compressed_messages = self.counted = False
        self.damage = ""
        self._made: Path | None = None
        if path.is_dir():
            self._open_folder(path)
            return
        _check_regular(path)
        if path.suffix == ".db3":
            self._look_into(path)
            if _in_address(path):
                self.path = self._linked(path)

    def _open_folder(self, folder: Path) -> None:
        path = folder / METADATA
        information = read_yaml(path, _METADATA_BYTES)
        information = information.get(_INFORMATION) if isinstance(information, dict) else None
        if not isinstance(information, dict):
            raise ValueError(f"{path} has no mapping {_INFORMATION}")
        files = _files(folder, information.get("relative_file_paths"))
        mode = str(information.get("compression_mode") or "none").lower()
        form = information.get("compression_format")
        if mode != "none" and form != "zstd":
            raise ValueError(f"{path} has the compression_format {form!s:.80}, expected zstd: decompress the files")
        self.compressed_messages = mode == "message"
        databases = self.counted = information.get("storage_identifier") == "sqlite3"
        if mode == "file":
            files = [self._decompressed(file) for file in files]
        for file in files if databases else ():
            self._look_into(file)
        if self.compressed_messages or (mode != "file" and databases and any(map(_in_address, files))):
            files = [self._linked(file) for file in files]
        if self._made:
            plain = {"compression_format": "", "compression_mode": "", "relative_file_paths": [f.name for f in files]}
            # JSON is YAML in which no text can be taken for something else.
            text = json.dumps({_INFORMATION: {**information, **plain}}, default=str)
            (self._made / METADATA).write_text(text, encoding="utf-8")
            self.path = self._made

    def _look_into(self, database: Path) -> None:
        real = database.resolve()
        journal = real.with_name(f"{real.name}-wal")
        if journal.is_file() and journal.stat().st_size:
            self.damage = (
                f"{database} was not closed by its recorder, and what {journal.name} holds is not read: "
                f"sqlite3 '{database}' 'PRAGMA wal_checkpoint(TRUNCATE)' moves it into the bag"
            )
        try:
            _check_database(database)
        except (ValueError, sqlite3.Error) as error:
            raise ValueError(". ".join(filter(None, [str(error), self.damage]))) from error

    def _folder(self) -> Path:
        """Where files of this bag are made: a folder that goes when this object does."""
        if self._made is None:
            self._made = Path(tempfile.mkdtemp(prefix="gnesf_bag_"))
            weakref.finalize(self, shutil.rmtree, self._made, ignore_errors=True)
        return self._made

    def _linked(self, file: Path) -> Path:
        """The file by a path that is no address of something else."""
        link = self._folder() / re.sub("[?#%]", "_", file.name)
        link.symlink_to(file.resolve())
        return link

    def _decompressed(self, file: Path) -> Path:
        target = self._folder() / re.sub("[?#%]", "_", file.stem)
        most = _most_bytes(file.stat().st_size)
        try:
            with file.open("rb") as source, zstd.open(source, "rb") as packed, target.open("xb") as plain:
                while block := packed.read(1 << 20):
                    if shutil.disk_usage(target.parent).free < _SPARE_BYTES:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    plain.write(block)
                    if plain.tell() > most:
                        raise ValueError(
                            f"{file} decompresses to more than {most} bytes, which no recording needs: if you trust "
                            f"it, 'zstd -d' it, and set compression_mode and relative_file_paths in {METADATA}"
                        )
        except (zstd.ZstdError, EOFError) as error:
            raise ValueError(f"{file} cannot be decompressed: {error}") from error
        except OSError as error:
            remedy = ". TMPDIR names a folder with more room" if error.errno in _FULL else ""
            raise OSError(f"{file} cannot be decompressed into {target}: {error.strerror}{remedy}") from error
        return target


def _most_bytes(compressed: int) -> int:
    """What so many bytes of zstd or lz4 may come to."""
    return max(_SURE_BYTES, _EXPANSION * compressed)


def decompressed(message: bytes) -> bytes:
    """The CDR bytes of a message that is a zstd frame.

    Raises:
        ValueError: it is none, is cut short, or comes to a size that no message has; the text goes on from its name.
    """
    most = min(_MESSAGE_BYTES, _most_bytes(len(message)))
    decompressor = zstd.ZstdDecompressor()
    try:
        data = decompressor.decompress(message, most)
    except zstd.ZstdError as error:
        raise ValueError(f"cannot be decompressed: {error}") from error
    if not decompressor.eof:
        raise ValueError(
            f"has {len(message)} bytes, which decompress to more than {most}: no message needs that"
            if len(data) >= most
            else "ends within its zstd frame"
        )
    return data


def _chunk_decompressor(make: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    """What decompresses a chunk of an MCAP file, to no more than a byte beyond the size that it claims.

    Args:
        make: a decompressor as Python's own are.
    """

    def decompress(data: bytes, size: int) -> bytes:
        if size > _most_bytes(len(data)):
            raise ReaderError(f"a chunk of {len(data)} bytes claims to hold {size}, which no recording needs")
        found = b""
        while data:
            decompressor = make()
            part = decompressor.decompress(data, max_length=size + 1 - len(found))
            found = found + part if found else part
            if len(found) > size or not decompressor.eof:
                break
            data = decompressor.unused_data or b""
        return found

    return decompress


# rosbags looks at the size when all of it is in memory, and has no other place where it could be bounded.
storage_mcap.DECOMPRESSORS.update(
    zstd=_chunk_decompressor(zstd.ZstdDecompressor), lz4=_chunk_decompressor(LZ4FrameDecompressor)
)


def _files(folder: Path, names: Any) -> list[Path]:
    """The files that metadata.yaml names; they lie beside it, whatever folder it says."""
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{folder / METADATA} has the relative_file_paths {names!s:.80}, expected names of files")
    files = [folder / PurePath(name).name for name in names]
    for number, file in enumerate(files):
        if file in files[:number]:
            raise ValueError(f"{folder / METADATA} names {file.name} twice: its messages would count twice")
        _check_regular(file)
    return files


def _check_regular(file: Path) -> None:
    """Refuse what is no file: a pipe would be waited for, and a device has no end."""
    if not file.exists():
        raise ValueError(f"{file} does not exist")
    if not file.is_file():
        raise OSError(f"{file} is no regular file, expected one of a bag")


def _in_address(path: Path) -> bool:
    """Whether the path has characters that mean something in the address by which rosbags opens a database."""
    return bool(set("?#%") & set(str(path)))


def _check_database(file: Path) -> None:
    """Refuse tables that are computed while they are read, and trees of pages that never end.

    Views, virtual tables and generated columns give any number of rows of any size; a page that is named again and
    again as the next one does, too. What is left is bounded by the size of the file.
    """
    size = file.stat().st_size
    with closing(sqlite3.connect(f"file:{quote(str(file.resolve()))}?immutable=1", uri=True)) as database:
        database.text_factory = bytes
        marks = ", ".join("?" * len(_TABLES))
        found = database.execute(
            f"SELECT name, type = 'table' AND rootpage > 0 FROM sqlite_master WHERE lower(name) IN ({marks})", _TABLES
        ).fetchall()
        page_bytes = database.execute("PRAGMA page_size").fetchone()[0]
        if size % page_bytes:  # SQLite takes what is missing of the last page for zeros
            raise ValueError(f"{file} is cut short: {size} bytes, expected a multiple of {page_bytes}")
        for raw, stored in found:
            name = raw.decode("ascii")
            if not stored or any(column[-1] for column in database.execute(f'PRAGMA table_xinfo("{name}")')):
                raise ValueError(f"{file} computes {name} while it is read, expected a table that is stored")
            # The fifth column tells indices of a part of the rows, which cannot serve all of them.
            listed = database.execute(f'PRAGMA index_list("{name}")').fetchall()
            indices = [row[1].decode("utf-8") for row in listed if not row[4]]
            ways = ["NOT INDEXED", *(f'INDEXED BY "{index.replace(chr(34), chr(34) * 2)}"' for index in indices)]
            for way in ways:
                rows = f'SELECT 1 FROM "{name}" {way} LIMIT {size // _ROW_BYTES + 1}'
                if database.execute(f"SELECT count(*) FROM ({rows})").fetchone()[0] > size // _ROW_BYTES:
                    raise ValueError(f"{file} has more rows in {name} than fit into its {size} bytes")
