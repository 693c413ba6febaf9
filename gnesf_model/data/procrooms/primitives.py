"""Analytic primitives: exact ray intersection, outward normal and signed distance, batched in torch.

Every primitive lives in its own frame: centred at the origin, cylinders and capsules along z. The
functions below take points and rays in that frame as (P, 3, B) tensors, P (group, primitive) pairs
of B points, and the primitives' sizes as (P, 3): this layout keeps the long axis contiguous.

    kind        size
    BOX         half extents x, y, z
    CYLINDER    radius, radius, half height
    ELLIPSOID   radii x, y, z
    CAPSULE     radius, radius, half length of the segment (without the round ends)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Kind(IntEnum):
    """Shape of a primitive."""

    BOX = 0
    CYLINDER = 1
    ELLIPSOID = 2
    CAPSULE = 3


@dataclass(frozen=True)
class Primitive:
    """One shape, placed.

    Attributes:
        kind: shape.
        size: (3,) metres, see the table of the module.
        parent_T_local: (4, 4) float64, places the shape in its parent (piece of furniture, then world).
        label: class id, 255 = unlabelled.
        material: row of the scene's material table.
    """

    kind: Kind
    size: tuple[float, float, float]
    parent_T_local: np.ndarray = field(repr=False)
    label: int
    material: int

    def __post_init__(self) -> None:
        if not all(np.isfinite(s) and s > 0 for s in self.size):
            raise ValueError(f"a {self.kind.name} has size {self.size}, expected three positive numbers")

    @property
    def bounds(self) -> tuple[float, float, float]:
        """Half extents of the bounding box in the own frame, metres."""
        x, y, z = self.size
        return (x, y, z + x) if self.kind == Kind.CAPSULE else (x, y, z)


def nonzero(x: Tensor) -> Tensor:
    """`x` with numbers too small to divide by pushed away from zero, keeping their sign."""
    tiny = 1e-12
    return torch.where(x.abs() < tiny, torch.where(x < 0, -tiny, tiny).to(x), x)


# -- rays: first entry at t > 0 along origin + t * direction; inf where there is none. A ray that starts
#    inside a primitive does not see it. Directions need not be normalised.


def _ray_box(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    inverse = nonzero(direction).reciprocal()
    middle = -origin * inverse
    reach = inverse.abs() * size[:, :, None]
    near = (middle - reach).amax(1)
    far = (middle + reach).amin(1)
    return torch.where((near <= far) & (near > 0), near, torch.inf)


def _centred(origin: Tensor, direction: Tensor, axes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Start the rays at their closest point to the centre (or to the z axis): small numbers, few
    lost digits. Returns the shift t0, the new origin and a = d . d over the first `axes` axes."""
    d = direction[:, :axes]
    a = (d * d).sum(1).clamp_min(1e-20)
    t0 = -(origin[:, :axes] * d).sum(1) / a
    return t0, origin + t0[:, None] * direction, a


