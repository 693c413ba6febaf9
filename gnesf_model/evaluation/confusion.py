"""Confusion matrix and the scores that are read off it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gnesf_model.labels import UNKNOWN, LabelSpace


class Confusion:
    """Counts of (ground truth, prediction) pairs; an unknown prediction is a wrong one.

    Args:
        labels: label space of both; ground truth of 255 is ignored.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
        self.counts = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
        """(C, C + 1): row is the true class, column the predicted one, the last column unknown."""

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count pairs of two uint8 arrays of one shape.

        Raises:
            ValueError: different shapes, or a true class that the label space does not have.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"ground truth is {truth.shape} and prediction {predicted.shape}")
        classes = len(self.labels)
        truth, predicted = truth.reshape(-1), predicted.reshape(-1)
        valid = truth != UNKNOWN
        truth, predicted = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
        if truth.size and truth.max() >= classes:
            raise ValueError(
                f"ground truth holds class {truth.max()}, but {self.labels.name} ends at {classes - 1}: give "
                "labels in the map's label space (255 = ignore)"
            )
        pair = truth * (classes + 1) + np.minimum(predicted, classes)
        self.counts += np.bincount(pair, minlength=self.counts.size).reshape(self.counts.shape)

    def scores(self) -> dict[str, Any]:
        """miou, macc, pixel_accuracy, coverage, n and per_class over the classes with ground truth, and the confusion.

        IoU is true positives / (truth + predicted - true positives); macc the mean recall; coverage the
        share of the ground truth that got any class. All 0..1; None where there is no ground truth. ``confusion`` holds
        ``truth``, the names of its rows, ``predicted``, those of its columns, and ``counts``: classes that occur.
        """
        counts = self.counts
        classes = len(self.labels)
        truth, predicted = counts.sum(axis=1), counts[:, :classes].sum(axis=0)
        hits = counts[np.arange(classes), np.arange(classes)]
        present = truth > 0
        n = int(truth.sum())
        iou = hits[present] / (truth + predicted - hits)[present]
        recall = hits[present] / truth[present]
        names = [name for name, there in zip(self.labels.names, present, strict=True) if there]
        return {
            "miou": float(iou.mean()) if n else None,
            "macc": float(recall.mean()) if n else None,
            "pixel_accuracy": float(hits.sum() / n) if n else None,
            "coverage": float(1 - counts[:, classes].sum() / n) if n else None,
            "n": n,
            "per_class": {
                name: {"iou": float(i), "recall": float(r), "n": int(t)}
                for name, i, r, t in zip(names, iou, recall, truth[present], strict=True)
            },
            "confusion": self._occurring(),
        }

    def _occurring(self) -> dict[str, Any]:
        """The rows that hold ground truth and the columns that hold anything, with their names."""
        rows, columns = (np.flatnonzero(self.counts.sum(axis=axis)) for axis in (1, 0))
        predicted = [*self.labels.names, "unknown"]
        return {
            "truth": [self.labels.names[row] for row in rows],
            "predicted": [predicted[column] for column in columns],
            "counts": self.counts[np.ix_(rows, columns)].tolist(),
        }
