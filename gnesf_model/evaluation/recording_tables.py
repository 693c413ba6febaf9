"""What every way of fusing views makes of a labelled recording, on the same surface with the same segmentations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnesf_model.config import Config
from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.ground_truth import GroundTruth
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.evaluation.mapping_run import PIXEL_STRIDE, REACH_VOX
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.evaluation.voting_methods import AVERAGED, MAJORITY, MethodLabels, VotesSideBySide, methods_of
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation, Segmenter

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
    """

    labels: MethodLabels
    mapper: SemanticMapper
    truth: PointCollector
    held_out: list[tuple[int, Frame]]


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

    Args:
        view_depth: as ``config.geometry`` demands it.
        points: ground truth points (N, 3) and labels (N,) for 3D instead of the labelled pixels.
        leave_out: classes that the means are also given without.
        picture: called with every labelled frame and what each method says of it, (H, W) uint8 by name.
    """
    surface, images = UnitScores(segmenter.labels), UnitScores(segmenter.labels)
    keyframes = score_recording(
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
        "2d": images.to_json((AVERAGED, MAJORITY), leave_out),
        "3d": surface.to_json((AVERAGED, MAJORITY), leave_out),
        "keyframes": keyframes,
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
) -> int:
    """Add one labelled recording to the scores of its surface and of its images; gives how many keyframes voted.

    Args:
        cubes: points (N, 3) -> the unit (N,) of each; span: the number of a frame -> its unit.
        view_depth, points, picture: as `recording_table`.
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
            _, _, labels = mapped.labels.view(frame.camera.strided(PIXEL_STRIDE, 0), frame.world_T_cam)
            for method, found in labels.items():
                images.add(span(number), method, wanted, found)
            picture(number, frame, labels)
    return mapped.mapper.keyframes.count


def map_all_ways(
    source: FrameSource,
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    config: Config,
    each: Callable[[int, Frame, Segmentation], None],
    held_out: int = 0,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
    view_depth: ViewDepth | None = None,
) -> MappedRecording:
    """All frames but the held-out ones through a mapper that votes in every way; `each` gets what was mapped."""
    votes = votes_of(trained, segmenter, config)
    mapper = SemanticMapper(config, segmenter, votes, view_depth=view_depth)
    to_map = GroundTruth(source.label_space, mapper.labels)
    truth = PointCollector(mapper.grid.voxel_size_m)
    unseen = []
    for number, frame in enumerate(map(to_map, progress(source))):
        if frame.labels is not None:
            truth.add(frame)
        if held_out and number % held_out == held_out // 2:
            unseen.append((number, frame))
            continue
        try:
            update = mapper.integrate(frame)
        except FrameDropped:
            continue
        each(number, frame, update.segmentation)
    return MappedRecording(MethodLabels(mapper, votes, methods_of(trained)), mapper, truth, unseen)


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
