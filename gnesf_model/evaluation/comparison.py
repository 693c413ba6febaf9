"""Two runs over one recording, side by side, and what of it is a regression."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from gnesf_model.evaluation.metrics import OF_FOLDER, OF_POINTS, OF_RECORDING

SCORES = {"2d per_frame": ("2d", "per_frame"), "2d map": ("2d", "map"), "3d": ("3d",)}
"""What is scored -> where it stands in ``scores``."""
_KEYS = {"mIoU": "miou", "accuracy": "pixel_accuracy", "coverage": "coverage"}
_TRUTHS = {
    OF_RECORDING: "label images of the recording",
    OF_FOLDER: "label images of a folder",
    OF_POINTS: "a labelled point set",
}
_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True)
class Limits:
    """How much worse the second run may be; None: anything goes.

    Attributes:
        drop_miou: of every mIoU, 0..1.
        drop_class_iou: of every class's IoU, 0..1.
        slowdown: median latency of a frame, second over first.
        map_growth: memory of the map, second over first.
        more_dropped: frames and images.
    """

    drop_miou: float | None = None
    drop_class_iou: float | None = None
    slowdown: float | None = None
    map_growth: float | None = None
    more_dropped: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the limit {name} is {value}, expected a number of at least 0")


@dataclass(frozen=True)
class Row:
    """One figure of both runs; None where a run does not have it.

    Attributes:
        group, name: what it is.
        before, after: of the first and the second run.
        digits: that are worth telling.
        regression: in words, how the second is worse than allowed; empty where it is not.
    """

    group: str
    name: str
    before: float | None
    after: float | None
    digits: int
    regression: str = ""

    @property
    def delta(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """Both runs.

    Attributes:
        rows: the figures.
        settings: name -> (first, second) of those that differ.
        notices: what keeps the two from being fully comparable, in words.
    """

    rows: list[Row]
    settings: dict[str, tuple[Any, Any]]
    notices: list[str]

    @property
    def regressions(self) -> list[str]:
        """In words."""
        return [row.regression for row in self.rows if row.regression]


def compare(a: dict[str, Any], b: dict[str, Any], limits: Limits) -> Comparison:
    """Compare two runs as `load_metrics` gives them.

    Raises:
        ValueError: they are of different recordings, ground truths or label spaces, or one of them lacks a figure
            that a limit needs.
    """
    _check_same_recording(a, b)
    rows = [*_score_rows(a, b, limits), *_time_rows(a, b, limits), *_size_rows(a, b, limits)]
    first, second = a["settings"], b["settings"]
    settings = {
        name: (first.get(name), second.get(name))
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    }
    return Comparison(rows, settings, list(_notices(a, b)))


def _check_same_recording(a: dict[str, Any], b: dict[str, Any]) -> None:
    for key in ("name", "images", "first_stamp_ns", "last_stamp_ns", "label_space"):
        one, other = a["recording"].get(key), b["recording"].get(key)
        if one != other:
            raise ValueError(
                f"the runs are of different recordings: {key} is {one!r} in the first and {other!r} in the second"
            )
    if a["map"].get("label_space") != b["map"].get("label_space"):
        raise ValueError(
            f"the maps have different label spaces, {a['map'].get('label_space')!r} and "
            f"{b['map'].get('label_space')!r}: evaluate both with the same semantics.labels"
        )
    if not (has_scores(a) and has_scores(b)):
        return
    _check_same_truth(_truth(a), _truth(b))
    for name, path in SCORES.items():
        if name == "3d":  # labelled pixels give other points with other voxels; a point set is told by its digest
            continue
        one, other = ({k: c.get("n") for k, c in _part(_score(m, path), "per_class").items()} for m in (a, b))
        if one != other:
            raise ValueError(f"the runs have different ground truth ({name}): {one} and {other} pixels by class")


def _check_same_truth(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Nothing is known of files that older versions wrote. Label images are told apart by their pixels, see above:
    those that a folder holds may be the recording's own."""
    kinds = a.get("kind"), b.get("kind")
    if None not in kinds and kinds[0] != kinds[1] and OF_POINTS in kinds:
        raise ValueError(
            f"the runs have different ground truth (3d): {_TRUTHS[kinds[0]]} in the first and {_TRUTHS[kinds[1]]} in "
            "the second: evaluate both with the same --labels"
        )
    if kinds == (OF_POINTS, OF_POINTS) and a.get("sha256") != b.get("sha256"):
        raise ValueError(
            f"the runs have different ground truth (3d): point sets of {a.get('points')} points (SHA-256 "
            f"{str(a.get('sha256'))[:12]}) in the first and of {b.get('points')} ({str(b.get('sha256'))[:12]}) in the "
            "second: evaluate both with the same --labels"
        )


def _truth(metrics: dict[str, Any]) -> dict[str, Any]:
    """What is said of the ground truth; empty in files of older versions."""
    found = _part(metrics, "ground_truth")
    if found and found.get("kind") not in list(_TRUTHS):
        raise ValueError(
            f"a metrics file is damaged: the kind of its ground truth is {found.get('kind')!r}, expected one of "
            f"{', '.join(_TRUTHS)}"
        )
    return found


def has_scores(metrics: dict[str, Any]) -> bool:
    """Whether a run had ground truth."""
    return bool(metrics.get("scores"))


