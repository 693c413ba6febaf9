"""Frames of a recording beside what segmenter, map and ground truth say of them, as pictures within a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from gnesf_model.frame import Frame
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import SemanticMapper
from gnesf_model.visualization.images import fit_width, overlay
from gnesf_model.visualization.overview import frame_labels

_WIDTH_PX = 480
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class FrameRow:
    """One frame.

    Attributes:
        stamp_ns: its stamp.
        pictures: name -> address of the picture (``data:``).
        agreement: name -> share of the pixels with ground truth that agree with it.
        present: label values that are to be seen.
    """

    stamp_ns: int
    pictures: dict[str, str]
    agreement: dict[str, float]
    present: np.ndarray


def frame_row(mapper: SemanticMapper, frame: Frame) -> FrameRow:
    """The pictures of a frame; its labels must be in the label space of the map."""
    labels = frame_labels(mapper, frame)
    pictures = {"photograph": address(frame.rgb)}
    pictures |= {name: address(overlay(frame.rgb, values, mapper.labels)) for name, values in labels.items()}
    truth = labels.pop("ground truth", None)
    judged = None if truth is None else truth != UNKNOWN
    agreement = {}
    if judged is not None and judged.any():
        agreement = {name: float((values == truth)[judged].mean()) for name, values in labels.items()}
    present = np.unique(np.concatenate([values.reshape(-1) for values in labels.values()]))
    return FrameRow(frame.stamp_ns, pictures, agreement, present)


def address(rgb: np.ndarray, width: int = _WIDTH_PX) -> str:
    """A picture (H, W, 3) as a ``data:`` address, no wider than so many pixels."""
    small = fit_width(rgb, min(width, rgb.shape[1]))
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
