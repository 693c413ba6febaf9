"""Ways of fusing views side by side over the scenes of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnesf_model.config import Config
from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.recording_tables import REFERENCES, ViewDepthMaker, score_recording
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.frame import Frame
from gnesf_model.segment.segmenter import Segmenter


@dataclass(frozen=True)
class LabelledScene:
    """A recording of a data set.

    Attributes:
        room: where it was taken: recordings of one room err together and are one unit.
        source: its frames.
        points: ground truth points (N, 3) and labels (N,) in the label space of the segmenter; None: labelled pixels.
    """

    room: str
    source: FrameSource
    points: tuple[np.ndarray, np.ndarray] | None = None


def dataset_table(
    scenes: Iterable[LabelledScene],
    segmenter: Segmenter,
    trained: NeuralSemanticField,
    *,
    config: Config,
    view_depth: ViewDepthMaker = lambda: None,
    progress: Callable[[LabelledScene], Callable[[Iterable[Frame]], Iterable[Frame]]] = lambda scene: iter,
) -> dict[str, Any]:
    """Table 2 of the paper, with measured geometry or with that of colour alone, rooms as units.

    Args:
        view_depth: as ``config.geometry`` demands it; asked once for every scene.

    Returns:
        `table2` (surfaces in 3D) and `images` (labelled frames; not new views: the map has seen them), method -> scores
        with `n` rooms and differences to plain averaging; `recordings` by name: room, keyframes and what was dropped.
    """
    surface, images = UnitScores(segmenter.labels), UnitScores(segmenter.labels)
    recordings: dict[str, Any] = {}
    for scene in scenes:
        keyframes, dropped = score_recording(
            scene.source,
            segmenter,
            trained,
            config=config,
            view_depth=view_depth,
            surface=surface,
            images=images,
            cubes=lambda xyz, room=scene.room: np.full(len(xyz), room),
            span=lambda number, room=scene.room: room,
            points=scene.points,
            progress=progress(scene),
        )
        found = {"room": scene.room, "keyframes": keyframes, "dropped": dict(dropped)}
        recordings[scene.source.name] = found
    return {
        "table2": surface.to_json(REFERENCES),
        "images": images.to_json(REFERENCES),
        "recordings": recordings,
    }
