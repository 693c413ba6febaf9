"""Label images of ScanNet: its raw ids, put into NYU40 by its own table."""

from __future__ import annotations

import csv
import logging
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from gnesf_model.data.encoded import decode_bytes
from gnesf_model.data.frame_files import read_bytes
from gnesf_model.frame import FrameDropped
from gnesf_model.labels import UNKNOWN

LABEL_SPACE = "nyu40"
TABLE = "scannetv2-labels.combined.tsv"
"""From raw label ids to NYU40; comes with ScanNet, and lies in the scan's folder or above it."""
FOLDER = "label-filt"

_NYU40_CLASSES = 40
_MAX_BYTES = 64 << 20
"""Of one packed label image; one of ScanNet takes some ten thousand."""

logger = logging.getLogger(__name__)


class LabelImages:
    """The label images of a scan, extracted or in their zip; false where it has none, or no table to read them by.

    Args:
        folder: of the scan.
        name: of the scan.

    Raises:
        ValueError: the zip or the table is damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / FOLDER
        self._zip = None if self._folder.is_dir() else _open_zip(folder / f"{name}_2d-{FOLDER}.zip")
        there = self._folder.is_dir() or self._zip is not None
        self._lookup = _find_lookup(folder) if there else None

    def __bool__(self) -> bool:
        return self._lookup is not None

    def __call__(self, number: int) -> np.ndarray | None:
        """(H, W) uint8 in `LABEL_SPACE`, as large as colour; None where the frame has none.

        Raises:
            FrameDropped: (``unreadable_image``) damaged, or not an image of ids.
        """
        if self._lookup is None:
            return None
        name = f"{number}.png"
        if self._zip is not None:
            data = _read_zipped(self._zip, f"{FOLDER}/{name}")
        else:
            path = self._folder / name
            data = read_bytes(path, "unreadable_image") if path.is_file() else None
        if data is None:  # ground truth may cover some of the frames only
            return None
        raw = decode_bytes(data, cv2.IMREAD_UNCHANGED)
        if raw.ndim != 2 or raw.dtype.kind != "u":
            raise FrameDropped("unreadable_image", f"label image {name} is {raw.dtype} {raw.shape}, expected ids")
        return self._lookup[raw]


def nyu40_index(ids: np.ndarray) -> np.ndarray:
    """uint8 index in `LABEL_SPACE` of NYU40 ids, which count from 1; anything else becomes 255."""
    ids = ids.astype(np.int64)
    return np.where((ids >= 1) & (ids <= _NYU40_CLASSES), ids - 1, UNKNOWN).astype(np.uint8)


def _open_zip(path: Path) -> zipfile.ZipFile | None:
    if not path.is_file():
        return None
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged ({error}): download it again") from error


def _read_zipped(archive: zipfile.ZipFile, name: str) -> bytes | None:
    try:
        info = archive.getinfo(name)
        if info.file_size > _MAX_BYTES:
            raise FrameDropped("unreadable_image", f"{name} in {archive.filename} claims {info.file_size} bytes")
        return archive.read(info)
    except KeyError:
        return None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FrameDropped("unreadable_image", f"{name} in {archive.filename} is damaged: {error}") from error


def _find_lookup(folder: Path) -> np.ndarray | None:
    """Table (65536,) uint8 from raw label ids to `LABEL_SPACE`; None, with a warning, without ScanNet's table."""
    above = folder.resolve()
    for place in (above, *above.parents[:2]):
        if (place / TABLE).is_file():
            return _read_lookup(place / TABLE)
    logger.warning("the label images of %s are left out: put ScanNet's %s into %s", folder, TABLE, above.parent)
    return None


def _read_lookup(path: Path) -> np.ndarray:
    lookup = np.zeros(1 << 16, np.int64)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                lookup[int(row["id"])] = int(row["nyu40id"] or 0)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, csv.Error) as error:
        raise ValueError(f"{path} is no table with columns id and nyu40id: {error!r}") from error
    return nyu40_index(lookup)
