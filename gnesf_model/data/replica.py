"""Rooms of Replica as rendered for Semantic-NeRF (and vMAP), and for NICE-SLAM."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gnesf_model.data.encoded import decode_bytes, decode_rgb
from gnesf_model.data.frame_files import FrameFiles, read_bytes, read_depth, rigid_pose, stamp_of_frame
from gnesf_model.frame import Camera, Frame, FrameDropped, clean_depth

LABEL_SPACE = "replica"
LABELS = "semantic_class"
CAMERA_FILE = "cam_params.json"

_ROOM = re.compile(r"(frl_apartment|apartment|hotel|office|room)_?\d+")


@dataclass(frozen=True)
class _Layout:
    trajectory: str
    color: str
    depth: str
    units_per_m: float


_LAYOUTS = (
    _Layout("traj_w_c.txt", "rgb/rgb_*.png", "depth/depth_{}.png", 1000.0),
    _Layout("traj.txt", "results/frame*.jpg", "results/depth{}.png", 6553.5),
)


class ReplicaRendering(FrameFiles[int]):
    """Frames of a folder, stamped by their number at 30 Hz, in one of two layouts::

        Semantic-NeRF, vMAP                    NICE-SLAM
        rgb/rgb_N.png                          results/frameNNNNNN.jpg
        depth/depth_N.png  (mm)                results/depthNNNNNN.png  (6553.5 per metre)
        traj_w_c.txt                           traj.txt

    A trajectory has 16 numbers a line: camera-to-world of frame N, optical axes. Labels may lie beside it in both:
    ``semantic_class/semantic_class_N.png`` (8 bits, Replica's class ids, 0 = none). The camera is that of
    ``cam_params.json`` in this folder or above, else that which both were rendered with: fx = fy = width / 2, centred.

    Args:
        folder: of one rendering.
        every: take each N-th frame.

    Raises:
        OSError: files are missing.
        ValueError: the trajectory or the camera cannot be understood.
    """

    def __init__(self, folder: str | Path, *, every: int = 1) -> None:
        self.folder = Path(folder).expanduser()
        layout = _layout_of(self.folder)
        if layout is None:
            raise FileNotFoundError(
                f"{self.folder} is no rendering of Replica, expected {' or '.join(map(_described, _LAYOUTS))}"
            )
        self._depth = layout.depth
        self._images = dict(sorted(_numbered(self.folder, layout)))
        if not self._images:
            raise FileNotFoundError(f"{self.folder} holds no image {layout.color}")
        self._poses = _read_trajectory(self.folder / layout.trajectory)
        self._camera, units_per_m = _read_camera(self.folder)
        self._depth_unit_m = 1.0 / (units_per_m or layout.units_per_m)
        own = LABEL_SPACE if (self.folder / LABELS).is_dir() else None
        super().__init__("_".join(_name_parts(self.folder)), list(self._images)[::every], own)

    def _where(self, item: int) -> str:
        return self._images[item].name

    def _frame(self, number: int) -> Frame:
        path = self._images[number]
        if number >= len(self._poses):
            raise FrameDropped("no_pose", f"the trajectory has {len(self._poses)} lines, none for frame {number}")
        rgb = decode_rgb(read_bytes(path, "unreadable_image"))
        height, width = rgb.shape[:2]
        camera = self._camera or Camera(width, height, width / 2, width / 2, (width - 1) / 2, (height - 1) / 2)
        digits = path.stem.removeprefix("rgb_").removeprefix("frame")
        depth = clean_depth(read_depth(self.folder / self._depth.format(digits)), self._depth_unit_m)
        pose = rigid_pose(self._poses[number])
        return Frame(stamp_of_frame(number), rgb, camera, pose, depth, self._labels(number))

    def _labels(self, number: int) -> np.ndarray | None:
        path = self.folder / LABELS / f"{LABELS}_{number}.png"
        if not path.is_file():  # ground truth may cover some of the frames only
            return None
        ids = decode_bytes(read_bytes(path, "unreadable_image"), cv2.IMREAD_UNCHANGED)
        if ids.ndim != 2 or ids.dtype != np.uint8:
            raise FrameDropped("unreadable_image", f"{path} is {ids.dtype} {ids.shape}, expected 8-bit class ids")
        return ids - np.uint8(1)  # ids count from 1: 0 becomes 255, which is unknown


def is_rendering(folder: Path) -> bool:
    """Whether a folder is laid out as a rendering of Replica."""
    return _layout_of(folder) is not None


def find_renderings(path: Path) -> list[Path]:
    """The renderings in a folder, up to three levels down, or the folder itself.

    Raises:
        OSError: there is none.
    """
    found = list(_walk(path, 3))
    if not found:
        raise FileNotFoundError(f"{path} holds no rendering of Replica: {' or '.join(map(_described, _LAYOUTS))}")
    return found


def room_of(path: Path) -> str:
    """The room of a rendering: the last part of its path that is called like one of Replica's, else its own name."""
    return _name_parts(path)[0]


def _name_parts(path: Path) -> tuple[str, ...]:
    """From the room on: room_0, Sequence_1."""
    parts = path.resolve().parts
    rooms = [at for at, part in enumerate(parts) if _ROOM.fullmatch(part)]
    return parts[rooms[-1] :] if rooms else parts[-1:]


def _walk(folder: Path, levels: int) -> Iterator[Path]:
    if is_rendering(folder):
        yield folder
    elif levels:
        for inner in sorted(item for item in folder.iterdir() if item.is_dir()):
            yield from _walk(inner, levels - 1)


def _layout_of(folder: Path) -> _Layout | None:
    for layout in _LAYOUTS:
        if (folder / layout.trajectory).is_file() and (folder / layout.color).parent.is_dir():
            return layout
    return None


def _described(layout: _Layout) -> str:
    return f"{layout.color} with {layout.trajectory}"


def _numbered(folder: Path, layout: _Layout) -> Iterator[tuple[int, Path]]:
    for path in folder.glob(layout.color):
        digits = path.stem.removeprefix("rgb_").removeprefix("frame")
        if digits.isascii() and digits.isdecimal():
            yield int(digits), path


def _read_trajectory(path: Path) -> np.ndarray:
    """(N, 4, 4) float64, not checked yet."""
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=2).reshape(-1, 4, 4)
    except ValueError as error:
        raise ValueError(f"{path} does not hold 16 numbers a line, a 4x4 camera-to-world pose: {error}") from error


def _read_camera(folder: Path) -> tuple[Camera | None, float | None]:
    """Camera and units of depth per metre of `CAMERA_FILE`, here or above; None without."""
    path = next((p for p in (folder / CAMERA_FILE, folder.resolve().parent / CAMERA_FILE) if p.is_file()), None)
    if path is None:
        return None, None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["camera"]
        numbers = [float(found[name]) for name in ("fx", "fy", "cx", "cy", "scale")]
        camera = Camera(int(found["w"]), int(found["h"]), *numbers[:4])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has no 'camera' with w, h, fx, fy, cx, cy and scale as numbers: {error}") from error
    if not (np.isfinite(numbers[4]) and numbers[4] > 0):
        raise ValueError(f"{path} has the scale {numbers[4]}, expected the units of depth per metre, e.g. 6553.5")
    return camera, numbers[4]
