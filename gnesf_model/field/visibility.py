"""Which views see a point: the paper's rule on the signed distance along rays, and the fast form with depth images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from gnesf_model.field.views import Projections, SourceViews

SignedDistance = Callable[[torch.Tensor], torch.Tensor]
"""Points (K, 3) in the world -> distance (K,) in m, positive in front of a surface; NaN where it is not known."""

_POINTS_AT_ONCE = 1 << 19


def visible_along_rays(
    distance: SignedDistance,
    origins: torch.Tensor,
    points: torch.Tensor,
    *,
    spacing_m: float = 0.05,
    near_m: float = 0.02,
    noise_m: float = 0.005,
    max_samples: int = 256,
    deepest_m: float | None = None,
) -> torch.Tensor:
    """The paper's visibility module (section 4.2): flags (N, K) of the points that each view sees.

    Along the ray from o_i to x the distance of a visible point goes + or + -> -, that of an occluded one
    + -> - -> +: in this order, so a camera that starts within something (- -> +) is not blinded by it. Occluders
    thinner than `spacing_m` may be missed.

    Args:
        distance: the signed distance.
        origins: (N, 3) camera centres o_i, m.
        points: (K, 3) m.
        spacing_m: largest distance between samples.
        near_m: the samples begin this far from the camera.
        noise_m: a distance nearer to 0 counts as neither + nor -.
        max_samples: a longer ray has samples further apart.
        deepest_m: a point further than this behind the first surface on its ray is occluded, too. Not in the paper,
            which takes it for visible until the distance is positive again.
    """
    views, count = len(origins), len(points)
    if views == 0 or count == 0:
        return torch.zeros(views, count, dtype=torch.bool, device=points.device)
    ray = points[None] - origins[:, None]
    length = ray.norm(dim=-1)
    samples = min(max_samples, max(2, math.ceil(float(length.max()) / spacing_m)))
    # Midpoints: the last sample is half a step in front of x.
    fraction = (torch.arange(samples, device=points.device, dtype=points.dtype) + 0.5) / samples
    start = (near_m / length.clamp_min(1e-6)).clamp_max(1.0)[..., None]
    along = (start + (1 - start) * fraction).view(views * count, samples)
    base = origins[:, None].expand(-1, count, -1).reshape(-1, 3)
    ray, length = ray.view(-1, 3), length.view(-1)
    visible = []
    step = max(1, _POINTS_AT_ONCE // samples)
    for k in range(0, len(ray), step):
        part = slice(k, k + step)
        at = base[part, None] + along[part, :, None] * ray[part, None]
        value = distance(at.view(-1, 3)).view(-1, samples)
        occluded = occluded_by_signs(value, noise_m)
        if deepest_m is not None:
            behind = along[part] * length[part, None]
            first = torch.where(_behind(value, noise_m), behind, torch.inf).amin(dim=1)
            occluded |= length[part] > first + deepest_m
        visible.append(~occluded)
    return torch.cat(visible).view(views, count)


def occluded_by_signs(distance: torch.Tensor, noise_m: float) -> torch.Tensor:
    """Rays (R,) whose distances (R, M), in order, go + -> - -> +; NaN and |d| <= noise_m are no sign."""
    back_in_front = _behind(distance, noise_m).cummax(dim=1).values & (distance > noise_m)
    return back_in_front.any(dim=1)


def visible_in_depth(
    views: SourceViews, place: Projections, tolerance_m: float, unmeasured: bool = False
) -> torch.Tensor:
    """The fast form: flags (N, K) of the points no further than `tolerance_m` behind the views' depth images.

    One look-up for each point and view instead of a march along the ray. The depth is measured, or rendered once for
    each keyframe from the predicted distance.

    Args:
        place: of the points in the views.
        unmeasured: what holds where the depth image has none.
    """
    depth = views.sample_depth(place.pixels)
    there = torch.where(depth > 0, place.depth <= depth + tolerance_m, unmeasured)
    return place.inside & there


def _behind(distance: torch.Tensor, noise_m: float) -> torch.Tensor:
    """(R, M): samples behind a surface that the ray has entered from the front."""
    return (distance > noise_m).cummax(dim=1).values & (distance < -noise_m)
