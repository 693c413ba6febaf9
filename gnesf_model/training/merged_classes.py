"""Coarser label spaces, drawn at random: a vote that learned in one space alone might learn the space."""

from __future__ import annotations

import numpy as np

from gnesf_model.labels import UNKNOWN


def merging(classes: int, rng: np.random.Generator) -> np.ndarray:
    """(classes,) int64 new class of each class: 2 to `classes` of them, without gaps."""
    groups = int(rng.integers(2, max(classes, 3)))
    return np.unique(rng.integers(0, groups, classes), return_inverse=True)[1]


def merged_labels(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Labels (...) in the space of `merging`, of the same type; 255 stays."""
    table = np.full(UNKNOWN + 1, UNKNOWN, labels.dtype)
    table[: len(groups)] = groups
    return table[labels]


def merged_probabilities(probabilities: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities (T, C', h, w) in the space of `merging`, of (T, C, h, w)."""
    merged = np.zeros((len(probabilities), int(groups.max()) + 1, *probabilities.shape[2:]), probabilities.dtype)
    for old, new in enumerate(groups):
        merged[:, new] += probabilities[:, old]
    return merged