def _score_rows(a: dict[str, Any], b: dict[str, Any], limits: Limits) -> Iterator[Row]:
    wanted = limits.drop_miou is not None or limits.drop_class_iou is not None
    for metrics, which in ((a, "first"), (b, "second")):
        if wanted and not has_scores(metrics):
            raise ValueError(f"the {which} run has no scores, which the limits need: evaluate it with --labels")
    for group, path in SCORES.items():
        one, other = _score(a, path), _score(b, path)
        if not one and not other:
            continue
        for name, key in _KEYS.items():
            limit = limits.drop_miou if key == "miou" else None
            yield _dropping(group, name, _number(one, key), _number(other, key), limit)
        first, second = _part(one, "per_class"), _part(other, "per_class")
        for name in dict.fromkeys([*first, *second]):
            values = [_number(_part(classes, name), "iou") for classes in (first, second)]
            yield _dropping(group, f"IoU {name}", *values, limits.drop_class_iou)


def _time_rows(a: dict[str, Any], b: dict[str, Any], limits: Limits) -> Iterator[Row]:
    if limits.slowdown is not None and a.get("through") != b.get("through"):
        raise ValueError(
            f"the first run was mapped {a.get('through')!r} and the second {b.get('through')!r}: their latencies are "
            "of different things, so leave out --max-slowdown or run both the same way"
        )
    for key in _PERCENTILES:
        limit = limits.slowdown if key == "p50_ms" else None
        name = f"frame {key.removesuffix('_ms')}, ms"
        yield _growing("latency", name, _number(a["latency"], key), _number(b["latency"], key), 1, limit)
    for stage in sorted(a["stages"].keys() | b["stages"].keys()):
        one, other = (_number(_part(m["stages"], stage), "p50_ms") for m in (a, b))
        yield Row("latency", f"{stage} p50, ms", one, other, 1)


def _size_rows(a: dict[str, Any], b: dict[str, Any], limits: Limits) -> Iterator[Row]:
    memory = (_number(m["map"], "memory_mb") for m in (a, b))
    yield _growing("map", "memory, MB", *memory, 1, limits.map_growth)
    for name, key in (("surface points", "surface_points"), ("voxels with votes", "voxels_with_votes")):
        yield Row("map", name, _number(a["map"], key), _number(b["map"], key), 0)
    for name, key in (("in the map", "frames"), ("keyframes", "keyframes")):
        yield Row("frames", name, _number(a, key), _number(b, key), 0)
    one, other = (sum(_number(m["dropped"], reason) or 0.0 for reason in m["dropped"]) for m in (a, b))
    more = limits.more_dropped is not None and other - one > limits.more_dropped
    text = f"frames dropped: {one:.0f} -> {other:.0f}, {limits.more_dropped:g} more are allowed" if more else ""
    yield Row("frames", "dropped", one, other, 0, text)


def _dropping(group: str, name: str, before: float | None, after: float | None, limit: float | None) -> Row:
    """A figure that should not fall by more than `limit`."""
    row = Row(group, name, before, after, 3)
    if limit is None:
        return row
    if row.delta is None:
        raise ValueError(f"{group} {name} is {before} in the first run and {after} in the second: no limit can be held")
    if -row.delta <= limit:
        return row
    text = f"{group} {name}: {before:.3f} -> {after:.3f}, a drop of {limit:g} is allowed"
    return Row(group, name, before, after, 3, text)


def _growing(group: str, name: str, before: float | None, after: float | None, digits: int, limit: float | None) -> Row:
    """A figure that should not become more than `limit` times as large."""
    if limit is None:
        return Row(group, name, before, after, digits)
    if not before or after is None:
        raise ValueError(f"{group} {name} is {before} in the first run and {after} in the second: no limit can be held")
    text = ""
    if after / before > limit:
        text = f"{group} {name}: {before:.1f} -> {after:.1f}, {after / before:.2f} times; {limit:g} times is allowed"
    return Row(group, name, before, after, digits, text)


def _notices(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    if a.get("machine") != b.get("machine") or a.get("device") != b.get("device"):
        yield "the runs are from different machines or devices: their times say little"
    if a.get("through") != b.get("through"):
        ways = f"{a.get('through')!r}, the second {b.get('through')!r}"
        yield f"the first run was mapped {ways}: latencies differ in kind"
    if has_scores(a) != has_scores(b):
        yield f"the {'second' if has_scores(a) else 'first'} run has no scores"
    elif has_scores(a):
        yield from _truth_notices(a, b)
    if a.get("source") != b.get("source"):
        yield f"the recordings were named {a.get('source')} and {b.get('source')}"


def _truth_notices(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    truths = _truth(a), _truth(b)
    if not all(truths):
        one, other = (
            {name: part.get("n") for name, part in _part(_score(m, SCORES["3d"]), "per_class").items()} for m in (a, b)
        )
        if one != other:
            old = " and ".join(word for word, truth in zip(("first", "second"), truths) if not truth)
            yield (
                f"the points of the 3D ground truth differ ({one} and {other} by class), and the {old} file does not "
                "say of what kind they are: with other voxels that is as it should be, with other --labels the 3D "
                "scores are of different things"
            )
    elif truths[0]["kind"] != truths[1]["kind"]:
        first, second = (_TRUTHS[truth["kind"]] for truth in truths)
        yield f"the ground truth is {first} in the first run and {second} in the second, with equal pixels by class"


def _score(metrics: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found = _part(metrics, "scores")
    for key in path:
        found = _part(found, key)
    return found


def _part(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    """A mapping within the metrics; empty where there is none."""
    found = metrics.get(key) or {}
    if not isinstance(found, dict):
        raise ValueError(f"a metrics file is damaged: {key!r} is {found!r}, expected a mapping")
    return found


def _number(metrics: dict[str, Any], key: str) -> float | None:
    """A figure within the metrics; None where there is none."""
    found = metrics.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise ValueError(f"a metrics file is damaged: {key!r} is {found!r}, expected a number")
    return float(found)
