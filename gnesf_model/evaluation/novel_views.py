"""Points that a new view shows, from the source views around it: classes the paper's way, its ablation, and colours.

Points come from wherever they were measured, go to the device that holds the views, and results come back as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gnesf_model.field.cells import Lattice
from gnesf_model.field.encoding_volume import Encoding
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.rendering import RayGeometry, Sampling, render_rays
from gnesf_model.field.shrunk import shrunk
from gnesf_model.field.viewpoints import nearest_views
from gnesf_model.field.views import SourceViews
from gnesf_model.field.visibility import visible_in_depth
from gnesf_model.frame import Frame
from gnesf_model.labels import UNKNOWN
from gnesf_model.segment.segmenter import Segmentation, grid_size
from gnesf_model.volume.votes import strongest

SOURCES = 12
"""Views that vote, the nearest ones: as many as the paper's released code evaluates with."""
_TOLERANCE_M = 0.05
_VOTES_AT_ONCE, _RAYS_AT_ONCE = 1 << 17, 2048

PROBABILITIES = "votes on probabilities"
_INPUTS = ("features", "encoding", "displacement", "statistics")
VARIANTS: dict[str, dict[str, Any]] = {
    "predict directly": {"outcome": "direct"},
    "votes on logits": {"outcome": "logits"},
    PROBABILITIES: {},
    **{f"{PROBABILITIES}, without {name}": {"without": (name,)} for name in _INPUTS},
    "averaged": {"weighting": "uniform"},
    "nearer counts more": {"weighting": "distance"},
}
"""Name -> arguments of `NeuralSemanticField.vote`; each of them with visibility."""
NO_VISIBILITY = f"{PROBABILITIES}, no visibility"
EVERY_VARIANT = (*VARIANTS, NO_VISIBILITY)


@torch.inference_mode()
def observed(
    field: NeuralSemanticField, frames: Sequence[Frame], said: Sequence[Segmentation], side_px: int
) -> SourceViews:
    """Frames with depth, and what a segmenter says of them, as source views of that size; colours as they are."""
    small = [shrunk(frame, side_px) for frame in frames]
    grid = grid_size(small[0].camera.height, small[0].camera.width)
    maps = [F.interpolate(s.probabilities[None].float().cpu(), grid, mode="area")[0] for s in said]
    device = next(field.parameters()).device
    return field.observe(
        [f.camera for f in small],
        [f.world_T_cam for f in small],
        torch.stack([image_tensor(f.rgb, device) for f in small]),
        torch.stack(maps).to(device),
        torch.stack([torch.from_numpy(f.depth) for f in small]).to(device),
        torch.stack([image_tensor(f.rgb, device) for f in frames]),
    )


def nearest(world_T_cam: np.ndarray, poses: np.ndarray) -> list[int]:
    """Which of the views with poses (N, 4, 4) vote on what a viewpoint (4, 4) shows: the `SOURCES` nearest ones."""
    return nearest_views(world_T_cam, poses, SOURCES).tolist()


@torch.inference_mode()
def encoded(field: NeuralSemanticField, views: SourceViews, points: torch.Tensor) -> Encoding:
    """M around points (K, 3) of a surface, as far as the votes read it."""
    points = _beside(views, points)
    return field.volume.around(views, Lattice.world(points), points, field.options.vote_level + 1)


@torch.inference_mode()
def variant_labels(
    field: NeuralSemanticField,
    views: SourceViews,
    encoding: Encoding,
    points: torch.Tensor,
    names: Sequence[str] = EVERY_VARIANT,
) -> dict[str, np.ndarray]:
    """Labels (K,) uint8 of points (K, 3) by variant, all views voting at once; M is known around the points."""
    found: dict[str, list[np.ndarray]] = {}
    for part in _beside(views, points).split(_points_at_once(views)):
        seen = field.look(part, views, encoding, _visible(views, part))
        for name in names:
            if name == NO_VISIBILITY:
                vote = field.vote(field.look(part, views, encoding))
            else:
                vote = field.vote(seen, **VARIANTS[name])
            found.setdefault(name, []).append(strongest(vote.probabilities)[0].cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


@torch.inference_mode()
def labels_along_rays(
    field: NeuralSemanticField,
    views: SourceViews,
    encoding: Encoding,
    geometry: RayGeometry,
    world_T_cam: np.ndarray,
    directions: torch.Tensor,
    far_m: float,
) -> np.ndarray:
    """Labels (R,) uint8 by eq. 5; unknown where a ray meets no surface.

    Args:
        views: vote on every sample that their depth does not hide.
        encoding: M around the surface.
        geometry: weighs the samples, on the device of the views.
        world_T_cam: (4, 4) of the viewpoint.
        directions: (R, 3) in its optical frame, with depth 1.
        far_m: where rays end.
    """

    def semantics(samples: torch.Tensor) -> torch.Tensor:
        parts = [
            field.vote(field.look(part, views, encoding, _visible(views, part))).probabilities
            for part in samples.split(_points_at_once(views))
        ]
        return torch.cat(parts) if parts else samples.new_zeros(0, views.probabilities.shape[-1])

    directions = _beside(views, directions)
    pose = torch.from_numpy(world_T_cam).to(directions)
    sampling, labels = Sampling(far_m=far_m), []
    for part in (directions @ pose[:3, :3].T).split(_RAYS_AT_ONCE):
        rays = render_rays(pose[:3, 3].expand(len(part), 3), part, geometry, semantics, sampling)
        labels.append(torch.where(rays.weight > 0.5, strongest(rays.probabilities)[0], UNKNOWN))
    return torch.cat(labels).to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def blended_colors(
    field: NeuralSemanticField,
    views: SourceViews,
    encoding: Encoding,
    world_T_cam: np.ndarray,
    points: torch.Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (K, 3) uint8 of points (K, 3) seen from a viewpoint (4, 4); M is known around the points.

    Returns:
        colors: (K, 3) uint8.
        seen: (K,) bool, whether any of the views sees the point.
    """
    points = _beside(views, points)
    eye = torch.from_numpy(world_T_cam[:3, 3]).to(points)
    colors, seen = [points.new_zeros(0, 3)], [torch.zeros(0, dtype=torch.bool, device=points.device)]
    for part in points.split(_points_at_once(views)):
        found = field.look(part, views, encoding, _visible(views, part))
        colors.append(field.blend(found, views, part, eye))
        seen.append(found.seen.any(0))
    blended = (torch.cat(colors) * 255).round().clamp(0, 255).to(torch.uint8)
    return blended.cpu().numpy(), torch.cat(seen).cpu().numpy()


def _beside(views: SourceViews, points: torch.Tensor) -> torch.Tensor:
    """Points on the device of the views."""
    return points.to(views.intrinsics.device)


def _visible(views: SourceViews, points: torch.Tensor) -> torch.Tensor:
    return visible_in_depth(views, views.project(points), _TOLERANCE_M)


def _points_at_once(views: SourceViews) -> int:
    return max(1, _VOTES_AT_ONCE // max(len(views), 1))
