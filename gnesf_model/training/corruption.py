"""A segmenter that errs as real ones do: whole segments, in several views alike, more often where the view is bad.

A vote that learns from perfect segmentations, or from errors that are independent from view to view, learns to average.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from gnesf_model.labels import UNKNOWN
from gnesf_model.segment.segmenter import STRIDE


@dataclass(frozen=True)
class Habits:
    """How one segmenter errs.

    Attributes:
        mistaken_for: (C,) what each class is taken for.
        base, near, border: probability that a segment is mistaken: always, and more if it is nearer than `near_m`, or
            cut by the image's border.
        near_m: context is lost nearer than this.
        height: logit of the class that it names, above those of the others.
        sure: how much surer it is when right than when wrong, 0..1.
        unclear: standard deviation of the noise of its logits.
    """

    mistaken_for: np.ndarray
    base: float
    near: float
    border: float
    near_m: float
    height: float
    sure: float
    unclear: float

    @classmethod
    def sampled(cls, classes: int, rng: np.random.Generator) -> Habits:
        """Some segmenter, between good and bad; a third are nearly perfect: votes shall learn to leave those alone."""
        errors = rng.choice([1.0, 1.0, 0.1])
        shift = rng.integers(1, classes, classes) if classes > 1 else np.zeros(classes, np.int64)
        return cls(
            mistaken_for=(np.arange(classes) + shift) % classes,
            base=errors * rng.uniform(0.05, 0.3),
            near=errors * rng.uniform(0.0, 0.5),
            border=errors * rng.uniform(0.0, 0.4),
            near_m=rng.uniform(0.8, 1.8),
            height=rng.uniform(2.5, 7.0),
            sure=rng.uniform(0.0, 0.4),
            unclear=rng.uniform(0.2, 0.8),
        )


def corrupted(labels: np.ndarray, depth: np.ndarray, habits: Habits, rng: np.random.Generator) -> np.ndarray:
    """What such a segmenter says of an image: probabilities (C, h, w) float32 at stride 4.

    Args:
        labels: (H, W) uint8 truth; where it is 255 the result is unknown.
        depth: (H, W) float32 m, 0 where there is none.
        rng: draws which segments are mistaken.
    """
    classes = len(habits.mistaken_for)
    centre = STRIDE // 2
    rows = np.minimum(np.arange(0, labels.shape[0], STRIDE) + centre, labels.shape[0] - 1)
    columns = np.minimum(np.arange(0, labels.shape[1], STRIDE) + centre, labels.shape[1] - 1)
    truth, z = labels[np.ix_(rows, columns)], depth[np.ix_(rows, columns)]
    said, right = truth.copy(), np.ones(truth.shape, bool)
    for label in np.unique(truth[truth != UNKNOWN]):
        count, segments = cv2.connectedComponents((truth == label).astype(np.uint8), connectivity=4)
        for number in range(1, count):
            segment = segments == number
            wrong = habits.base
            measured = z[segment & (z > 0)]
            wrong += habits.near * (len(measured) > 0 and np.median(measured) < habits.near_m)
            wrong += habits.border * (segment[[0, -1]].any() or segment[:, [0, -1]].any())
            if rng.random() < min(wrong, 0.9):
                # Mostly the same mistake in every view: that is what averaging cannot mend.
                other = habits.mistaken_for[label] if rng.random() < 0.7 else rng.integers(classes)
                said[segment], right[segment] = other, other == label
    high = habits.height * rng.uniform(0.8, 1.2) * np.where(right, 1.0, 1.0 - habits.sure)
    logits = rng.normal(0, habits.unclear, (classes, *truth.shape))
    logits = np.stack([cv2.GaussianBlur(plane, (3, 3), 0) for plane in logits])
    known = said != UNKNOWN
    i, j = np.nonzero(known)
    logits[said[i, j], i, j] += high[i, j]
    logits[truth[i, j], i, j] += 0.5 * ~right[i, j]
    p = np.exp(logits - logits.max(axis=0))
    return (p / p.sum(axis=0) * known).astype(np.float32)


def occluded(rgb: np.ndarray, said: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 and its probabilities (C, h, w) with something in the way.

    The depth does not tell of it. It hides a quarter to a half of the width and the height, has one colour with noise,
    and is taken for one class. What the depth sensor sees of an occluder needs no learning: such a view does not vote
    on what is behind it.
    """
    classes, rows, columns = said.shape
    size = [max(1, round(n * rng.uniform(0.25, 0.5))) for n in (rows, columns)]
    top, left = (int(rng.integers(0, n - m + 1)) for n, m in zip((rows, columns), size))
    cells = slice(top, top + size[0]), slice(left, left + size[1])
    pixels = tuple(slice(part.start * STRIDE, part.stop * STRIDE) for part in cells)
    rgb, said = rgb.copy(), said.copy()
    hidden = rgb[pixels]
    hidden[:] = np.clip(rng.uniform(0, 255, 3) + rng.normal(0, 12, hidden.shape), 0, 255)
    share = rng.uniform(0.4, 1.0)
    said[(slice(None), *cells)] = (1 - share) / classes
    said[(int(rng.integers(classes)), *cells)] += share
    return rgb, said
