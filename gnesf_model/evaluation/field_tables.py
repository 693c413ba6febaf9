"""The tables of the paper on procedural rooms, with measured geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.novel_views import (
    EVERY_VARIANT,
    PROBABILITIES,
    blended_colors,
    encoded,
    labels_along_rays,
    nearest,
    observed,
    variant_labels,
)
from gnesf_model.evaluation.recording_tables import REFERENCES, MappedRecording, map_all_ways, score_surface
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.evaluation.voting_methods import AVERAGED, WHOLE
from gnesf_model.field.encoding_volume import Encoding
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.rendering import SdfGeometry
from gnesf_model.field.surfaces import MeasuredSurface
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Frame
from gnesf_model.geometry import pixel_rays
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation, Segmenter

FRAMES, STRIDE_TICKS, HELD_OUT = 60, 6, 10
"""Of a room: frames, ticks of 1/30 s between them, and every how many-th is a new view that the map never gets."""
EVERY_PIXEL = (slice(None), slice(None))
RAY_STRIDE = 4
"""New views are compared at every fourth row and column."""
ABLATION_POINTS = 6000
"""Of a room's labelled points, at most so many go through the ablation."""

FIELD, FIELD_VOTED, IN_3D = f"field ({WHOLE})", "field (voted)", "averaged in 3D"
ALONG_RAYS = "votes along rays (eq. 5, 8, 9)"
PREDICTED_DIRECTLY = "predict directly"
TRUE_IMAGE, RENDERED_IMAGE = "segmenter on the true image", "segmenter on the rendered image"
EXACT_IMAGE, MAP_COLORS = "segmenter on the image rendered from exact geometry", "segmenter on the map's mean colours"
"""The rendered images are blended by the field, from the geometry that the other views measured or from the exact one;
the last one shows the colours that the map holds."""
ALL_VIEWS = "all views so far"
KINDS = ("natural", "permuted", "seen", "usual")
"""Rooms as they are, for every table but 3; with the materials of other classes, for table 3; rooms that the field was
trained in, for table 1; with furniture of the shapes that there were in training, for table 3."""


@dataclass
class FieldTables:
    """Scores of the rooms so far.

    Attributes:
        novel: table 1, labels of new views in new scenes.
        novel_seen: table 1 in scenes that the field was trained in.
        surface: table 2, labels of the surface, measured geometry ("with mesh").
        atlas: as `surface`, a true point taking the label of the nearest surface point however far.
        other_looks: table 3, as `surface` in rooms whose materials belong to other classes.
        usual: table 3, as `surface` in rooms with furniture of the shapes that there were in training.
        ablation: table 4, labels of new views from the views around them.
        ablation_3d: table 4 at the surface, from all views at once.
        psnr: of the rendered images, dB, by the method that looks at them.
    """

    novel: UnitScores
    novel_seen: UnitScores
    surface: UnitScores
    atlas: UnitScores
    other_looks: UnitScores
    usual: UnitScores
    ablation: UnitScores
    ablation_3d: UnitScores
    psnr: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def empty(cls, labels: LabelSpace) -> FieldTables:
        """Without a room."""
        return cls(*(UnitScores(labels) for _ in range(8)))

    def merge(self, other: FieldTables) -> None:
        """Add the rooms of another one."""
        for entry in fields(self):
            if entry.name != "psnr":
                getattr(self, entry.name).merge(getattr(other, entry.name))
        for method, values in other.psnr.items():
            self.psnr.setdefault(method, []).extend(values)

    def to_json(self) -> dict[str, Any]:
        """table1 .. table4: method -> scores, with differences to those that the goals name."""
        new_views = (TRUE_IMAGE, RENDERED_IMAGE, PREDICTED_DIRECTLY, IN_3D)
        tables = {
            "table1": (self.novel, new_views),
            "table1_seen": (self.novel_seen, new_views),
            "table2": (self.surface, REFERENCES),
            "table2_atlas": (self.atlas, REFERENCES),
            "table3": (self.other_looks, REFERENCES),
            "table3_usual": (self.usual, REFERENCES),
            "table4": (self.ablation, (PROBABILITIES,)),
            "table4_3d": (self.ablation_3d, (PROBABILITIES,)),
        }
        found = {name: scores.to_json(references) for name, (scores, references) in tables.items() if scores.methods}
        return {**found, "psnr_db": {method: float(np.mean(values)) for method, values in self.psnr.items()}}


