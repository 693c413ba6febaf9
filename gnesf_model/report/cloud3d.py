"""A labelled surface as the numbers that the page's viewer draws: few, small, and with normals."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from gnesf_model.frame import Frame
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.up import floor_normal, level_rotation

MAX_POINTS = 200_000
"""More than these are thinned."""
MAX_PATH = 2000
_NEIGHBOURS = 12
_STEPS = 65535
"""Coordinates are 16-bit parts of the map's extent: 0.5 mm in a room of 30 m."""
RIGHT, WRONG, UNJUDGED = 1, 0, 255
_UNKNOWN_COLOR = (112, 120, 128)


@dataclass(frozen=True)
class Scene:
    """What the viewer shows.

    Attributes:
        surface: the map's points.
        labels: their label space.
        spacing_m: between them.
        judged: (N,) uint8 per point: `RIGHT`, `WRONG` or `UNJUDGED`, where there is no ground truth.
        path: (M, 3) where the camera was, m.
        frames: some of the recording; say where up is if the floor does not.
    """

    surface: LabelledPoints
    labels: LabelSpace
    spacing_m: float
    judged: np.ndarray
    path: np.ndarray
    frames: list[Frame]


def viewer_data(scene: Scene) -> dict[str, Any]:
    """The scene for JSON: arrays as base64 of little-endian bytes, z up, metres."""
    up, forward = _directions(scene)
    level = level_rotation(up)
    surface = scene.surface
    chosen = _thinned(len(surface.points))
    points = surface.points[chosen].astype(np.float64) @ level.T
    path = scene.path[:: max(1, -(-len(scene.path) // MAX_PATH))] @ level.T
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.ones(3))
    extent = np.maximum(high - low, 1e-3)
    # Stray points do not decide what the view shows.
    inner = np.percentile(points, (2, 98), axis=0) if len(points) else np.stack([low, high])
    labels = surface.labels[chosen]
    colors = np.zeros((len(points), 3), np.uint8) if surface.colors is None else surface.colors[chosen]
    per_point = {
        "position": np.rint((points - low) / extent * _STEPS).astype("<u2"),
        "normal": np.rint(normals(points, path) * 127).astype(np.int8),
        "color": colors,
        "label": labels,
        "confidence": np.rint(surface.confidence[chosen] * 255).astype(np.uint8),
        "judged": scene.judged[chosen],
    }
    return {
        "count": len(points),
        "total": len(surface.points),
        "low": low.tolist(),
        "extent": extent.tolist(),
        "inner": inner.tolist(),
        "spacing": scene.spacing_m * (len(surface.points) / max(len(points), 1)) ** 0.5,
        "forward": (level @ forward).tolist(),
        "judged": bool((scene.judged != UNJUDGED).any()),
        "colored": surface.colors is not None,
        "classes": _classes(scene.labels, surface.labels),
        "path": _encoded(path.astype("<f4")),
        "arrays": {name: _encoded(values) for name, values in per_point.items()},
    }


def normals(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3) of points (N, 3): of the plane through each and its neighbours, towards the camera."""
    if len(points) < 3:
        return np.tile([0.0, 0.0, 1.0], (len(points), 1))
    _, index = cKDTree(points).query(points, k=min(_NEIGHBOURS, len(points)), workers=-1)
    around = points[index] - points[:, None]
    around -= around.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    found = axes[:, :, 0]
    if len(path):
        _, nearest = cKDTree(path).query(points)
        found[np.einsum("ni,ni->n", found, path[nearest] - points) < 0] *= -1
    return found


def _thinned(number: int) -> np.ndarray:
    """Indices of at most `MAX_POINTS` points, in any order that is the same every time."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(number)
    return np.sort(order[:MAX_POINTS])


def _directions(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Up (3,), the normal of what is labelled floor if the cameras do not contradict it, and where they looked (3,)."""
    poses = np.stack([frame.world_T_cam for frame in scene.frames])
    up, forward = -poses[:, :3, 1].mean(axis=0), poses[:, :3, 2].mean(axis=0)
    up = up / length if (length := np.linalg.norm(up)) > 0.1 else np.array([0.0, 0.0, 1.0])
    floors = np.append(scene.labels.of_kind("floor"), np.zeros(256 - len(scene.labels), bool))
    found = floor_normal(scene.surface.points, floors[scene.surface.labels], scene.spacing_m)
    return (found if found is not None and found @ up > 0.5 else up), forward


def _classes(labels: LabelSpace, present: np.ndarray) -> list[dict[str, Any]]:
    """Name, colour and number of points of the classes that occur, the most frequent first; unknown last."""
    counts = np.bincount(present, minlength=256)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] and i != UNKNOWN]
    order += [UNKNOWN] if counts[UNKNOWN] else []
    names = {entry.id: entry.name for entry in labels.classes}
    return [
        {"id": i, "name": names.get(i, "unknown"), "color": _color(labels, i), "count": int(counts[i])} for i in order
    ]


def _color(labels: LabelSpace, index: int) -> list[int]:
    """Black, the colour of what is unknown, would not be seen on a dark page."""
    return list(_UNKNOWN_COLOR) if index == UNKNOWN else labels.colors[index].tolist()


def _encoded(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
