"""What geometry from colour learns by: eq. 2 by the depth of the views, eq. 5 to 7 by a new view's labels and depth.

No 3D labels and no mesh: the signed distance that the depth images of the views give, as a TSDF would fuse it, and one
view's pixels. The encoding is made without any depth, as it is where there is no sensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gnesf_model.field.cells import Lattice
from gnesf_model.field.encoding_volume import CELL_SIZES_M, Encoding, cells_in_sight
from gnesf_model.field.losses import log_tsdf_loss, occupancy_loss, rendered_cross_entropy
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.rendering import DensityGeometry, RayGeometry, RenderedRays, Sampling, SdfGeometry, render_rays
from gnesf_model.field.surfaces import PredictedSurface
from gnesf_model.field.views import SourceViews
from gnesf_model.field.visibility import visible_in_depth
from gnesf_model.labels import UNKNOWN

FAR_M = 4.0
"""Cells further from every view are not made."""
TOLERANCE_M = 0.05
"""A point this far behind a view's depth is hidden from it."""


@dataclass(frozen=True, eq=False)
class TrueRays:
    """Pixels of a view that is not among the sources.

    Attributes:
        origins: (R, 3) m.
        directions: (R, 3) of length 1.
        depth: (R,) m along them to the surface.
        labels: (R,) int64, 255 where there is none.
    """

    origins: torch.Tensor
    directions: torch.Tensor
    depth: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def to_points(cls, eye: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> TrueRays:
        """Rays from `eye` (3,) to points (R, 3) of the surface with labels (R,)."""
        ray = points - eye
        depth = ray.norm(dim=1)
        return cls(eye.expand_as(points), ray / depth.clamp_min(1e-6)[:, None], depth, labels)

    def select(self, rows: torch.Tensor) -> TrueRays:
        """Some of the rays, by flags (R,) or rows."""
        return TrueRays(self.origins[rows], self.directions[rows], self.depth[rows], self.labels[rows])


def fused_distance(views: SourceViews, points: torch.Tensor, truncation_m: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The truncated signed distance that depth images give points (K, 3), fused as in a TSDF (Curless and Levoy).

    Returns:
        distance: (K,) in truncation distances, -1..1, positive in front; the mean over the views that measured it.
        known: (K,) whether any did: what lies further behind every surface has never been looked at.
    """
    total = points.new_zeros(len(points))
    count = torch.zeros_like(total)
    for number in range(len(views)):
        view = views.select([number])
        place = view.project(points)
        depth = view.sample_depth(place.pixels)[0]
        distance = (depth - place.depth[0]) / truncation_m
        measured = place.inside[0] & (depth > 0) & (distance >= -1)
        total += distance.clamp_max(1) * measured
        count += measured
    return total / count.clamp_min(1), count > 0


def encoding_from_color(
    field: NeuralSemanticField, views: SourceViews, middle: torch.Tensor, reach_m: float, learning: bool
) -> Encoding:
    """M and eq. 2 without any depth, within a cube around a point.

    Args:
        views: with depth where `learning`: the finer levels then look where the surface is, not where it is predicted.
        middle: (3,) of the cube; `reach_m` is half of its side.
    """
    lattice = Lattice.world(middle)
    cells = cells_in_sight(views, lattice, FAR_M)
    near = (lattice.centres(cells, CELL_SIZES_M[0]) - middle).abs().amax(dim=1) < reach_m

    def occupied(centres: torch.Tensor, within_m: float) -> torch.Tensor:
        distance, known = fused_distance(views, centres, within_m)
        return known & (distance.abs() < 1)

    return field.volume(replace(views, depth=None), lattice, cells[near], occupied if learning else None)


def distance_losses(field: NeuralSemanticField, encoding: Encoding, views: SourceViews) -> dict[str, torch.Tensor]:
    """Of every level: whether a surface is near, and the signed distance, near one and elsewhere alike in weight."""
    occupancy, distance = [], []
    for level, head in zip(encoding.levels, field.volume.heads):
        true, known = fused_distance(views, encoding.lattice.centres(level.cells, level.size_m), level.truncation_m)
        near = known & (true.abs() < 1)
        if bool(known.any()):
            occupancy.append(occupancy_loss(level.occupancy[known], near[known]))
        found = head.distance_logit(level.encoding)
        distance += [log_tsdf_loss(found[part], true[part]) for part in (near, known & ~near)]
    zero = encoding.levels[0].encoding.sum() * 0
    return {"occupancy": sum(occupancy, zero), "distance": sum(distance, zero)}


def rendered(
    field: NeuralSemanticField,
    encoding: Encoding,
    views: SourceViews,
    rays: TrueRays,
    geometry: RayGeometry,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> RenderedRays:
    """Eq. 5 along rays: the views vote on every sample, and the geometry weighs the samples."""

    def semantics(points: torch.Tensor) -> torch.Tensor:
        visible = visible_in_depth(views, views.project(points), TOLERANCE_M)
        return field.vote(field.look(points, views, encoding, visible)).probabilities

    return render_rays(rays.origins, rays.directions, geometry, semantics, sampling, generator)


def rendering_losses(
    field: NeuralSemanticField,
    encoding: Encoding,
    views: SourceViews,
    rays: TrueRays,
    samples: int,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Eq. 6 of what eq. 5 and 7 render, and how far off the depth is that the same weights render.

    Args:
        rays: of a view that is not among `views`.
        samples: of a ray.
        generator: draws them.
    """
    surface = PredictedSurface(field.volume, encoding)
    sampling = Sampling(far_m=FAR_M, coarse=samples, fine=0, least_weight=0)
    found = rendered(field, encoding, views, rays, DensityGeometry(surface.density), sampling, generator)
    # What passes is taken to end at the far end: rays that meet nothing are wrong, too.
    at = found.weight * found.depth + (1 - found.weight).clamp_min(0) * FAR_M
    # Rays that end beyond the samples say only that nothing is in their way.
    labels = torch.where(rays.depth < FAR_M, rays.labels, UNKNOWN)
    off = (at - rays.depth.clamp_max(FAR_M)).abs() / rays.depth.clamp_min(0.1)
    return {"rendered": rendered_cross_entropy(found.probabilities, labels), "depth": off.mean()}


def ray_scores(
    field: NeuralSemanticField, encoding: Encoding, views: SourceViews, rays: TrueRays
) -> dict[str, torch.Tensor]:
    """What eq. 7 and eq. 8 and 9 find on rays: a surface, one within 5 cm, the right class; flags (R,) by name."""
    surface, scores = PredictedSurface(field.volume, encoding), {}
    ways = {"density": DensityGeometry(surface.density), "sdf": SdfGeometry(surface, surface.tr_m)}
    for name, geometry in ways.items():
        found = rendered(field, encoding, views, rays, geometry, Sampling(far_m=FAR_M))
        there = found.weight > 0.5
        scores[f"{name}_met"] = there
        scores[f"{name}_5cm"] = there & ((found.depth - rays.depth).abs() < 0.05)
        scores[f"{name}_right"] = there & (found.probabilities.argmax(1) == rays.labels)
    return scores
