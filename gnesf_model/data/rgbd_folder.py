"""RGB-D recordings as folders of images, in the layout of 7-Scenes and ScanNet exports."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.data.encoded import decode_bytes, decode_rgb
from gnesf_model.data.frame_files import (
    FRAME_RATE_HZ,
    FrameFiles,
    read_bytes,
    read_depth,
    read_matrix,
    read_pose,
    rigid_pose,
    stamp_of_frame,
)
from gnesf_model.frame import Camera, Frame, clean_depth

STAMP_DIGITS = 16
"""A file stem with at least so many digits is a stamp in nanoseconds (since 1970, not a frame number)."""


class RgbdFolder(FrameFiles[tuple[int, Path]]):
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
        self._depth_unit_m = (config or InputConfig()).depth_unit_m
        self._K = read_matrix(self.folder / "intrinsics.txt", "the 3x3 camera matrix")[:3, :3]
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
        own = label_space if self._labels_dir.is_dir() else None
        super().__init__(self.folder.resolve().name, self._find_images(), own)

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

    def _where(self, item: tuple[int, Path]) -> str:
        return item[1].name

    def _frame(self, item: tuple[int, Path]) -> Frame:
        stamp_ns, path = item
        rgb = decode_rgb(read_bytes(path, "unreadable_image"))
        camera = Camera.from_matrix(self._K, rgb.shape[1], rgb.shape[0])
        return Frame(stamp_ns, rgb, camera, self._pose(path.stem), self._depth(path.stem), self._labels(path.stem))

    def _pose(self, stem: str) -> np.ndarray:
        return rigid_pose(read_pose(self._pose_dir / f"{stem}.txt"))

    def _depth(self, stem: str) -> np.ndarray | None:
        if self._depth_dir is None:
            return None
        return clean_depth(read_depth(self._depth_dir / f"{stem}.png"), self._depth_unit_m)

    def _labels(self, stem: str) -> np.ndarray | None:
        path = self._labels_dir / f"{stem}.png"
        if not path.is_file():  # ground truth may cover some of the frames only
            return None
        return decode_bytes(read_bytes(path, "unreadable_image"), cv2.IMREAD_UNCHANGED)


def _stamp_of_stem(path: Path) -> int:
    stem = path.stem
    if not (stem.isascii() and stem.isdecimal()):
        raise ValueError(
            f"{path} is not named by a number, expected a frame number at {FRAME_RATE_HZ} Hz or a stamp in "
            "nanoseconds: rename the files or add timestamps.txt"
        )
    if len(stem) >= STAMP_DIGITS:
        return int(stem)
    return stamp_of_frame(int(stem))
