"""Surfaces from colour alone on procedural rooms: how good they are, and what votes on them are worth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.encoded_geometry import SIGNED_DISTANCE, encoded_surface, encoded_view_labels
from gnesf_model.evaluation.field_tables import FIELD, FRAMES, HELD_OUT, IN_3D, RAY_STRIDE, STRIDE_TICKS, TRUE_IMAGE
from gnesf_model.evaluation.geometry_scores import GeometryScores
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.evaluation.novel_views import observed
from gnesf_model.evaluation.recording_tables import REFERENCES, SeenOnce, votes_of
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.evaluation.voting_methods import AVERAGED, WHOLE, MethodLabels, methods_of
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.geometry import pixel_rays
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation, Segmenter

RGB, MEASURED = "rgb", "depth"
"""Where a surface comes from, as `Config.geometry` says it."""
TRUTH_M = 0.02
"""Spacing of the true points that should be found."""


@dataclass
class RgbTables:
    """Scores of the rooms so far.

    Attributes:
        geometry: of the surface, by where it comes from: `RGB`, `MEASURED`, `SIGNED_DISTANCE`.
        surface: table 2, labels of the true points by the nearest point of the surface from colour.
        novel: table 1, labels of new views rendered from that surface.
        dropped: frames that could not be mapped, by the surface's name and reason.
    """

    geometry: dict[str, GeometryScores]
    surface: UnitScores
    novel: UnitScores
    dropped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def empty(cls, labels: LabelSpace) -> RgbTables:
        """Without a room."""
        return cls({RGB: GeometryScores(), MEASURED: GeometryScores()}, UnitScores(labels), UnitScores(labels))

    def merge(self, other: RgbTables) -> None:
        """Add the rooms of another one."""
        for name, scores in other.geometry.items():
            self.geometry.setdefault(name, GeometryScores()).merge(scores)
        self.surface.merge(other.surface)
        self.novel.merge(other.novel)
        self.dropped.update(other.dropped)

    def to_json(self) -> dict[str, Any]:
        """``geometry``, ``table1_rgb`` and ``table2_rgb``: method -> scores; differences as in the other tables.

        ``dropped_rgb``: frames that could not be mapped, by the surface's name and reason.
        """
        return {
            "geometry": {name: scores.to_json() for name, scores in self.geometry.items()},
            "table1_rgb": self.novel.to_json((TRUE_IMAGE, IN_3D)),
            "table2_rgb": self.surface.to_json(REFERENCES),
            "dropped_rgb": dict(self.dropped),
        }


def rgb_tables(
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    view_depth: ViewDepth,
    seed: int,
    *,
    config: Config,
    size: tuple[int, int] = (320, 240),
    full: bool = False,
) -> RgbTables:
    """Map a room from colour alone, beside it from a sensor's depth, and compare both with the room itself.

    Beside them stands what the paper does, where the field has learned it: geometry from M, of the same keyframes.

    Labels are compared as Atlas does it: a true point takes the label of the nearest point of the surface, however far.

    Args:
        segmenter: in ScanNet's 20 classes.
        trained: the field.
        view_depth: predicts depth; has seen nothing yet.
        seed: of the room.
        config: of the mapper.
        size: of the images.
        full: compare new views at every pixel.
    """
    tables = RgbTables.empty(segmenter.labels)
    said = SeenOnce(segmenter)
    votes = votes_of(trained, segmenter, config)
    mappers = {
        RGB: SemanticMapper(replace(config, geometry=RGB), said, votes, view_depth=view_depth),
        MEASURED: SemanticMapper(replace(config, geometry=MEASURED), said),
    }
    source = RoomSource.as_recorded(seed, FRAMES, size, STRIDE_TICKS)
    room = _map_both(source, mappers, said, tables.dropped)
    xyz, wanted = room.truth.points()
    views, far_m = None, config.volume.max_depth_m
    surfaces = {name: mapper.surface().points for name, mapper in mappers.items()}
    if trained.options.geometry:
        views = observed(trained, *zip(*room.keyframes), config.semantics.field_side_px)
        surfaces[SIGNED_DISTANCE] = encoded_surface(trained, views, far_m)
    for name, found in surfaces.items():
        error = source.scene.sdf(torch.from_numpy(found).double()).abs().numpy()
        tables.geometry.setdefault(name, GeometryScores()).add(error, found, xyz)
    labels = MethodLabels(mappers[RGB], votes, methods_of(trained))
    surface, by_method = labels.surface()
    for method, found in by_method.items():
        tables.surface.add(seed, method, wanted, nearest_labels(xyz, surface, found, np.inf))
    stride = 1 if full else RAY_STRIDE
    every = (slice(stride // 2, None, stride),) * 2
    for frame in room.unseen:
        _, _, found = labels.view(frame.camera, frame.world_T_cam)
        shown = {FIELD: found[WHOLE], IN_3D: found[AVERAGED]}
        shown[TRUE_IMAGE] = pixel_labels(segmenter(frame.rgb), *frame.labels.shape)
        shown = {method: image[every] for method, image in shown.items()}
        if views is not None:
            rays = pixel_rays(frame.camera, views.intrinsics.device)[every]
            by_encoding = encoded_view_labels(trained, views, frame.world_T_cam, rays.reshape(-1, 3), far_m)
            shown |= {f"votes along rays, {name}": image.reshape(rays.shape[:2]) for name, image in by_encoding.items()}
        for method, image in shown.items():
            tables.novel.add(seed, method, frame.labels[every], image)
    return tables


@dataclass(frozen=True, eq=False)
class _MappedRoom:
    """A room's recording.

    Attributes:
        truth: points that the mapped frames show within the map's range.
        unseen: frames that were held out.
        keyframes: those of the map from measured depth, and what the segmenter said of them.
    """

    truth: PointCollector
    unseen: list[Frame]
    keyframes: list[tuple[Frame, Segmentation]]


def _map_both(
    source: RoomSource, mappers: dict[str, SemanticMapper], said: SeenOnce, dropped: Counter[str]
) -> _MappedRoom:
    truth, unseen, keyframes = PointCollector(TRUTH_M), [], []
    for number in range(len(source)):
        images = source.images(number)
        frame = source.frame(number, images)
        if number % HELD_OUT == HELD_OUT // 2:
            unseen.append(frame)
            continue
        for name, mapper in mappers.items():
            try:
                update = mapper.integrate(frame)
                if name == MEASURED and update.keyframe is not None:
                    keyframes.append((frame, update.segmentation))
            except FrameDropped as drop:  # the first keyframe without a view before it, and whatever else
                dropped[f"{name}: {drop.reason}"] += 1
        volume = mappers[RGB].config.volume
        exact = images.depth.cpu().numpy()
        within = (exact >= volume.min_depth_m) & (exact <= volume.max_depth_m)
        truth.add(replace(frame, depth=np.where(within, exact, 0).astype(np.float32)))
    return _MappedRoom(truth, unseen, keyframes)
