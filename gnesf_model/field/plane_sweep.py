"""How alike the source views are to a reference view at hypothesised depths: the plane sweep of multi-view stereo.

Collins, "A space-sweep approach to true multi-image matching", CVPR 1996; on learned features: MVSNet, ECCV 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from gnesf_model.field.precision import full_precision
from gnesf_model.frame import Camera
from gnesf_model.geometry import invert


@dataclass(frozen=True, eq=False)
class SweepView:
    """A posed feature map.

    Attributes:
        camera: of the map, whose cells are its pixels.
        world_T_cam: (4, 4) float64.
        features: (C, h, w) of length 1 in each group of channels.
    """

    camera: Camera
    world_T_cam: np.ndarray
    features: torch.Tensor


def depth_planes(nearest_m: float, farthest_m: float, count: int) -> torch.Tensor:
    """(D,) depths in m, each the same factor further than the one before: what two views tell apart grows so."""
    return torch.linspace(math.log(nearest_m), math.log(farthest_m), count).exp()


def normalised(features: torch.Tensor, groups: int) -> torch.Tensor:
    """Maps (N, C, h, w) scaled to length 1 in each of the groups of channels: exposure does not count."""
    count, channels, *size = features.shape
    return F.normalize(features.view(count, groups, channels // groups, *size), dim=2).view_as(features)


def matching_cost(
    reference: SweepView, sources: Sequence[SweepView], depths: torch.Tensor, groups: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean correlation of the reference's cells with what the sources show at each depth (group-wise: Guo, CVPR 2019).

    Args:
        reference, sources: with maps of C channels, `normalised` in so many groups.
        depths: (D,) m along the reference's optical axis.

    Returns:
        (G, D, h, w) correlation in -1..1, 0 where no source looks, and the share (D, h, w) of the sources that do.
    """
    features = reference.features
    channels, height, width = features.shape
    here = features.view(groups, channels // groups, 1, height, width)
    total = features.new_zeros(groups, len(depths), height, width)
    count = features.new_zeros(len(depths), height, width)
    for source in sources:
        grid, inside = _places(reference, source, depths)
        there = F.grid_sample(
            source.features[None], grid.flatten(0, 1)[None].to(features.dtype), padding_mode="zeros", align_corners=True
        ).view(groups, channels // groups, len(depths), height, width)
        total = total + (here * there).sum(1) * inside
        count = count + inside
    return total / count.clamp_min(1), count / max(len(sources), 1)


@full_precision
def _places(reference: SweepView, source: SweepView, depths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a source has the reference's cells at each depth: (D, h, w, 2) for `grid_sample`, and (D, h, w) inside."""
    c, s = reference.camera, source.camera
    source_T_reference = invert(source.world_T_cam) @ reference.world_T_cam
    A = torch.from_numpy(s.K @ source_T_reference[:3, :3] @ np.linalg.inv(c.K)).to(depths)
    b = torch.from_numpy(s.K @ source_T_reference[:3, 3]).to(depths)
    v, u = torch.meshgrid(
        torch.arange(c.height, device=depths.device, dtype=depths.dtype),
        torch.arange(c.width, device=depths.device, dtype=depths.dtype),
        indexing="ij",
    )
    rays = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ A.T
    x, y, z = (depths[:, None, None, None] * rays + b).unbind(-1)
    front = z > 1e-3
    scale = 1.0 / torch.where(front, z, torch.ones_like(z))
    x, y = x * scale, y * scale
    inside = front & (x >= 0) & (x <= s.width - 1) & (y >= 0) & (y <= s.height - 1)
    grid = torch.stack([x * (2 / max(s.width - 1, 1)) - 1, y * (2 / max(s.height - 1, 1)) - 1], dim=-1)
    # What lies behind the source projects to anywhere, even to NaN-free infinity: it is sampled outside.
    return torch.where(inside[..., None], grid, torch.full_like(grid, -2.0)), inside.to(depths.dtype)