def _ray_cylinder(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    t0, closest, a = _centred(origin, direction, 2)
    radius2, half = size[:, 0, None] ** 2, size[:, 2, None]
    root = ((radius2 - (closest[:, :2] ** 2).sum(1)) / a).sqrt()  # NaN where the ray misses
    inverse = nonzero(direction[:, 2]).reciprocal()
    middle, reach = -origin[:, 2] * inverse, inverse.abs() * half
    near = torch.maximum(t0 - root, middle - reach)
    far = torch.minimum(t0 + root, middle + reach)
    return torch.where((near <= far) & (near > 0), near, torch.inf)


def _ray_ellipsoid(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    scale = size[:, :, None]
    t0, closest, a = _centred(origin / scale, direction / scale, 3)
    t = t0 - ((1 - (closest**2).sum(1)) / a).sqrt()
    return torch.where(t > 0, t, torch.inf)  # NaN > 0 is false


def _ray_capsule(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    radius2, half = size[:, 0, None] ** 2, size[:, 2, None]
    t0, closest, a = _centred(origin, direction, 2)
    t = t0 - ((radius2 - (closest[:, :2] ** 2).sum(1)) / a).sqrt()
    on_side = (origin[:, 2] + t * direction[:, 2]).abs() <= half
    best = torch.where(on_side, t, torch.inf)
    for end in (half, -half):
        shifted = origin.clone()
        shifted[:, 2] -= end
        t0, closest, a = _centred(shifted, direction, 3)
        t = t0 - ((radius2 - (closest**2).sum(1)) / a).sqrt()
        # Only the outer half of the ball is surface; the rest lies inside the cylinder.
        outside = (shifted[:, 2] + t * direction[:, 2]) * end.sign() >= 0
        best = torch.where(outside, torch.minimum(best, t), best)
    return torch.where(best > 0, best, torch.inf)


# -- signed distances: exact outside and inside, negative inside


def _sdf_box(point: Tensor, size: Tensor) -> Tensor:
    q = point.abs() - size[:, :, None]
    return q.clamp_min(0).square().sum(1).sqrt() + q.amax(1).clamp_max(0)


def _sdf_cylinder(point: Tensor, size: Tensor) -> Tensor:
    radial = point[:, :2].square().sum(1).sqrt() - size[:, 0, None]
    axial = point[:, 2].abs() - size[:, 2, None]
    outside = (radial.clamp_min(0).square() + axial.clamp_min(0).square()).sqrt()
    return outside + torch.maximum(radial, axial).clamp_max(0)


def _sdf_ellipsoid(point: Tensor, size: Tensor) -> Tensor:
    """Distance to the foot point e^2 y / (t + e^2), t the largest root of sum (e y / (t + e^2))^2 = 1.

    The left side is convex and falls with t, so Newton from below the root climbs to it (after
    Eberly, "Distance from a Point to an Ellipse, an Ellipsoid, or a Hyperellipsoid", 2013).
    """
    e = size[:, :, None]
    unit = size.amin(1)[:, None, None]  # work in units of the smallest radius
    e2 = (e / unit) ** 2
    y = (point / unit).abs().clamp_min(1e-4 if point.dtype == torch.float32 else 1e-9)
    ey2 = e2 * y * y
    t = (ey2.sqrt() - e2).amax(1)
    for _ in range(12):
        inverse = (t[:, None] + e2).reciprocal()
        terms = ey2 * inverse * inverse
        excess = terms.sum(1) - 1
        t = t + excess / (2 * (terms * inverse).sum(1))
    foot = e2 * y / (t[:, None] + e2)
    distance = (foot - y).square().sum(1).sqrt() * unit[:, 0]
    return torch.where((y * y / e2).sum(1) < 1, -distance, distance)


def _sdf_capsule(point: Tensor, size: Tensor) -> Tensor:
    axial = (point[:, 2].abs() - size[:, 2, None]).clamp_min(0)
    return (point[:, :2].square().sum(1) + axial.square()).sqrt() - size[:, 0, None]


# -- outward normals (not yet unit) at hit points, in the local frame


def _normal_box(point: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    """The face that the ray entered through, which at an edge the point alone does not tell."""
    inverse = nonzero(direction).reciprocal()
    # The entry time of each slab, up to a shift common to the axes: the latest is the face's.
    entry = -point * inverse - inverse.abs() * size[:, :, None]
    face = torch.zeros_like(point).scatter_(1, entry.argmax(1, keepdim=True), 1.0)
    return -direction.sign() * face


def _normal_cylinder(point: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    normal = point.clone()
    normal[:, 2] = 0
    radial = point[:, :2].square().sum(1).sqrt() - size[:, 0, None]
    cap = (point[:, 2].abs() - size[:, 2, None]) > radial
    lid = torch.zeros_like(point)
    lid[:, 2] = point[:, 2].sign()
    return torch.where(cap[:, None], lid, normal)


def _normal_ellipsoid(point: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    return point / size[:, :, None].square()


def _normal_capsule(point: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    half = size[:, 2, None]
    normal = point.clone()
    normal[:, 2] -= torch.maximum(torch.minimum(point[:, 2], half), -half)
    return normal


RAY: dict[Kind, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Kind.BOX: _ray_box,
    Kind.CYLINDER: _ray_cylinder,
    Kind.ELLIPSOID: _ray_ellipsoid,
    Kind.CAPSULE: _ray_capsule,
}
"""(origin, direction (P, 3, B), size (P, 3)) -> t (P, B) of the first entry, inf without one."""

SDF: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    Kind.BOX: _sdf_box,
    Kind.CYLINDER: _sdf_cylinder,
    Kind.ELLIPSOID: _sdf_ellipsoid,
    Kind.CAPSULE: _sdf_capsule,
}
"""(point (P, 3, B), size (P, 3)) -> signed distance (P, B) in metres."""

NORMAL: dict[Kind, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Kind.BOX: _normal_box,
    Kind.CYLINDER: _normal_cylinder,
    Kind.ELLIPSOID: _normal_ellipsoid,
    Kind.CAPSULE: _normal_capsule,
}
"""(point, direction (P, 3, B), size (P, 3)) -> outward normal (P, 3, B), not normalised."""
