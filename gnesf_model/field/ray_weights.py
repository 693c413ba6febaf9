"""How much each sample on a ray counts: eq. 7 for view synthesis, eq. 8 and 9 for 3D segmentation."""

from __future__ import annotations

import torch

from gnesf_model.field.precision import full_precision


def density_weights(density: torch.Tensor) -> torch.Tensor:
    """Eq. 7: w(x_m) = T(x_m) (1 - exp(-sigma(x_m))), T(x_m) = exp(-sum_{j<m} sigma(x_j)), of densities (R, M) in order.

    As in the paper there is no interval length: sigma is the optical thickness of the sample.
    """
    before = density.cumsum(dim=1) - density
    return (-before).exp() * (1 - (-density).exp())


def sdf_weights(distance: torch.Tensor, depth: torch.Tensor, tr_m: float, crossing_only: bool = False) -> torch.Tensor:
    """Eq. 8 and 9: w~ = Sig(sigma / tr) Sig(-sigma / tr), 0 beyond the first truncation region; w = w~ / sum w~.

    Args:
        distance: (R, M) sigma(x_m) in m, in order; NaN (not known) counts nothing.
        depth: (R, M) of the samples, m.
        tr_m: tr: how sharp the surface is. Where distances are cut at a truncation, a tenth of that, as the surfaces
            offer it (`tr_m`): with the truncation itself, free space, all at its edge, would weigh 0.2 a sample.
        crossing_only: rays that meet no surface count nothing, instead of being spread over what comes nearest to one.

    Returns:
        (R, M); sums are 1, or 0 where nothing is known.
    """
    known = ~distance.isnan()
    # Zero before the product: the slope of a NaN would stay NaN.
    ratio = torch.where(known, distance, torch.zeros_like(distance)) / tr_m
    weight = torch.sigmoid(ratio) * torch.sigmoid(-ratio) * known
    crossing = first_crossing(distance, depth)
    weight = weight * (depth <= crossing[:, None] + tr_m)
    if crossing_only:
        weight = weight * crossing.isfinite()[:, None]
    total = weight.sum(dim=1, keepdim=True)
    return weight / torch.where(total > 0, total, torch.ones_like(total))


def first_crossing(distance: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Depth (R,) of the first sample behind a surface that the ray enters from the front; inf where there is none."""
    return torch.where(_entered(distance), depth, torch.inf).amin(dim=1)


def surface_depth(distance: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Depth (R,) at which the distance (R, M), linear between samples, first falls through 0; 0 where it never does.

    The mean depth under eq. 9 lies in front of the surface: its weights reach several tr to the front, one tr behind.
    """
    entered = _entered(distance)
    behind = entered.int().argmax(dim=1, keepdim=True)
    front = (behind - 1).clamp_min(0)
    a, b = distance.gather(1, front), distance.gather(1, behind)
    near, far = depth.gather(1, front), depth.gather(1, behind)
    # The sample in front may be of no known distance.
    at = torch.where(a > 0, near + (far - near) * a / (a - b), far)
    return torch.where(entered.any(dim=1), at[:, 0], 0.0)


def _entered(distance: torch.Tensor) -> torch.Tensor:
    """(R, M): samples behind a surface that the ray has entered from the front."""
    return (distance > 0).cummax(dim=1).values & (distance < 0)


@full_precision
def composite(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Eq. 5: sum_m w(x_m) s(x_m) (R, C) of weights (R, M) and values (R, M, C)."""
    return torch.einsum("rm,rmc->rc", weights, values)


def stratified_depths(
    rays: int, near_m: float, far_m: float, count: int, like: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Depths (rays, count), one in each of `count` equal parts of [near, far]: its middle, or random by a generator."""
    if generator is None:
        within = like.new_full((rays, count), 0.5)
    else:
        within = torch.rand(rays, count, generator=generator, device=like.device, dtype=like.dtype)
    return near_m + (far_m - near_m) * (torch.arange(count, device=like.device) + within) / count


def importance_depths(
    depth: torch.Tensor, weights: torch.Tensor, count: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Depths (R, count), distributed as `weights` (R, M) over the surroundings of samples at `depth` (R, M), in order.

    Inverse of the piecewise linear cumulative weight over intervals that end midway between samples (NeRF's
    hierarchical sampling, which the paper follows for eq. 7). Even where all weights are 0.
    """
    middle = (depth[:, 1:] + depth[:, :-1]) / 2
    edges = torch.cat([depth[:, :1], middle, depth[:, -1:]], dim=1).detach().contiguous()
    share = weights.detach() + 1e-5 / weights.shape[1]
    cumulative = torch.nn.functional.pad((share / share.sum(1, keepdim=True)).cumsum(1), (1, 0))
    rays = len(depth)
    if generator is None:
        wanted = ((torch.arange(count, device=depth.device, dtype=depth.dtype) + 0.5) / count).expand(rays, count)
    else:
        wanted = torch.rand(rays, count, generator=generator, device=depth.device, dtype=depth.dtype)
    right = torch.searchsorted(cumulative, wanted.contiguous(), right=True).clamp(1, edges.shape[1] - 1)
    low, high = cumulative.gather(1, right - 1), cumulative.gather(1, right)
    at = ((wanted - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    start, end = edges.gather(1, right - 1), edges.gather(1, right)
    return start + at * (end - start)
