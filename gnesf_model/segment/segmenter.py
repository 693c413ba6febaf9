"""What every segmenter is: RGB in, class probabilities at a quarter of the resolution out.

Pixel convention: pixel centres lie at integer coordinates. The value at cell (i, j) of the grid
describes the 4x4 block of pixels u = 4j .. 4j+3, v = 4i .. 4i+3, centred at u = 4j + 1.5 and
v = 4i + 1.5 (`align_corners=False`). So pixel (u, v) lies at column (u - 1.5) / 4 and row
(v - 1.5) / 4 of the grid. The grid has ceil(H/4) rows and ceil(W/4) columns; where the size is not
a multiple of 4, a cell of the last row or column describes the part of its block in the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from gnesf_model.labels import UNKNOWN, LabelSpace

STRIDE = 4
"""Pixels per cell of a `Segmentation`, in both directions."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Class probabilities of one image at stride 4.

    Args:
        probabilities: (C, h, w) float32, entries >= 0, sum over C at most 1; the remainder is
            the probability of no class of `labels` (unknown).
        dynamic: (h, w) float32 probability of the network's own classes of kind 'dynamic'
            (people, animals, vehicles), whether or not `labels` can name them.
        labels: the space of the C channels.

    Raises:
        ValueError: shapes or types differ from that.
    """

    probabilities: torch.Tensor
    dynamic: torch.Tensor
    labels: LabelSpace

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.probabilities.shape), self.probabilities.dtype
        if len(shape) != 3 or shape[0] != len(self.labels) or dtype != torch.float32:
            raise ValueError(
                f"probabilities are {shape} {dtype}; expected ({len(self.labels)}, h, w) "
                f"torch.float32 for the label space '{self.labels.name}'"
            )
        if tuple(self.dynamic.shape) != shape[1:] or self.dynamic.dtype != torch.float32:
            raise ValueError(
                f"dynamic is {tuple(self.dynamic.shape)} {self.dynamic.dtype}; expected {shape[1:]} torch.float32"
            )


@runtime_checkable
class Segmenter(Protocol):
    """Turns one image into class probabilities.

    `labels` is the space of its output. A call takes `rgb`, (H, W, 3) uint8, and `stamp_ns`, which
    only the oracle uses. It raises ValueError for another image and RuntimeError for an output
    which is not finite.
    """

    labels: LabelSpace

    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation: ...


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns (h, w) of the stride-4 grid of an image of `height` x `width` pixels."""
    return -(-height // STRIDE), -(-width // STRIDE)


def check_rgb(rgb: np.ndarray) -> np.ndarray:
    """`rgb` if it is a (H, W, 3) uint8 image with at least one pixel.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        found = f"{rgb.shape} {rgb.dtype}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise ValueError(f"rgb is {found}; expected an array (H, W, 3) of uint8")
    return rgb


def argmax_labels(segmentation: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Most probable label per cell and its probability.

    Returns:
        labels: (h, w) uint8; UNKNOWN (255) where the unknown remainder is larger than every class.
        confidence: (h, w) float32, the probability of that label (or of the remainder).
    """
    probabilities = segmentation.probabilities
    best, label = probabilities.max(dim=0)
    remainder = (1.0 - probabilities.sum(dim=0)).clamp(min=0.0)
    unknown = remainder > best
    label = torch.where(unknown, torch.full_like(label, UNKNOWN), label)
    confidence = torch.where(unknown, remainder, best)
    return label.to(torch.uint8).cpu().numpy(), confidence.float().cpu().numpy()
