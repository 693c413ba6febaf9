"""How good a surface is: accuracy, completeness and F-score, as in Atlas (Murez et al., ECCV 2020) and NeuralRecon."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from gnesf_model.evaluation.unit_scores import bootstrap_interval

NEAR_M = 0.05
"""A point this near to the other surface is right."""


class GeometryScores:
    """Surfaces of rooms against what is true of them; every room counts the same."""

    def __init__(self) -> None:
        self._rooms: list[tuple[float, ...]] = []

    def add(self, error_m: np.ndarray, surface: np.ndarray, truth: np.ndarray) -> None:
        """One room.

        Args:
            error_m: (N,) distance of each of the surface's points to the true surface, m.
            surface: (N, 3) its points.
            truth: (M, 3) points of the true surface that the views have seen.

        Raises:
            ValueError: there is no truth.
        """
        if not len(truth):
            raise ValueError("no point of the true surface was seen, expected some: has the recording exact depth?")
        if not len(surface):  # nothing found: nothing is right, and no mean distance can be given
            self._rooms.append((np.nan, np.nan, 0.0, 0.0, 0.0))
            return
        missed_m, _ = cKDTree(surface).query(truth, workers=-1)
        precision, recall = float((error_m < NEAR_M).mean()), float((missed_m < NEAR_M).mean())
        fscore = 2 * precision * recall / max(precision + recall, 1e-9)
        self._rooms.append((float(error_m.mean()), float(missed_m.mean()), precision, recall, fscore))

    def merge(self, other: GeometryScores) -> None:
        """Add the rooms of another one."""
        self._rooms += other._rooms

    def to_json(self) -> dict[str, Any]:
        """Means over the rooms: accuracy and completeness in m, precision, recall and fscore at `NEAR_M`; n rooms.

        `fscore_interval` is the 95 % interval of a bootstrap over the rooms, of two or more.
        """
        columns = np.array(self._rooms)
        names = ("accuracy", "completeness", "precision", "recall", "fscore")
        with np.errstate(all="ignore"):
            means = [float(np.nanmean(column)) if np.isfinite(column).any() else None for column in columns.T]
        found: dict[str, Any] = {**dict(zip(names, means)), "n": len(columns), "near_m": NEAR_M}
        if len(columns) > 1:
            found["fscore_interval"] = bootstrap_interval(columns[:, -1])
        return found
