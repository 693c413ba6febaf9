"""One recording through the mapper, offline: the map, what was dropped, how long it took, how good it is."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.evaluation.ground_truth import GroundTruth
from gnesf_model.evaluation.growth import Growth, SurfacePointCount
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import LabelledPoints, MapUpdate, SemanticMapper
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.volume.block_grid import OutOfReach

PIXEL_STRIDE = 2
"""2D scores look at every second row and column: a quarter of the pixels says the same."""
REACH_VOX = 2.0
"""A ground truth point takes the label of the nearest surface point within this many voxels."""

logger = logging.getLogger(__name__)


@dataclass
class MappingRun:
    """What `run_mapping` found.

    Attributes:
        frames: frames that entered the map; keyframes: those that voted.
        dropped: images and frames that did not, by reason.
        stages: stage -> milliseconds, one entry per frame.
        frame_ms: milliseconds of all stages together, per frame in the map.
        stamps_ns: stamps of the keyframes.
        span_ns: stamps of the first and the last frame, in the map or not; None before the first.
        path: where the camera was, (3,) m in the world, per frame in the map.
        growth: the map's size at every keyframe.
        ground_truth: puts a frame's labels into the label space of the map.
        per_frame: confusion of the segmenter alone over the labelled frames.
        truth: labelled pixels of the recording in 3D.
    """

    ground_truth: GroundTruth
    per_frame: Confusion
    truth: PointCollector
    frames: int = 0
    keyframes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    stages: dict[str, list[float]] = field(default_factory=dict)
    frame_ms: list[float] = field(default_factory=list)
    stamps_ns: list[int] = field(default_factory=list)
    span_ns: tuple[int, int] | None = None
    path: list[np.ndarray] = field(default_factory=list)
    growth: Growth = field(default_factory=Growth)

    def stage_percentiles(self) -> dict[str, dict[str, float]]:
        """Stage -> p50_ms, p95_ms and p99_ms."""
        return {stage: percentiles(ms) for stage, ms in sorted(self.stages.items())}


def note_drop(dropped: Counter[str], drop: FrameDropped) -> None:
    """Count a frame that could not be mapped, by reason; the log has the first of each."""
    dropped[drop.reason] += 1
    if dropped[drop.reason] == 1:
        logger.warning("dropped a frame (%s): %s", drop.reason, drop)


def percentiles(ms: Sequence[float]) -> dict[str, float]:
    """p50_ms, p95_ms and p99_ms of at least one duration."""
    return {f"p{p}_ms": float(np.percentile(ms, p)) for p in (50, 95, 99)}


def run_mapping(
    source: FrameSource,
    mapper: SemanticMapper,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
    before_frame: Callable[[Frame], None] = lambda frame: None,
    after_frame: Callable[[Frame, MapUpdate], None] = lambda frame, update: None,
) -> MappingRun:
    """Feed every frame of a recording to a mapper.

    Args:
        source: the recording, with or without ground truth.
        mapper: takes the frames; keeps the map.
        progress: wraps the frames, e.g. ``tqdm``.
        before_frame: called with each frame first (the oracle looks at its labels).
        after_frame: called with each frame that is in the map, and with what it did.

    Raises:
        ValueError: ground truth that is not in its label space, or too far away.
    """
    run = MappingRun(
        GroundTruth(source.label_space, mapper.labels),
        Confusion(mapper.labels),
        PointCollector(mapper.grid.voxel_size_m),
    )
    surface = SurfacePointCount(mapper)
    for frame in progress(source):
        before_frame(frame)
        run.span_ns = (run.span_ns[0] if run.span_ns else frame.stamp_ns, frame.stamp_ns)
        try:
            update = mapper.integrate(frame)
        except FrameDropped as drop:
            note_drop(run.dropped, drop)
            # A frame that could not be mapped is still ground truth: it counts as wrong. One that lies out of the
            # map's range has no place in 3D.
            _collect_truth(run, frame, None, in_3d=drop.reason != "out_of_range")
            continue
        run.frames += 1
        run.path.append(frame.world_T_cam[:3, 3])
        after_frame(frame, update)
        surface.changed(update.blocks)
        if update.keyframe is not None:
            run.keyframes += 1
            run.stamps_ns.append(frame.stamp_ns)
            size = surface.total(), mapper.votes.count, mapper.memory_bytes / 1e6
            run.growth.add(frame.stamp_ns, run.frames, *size)
        run.frame_ms.append(sum(update.stages.values()))
        for stage, ms in update.stages.items():
            run.stages.setdefault(stage, []).append(ms)
        _collect_truth(run, frame, update.segmentation)
    run.dropped.update(source.drops)
    return run


def map_scores(
    source: FrameSource,
    mapper: SemanticMapper,
    run: MappingRun,
    surface: LabelledPoints,
    *,
    points: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
) -> dict[str, Any] | None:
    """Scores of the finished map; None where the recording has no ground truth.

    Args:
        source: the recording, iterated over once more to render every labelled view.
        mapper, run, surface: after `run_mapping`.
        points: ground truth points (N, 3) and labels (N,) to use in 3D instead of the labelled pixels.
    """
    truth = points if points is not None else run.truth.points()
    scores: dict[str, Any] = {}
    if run.per_frame.counts.sum():
        rendered = Confusion(mapper.labels)
        for frame in map(run.ground_truth, progress(source)):
            if frame.labels is None:
                continue
            wanted = frame.labels[::PIXEL_STRIDE, ::PIXEL_STRIDE]
            try:
                seen = mapper.render(frame.camera.strided(PIXEL_STRIDE, 0), frame.world_T_cam).labels
            except OutOfReach:  # the frame was dropped for that; nothing of the map is to be seen from there
                seen = np.full_like(wanted, UNKNOWN)
            rendered.add(wanted, seen)
        scores["2d"] = {"per_frame": run.per_frame.scores(), "map": rendered.scores()}
        scores["pixel_stride"] = PIXEL_STRIDE
    if len(truth[0]):
        found = Confusion(mapper.labels)
        reach = REACH_VOX * mapper.grid.voxel_size_m
        found.add(truth[1], nearest_labels(truth[0], surface.points, surface.labels, reach))
        scores["3d"] = found.scores()
    return scores or None


def _collect_truth(run: MappingRun, frame: Frame, segmentation: Segmentation | None, in_3d: bool = True) -> None:
    frame = run.ground_truth(frame)
    if frame.labels is None:
        return
    truth = frame.labels[::PIXEL_STRIDE, ::PIXEL_STRIDE]
    if segmentation is None:
        predicted = np.full_like(truth, UNKNOWN)
    else:
        predicted = pixel_labels(segmentation, *frame.labels.shape)[::PIXEL_STRIDE, ::PIXEL_STRIDE]
    run.per_frame.add(truth, predicted)
    if in_3d:
        run.truth.add(frame)
