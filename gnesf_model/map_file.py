"""Maps as files: one file holds a whole map, and is either complete or not used.

The container is safetensors: plain arrays behind a JSON header, checked by its library against the length of the
file, readable by many programs, without code in it. In the header's metadata stand ``format``, ``version``, ``map``
(JSON: voxel size, classes, counts) and ``sha256``, the digest of ``map`` and of every array.

Arrays: ``blocks.coords`` (N, 3) int32, ``blocks.tsdf``, ``blocks.weight``, ``blocks.row`` (N, 512); ``votes.*`` one
row per voxel with votes, see `VoteTable`; ``last_poses`` (cameras, 4, 4) float64, world_T_cam of the latest keyframe of
each of the ``cameras`` that ``map`` names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from gnesf_model.device import single_thread
from gnesf_model.map_check import MapFileError, check_fits, contents_of, description, parsed
from gnesf_model.mapper import SemanticMapper
from gnesf_model.volume.limits import MapFull, OutOfReach

FORMAT = "gnesf_map"
VERSION = "1"
"""Moves when files are laid out differently; another version is refused."""
_HEADER_BYTES = 1 << 20
"""The header of a map takes a few thousand bytes; more is not believed."""


@single_thread()
def save_map(path: str | Path, mapper: SemanticMapper) -> int:
    """Write the map as one file; until it is complete on the disk, what was there before stays.

    Returns:
        Bytes written.

    Raises:
        MapFileError: `path` exists and is not a map, which is not overwritten.
        OSError: it cannot be written; says why. What was there before is whole.
    """
    path = Path(path)
    _check_regular(path)
    if path.exists() and not is_map(path):
        raise MapFileError(f"{path} exists and is not a map, so it is not overwritten: choose another name")
    contents = mapper.contents()
    arrays = {"last_poses": np.array(list(contents.last_poses.values()), np.float64).reshape(-1, 4, 4)}
    for group, tensors in (("blocks", contents.blocks), ("votes", contents.votes)):
        arrays |= {f"{group}.{name}": tensor.cpu().contiguous().numpy() for name, tensor in tensors.items()}
    described = json.dumps(description(mapper, contents), sort_keys=True)
    metadata = {"format": FORMAT, "version": VERSION, "map": described, "sha256": _digest(described, arrays)}
    try:
        _write_atomically(path, arrays, metadata)
        return path.stat().st_size
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OSError(f"the map cannot be saved as {path}: {reason}") from error


@single_thread()
def load_map(path: str | Path, mapper: SemanticMapper) -> dict[str, Any]:
    """Replace the mapper's map by a file's; only a file that is sound in every respect changes anything.

    Old and new map are in memory together until the new one is complete.

    Returns:
        What the file says of the map: ``frames``, ``keyframes``, ``global_frame``, ``blocks``.

    Raises:
        MapFileError: no file, no map, another version, damaged, other voxels, truncation or label space, too large.
        OSError: it cannot be read.
    """
    path = Path(path)
    with _readable(path) as file:
        metadata = _map_header(path, file)
        _check_size(path, file, mapper)
        file.seek(0)
        try:
            arrays = load(file.read())
        except (SafetensorError, KeyError, TypeError) as error:
            raise MapFileError(f"{path} is damaged or was not written to its end: {error}") from error
    if metadata["sha256"] != _digest(metadata["map"], arrays):
        raise MapFileError(f"{path} is damaged: its content does not give the checksum that it names")
    described = parsed(path, metadata["map"])
    check_fits(path, described, mapper)
    contents = contents_of(path, described, arrays, mapper)
    del arrays
    try:
        mapper.replace(contents)
    except (MapFull, OutOfReach) as error:
        raise MapFileError(f"{path} does not fit: {error}") from error
    return {**described, "blocks": len(contents.blocks["coords"])}


def described_map(path: str | Path) -> dict[str, Any]:
    """What a map file says of its map, see `description`.

    Only the header is read, and whether the rest is sound is not known yet.

    Raises:
        MapFileError: no file, no map, another version, a description that is none.
        OSError: it cannot be read.
    """
    path = Path(path)
    with _readable(path) as file:
        return parsed(path, _map_header(path, file)["map"])


def is_map(path: Path) -> bool:
    """Whether a file says that it is a map, of whatever version."""
    try:
        with open(path, "rb") as file:
            return _header(path, file).get("format") == FORMAT
    except (OSError, MapFileError):
        return False


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    """A file that is open for reading; what keeps it from being read is said of the map."""
    try:
        _check_regular(path)
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise OSError(f"the map {path} cannot be read: {error.strerror or error}") from error


def _check_regular(path: Path) -> None:
    """Raise MapFileError for what is there and is no file: to open a pipe would wait for its other end for good."""
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise MapFileError(f"{path} is {kind}, expected the name of a file")


def _digest(described: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(described.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _write_atomically(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """A file beside `path` that takes its place when all of it is on the disk."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    # Made here, not by the library, so that nothing that exists is written to and the usual permissions hold.
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        mode = stat.S_IMODE(os.stat(beside).st_mode)
        save_file(arrays, beside, metadata)
        os.chmod(beside, mode)  # some versions of safetensors put a file of their own there, for its owner only
        _sync(beside)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    _sync(path.parent)  # the name, too, survives a loss of power


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(path: Path, file: BinaryIO) -> dict[str, str]:
    """The metadata of a safetensors file."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _HEADER_BYTES):
        raise MapFileError(f"{path} is not a map of gnesf_ros: {size} bytes, a header of {length} bytes")
    try:
        metadata = json.loads(file.read(length))["__metadata__"]
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError("metadata that is not text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MapFileError(f"{path} is not a map of gnesf_ros, or its header is damaged ({error})") from error
    return metadata


def _map_header(path: Path, file: BinaryIO) -> dict[str, str]:
    """The metadata of a map of this version."""
    metadata = _header(path, file)
    if metadata.get("format") != FORMAT:
        raise MapFileError(f"{path} is not a map of gnesf_ros: its format is {metadata.get('format')!r}")
    if metadata.get("version") != VERSION:
        raise MapFileError(
            f"{path} is a map of version {metadata.get('version')!r}, this program reads version {VERSION}: map again, "
            "or use the version of gnesf_ros that wrote it"
        )
    for name in ("map", "sha256"):
        if name not in metadata:
            raise MapFileError(f"{path} is damaged: its header has no {name!r}")
    return metadata


def _check_size(path: Path, file: BinaryIO, mapper: SemanticMapper) -> None:
    """Refuse a file that cannot fit the memory, before anything large is read."""
    setting, limit_mb = mapper.config.volume.limit
    allowed = int(limit_mb * 1e6) + _HEADER_BYTES
    if (size := file.seek(0, os.SEEK_END)) > allowed:
        raise MapFileError(f"{path} holds {size / 1e6:.0f} MB, {setting} allows {allowed / 1e6:.0f} MB: raise it")
