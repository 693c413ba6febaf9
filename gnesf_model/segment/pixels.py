"""A segmentation at the size of its image: the one way in which stride-4 probabilities become pixels.

The probabilities are interpolated bilinearly, unknown among them, and then compared: what is published is what the
scores are made of. Between four cells with the same most likely class every mixture has that class, too, so that only
the pixels between cells that differ need all probabilities, a tenth of them in most images.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from gnesf_model.device import single_thread
from gnesf_model.labels import UNKNOWN
from gnesf_model.segment.segmenter import STRIDE, Segmentation

# Four pixels lie between the centres of two cells, at these parts of the way.
_FRACTION = (torch.arange(STRIDE) + 0.5) / STRIDE
_DYNAMIC_PROBABILITY = 0.5
_CHUNK = 1024
"""Groups of four cells worked on at a time: bounds the scratch memory at 16 times as many values a class."""


def pixel_labels(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """Most likely class (H, W) uint8 of every pixel, 255 where unknown outweighs every class."""
    return pixel_segmentation(segmentation, height, width)[0]


def moving_pixels(segmentation: Segmentation, height: int, width: int) -> torch.Tensor | None:
    """Flags (H, W), on the segmentation's device, of what more likely moves by itself than not; None if nothing does.

    People, animals and vehicles: classes of kind ``dynamic``, whether or not the map can name them.
    """
    moving = segmentation.dynamic > _DYNAMIC_PROBABILITY
    if not bool(moving.any()):
        return None
    return moving.repeat_interleave(STRIDE, dim=0).repeat_interleave(STRIDE, dim=1)[:height, :width]


@torch.inference_mode()
@single_thread()
def pixel_segmentation(segmentation: Segmentation, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Most likely class of every pixel and how likely it is.

    Returns:
        labels: (H, W) uint8; 255 where unknown outweighs every class.
        confidence: (H, W) uint8, 255 times the probability of that class; 0 where unknown.
    """
    known = segmentation.probabilities
    classes = len(known)
    unknown = (1.0 - known.sum(dim=0, keepdim=True)).clamp_min_(0.0)
    shares = torch.cat([known, unknown])  # (C + 1, h, w); unknown is last, so that a class wins a tie
    best, label = _most_likely(shares)
    # A border like its neighbours makes every pixel one between four cells.
    around = [torch.nn.functional.pad(t[None, None].float(), (1,) * 4, mode="replicate")[0, 0] for t in (best, label)]
    best, label = around[0].cpu().numpy(), around[1].to(torch.uint8)
    corner = label[:-1, :-1]
    mixed = (corner != label[:-1, 1:]) | (corner != label[1:, :-1]) | (corner != label[1:, 1:])
    rows, columns = corner.shape
    named = corner.cpu().numpy()
    size = (columns * STRIDE, rows * STRIDE)
    labels = cv2.resize(named, size, interpolation=cv2.INTER_NEAREST)
    # Resized, the padded grid has its first pixel half a cell before the first centre.
    full = cv2.resize(best, ((columns + 1) * STRIDE, (rows + 1) * STRIDE), interpolation=cv2.INTER_LINEAR)
    half = STRIDE // 2
    confidence = np.ascontiguousarray(full[half:-half, half:-half])
    where = mixed.nonzero()
    if len(where):
        winner, share = _between(shares, where)
        place = tuple(where.cpu().numpy().T)
        for image, values in ((labels, winner), (confidence, share)):
            tiles = image.reshape(rows, STRIDE, columns, STRIDE).transpose(0, 2, 1, 3)
            tiles[place] = values
    labels, confidence = (image[half : half + height, half : half + width] for image in (labels, confidence))
    labels = np.ascontiguousarray(labels)
    confidence = cv2.convertScaleAbs(np.ascontiguousarray(confidence), alpha=255.0)
    nameless = labels == classes
    labels[nameless], confidence[nameless] = UNKNOWN, 0
    return labels, confidence


def _between(shares: torch.Tensor, where: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Most likely class (M, 4, 4) uint8 and its share (M, 4, 4) of the pixels between groups of four cells.

    Args:
        shares: (C + 1, h, w).
        where: (M, 2) row and column of each group's first cell in the grid with a border of one cell.
    """
    classes, height, width = shares.shape
    table = shares.view(classes, -1)
    fraction = _FRACTION.to(shares.device)
    down = torch.stack([1 - fraction, fraction], dim=1)  # (4, 2)
    weights = torch.einsum("ai,bj->abij", down, down).reshape(STRIDE * STRIDE, 4)
    winners, best = [], []
    for part in where.split(_CHUNK):
        corners = []
        for i in (-1, 0):
            for j in (-1, 0):
                row, column = (part[:, 0] + i).clamp(0, height - 1), (part[:, 1] + j).clamp(0, width - 1)
                corners.append(row * width + column)
        values = table.index_select(1, torch.cat(corners)).view(classes, 4, -1)
        share, winner = _most_likely(weights @ values)  # (16, m) each, of (C + 1, 16, m)
        winners.append(winner.t())
        best.append(share.t())
    shape = (-1, STRIDE, STRIDE)
    return torch.cat(winners).view(shape).cpu().numpy(), torch.cat(best).view(shape).cpu().numpy()


def _most_likely(shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest share along the first axis and the number of its class, uint8; of equal ones the first."""
    if shares.is_cuda:
        best, label = shares.max(dim=0)
        return best, label.to(torch.uint8)
    # The same as torch's maximum with indices in a fifth of the time (docs/performance.md).
    best = shares.amax(dim=0)
    count = len(shares)
    rank = np.arange(count, 0, -1, dtype=np.min_scalar_type(count)).reshape(-1, *[1] * best.ndim)
    first = (np.greater_equal(shares.numpy(), best.numpy()) * rank).max(axis=0)
    return best, torch.from_numpy((count - first).astype(np.uint8))
