"""What every way of fusing views makes of a labelled recording, on the same surface with the same segmentations."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gnesf_model.config import Config
from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.ground_truth import GroundTruth
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.evaluation.mapping_run import PIXEL_STRIDE, REACH_VOX, note_drop
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.evaluation.voting_methods import (
    AVERAGED,
    EVERY_FRAME,
    MAJORITY,
    MethodLabels,
    VotesSideBySide,
    methods_of,
)
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation, Segmenter
from gnesf_model.volume.limits import OutOfReach

logger = logging.getLogger(__name__)

REFERENCES = (AVERAGED, MAJORITY, EVERY_FRAME, "averaged + neighbours")
"""What every way is held against."""
CUBE_M, SPAN_FRAMES = 0.5, 10
"""One recording is resampled in cubes of space and spans of time: neighbouring points and frames err together."""
ViewDepthMaker = Callable[[], ViewDepth | None]
"""Makes what predicts depth for one recording with ``geometry: rgb``; gives None for ``geometry: depth``."""


@dataclass(frozen=True)
class MappedRecording:
    """A recording that every method has mapped.

    Attributes:
        labels: what each method says.
        mapper: the map itself.
        truth: the labelled pixels.
        held_out: number and frame of those that the map never got.
        dropped: frames that could not be mapped, by reason.
    """

    labels: MethodLabels
    mapper: SemanticMapper
    truth: PointCollector
    held_out: list[tuple[int, Frame]]
    dropped: Counter[str]


class SeenOnce:
    """A segmenter that looks at each frame once, whichever mappers ask."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.labels, self._segmenter = segmenter.labels, segmenter
        self._last: tuple[int | None, Segmentation] | None = None

    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        if self._last is None or self._last[0] != stamp_ns:
            self._last = stamp_ns, self._segmenter(rgb, stamp_ns)
        return self._last[1]


def recording_table(
    source: FrameSource,
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    *,
    config: Config,
    view_depth: ViewDepthMaker = lambda: None,
    points: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
    leave_out: Sequence[str] = (),
    picture: Callable[[int, Frame, dict[str, np.ndarray]], None] = lambda number, frame, labels: None,
) -> dict[str, Any]:
    """How the methods do on one labelled recording: `2d` (its images) and `3d` (its surface), method -> scores.

    `keyframes` voted, and `dropped` were not mapped, by reason.

    Args:
        view_depth: as ``config.geometry`` demands it.
        points: ground truth points (N, 3) and labels (N,) for 3D instead of the labelled pixels.
        leave_out: classes that the means are also given without.
        picture: called with every labelled frame and what each method says of it, (H, W) uint8 by name.
    """
    surface, images = UnitScores(segmenter.labels), UnitScores(segmenter.labels)
    keyframes, dropped = score_recording(
        source,
        segmenter,
        trained,
        config=config,
        view_depth=view_depth,
        surface=surface,
        images=images,
        points=points,
        cubes=lambda xyz: np.unique(np.floor(xyz / CUBE_M).astype(np.int64), axis=0, return_inverse=True)[1].reshape(
            -1
        ),
        span=lambda number: number // SPAN_FRAMES,
        progress=progress,
        picture=picture,
    )
    return {
        "2d": images.to_json(REFERENCES, leave_out),
        "3d": surface.to_json(REFERENCES, leave_out),
        "keyframes": keyframes,
        "dropped": dict(dropped),
        "units": {"3d": f"cubes of {CUBE_M} m", "2d": f"spans of {SPAN_FRAMES} frames"},
    }


def score_recording(
    source: FrameSource,
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    *,
    config: Config,
    surface: UnitScores,
    images: UnitScores,
    cubes: Callable[[np.ndarray], np.ndarray],
    span: Callable[[int], object],
    view_depth: ViewDepthMaker = lambda: None,
    points: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
    picture: Callable[[int, Frame, dict[str, np.ndarray]], None] = lambda number, frame, labels: None,
) -> tuple[int, Counter[str]]:
    """Add one labelled recording to the scores of its surface and of its images.

    Args:
        cubes: points (N, 3) -> the unit (N,) of each; span: the number of a frame -> its unit.
        view_depth, points, picture: as `recording_table`.

    Returns:
        How many keyframes voted, and what was dropped, by the recording's reader or by the mapper, by reason.
    """
    mapped_frames: set[int] = set()

    def alone(number: int, frame: Frame, said: Segmentation) -> None:
        mapped_frames.add(number)
        if frame.labels is not None:
            found = pixel_labels(said, *frame.labels.shape)
            images.add(span(number), "per frame", *(a[::PIXEL_STRIDE, ::PIXEL_STRIDE] for a in (frame.labels, found)))

    mapped = map_all_ways(source, segmenter, trained, config, alone, progress=progress, view_depth=view_depth())
    xyz, truth = points if points is not None else mapped.truth.points()
    score_surface(mapped, surface, xyz, truth, cubes(xyz))
    for number, frame in enumerate(map(GroundTruth(source.label_space, segmenter.labels), progress(source))):
        if frame.labels is not None:
            wanted = frame.labels[::PIXEL_STRIDE, ::PIXEL_STRIDE]
            if number not in mapped_frames:  # still ground truth: it counts as wrong
                images.add(span(number), "per frame", wanted, np.full_like(wanted, UNKNOWN))
            try:
                _, _, labels = mapped.labels.view(frame.camera.strided(PIXEL_STRIDE, 0), frame.world_T_cam)
            except OutOfReach:  # it was dropped for that; nothing of the map is to be seen from there
                labels = dict.fromkeys(mapped.labels.names, np.full_like(wanted, UNKNOWN))
            for method, found in labels.items():
                images.add(span(number), method, wanted, found)
            picture(number, frame, labels)
    return mapped.mapper.keyframes.count, mapped.dropped + Counter(source.drops)


