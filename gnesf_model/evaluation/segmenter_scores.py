"""How good a segmenter is on single pictures: procedural rooms, and labelled photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.labels import UNKNOWN, LabelMapping, LabelSpace
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmenter

SECONDS_BETWEEN = 2.0
"""Walked between two pictures of a room."""
SEGMENTER = "segmenter"
"""Name of the one method of these scores."""


def room_scores(
    segmenter: Segmenter,
    seeds: Sequence[int],
    *,
    views: int = 8,
    size: tuple[int, int] = (320, 240),
    looks: str = "natural",
) -> UnitScores:
    """Score a segmenter on pictures of rooms, as some camera would record them.

    Args:
        segmenter: its label space must be ScanNet's 20 classes or one that maps from them.
        seeds: of the rooms.
        views: pictures of each, `SECONDS_BETWEEN` apart on a walk.
        size: width and height of the pictures.
        looks: see `RoomSource`.

    Raises:
        ValueError: the label spaces do not fit.
    """
    mapping = LabelMapping.between(LabelSpace.load(RoomSource.label_space), segmenter.labels)
    scores = UnitScores(segmenter.labels)
    for seed in seeds:
        source = RoomSource.as_recorded(seed, views, size, round(30 * SECONDS_BETWEEN), looks=looks)
        for frame in source:
            predicted = pixel_labels(segmenter(frame.rgb), *frame.labels.shape)
            scores.add(seed, SEGMENTER, mapping.lookup[frame.labels], predicted)
    return scores


def photograph_scores(
    segmenter: Segmenter,
    pictures: Sequence[tuple[Path, Path]],
    labels: LabelSpace,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> UnitScores:
    """Score a segmenter on labelled photographs.

    Each is a unit of the scores, but not an independent one: those of a folder often are frames of one recording.

    Args:
        pictures: image files and their label images, uint8 of one channel, as `labelled_photographs` finds them.
        labels: label space of the label images, whose files start at `labels.first_id` (0 = unlabelled where that
            is 1); 255 is never counted.

    Raises:
        ValueError: sizes or label values that do not fit.
        OSError: an unreadable file.
    """
    mapping = LabelMapping.between(labels, segmenter.labels)
    scores = UnitScores(segmenter.labels, independent=False)
    for path, label_path in progress(pictures):
        rgb, truth = cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED)
        for what, image in ((path, rgb), (label_path, truth)):
            if image is None:
                raise OSError(f"{what} is no image that OpenCV reads")
        if truth.dtype != np.uint8 or truth.shape != rgb.shape[:2]:
            raise ValueError(
                f"{label_path} is {truth.shape} {truth.dtype}; expected {rgb.shape[:2]} uint8, the size of {path}"
            )
        truth = _indices(truth, labels, label_path)
        predicted = pixel_labels(segmenter(np.ascontiguousarray(rgb[..., ::-1])), *truth.shape)
        scores.add(path, SEGMENTER, mapping.lookup[truth], predicted)
    return scores


def labelled_photographs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """(image, label image) of every image in a folder that has a label image of the same name.

    Raises:
        OSError: a folder is missing, or no name is in both.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise OSError(f"{folder} is no folder")
    pairs = list(_pairs(images, labels))
    if not pairs:
        raise OSError(f"no image in {images} has a label image NAME.png in {labels}")
    return pairs


def _pairs(images: Path, labels: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(images.iterdir()):
        label = labels / f"{path.stem}.png"
        if path.suffix.lower() in (".png", ".jpg", ".jpeg") and label.is_file():
            yield path, label


def _indices(values: np.ndarray, labels: LabelSpace, path: Path) -> np.ndarray:
    """Class indices of the values in a file: 255 where unlabelled."""
    lookup = np.full(256, UNKNOWN, np.uint8)
    lookup[labels.first_id : labels.first_id + len(labels)] = np.arange(len(labels), dtype=np.uint8)
    known = {*range(labels.first_id + len(labels)), UNKNOWN}
    wrong = sorted(set(np.unique(values).tolist()) - known)
    if wrong:
        raise ValueError(f"{path} holds the value {wrong[0]}; '{labels.name}' ends at {max(known - {UNKNOWN})}")
    return lookup[values]
