"""RGB-D recordings as folders of images, in the layout of 7-Scenes and ScanNet exports."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.data.encoded import decode_bytes, decode_rgb
from gnesf_model.frame import Camera, Frame, FrameDropped, check_pose, clean_depth
from gnesf_model.geometry import pose_from_quaternion, quaternion_from_pose

logger = logging.getLogger(__name__)

FRAME_RATE_HZ = 30
FIRST_STAMP_NS = 1_000_000_000
"""Stamp of frame 0 where there are no stamps; not zero, which ROS takes for "no time"."""

STAMP_DIGITS = 16
"""A file stem with at least so many digits is a stamp in nanoseconds (since 1970, not a frame number)."""


class RgbdFolder:
    """Frames of a folder::

        color/<stem>.jpg|png   8-bit colour
        depth/<stem>.png       16-bit, in units of config.depth_unit_m, registered to colour (optional)
        <pose_dir>/<stem>.txt  4x4 camera-to-world, optical axes (x right, y down, z forward)
        label/<stem>.png       8-bit class ids, 255 = ignore (optional)
        intrinsics.txt         3x3 (or 4x4, as ScanNet writes it) camera matrix
        timestamps.txt         lines "<stem> <stamp in ns>" (optional)

    Without timestamps.txt a stem of 16 or more digits is the stamp in nanoseconds, a shorter one the
    number of a frame at 30 Hz, counted from 1 s. Rotations are normalised, because text holds few digits.
    A frame with an unreadable image, a bad pose or depth of another size is dropped and counted; the rest
    go on.

    Args:
        folder: as above.
        config: only depth_unit_m is used.
        pose_dir: name of the folder with the poses.
        labels_dir: ground truth by file stem; ``label/`` by default.
        label_space: name of the label space of the ground truth.

    Raises:
        OSError: a folder or intrinsics.txt is missing, or there is no image.
        ValueError: intrinsics.txt, timestamps.txt or a file's name cannot be understood.
    """

    def __init__(
        self,
        folder: str | Path,
        config: InputConfig | None = None,
        *,
        pose_dir: str = "pose",
        labels_dir: str | Path | None = None,
        label_space: str = "scannet20",
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.name = self.folder.resolve().name
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self._depth_unit_m = (config or InputConfig()).depth_unit_m
        self._K = _read_matrix(self.folder / "intrinsics.txt", "the 3x3 camera matrix")[:3, :3]
        Camera.from_matrix(self._K, 1, 1)  # refuses zeros and NaN before the first frame
        self._depth_dir = self.folder / "depth" if (self.folder / "depth").is_dir() else None
        self._pose_dir = self.folder / pose_dir
        if not self._pose_dir.is_dir():
            raise FileNotFoundError(
                f"{self._pose_dir} does not exist: name the folder with the poses (--pose-dir), one of "
                f"{', '.join(sorted(p.name for p in self.folder.iterdir() if p.is_dir())) or 'none there'}"
            )
        self._labels_dir = Path(labels_dir).expanduser() if labels_dir else self.folder / "label"
        if labels_dir and not self._labels_dir.is_dir():
            raise FileNotFoundError(f"label folder {self._labels_dir} does not exist")
        self.label_space = label_space if self._labels_dir.is_dir() else None
        self._images = self._find_images()

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Frame]:
        self.drops.clear()
        self.last_message.clear()
        for stamp_ns, path in self._images:
            try:
                yield self._frame(stamp_ns, path)
            except FrameDropped as error:
                self.drops[error.reason] += 1
                self.last_message[error.reason] = f"{path.name}: {error}"
                logger.warning("dropped %s: %s", path, error)

    def _find_images(self) -> list[tuple[int, Path]]:
        """Stamp and path of every colour image, in the order of time."""
        folder = self.folder / "color"
        paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no .jpg or .png image")
        listed = self._listed_stamps()
        stamps: dict[int, Path] = {}
        for path in paths:
            stamp = listed[path.stem] if path.stem in listed else _stamp_of_stem(path)
            other = stamps.setdefault(stamp, path)
            if other != path:
                raise ValueError(f"{path} and {other} have the same stamp of {stamp} ns: remove one")
        return sorted(stamps.items())

    def _listed_stamps(self) -> dict[str, int]:
        path = self.folder / "timestamps.txt"
        if not path.is_file():
            return {}
        listed = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            words = line.split()
            if len(words) != 2 or not words[1].isdecimal():
                raise ValueError(f"{path}:{number} is {line!r}, expected '<stem> <stamp in ns>'")
            listed[words[0]] = int(words[1])
        return listed

    def _frame(self, stamp_ns: int, path: Path) -> Frame:
        rgb = decode_rgb(_read(path, "unreadable_image"))
        camera = Camera.from_matrix(self._K, rgb.shape[1], rgb.shape[0])
        return Frame(stamp_ns, rgb, camera, self._pose(path.stem), self._depth(path.stem), self._labels(path.stem))

    def _pose(self, stem: str) -> np.ndarray:
        path = self._pose_dir / f"{stem}.txt"
        if not path.is_file():
            raise FrameDropped("no_pose", f"{path} does not exist")
        try:
            pose = _read_matrix(path, "a 4x4 camera-to-world pose")
        except ValueError as error:
            raise FrameDropped("bad_pose", str(error)) from error
        check_pose(pose)
        return pose_from_quaternion(pose[:3, 3], quaternion_from_pose(pose))

    def _depth(self, stem: str) -> np.ndarray | None:
        if self._depth_dir is None:
            return None
        path = self._depth_dir / f"{stem}.png"
        depth = decode_bytes(_read(path, "no_depth"), cv2.IMREAD_UNCHANGED)
        if depth.dtype != np.uint16 or depth.ndim != 2:
            raise FrameDropped("bad_depth", f"{path} is {depth.dtype} {depth.shape}, expected 16-bit with one channel")
        return clean_depth(depth, self._depth_unit_m)

    def _labels(self, stem: str) -> np.ndarray | None:
        path = self._labels_dir / f"{stem}.png"
        if not path.is_file():  # ground truth may cover some of the frames only
            return None
        return decode_bytes(_read(path, "unreadable_image"), cv2.IMREAD_UNCHANGED)


def _stamp_of_stem(path: Path) -> int:
    stem = path.stem
    if not (stem.isascii() and stem.isdecimal()):
        raise ValueError(
            f"{path} is not named by a number, expected a frame number at {FRAME_RATE_HZ} Hz or a stamp in "
            "nanoseconds: rename the files or add timestamps.txt"
        )
    if len(stem) >= STAMP_DIGITS:
        return int(stem)
    return FIRST_STAMP_NS + round(int(stem) * 1_000_000_000 / FRAME_RATE_HZ)


def _read(path: Path, reason: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FrameDropped(reason, f"{path} cannot be read: {error.strerror}") from error


def _read_matrix(path: Path, what: str) -> np.ndarray:
    """(3, 3) or (4, 4) float64 matrix of a text file."""
    try:
        matrix = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except OSError as error:
        raise FileNotFoundError(f"{path} cannot be read, expected {what}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} does not hold {what}: {error}") from error
    if matrix.shape not in ((3, 3), (4, 4)):
        raise ValueError(f"{path} holds {matrix.shape} numbers, expected {what}")
    return matrix
