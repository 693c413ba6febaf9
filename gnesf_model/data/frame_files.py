"""What recordings of single files share: images, depth and poses, each failure with its reason; numbers as stamps."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np

from gnesf_model.data.encoded import decode_bytes
from gnesf_model.frame import Frame, FrameDropped, check_pose
from gnesf_model.geometry import pose_from_quaternion, quaternion_from_pose

logger = logging.getLogger(__name__)

FRAME_RATE_HZ = 30
FIRST_STAMP_NS = 1_000_000_000
"""Stamp of frame 0 where there are no stamps; not zero, which ROS takes for "no time"."""

Item = TypeVar("Item")


class FrameFiles(Generic[Item]):
    """A `FrameSource` whose frames are made one by one; what cannot be one is dropped and counted, the rest go on.

    Args:
        name: what the recording is called.
        items: what `_frame` makes frames of, in the order of time.
        label_space: name of the label space of the ground truth; None without.
    """

    def __init__(self, name: str, items: Sequence[Item], label_space: str | None) -> None:
        self.name, self.label_space = name, label_space
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Frame]:
        self.drops.clear()
        self.last_message.clear()
        for item in self._items:
            try:
                yield self._frame(item)
            except FrameDropped as error:
                where = self._where(item)
                self.drops[error.reason] += 1
                self.last_message[error.reason] = f"{where}: {error}"
                logger.warning("dropped %s of %s: %s", where, self.name, error)

    def _frame(self, item: Item) -> Frame:
        raise NotImplementedError

    def _where(self, item: Item) -> str:
        """What messages call it."""
        return f"frame {item}"


def stamp_of_frame(number: int) -> int:
    """Stamp in ns of a frame that has a number only."""
    return FIRST_STAMP_NS + round(number * 1_000_000_000 / FRAME_RATE_HZ)


def read_pose(path: Path) -> np.ndarray:
    """(4, 4) float64 of a text file, not checked yet.

    Raises:
        FrameDropped: (``no_pose``) no such file; (``bad_pose``) no matrix.
    """
    if not path.is_file():
        raise FrameDropped("no_pose", f"{path} does not exist")
    try:
        return read_matrix(path, "a 4x4 camera-to-world pose")
    except ValueError as error:
        raise FrameDropped("bad_pose", str(error)) from error


def rigid_pose(pose: np.ndarray) -> np.ndarray:
    """The (4, 4) pose with its rotation normalised, since text holds few digits.

    Raises:
        FrameDropped: (``bad_pose``) not finite, as where tracking was lost, or not rigid.
    """
    check_pose(pose)
    return pose_from_quaternion(pose[:3, 3], quaternion_from_pose(pose))


def read_depth(path: Path) -> np.ndarray:
    """(H, W) uint16 of a PNG.

    Raises:
        FrameDropped: (``no_depth``) no such file; (``bad_depth``) another kind of image; (``unreadable_image``).
    """
    depth = decode_bytes(read_bytes(path, "no_depth"), cv2.IMREAD_UNCHANGED)
    if depth.dtype != np.uint16 or depth.ndim != 2:
        raise FrameDropped("bad_depth", f"{path} is {depth.dtype} {depth.shape}, expected 16-bit with one channel")
    return depth


def read_bytes(path: Path, reason: str) -> bytes:
    """A file's bytes; `FrameDropped` with `reason` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FrameDropped(reason, f"{path} cannot be read: {error.strerror}") from error


def read_matrix(path: Path, what: str) -> np.ndarray:
    """(3, 3) or (4, 4) float64 matrix of a text file, `what` in messages.

    Raises:
        OSError, ValueError: it cannot be read, or holds something else.
    """
    try:
        matrix = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except OSError as error:
        raise FileNotFoundError(f"{path} cannot be read, expected {what}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} does not hold {what}: {error}") from error
    if matrix.shape not in ((3, 3), (4, 4)):
        raise ValueError(f"{path} holds {matrix.shape} numbers, expected {what}")
    return matrix
