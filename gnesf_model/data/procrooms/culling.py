"""Groups of neighbouring rays or points, and which primitives can matter to a group of rays."""

from __future__ import annotations

import torch
from torch import Tensor

from gnesf_model.data.procrooms.primitives import nonzero

GROUP = 64
"""Rays or points per group: an 8 x 8 pixel tile."""


def padded(order: Tensor) -> Tensor:
    """Indices (N,) as (G, GROUP), the last one repeated to fill the last group."""
    missing = -len(order) % GROUP
    return torch.cat([order, order[-1:].expand(missing)]).reshape(-1, GROUP)


def tiles(shape: torch.Size, device: torch.device) -> Tensor:
    """Ray indices (G, GROUP): square tiles of an image (H, W), runs of consecutive rays otherwise."""
    if len(shape) != 2 or min(shape) < 8:
        return padded(torch.arange(shape.numel(), device=device))
    height, width = shape
    v = torch.arange(-(-height // 8) * 8, device=device).clamp_max(height - 1)
    u = torch.arange(-(-width // 8) * 8, device=device).clamp_max(width - 1)
    index = v[:, None] * width + u
    return index.reshape(len(v) // 8, 8, len(u) // 8, 8).transpose(1, 2).reshape(-1, GROUP)


def morton_order(points: Tensor) -> Tensor:
    """Indices (N,) that sort points (N, 3) along a Z-order curve, so that neighbours come together."""
    low = points.amin(0)
    extent = (points.amax(0) - low).amax().clamp_min(1e-6)
    code = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    cell = ((points - low) / extent * 1023).long()
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return torch.argsort(code)


def cones_touch(o: Tensor, d: Tensor, t_max: float, centre: Tensor, local_R_world: Tensor, bounds: Tensor) -> Tensor:
    """(G, N) bool: may a ray of the group meet the primitive?

    A cone around the group's rays against bounding spheres, then against bounding boxes.

    Args:
        o, d: (G, 3, B) origins and directions of the groups.
        t_max: longest ray parameter.
        centre, local_R_world, bounds: (N, 3), (N, 3, 3) and (N, 3) of the primitives' bounding boxes.
    """
    apex = o.mean(2)
    spread = (o - apex[:, :, None]).square().sum(1).sqrt().amax(1)
    length = d.square().sum(1).sqrt()
    unit = d / length[:, None]
    axis = torch.nn.functional.normalize(unit.mean(2), dim=1)
    # The largest |direction - axis| of the unit directions: unlike its cosine, exact for narrow cones.
    opening = (unit - axis[:, :, None]).square().sum(1).sqrt().amax(1) * (1 + 1e-4) + 1e-6
    cos, sin = 1 - opening**2 / 2, opening * (1 - opening**2 / 4).clamp_min(0).sqrt()
    v = centre - apex[:, None]
    along = (v * axis[:, None]).sum(2)
    across = (v - along[..., None] * axis[:, None]).square().sum(2).sqrt()
    margin = (bounds.square().sum(1).sqrt() + spread[:, None]) * (1 + 1e-4) + 1e-4
    inside = across * cos[:, None] - along * sin[:, None] <= margin
    touched = inside & (along >= -margin)
    if t_max != torch.inf:
        touched &= along * cos[:, None] <= t_max * length.amax(1)[:, None] + margin
    wide = cos < 0.2  # the tests hold for narrow cones only
    touched[wide] = False
    group, row = touched.nonzero(as_tuple=True)
    R = local_R_world[row]
    meets = _thick_ray_meets_box(
        torch.bmm(R, -v[group, row][:, :, None])[:, :, 0],
        torch.bmm(R, axis[group][:, :, None])[:, :, 0],
        bounds[row] + spread[group, None] + 1e-4,
        opening[group],
    )
    touched[group, row] = meets
    touched[wide] = True
    return touched


def _thick_ray_meets_box(origin: Tensor, axis: Tensor, half: Tensor, opening: Tensor) -> Tensor:
    """(P,) bool: is |origin + t axis| <= half + t opening, on x, y and z, for one t >= 0?

    These are six linear inequalities in t, slope * t <= room: each leaves an interval of t.
    """
    slope = torch.cat([axis, -axis], 1) - opening[:, None]
    room = torch.cat([half - origin, half + origin], 1)
    t = room / nonzero(slope)
    last = torch.where(slope > 0, t, torch.inf).amin(1)
    first = torch.where(slope < 0, t, 0.0).amax(1).clamp_min(0)
    return first <= last * (1 + 1e-4) + 1e-4
