"""Semantic view synthesis, eq. 5: class probabilities, confidence and depth of any camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gnesf_model.field.ray_weights import (
    composite,
    density_weights,
    importance_depths,
    sdf_weights,
    stratified_depths,
    surface_depth,
)
from gnesf_model.field.visibility import SignedDistance
from gnesf_model.frame import Camera
from gnesf_model.geometry import pixel_rays
from gnesf_model.volume.votes import strongest

Density = Callable[[torch.Tensor], torch.Tensor]
"""Points (K, 3) -> density (K,) >= 0."""
Semantics = Callable[[torch.Tensor], torch.Tensor]
"""Points (K, 3) -> s(x) (K, C) of eq. 4."""


class RayGeometry(Protocol):
    """w(x_m) of eq. 5, and where the surface is."""

    def __call__(self, points: torch.Tensor, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (R, M) of samples (R, M, 3) at depths (R, M), in order; depth (R,) of the surface, 0: none."""
        ...


@dataclass(frozen=True)
class DensityGeometry:
    """Eq. 7, for view synthesis."""

    density: Density

    def __call__(self, points: torch.Tensor, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights, whose sums are at most 1: the remainder passes; their mean depth."""
        weights = density_weights(self.density(points.reshape(-1, 3)).view(depth.shape))
        total = weights.sum(dim=1)
        return weights, (weights * depth).sum(dim=1) / torch.where(total > 0, total, torch.ones_like(total))


@dataclass(frozen=True)
class SdfGeometry:
    """Eq. 8 and 9, for 3D segmentation.

    Attributes:
        distance: predicted or measured.
        tr_m: tr of eq. 8, e.g. that of a `MeasuredSurface`.
        crossing_only: as in `sdf_weights`.
    """

    distance: SignedDistance
    tr_m: float
    crossing_only: bool = True

    def __call__(self, points: torch.Tensor, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights, whose sums are 1, or 0 where there is no surface; the depth of the first crossing."""
        distance = self.distance(points.reshape(-1, 3)).view(depth.shape)
        weights = sdf_weights(distance, depth, self.tr_m, self.crossing_only)
        return weights, surface_depth(distance, depth)


@dataclass(frozen=True)
class Sampling:
    """Where rays are looked at.

    Attributes:
        near_m, far_m: depth along the optical axis.
        coarse, fine: samples spread evenly, and samples put where those have weight.
        least_weight: s(x) is not asked for at samples that count less; 0 asks everywhere (to train).
    """

    near_m: float = 0.1
    far_m: float = 5.0
    coarse: int = 64
    fine: int = 64
    least_weight: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.near_m < self.far_m:
            raise ValueError(f"near_m is {self.near_m} and far_m {self.far_m}, expected 0 < near_m < far_m")
        if self.coarse < 2 or self.fine < 0:
            raise ValueError(f"coarse is {self.coarse} and fine {self.fine}, expected at least 2 and 0")


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What rays see.

    Attributes:
        probabilities: (R, C) S^(r) of eq. 5; 1 - sum is unknown.
        depth: (R,) m along the optical axis, 0 where nothing is met.
        weight: (R,) sum of the samples' weights: how surely there is a surface.
    """

    probabilities: torch.Tensor
    depth: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class FieldImage:
    """What a camera sees of the field, on the host.

    Attributes:
        labels: (H, W) uint8, 255 = unknown.
        confidence: (H, W) float32 probability of that label, or of unknown.
        depth: (H, W) float32 m, 0 where nothing is met.
    """

    labels: np.ndarray
    confidence: np.ndarray
    depth: np.ndarray


def render_rays(
    origins: torch.Tensor,
    directions: torch.Tensor,
    geometry: RayGeometry,
    semantics: Semantics,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> RenderedRays:
    """Eq. 5 along rays origin + depth * direction.

    Args:
        origins: (R, 3) m in the world.
        directions: (R, 3) in the world, scaled so that their component along the optical axis is 1.
        generator: draws the samples at random (to train); None takes the middles.
    """
    depth = stratified_depths(len(origins), sampling.near_m, sampling.far_m, sampling.coarse, directions, generator)
    if sampling.fine:
        with torch.no_grad():
            first, _ = geometry(_points(origins, directions, depth), depth)
        more = importance_depths(depth, first, sampling.fine, generator)
        depth = torch.cat([depth, more], dim=1).sort(dim=1).values
    points = _points(origins, directions, depth)
    weights, surface = geometry(points, depth)
    if sampling.least_weight > 0:
        index = (weights > sampling.least_weight).nonzero(as_tuple=True)
        found = semantics(points[index])
        rendered = found.new_zeros(len(origins), found.shape[1])
        rendered = rendered.index_add(0, index[0], found * weights[index][:, None].to(found.dtype))
    else:
        found = semantics(points.reshape(-1, 3))
        rendered = composite(weights.to(found.dtype), found.view(*depth.shape, -1))
    return RenderedRays(rendered, surface, weights.sum(dim=1))


@torch.inference_mode()
def render_view(
    camera: Camera,
    world_T_cam: np.ndarray,
    geometry: RayGeometry,
    semantics: Semantics,
    sampling: Sampling,
    *,
    device: torch.device | str = "cpu",
    rays_at_once: int = 2048,
) -> FieldImage:
    """Semantic view synthesis for any camera at a (4, 4) pose: eq. 5 for each pixel."""
    pose = torch.from_numpy(np.asarray(world_T_cam, np.float64)).float().to(device)
    directions = pixel_rays(camera, device).view(-1, 3) @ pose[:3, :3].T
    labels, confidence, depths = [], [], []
    for part in directions.split(rays_at_once):
        found = render_rays(pose[:3, 3].expand(len(part), 3), part, geometry, semantics, sampling)
        label, share = strongest(found.probabilities)
        labels.append(label)
        confidence.append(share)
        depths.append(torch.where(found.weight > 0.5, found.depth, 0.0))
    shape = (camera.height, camera.width)
    image = (torch.cat(parts).view(shape).cpu().numpy() for parts in (labels, confidence, depths))
    return FieldImage(*image)


@torch.inference_mode()
def render_depth(
    camera: Camera,
    world_T_cam: np.ndarray,
    geometry: RayGeometry,
    sampling: Sampling,
    *,
    device: torch.device | str = "cpu",
    rays_at_once: int = 8192,
) -> torch.Tensor:
    """Depth (H, W) m, 0 where nothing is met: once for each keyframe, for `visibility.visible_in_depth`."""
    pose = torch.from_numpy(np.asarray(world_T_cam, np.float64)).float().to(device)
    directions = pixel_rays(camera, device).view(-1, 3) @ pose[:3, :3].T
    found = []
    for part in directions.split(rays_at_once):
        depth = stratified_depths(len(part), sampling.near_m, sampling.far_m, sampling.coarse, part)
        weights, surface = geometry(_points(pose[:3, 3].expand(len(part), 3), part, depth), depth)
        found.append(torch.where(weights.sum(dim=1) > 0.5, surface, 0.0))
    return torch.cat(found).view(camera.height, camera.width)


def _points(origins: torch.Tensor, directions: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    return origins[:, None] + depth[..., None] * directions[:, None]