def map_all_ways(
    source: FrameSource,
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    config: Config,
    each: Callable[[int, Frame, Segmentation], None],
    held_out: int = 0,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
    view_depth: ViewDepth | None = None,
    every_frame: bool = True,
) -> MappedRecording:
    """All frames but the held-out ones through a mapper that votes in every way; `each` gets what was mapped.

    With measured depth and `every_frame` a second map takes a vote of each of them, not of keyframes alone
    (`EVERY_FRAME`).
    """
    votes = votes_of(trained, segmenter, config)
    once = SeenOnce(segmenter)
    mapper = SemanticMapper(config, once, votes, view_depth=view_depth)
    every = None
    if every_frame and view_depth is None:  # what is predicted is predicted for keyframes
        moved = replace(config.keyframes, min_translation_m=0.0, min_rotation_deg=0.0)
        every = SemanticMapper(replace(config, keyframes=moved), once)
    to_map = GroundTruth(source.label_space, mapper.labels)
    truth = PointCollector(mapper.grid.voxel_size_m)
    unseen, dropped = [], Counter()
    for number, frame in enumerate(map(to_map, progress(source))):
        if held_out and number % held_out == held_out // 2:
            unseen.append((number, frame))
            if frame.labels is not None:
                truth.add(frame)
            continue
        update, in_3d = None, True
        try:
            update = mapper.integrate(frame)
        except FrameDropped as drop:
            note_drop(dropped, drop)
            # What could not be mapped is still ground truth; what lies out of every map's range has no place in 3D.
            in_3d = drop.reason != "out_of_range"
        if frame.labels is not None and in_3d:
            truth.add(frame)
        if every is not None and not _takes_too(every, frame, update is not None):
            every = None
        if update is not None:
            each(number, frame, update.segmentation)
    labels = MethodLabels(mapper, votes, methods_of(trained), every)
    return MappedRecording(labels, mapper, truth, unseen, dropped)


def _takes_too(every: SemanticMapper, frame: Frame, mapped: bool) -> bool:
    """Give a frame to the map in which every frame votes; whether that did with it what the other map did."""
    try:
        every.integrate(frame)
        taken = True
    except FrameDropped:
        taken = False
    if taken != mapped:
        logger.warning("%s is left out: its map has no room for frame %d ns", EVERY_FRAME, frame.stamp_ns)
    return taken == mapped


def votes_of(trained: NeuralSemanticField, segmenter: Segmenter, config: Config) -> VotesSideBySide:
    """Tables of votes for all methods, empty."""
    return VotesSideBySide(
        trained,
        len(segmenter.labels),
        max_votes=config.semantics.max_votes,
        image_side_px=config.semantics.field_side_px,
        device=next(trained.parameters()).device,
    )


def score_surface(
    mapped: MappedRecording,
    scores: UnitScores,
    points: np.ndarray,
    truth: np.ndarray,
    units: np.ndarray,
    atlas: UnitScores | None = None,
) -> None:
    """Add what each method says of true points (N, 3) with labels and units (N,).

    A measured surface answers within its reach, beyond which a point counts as wrong; `atlas` takes the answers of the
    nearest surface point however far it is, as Atlas's protocol has it.
    """
    surface, labels = mapped.labels.surface()
    # A surface from colour lies where it can; as Atlas does it, the nearest point of it answers, however far.
    measured = mapped.mapper.config.geometry == "depth"
    reach = REACH_VOX * mapped.mapper.grid.voxel_size_m if measured else np.inf
    for method, found in labels.items():
        scores.add_split(units, method, truth, nearest_labels(points, surface, found, reach))
        if atlas is not None:
            atlas.add_split(units, method, truth, nearest_labels(points, surface, found, np.inf))
