"""What every network needs around it: image in at its size and scale, classes out at stride 4."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from gnesf_model.labels import LabelMapping, LabelSpace
from gnesf_model.segment.segmenter import STRIDE, Segmentation, grid_size

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Normalisation:
    """Network input = pixel (0..255, RGB) * scale + offset, per channel; `bgr` swaps channels."""

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    bgr: bool = False

    @classmethod
    def make(
        cls,
        factor: float,
        shift: float = 0.0,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        bgr: bool = False,
    ) -> Normalisation:
        """(pixel * factor + shift - mean) / std; mean and std in the network's channel order."""
        scale = tuple(factor / s for s in std)
        offset = tuple((shift - m) / s for m, s in zip(mean, std, strict=True))
        return cls(scale, offset, bgr)

    def apply(self, rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(3, *size) float32 network input of an (H, W, 3) uint8 image, resized to `size` (h, w).

        The resized image covers the same area as the original (`align_corners=False`).
        """
        height, width = size
        if rgb.shape[:2] != size:
            shrinks = height <= rgb.shape[0] and width <= rgb.shape[1]
            mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            rgb = cv2.resize(rgb, (width, height), interpolation=mode)
        if self.bgr:
            rgb = rgb[:, :, ::-1]
        values = rgb.astype(np.float32)
        values *= np.float32(self.scale)
        values += np.float32(self.offset)
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def round_to_multiple(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """`size` with both sides rounded to the nearest multiple, at least one multiple."""
    height, width = (max(multiple, (side + multiple // 2) // multiple * multiple) for side in size)
    return height, width


def resampling_matrix(n_in: int, n_pixels: int) -> torch.Tensor:
    """Weights (ceil(n_pixels / 4), n_in) from `n_in` samples to the stride-4 grid, rows sum to 1.

    The samples cover the `n_pixels` of the image evenly, so that sample k lies at pixel
    (k + 0.5) n_pixels / n_in - 0.5. Coarser samples than the grid are interpolated linearly at
    the cell's centre, pixel 4j + 1.5, and held at the border; finer ones are averaged over the
    part of the cell's block which lies in the image.
    """
    n_out = -(-n_pixels // STRIDE)
    per_pixel = n_in / n_pixels
    cells = np.arange(n_out, dtype=np.float64)[:, None]
    samples = np.arange(n_in, dtype=np.float64)[None, :]
    if STRIDE * per_pixel > 1.0:
        first, last = STRIDE * cells * per_pixel, STRIDE * (cells + 1) * per_pixel
        weights = np.minimum(samples + 1, last) - np.maximum(samples, first)
    else:
        centre = (STRIDE * cells + STRIDE / 2) * per_pixel - 0.5
        weights = 1.0 - np.abs(samples - np.clip(centre, 0, n_in - 1))
    weights = np.maximum(weights, 0.0)
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


class Resampler:
    """Takes maps which cover an image to its stride-4 grid; keeps the weights of the last sizes."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._rows = self._columns = torch.empty(0)

    def __call__(self, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """(C, h, w) float32 on the grid of a `height` x `width` image, from (C, rows, columns)."""
        rows, columns = maps.shape[-2:]
        if (rows, columns) == grid_size(height, width) and not (height % 4 or width % 4):
            return maps.float()
        key = (rows, columns, height, width, maps.device)
        if key != self._key:
            self._rows = resampling_matrix(rows, height).to(maps.device)
            self._columns = resampling_matrix(columns, width).to(maps.device)
            self._key = key
        return self._rows @ (maps.float() @ self._columns.T)


class ClassOutput:
    """From a network's own classes to a `Segmentation` in the label space asked for.

    Args:
        network: its name, for messages.
        own: label space of its channels.
        labels: space of the output; None keeps `own`.
        device: of the probabilities.

    Raises:
        ValueError: no mapping leads from `own` to `labels`.
    """

    def __init__(self, network: str, own: LabelSpace, labels: LabelSpace | None, device: torch.device) -> None:
        self.network = network
        self.own = own
        mapping = LabelMapping.between(own, labels or own)
        self.labels = mapping.target
        self._matrix = torch.from_numpy(mapping.matrix).to(device)
        self._identity = labels is None or own.names == labels.names
        self._dynamic = torch.from_numpy(own.of_kind("dynamic").astype(np.float32)).to(device)

    def has_unlabelled_first(self, channels: int) -> bool:
        """Whether a network with `channels` channels keeps channel 0 for 'unlabelled'.

        Raises:
            ValueError: the number of channels does not fit the label space.
        """
        classes = len(self.own)
        if channels == classes:
            return False
        if channels == classes + 1 and self.own.first_id == 1:
            return True
        extra = f" (or {classes + 1} with 'unlabelled' first)" if self.own.first_id == 1 else ""
        raise ValueError(
            f"{self.network} has {channels} class channels, but its label space "
            f"'{self.own.name}' has {classes} classes; expected {classes} channels{extra}. "
            "Name the label space with which it was trained"
        )

    def segmentation(self, probabilities: torch.Tensor) -> Segmentation:
        """Segmentation of (C_own, h, w) float32 probabilities on the stride-4 grid.

        Raises:
            RuntimeError: they are not finite, negative, or their sum exceeds 1.
        """
        totals = probabilities.sum(dim=0)
        low, high = torch.aminmax(torch.stack((probabilities.amin(dim=0), totals)))
        low, high = float(low), float(high)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RuntimeError(
                f"{self.network} gave NaN or infinite values; the image was not segmented. "
                "Check the weights, or run it on the CPU in float32"
            )
        if low < -_SUM_TOLERANCE or high > 1.0 + _SUM_TOLERANCE:
            raise RuntimeError(
                f"{self.network} gave class probabilities from {low:.3g}, summing to {high:.3g}; "
                "expected values from 0 which sum to at most 1. If they are logits, say so "
                "(output: {kind: logits})"
            )
        probabilities = probabilities.clamp(min=0.0) / totals.clamp(min=1.0)
        dynamic = torch.einsum("c,chw->hw", self._dynamic, probabilities)
        if not self._identity:
            probabilities = torch.einsum("ts,shw->thw", self._matrix, probabilities)
        return Segmentation(probabilities, dynamic, self.labels)


def check_input_size(size: tuple[int, int] | list[float] | None) -> tuple[int, int] | None:
    """(height, width) in whole pixels, or None for None or an empty list.

    Raises:
        ValueError: not two whole numbers from 8 to 8192.
    """
    if size is None or len(size) == 0:
        return None
    if len(size) != 2 or any(side != int(side) or not 8 <= side <= 8192 for side in size):
        raise ValueError(
            f"input_size is {list(size)!r}; expected height and width in whole pixels, 8 to 8192, "
            "for example [256, 328]"
        )
    return int(size[0]), int(size[1])
