"""Points that a new view shows, from the source views around it: classes the paper's way, its ablation, and colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from gnesf_model.field.cells import Lattice
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.field.model import NeuralSemanticField, PointVotes
from gnesf_model.field.shrunk import shrunk
from gnesf_model.field.viewpoints import nearest_views
from gnesf_model.field.views import SourceViews
from gnesf_model.field.visibility import visible_in_depth
from gnesf_model.frame import Frame
from gnesf_model.segment.segmenter import Segmentation, grid_size
from gnesf_model.volume.votes import strongest

SOURCES = 12
"""Views that vote, the nearest ones: as many as the paper's released code evaluates with."""
_TOLERANCE_M = 0.05
_POINTS_AT_ONCE = 1 << 14

VARIANTS: dict[str, dict[str, str]] = {
    "predict directly": {"outcome": "direct"},
    "votes on logits": {"outcome": "logits"},
    "votes on probabilities": {},
    "averaged": {"weighting": "uniform"},
    "nearer counts more": {"weighting": "distance"},
}
"""Name -> arguments of `NeuralSemanticField.vote`; each of them with visibility."""
NO_VISIBILITY = "votes on probabilities, no visibility"


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


@torch.inference_mode()
def variant_labels(
    field: NeuralSemanticField, views: SourceViews, poses: np.ndarray, world_T_cam: np.ndarray, points: torch.Tensor
) -> dict[str, np.ndarray]:
    """Labels (K,) uint8 of points (K, 3), by variant, from the `SOURCES` views nearest to a viewpoint.

    Args:
        views: all source views; poses: theirs, (N, 4, 4).
        world_T_cam: (4, 4) of the viewpoint.
    """
    near = views.select(nearest_views(world_T_cam, poses, SOURCES).tolist())
    encoding = field.volume.around(near, Lattice.world(points), points, field.options.vote_level + 1)
    visible = visible_in_depth(near, near.project(points), _TOLERANCE_M)
    found = field.look(points, near, encoding, visible)
    votes: dict[str, PointVotes] = {name: field.vote(found, **variant) for name, variant in VARIANTS.items()}
    votes[NO_VISIBILITY] = field.vote(field.look(points, near, encoding))
    return {name: strongest(vote.probabilities)[0].cpu().numpy() for name, vote in votes.items()}


@torch.inference_mode()
def blended_colors(
    field: NeuralSemanticField, views: SourceViews, poses: np.ndarray, world_T_cam: np.ndarray, points: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (K, 3) uint8 of points (K, 3) seen from a viewpoint, from the `SOURCES` views nearest to it.

    Args:
        views, poses, world_T_cam: as `variant_labels`.

    Returns:
        colors: (K, 3) uint8.
        seen: (K,) bool, whether any of those views sees the point.
    """
    near = views.select(nearest_views(world_T_cam, poses, SOURCES).tolist())
    eye = torch.from_numpy(world_T_cam[:3, 3]).to(points)
    encoding = field.volume.around(near, Lattice.world(points), points, field.options.vote_level + 1)
    colors, seen = [], []
    for part in points.split(_POINTS_AT_ONCE):
        found = field.look(part, near, encoding, visible_in_depth(near, near.project(part), _TOLERANCE_M))
        colors.append(field.blend(found, near, part, eye))
        seen.append(found.seen.any(0))
    blended = torch.cat(colors) if colors else points.new_zeros(0, 3)
    there = torch.cat(seen) if seen else torch.zeros(0, dtype=torch.bool)
    return (blended * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy(), there.cpu().numpy()