def room_tables(
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    seed: int,
    kind: str,
    *,
    config: Config,
    size: tuple[int, int] = (320, 240),
    full: bool = False,
) -> FieldTables:
    """What a room adds to tables 1 to 4.

    Args:
        segmenter: in ScanNet's 20 classes.
        trained: the field.
        seed: of the room.
        kind: one of `KINDS`.
        config: of the mapper.
        size: of the images.
        full: compare new views at every pixel.
    """
    tables = FieldTables.empty(segmenter.labels)
    looks = "permuted" if kind == "permuted" else "natural"
    source = RoomSource.as_recorded(seed, FRAMES, size, STRIDE_TICKS, looks=looks)
    kept: list[tuple[Frame, Segmentation]] = []
    mapped = map_all_ways(
        source,
        segmenter,
        trained,
        config,
        lambda _, *shown: kept.append(shown),
        held_out=HELD_OUT,
        every_frame=kind != "seen",  # of which no surface is scored
    )
    if kind in ("natural", "seen"):
        stride = 1 if full else RAY_STRIDE
        room = _Room(source, mapped, _Sources.of(trained, kept, config), segmenter, trained, stride)
    if kind == "seen":
        room.score_new_views(tables.novel_seen, None, None)
        return tables
    points, truth = mapped.truth.points()
    surface = {"natural": tables.surface, "permuted": tables.other_looks, "usual": tables.usual}[kind]
    atlas = tables.atlas if kind == "natural" else None
    score_surface(mapped, surface, points, truth, np.full(len(truth), seed), atlas)
    if kind == "natural":
        room.score_new_views(tables.novel, tables.ablation, tables.psnr)
        every = slice(None, None, -(-len(truth) // ABLATION_POINTS))
        xyz = torch.from_numpy(points[every]).float()
        views = room.sources.views
        for method, found in variant_labels(trained, views, encoded(trained, views, xyz), xyz).items():
            tables.ablation_3d.add(seed, method, truth[every], found)
    return tables


@dataclass(frozen=True, eq=False)
class _Sources:
    """The views of a room that are in the map, and their poses (N, 4, 4)."""

    views: SourceViews
    poses: np.ndarray

    @classmethod
    def of(cls, trained: NeuralSemanticField, kept: list[tuple[Frame, Segmentation]], config: Config) -> _Sources:
        frames, said = zip(*kept)
        views = observed(trained, frames, said, config.semantics.field_side_px)
        return cls(views, np.stack([frame.world_T_cam for frame in frames]))

    def around(self, world_T_cam: np.ndarray) -> SourceViews:
        return self.views.select(nearest(world_T_cam, self.poses))


@dataclass(frozen=True, eq=False)
class _Room:
    """A mapped room whose new views are scored."""

    source: RoomSource
    mapped: MappedRecording
    sources: _Sources
    segmenter: Segmenter
    trained: NeuralSemanticField
    stride: int

    def score_new_views(
        self, novel: UnitScores, ablation: UnitScores | None, psnr: dict[str, list[float]] | None
    ) -> None:
        """Add the held-out views to table 1 and, where given, to table 4 and the rendered images."""
        every, seed = (slice(self.stride // 2, None, self.stride),) * 2, self.source.seed
        for number, frame in self.mapped.held_out:
            depth, colors, labels = self.mapped.labels.view(frame.camera, frame.world_T_cam)
            if not (depth > 0).any():
                continue
            shown = {FIELD: labels[WHOLE], FIELD_VOTED: labels["voted"], IN_3D: labels[AVERAGED]}
            around, images = self.sources.around(frame.world_T_cam), {TRUE_IMAGE: frame.rgb}
            encoding = encoded(self.trained, around, surface_points(frame, depth, EVERY_PIXEL))
            if psnr is not None:
                images |= self._rendered(number, frame, around, encoding, depth, colors)
                _add_psnr(psnr, images, frame, depth > 0)
            for method, image in images.items():
                shown[method] = pixel_labels(self.segmenter(image), *frame.labels.shape)
            found = {method: image[every] for method, image in shown.items()}
            points, there = surface_points(frame, depth, every), depth[every] > 0
            names = EVERY_VARIANT if ablation is not None else (PREDICTED_DIRECTLY,)
            variants = variant_labels(self.trained, around, encoding, points, names)
            found[PREDICTED_DIRECTLY] = _image(there, variants[PREDICTED_DIRECTLY])
            found[ALONG_RAYS] = self._along_rays(frame, around, encoding, every)
            wanted = frame.labels[every]
            for method, image in found.items():
                novel.add(seed, method, wanted, image)
            if ablation is not None:
                for method, values in variants.items():
                    ablation.add(seed, method, wanted, _image(there, values))
                ablation.add(seed, f"{PROBABILITIES}, along rays (eq. 5, 8, 9)", wanted, found[ALONG_RAYS])
                ablation.add(seed, ALL_VIEWS, wanted, found[FIELD_VOTED])
                ablation.add(seed, f"{ALL_VIEWS}, {WHOLE}", wanted, found[FIELD])

    def _rendered(
        self,
        number: int,
        frame: Frame,
        around: SourceViews,
        encoding: Encoding,
        depth: np.ndarray,
        colors: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Images (H, W, 3) uint8 of a new view, by the method that looks at them."""
        images = {MAP_COLORS: np.where((depth > 0)[..., None], colors, 0)}
        if self.trained.options.colors:
            exact = self.source.images(number).depth.cpu().numpy()
            of_exact = encoded(self.trained, around, surface_points(frame, exact, EVERY_PIXEL))
            for method, geometry, m in ((RENDERED_IMAGE, depth, encoding), (EXACT_IMAGE, exact, of_exact)):
                images[method] = _blended_image(self.trained, around, m, frame, geometry, images[MAP_COLORS])
        return images

    def _along_rays(
        self, frame: Frame, around: SourceViews, encoding: Encoding, every: tuple[slice, slice]
    ) -> np.ndarray:
        """Labels of every so many pixels by eq. 5, from the measured surface."""
        mapper = self.mapped.mapper
        surface = MeasuredSurface(mapper.grid, mapper.truncation_m, mapper.config.volume.min_weight)
        directions = pixel_rays(frame.camera, "cpu")[every]
        found = labels_along_rays(
            self.trained,
            around,
            encoding,
            SdfGeometry(surface, surface.tr_m),  # "with mesh"
            frame.world_T_cam,
            directions.reshape(-1, 3),
            mapper.config.volume.max_depth_m,
        )
        return found.reshape(directions.shape[:2])


def surface_points(frame: Frame, depth: np.ndarray, every: tuple[slice, slice]) -> torch.Tensor:
    """Points (K, 3) in the world of the pixels (of every so many) that have depth (H, W), row by row."""
    there = depth[every] > 0
    pose = torch.from_numpy(frame.world_T_cam).float()
    rays = pixel_rays(frame.camera, "cpu")[every][there] * torch.from_numpy(depth[every][there])[:, None]
    return rays @ pose[:3, :3].T + pose[:3, 3]


def _image(there: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Labels (H, W) of the pixels with flags (H, W), unknown elsewhere."""
    image = np.full(there.shape, UNKNOWN, np.uint8)
    image[there] = values
    return image


def _add_psnr(psnr: dict[str, list[float]], images: dict[str, np.ndarray], frame: Frame, seen: np.ndarray) -> None:
    """Of all but the true image, where the map shows a surface."""
    for method, image in images.items():
        if method != TRUE_IMAGE:
            error = np.square(image[seen].astype(np.float32) - frame.rgb[seen]).mean()
            psnr.setdefault(method, []).append(float(10 * np.log10(255**2 / max(error, 1e-6))))


def _blended_image(
    trained: NeuralSemanticField,
    around: SourceViews,
    encoding: Encoding,
    frame: Frame,
    depth: np.ndarray,
    otherwise: np.ndarray,
) -> np.ndarray:
    """Image (H, W, 3) uint8 of a new view with depth (H, W); where no source view looks, that given otherwise."""
    points = surface_points(frame, depth, EVERY_PIXEL)
    colors, seen = blended_colors(trained, around, encoding, frame.world_T_cam, points)
    image, place = otherwise.copy(), (depth > 0).nonzero()
    image[tuple(axis[seen] for axis in place)] = colors[seen]
    return image
