"""Several methods on the same units (rooms, or pieces of one): scores, and how surely they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.labels import LabelSpace

RESAMPLES = 1000


class UnitScores:
    """Confusions of methods over units.

    Args:
        labels: label space of all.
        independent: whether the units are draws of their own, as rooms are, or nearly so; photographs of a folder often
            are frames of one recording.
    """

    def __init__(self, labels: LabelSpace, independent: bool = True) -> None:
        self.labels, self.independent = labels, independent
        self._units: dict[str, dict[object, Confusion]] = {}

    def add(self, unit: object, method: str, truth: np.ndarray, found: np.ndarray) -> None:
        """Count pairs (see `Confusion.add`) of one unit."""
        units = self._units.setdefault(method, {})
        units.setdefault(unit, Confusion(self.labels)).add(truth, found)

    def add_split(self, units: np.ndarray, method: str, truth: np.ndarray, found: np.ndarray) -> None:
        """Count pairs (N,) of several units at once: `units` (N,) says whose each is."""
        order = np.argsort(units, kind="stable")
        names, starts = np.unique(units[order], return_index=True)
        for name, rows in zip(names.tolist(), np.split(order, starts[1:])):
            self.add(name, method, truth[rows], found[rows])

    def merge(self, other: UnitScores) -> None:
        """Count what others have counted, too."""
        for method, units in other._units.items():
            mine = self._units.setdefault(method, {})
            for unit, confusion in units.items():
                mine.setdefault(unit, Confusion(self.labels)).counts += confusion.counts

    @property
    def methods(self) -> list[str]:
        """Names, in the order in which they came."""
        return list(self._units)

    def scores(self, method: str) -> dict[str, Any]:
        """miou, macc, pixel_accuracy, coverage, per_class of all units of a method together (see `Confusion.scores`).

        `n` counts the units, `samples` what was compared; `miou_interval`, of two or more independent units, is the
        95 % interval of a bootstrap over them.

        Raises:
            ValueError: nothing has ground truth.
        """
        whole, counts = Confusion(self.labels), self._counts(method)
        whole.counts = counts.sum(axis=0)
        scores = whole.scores()
        if scores["n"] == 0:
            raise ValueError(
                f"none of {len(counts)} pictures or rooms has ground truth of a class of '{self.labels.name}': name "
                "the label space that the label images are in (--label-space)"
            )
        scores["samples"], scores["n"] = scores["n"], len(counts)
        if self.independent and len(counts) > 1:
            present = counts.sum(axis=(0, 2)) > 0
            drawn = [_miou(counts[rows].sum(axis=0), present) for rows in _resamples(len(counts))]
            scores["miou_interval"] = _interval(drawn)
        return scores

    def to_json(self, references: Sequence[str] = (), leave_out: Sequence[str] = ()) -> dict[str, Any]:
        """Method -> its `scores`.

        Args:
            references: every other method gets `differences`: reference -> miou minus the reference's, with the 95 %
                `interval` of a paired bootstrap over the units, and whether that leaves out 0 (`shown`). One unit
                alone shows nothing, and has no interval. References that were not scored are left out.
            leave_out: classes without which means and differences are given, too (`without`).

        Raises:
            ValueError: methods that were not scored on the same units.
        """
        known = [name for name in references if name in self._units]
        kept = np.array([name not in leave_out for name in self.labels.names])
        found = {}
        for method in self._units:
            scores = self.scores(method)
            if leave_out:
                iou = [v["iou"] for name, v in scores["per_class"].items() if name not in leave_out]
                mean = float(np.mean(iou)) if iou else None
                scores["without"] = {
                    "classes": list(leave_out),
                    "miou": mean,
                    "differences": {to: self._difference(method, to, kept) for to in known if to != method},
                }
            scores["differences"] = {to: self._difference(method, to) for to in known if to != method}
            found[method] = scores
        return found

    def _counts(self, method: str) -> np.ndarray:
        """(U, C, C + 1) in the order of the units."""
        units = self._units[method]
        return np.stack([units[name].counts for name in sorted(units, key=str)])

    def _difference(self, method: str, reference: str, kept: np.ndarray | bool = True) -> dict[str, Any]:
        """Of the means over the classes with flags (C,)."""
        if self._units[method].keys() != self._units[reference].keys():
            raise ValueError(f"{method} and {reference} were not scored on the same units")
        pair = [self._counts(name) for name in (method, reference)]
        present = (pair[0].sum(axis=(0, 2)) > 0) & kept
        value = _miou(pair[0].sum(axis=0), present) - _miou(pair[1].sum(axis=0), present)
        if len(pair[0]) < 2:
            return {"miou": value, "interval": None, "shown": False}
        drawn = [
            _miou(pair[0][rows].sum(axis=0), present) - _miou(pair[1][rows].sum(axis=0), present)
            for rows in _resamples(len(pair[0]))
        ]
        low, high = _interval(drawn)
        return {"miou": value, "interval": [low, high], "shown": low > 0 or high < 0}


def bootstrap_interval(values: np.ndarray) -> list[float]:
    """95 % interval of the mean of values (U,), one per unit."""
    return _interval([values[rows].mean() for rows in _resamples(len(values))])


def _resamples(count: int) -> Iterator[np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(0))
    return (rng.integers(count, size=count) for _ in range(RESAMPLES))


def _interval(drawn: list[float]) -> list[float]:
    return [float(value) for value in np.nanpercentile(drawn, (2.5, 97.5))]


def _miou(counts: np.ndarray, present: np.ndarray) -> float:
    """Over the classes of the whole set, so that all resamples are the same quantity."""
    hits = counts.diagonal()
    union = counts.sum(axis=1) + counts[:, : len(hits)].sum(axis=0) - hits
    # A class that a resample neither shows nor predicts has no IoU in it.
    iou = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)[present]
    return float(np.nan if np.isnan(iou).all() else np.nanmean(iou))
