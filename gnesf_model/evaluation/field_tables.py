"""The tables of the paper on procedural rooms, and the comparison of fusing methods on any labelled recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.ground_truth import GroundTruth
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.evaluation.mapping_run import PIXEL_STRIDE, REACH_VOX
from gnesf_model.evaluation.novel_views import VARIANTS, blended_colors, observed, variant_labels
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.evaluation.voting_methods import AVERAGED, WHOLE, MethodLabels, VotesSideBySide, methods_of
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.geometry import pixel_rays
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation, Segmenter

FRAMES, STRIDE_TICKS, HELD_OUT = 60, 6, 10
"""Of a room: frames, ticks of 1/30 s between them, and every how many-th is a new view that the map never gets."""
RAY_STRIDE = 4
"""New views are compared at every fourth row and column."""
CUBE_M, SPAN_FRAMES = 0.5, 10
"""One recording is resampled in cubes of space and spans of time: neighbouring points and frames err together."""
ViewDepthMaker = Callable[[], ViewDepth | None]
"""Makes what predicts depth for one recording with ``geometry: rgb``; gives None for ``geometry: depth``."""

TRUE_IMAGE, RENDERED_IMAGE = "segmenter on the true image", "segmenter on the rendered image"
EXACT_IMAGE, MAP_COLORS = "segmenter on the image rendered from exact geometry", "segmenter on the map's mean colours"
"""The rendered images are blended by the field, from the geometry that the other views measured or from the exact one;
the last one shows the colours that the map holds."""


@dataclass
class FieldTables:
    """Scores of the rooms so far.

    Attributes:
        novel: table 1, labels of new views.
        surface: table 2, labels of the surface, measured geometry ("with mesh").
        other_looks: table 3, as `surface` in rooms whose materials belong to other classes.
        ablation: table 4, labels of new views from the views around them.
        psnr: of the rendered images, dB, by the method that looks at them.
    """

    novel: UnitScores
    surface: UnitScores
    other_looks: UnitScores
    ablation: UnitScores
    psnr: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """table1 .. table4: method -> scores; differences are to plain averaging, in table 1 to the true image."""
        return {
            "table1": self.novel.to_json(TRUE_IMAGE),
            "table2": self.surface.to_json(AVERAGED),
            "table3": self.other_looks.to_json(AVERAGED),
            "table4": self.ablation.to_json("votes on probabilities"),
            "psnr_db": {method: float(np.mean(values)) for method, values in self.psnr.items()},
        }


@dataclass(frozen=True)
class _Mapped:
    labels: MethodLabels
    mapper: SemanticMapper
    truth: PointCollector
    held_out: list[tuple[int, Frame]]


def room_tables(
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    seeds: Sequence[int],
    *,
    config: Config,
    size: tuple[int, int] = (320, 240),
    full: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> FieldTables:
    """Tables 1 to 4 on rooms.

    Args:
        segmenter: in ScanNet's 20 classes.
        trained: the field.
        seeds: of the rooms.
        config: of the mapper.
        size: of the images.
        full: compare new views at every pixel.
        progress: wraps the seeds, e.g. ``tqdm``.
    """
    tables = FieldTables(*(UnitScores(segmenter.labels) for _ in range(4)))
    for seed in progress(seeds):
        for looks, surface in (("natural", tables.surface), ("permuted", tables.other_looks)):
            source = RoomSource.as_recorded(seed, FRAMES, size, STRIDE_TICKS, looks=looks)
            kept: list[tuple[Frame, Segmentation]] = []
            mapped = _map(
                source, segmenter, trained, config, lambda _, *seen, kept=kept: kept.append(seen), held_out=HELD_OUT
            )
            points, truth = mapped.truth.points()
            _score_surface(mapped, surface, points, truth, np.full(len(truth), seed))
            if looks == "natural":
                stride = 1 if full else RAY_STRIDE
                _score_new_views(tables, source, mapped, kept, segmenter, trained, config, stride)
    return tables


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
        "2d": images.to_json(AVERAGED, leave_out),
        "3d": surface.to_json(AVERAGED, leave_out),
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

    mapped = _map(source, segmenter, trained, config, alone, progress=progress, view_depth=view_depth())
    xyz, truth = points if points is not None else mapped.truth.points()
    _score_surface(mapped, surface, xyz, truth, cubes(xyz))
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


def _map(
    source: FrameSource,
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    config: Config,
    each: Callable[[int, Frame, Segmentation], None],
    held_out: int = 0,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
    view_depth: ViewDepth | None = None,
) -> _Mapped:
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
    return _Mapped(MethodLabels(mapper, votes, methods_of(trained)), mapper, truth, unseen)


def votes_of(trained: NeuralSemanticField, segmenter: Segmenter, config: Config) -> VotesSideBySide:
    """Tables of votes for all methods, empty."""
    return VotesSideBySide(
        trained,
        len(segmenter.labels),
        max_votes=config.semantics.max_votes,
        image_side_px=config.semantics.field_side_px,
        device=next(trained.parameters()).device,
    )


def _score_surface(
    mapped: _Mapped, scores: UnitScores, points: np.ndarray, truth: np.ndarray, units: np.ndarray
) -> None:
    surface, labels = mapped.labels.surface()
    # A surface from colour lies where it can; as Atlas does it, the nearest point of it answers, however far.
    measured = mapped.mapper.config.geometry == "depth"
    reach = REACH_VOX * mapped.mapper.grid.voxel_size_m if measured else np.inf
    for method, found in labels.items():
        scores.add_split(units, method, truth, nearest_labels(points, surface, found, reach))


def _score_new_views(
    tables: FieldTables,
    source: RoomSource,
    mapped: _Mapped,
    kept: list[tuple[Frame, Segmentation]],
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    config: Config,
    stride: int,
) -> None:
    frames, said = zip(*kept)
    views, seed = observed(trained, frames, said, config.semantics.field_side_px), source.seed
    poses = np.stack([frame.world_T_cam for frame in frames])
    for number, frame in mapped.held_out:
        depth, colors, labels = mapped.labels.view(frame.camera, frame.world_T_cam)
        seen = depth > 0
        if not seen.any():
            continue
        images = {MAP_COLORS: np.where(seen[..., None], colors, 0)}
        if trained.options.colors:
            exact = source.images(number).depth.cpu().numpy()
            for method, geometry in ((RENDERED_IMAGE, depth), (EXACT_IMAGE, exact)):
                images[method] = _blended_image(trained, views, poses, frame, geometry, images[MAP_COLORS])
        for method, image in images.items():
            error = np.square(image[seen].astype(np.float32) - frame.rgb[seen]).mean()
            tables.psnr.setdefault(method, []).append(float(10 * np.log10(255**2 / max(error, 1e-6))))
        shape, every = frame.labels.shape, (slice(stride // 2, None, stride),) * 2
        wanted = frame.labels[every]
        novel = {
            f"field ({WHOLE})": labels[WHOLE],
            "field (voted)": labels["voted"],
            "averaged in 3D": labels[AVERAGED],
            TRUE_IMAGE: pixel_labels(segmenter(frame.rgb), *shape),
            **{method: pixel_labels(segmenter(image), *shape) for method, image in images.items()},
        }
        for method, found in novel.items():
            tables.novel.add(seed, method, wanted, found[every])
        there = seen[every]
        points = _surface_points(frame, depth, every)
        found = variant_labels(trained, views, poses, frame.world_T_cam, points)
        for method, values in found.items():
            image = np.full(there.shape, UNKNOWN, np.uint8)
            image[there] = values
            tables.ablation.add(seed, method, wanted, image)
            if method == next(iter(VARIANTS)):
                tables.novel.add(seed, method, wanted, image)
        tables.ablation.add(seed, "all views so far", wanted, labels["voted"][every])
        tables.ablation.add(seed, f"all views so far, {WHOLE}", wanted, labels[WHOLE][every])


def _surface_points(frame: Frame, depth: np.ndarray, every: tuple[slice, slice]) -> torch.Tensor:
    """Points (K, 3) in the world of the pixels (of every so many) that have depth (H, W), row by row."""
    there = depth[every] > 0
    pose = torch.from_numpy(frame.world_T_cam).float()
    rays = pixel_rays(frame.camera, "cpu")[every][there] * torch.from_numpy(depth[every][there])[:, None]
    return rays @ pose[:3, :3].T + pose[:3, 3]


def _blended_image(
    trained: NeuralSemanticField,
    views: SourceViews,
    poses: np.ndarray,
    frame: Frame,
    depth: np.ndarray,
    otherwise: np.ndarray,
) -> np.ndarray:
    """Image (H, W, 3) uint8 of a new view with depth (H, W); where no source view looks, that given otherwise."""
    points = _surface_points(frame, depth, (slice(None), slice(None)))
    colors, seen = blended_colors(trained, views, poses, frame.world_T_cam, points)
    image, place = otherwise.copy(), (depth > 0).nonzero()
    image[tuple(axis[seen] for axis in place)] = colors[seen]
    return image
