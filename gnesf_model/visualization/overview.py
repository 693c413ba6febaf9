"""One picture of a map: from above without its near walls, and beside the photographs it came from."""

from __future__ import annotations

import numpy as np

from gnesf_model.frame import Camera, Frame
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints, SemanticMapper
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.visualization.images import caption, colorize, fit_width, legend, overlay, shade
from gnesf_model.volume.block_grid import OutOfReach

_WIDTH_PX = 1280
_ROOM_PX = (640, 520)
_LOOK_DOWN_DEG = 50.0


def overview(mapper: SemanticMapper, surface: LabelledPoints, frames: list[Frame], title: str) -> np.ndarray:
    """Picture (H, 1280, 3) of a finished map.

    Args:
        mapper, surface: the map and its surface points.
        frames: a few frames of the recording, shown as photograph, segmenter alone and map.
        title: first line.
    """
    classes, colors, seen = from_above(mapper, surface, frames)
    room = [caption(classes, "map: classes"), caption(colors, "map: mean image colour")]
    present = [surface.labels, seen]
    rows = [caption(np.hstack(room), title)]
    for frame in frames:
        labels = frame_labels(mapper, frame)
        rows.append(strip(frame.rgb, labels, mapper.labels))
        present += [values.reshape(-1) for values in labels.values()]
    return stacked(rows, mapper.labels, np.unique(np.concatenate(present)))


def strip(rgb: np.ndarray, labels: dict[str, np.ndarray], space: LabelSpace) -> np.ndarray:
    """A photograph (H, W, 3) and, beside it, what each of some label images (H, W) says of it, with its name."""
    pictures = [("photograph", rgb), *((name, overlay(rgb, values, space)) for name, values in labels.items())]
    width = _WIDTH_PX // len(pictures)
    return np.hstack([caption(fit_width(image, width), name) for name, image in pictures])


def stacked(rows: list[np.ndarray], space: LabelSpace, present: np.ndarray) -> np.ndarray:
    """Pictures of at most 1280 px below each other, and the legend of the label values (N,) that are to be seen."""
    padded = [np.pad(r, ((0, 0), (0, _WIDTH_PX - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    return np.vstack([*padded, legend(space, present, _WIDTH_PX)])


def from_above(
    mapper: SemanticMapper, surface: LabelledPoints, frames: list[Frame]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The map from above without its near walls: classes and image colours (H, W, 3), and the labels that are seen."""
    camera, world_T_cam, reach = _viewpoint(surface, frames)
    view = mapper.render(camera, world_T_cam, max_depth_m=reach)
    pictures = [shade(c, view.depth, camera.fx) for c in (colorize(view.labels, mapper.labels), view.colors)]
    return *pictures, np.unique(view.labels)


def frame_labels(mapper: SemanticMapper, frame: Frame) -> dict[str, np.ndarray]:
    """What segmenter and map say of a frame, and its ground truth if there is any: labels (H, W) by name."""
    height, width = frame.rgb.shape[:2]
    found = {"segmenter alone": pixel_labels(mapper.segmenter(frame.rgb, frame.stamp_ns), height, width)}
    try:
        seen = mapper.render(frame.camera.strided(2, 0), frame.world_T_cam).labels
        found["map"] = seen.repeat(2, 0).repeat(2, 1)[:height, :width]
    except OutOfReach:  # the frame was dropped for that
        found["map"] = np.full((height, width), UNKNOWN, np.uint8)
    return found if frame.labels is None else {**found, "ground truth": frame.labels}


def _viewpoint(surface: LabelledPoints, frames: list[Frame]) -> tuple[Camera, np.ndarray, float]:
    """A camera outside the map that looks down into it; rays enter walls from behind, unseen.

    Up is where the cameras' images have it on average; no axis of the world is assumed.
    """
    up = -np.mean([frame.world_T_cam[:3, 1] for frame in frames], axis=0)
    up /= max(np.linalg.norm(up), 1e-9)
    # From where the recording looked, so that the surfaces it saw face this camera too.
    forward = np.mean([frame.world_T_cam[:3, 2] for frame in frames], axis=0)
    forward -= up * (forward @ up)
    if np.linalg.norm(forward) < 0.2:
        forward = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    forward /= np.linalg.norm(forward)
    tilt = np.radians(_LOOK_DOWN_DEG)
    z = np.cos(tilt) * forward - np.sin(tilt) * up
    x = np.cross(z, up)
    x /= np.linalg.norm(x)
    world_T_cam = np.eye(4)
    world_T_cam[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    points = surface.points if len(surface.points) else np.zeros((1, 3), np.float32)
    low, high = np.percentile(points, [1, 99], axis=0)
    centre = (low + high) / 2
    radius = float(np.linalg.norm(high - low)) / 2 + 0.5
    distance = 3 * radius
    world_T_cam[:3, 3] = centre - distance * z
    # The image frames what is there, but for stray points.
    width, height = _ROOM_PX
    seen = (points - world_T_cam[:3, 3]) @ world_T_cam[:3, :3]
    low, high = np.percentile(seen[:, :2] / seen[:, 2:], [2, 98], axis=0)
    focal = 0.85 * float(min(np.array(_ROOM_PX) / np.maximum(high - low, 1e-3)))
    cx, cy = (np.array(_ROOM_PX) - 1) / 2 - focal * (low + high) / 2
    return Camera(width, height, focal, focal, float(cx), float(cy)), world_T_cam, distance + 2 * radius


def sample_frames(frames: list[Frame], number: int = 4) -> list[Frame]:
    """Some frames, evenly spread; those with ground truth first choice."""
    labelled = [f for f in frames if f.labels is not None and (f.labels != UNKNOWN).any()] or frames
    picks = np.linspace(0, len(labelled) - 1, min(number, len(labelled))).round().astype(int)
    return [labelled[i] for i in picks]
