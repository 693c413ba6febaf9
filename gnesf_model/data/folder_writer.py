"""RGB-D folders, as `rgbd_folder` reads them, from any source of frames."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from gnesf_model.data.source import FrameSource
from gnesf_model.frame import Camera, Frame
from gnesf_model.segment.oracle import CLASSES_FILE

logger = logging.getLogger(__name__)

JPEG_QUALITY = 95
UNITS_PER_M = 1000.0
"""Depth is written in millimetres, which is the default unit of the reader."""


def write_folder(source: FrameSource, out_dir: str | Path, *, progress: Callable[[int], None] | None = None) -> int:
    """Write the frames of `source` as the folder that `RgbdFolder` describes, with timestamps.txt.

    Colour becomes JPEG of quality 95; depth is rounded to millimetres and dropped beyond 65.535 m.

    Args:
        out_dir: folder; must not exist, or be empty.
        progress: called with 1 after each frame.

    Returns:
        How many frames were written.

    Raises:
        FileExistsError: `out_dir` holds something already.
        ValueError: the source gave no frame, or its camera changes on the way.
        OSError: a file cannot be written.
    """
    out_dir = Path(out_dir).expanduser()
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise FileExistsError(f"{out_dir} exists already and is not empty: name another folder or remove it")
    camera: Camera | None = None
    stamps = []
    for count, frame in enumerate(source):
        if camera is None:
            camera = frame.camera
            _make_folders(out_dir, frame, source.label_space)
        elif frame.camera != camera:
            raise ValueError(
                f"frame {count} of {source.name} has {frame.camera}, expected {camera}: an RGB-D folder has one "
                "intrinsics.txt; write a bag instead"
            )
        stem = f"{count:06d}"
        _write_frame(out_dir, stem, frame)
        stamps.append(f"{stem} {frame.stamp_ns}\n")
        if progress:
            progress(1)
    if camera is None:
        raise ValueError(f"{source.name} gave no frame; dropped: {dict(source.drops)}")
    (out_dir / "timestamps.txt").write_text("".join(stamps), encoding="utf-8")
    logger.info("wrote %d frames to %s", len(stamps), out_dir)
    return len(stamps)


def _make_folders(out_dir: Path, frame: Frame, label_space: str | None) -> None:
    folders = {"color": True, "pose": True, "depth": frame.depth is not None, "label": frame.labels is not None}
    for name, wanted in folders.items():
        if wanted:
            (out_dir / name).mkdir(parents=True, exist_ok=True)
    if frame.labels is not None and label_space:
        (out_dir / "label" / CLASSES_FILE).write_text(f"labels: {label_space}\n", encoding="utf-8")
    np.savetxt(out_dir / "intrinsics.txt", frame.camera.K, fmt="%.9g")


def _write_frame(out_dir: Path, stem: str, frame: Frame) -> None:
    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
    _write_image(out_dir / "color" / f"{stem}.jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if frame.depth is not None:
        units = np.rint(frame.depth.astype(np.float64) * UNITS_PER_M)
        units = np.where(units <= np.iinfo(np.uint16).max, units, 0).astype(np.uint16)
        _write_image(out_dir / "depth" / f"{stem}.png", units)
    if frame.labels is not None:
        _write_image(out_dir / "label" / f"{stem}.png", frame.labels)
    np.savetxt(out_dir / "pose" / f"{stem}.txt", frame.world_T_cam, fmt="%.9f")


def _write_image(path: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    if not cv2.imwrite(str(path), image, options or []):
        raise OSError(f"cannot write {path}: is the disk full?")
