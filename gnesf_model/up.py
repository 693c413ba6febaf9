"""Where up is: from a setting, or from the floor that the map has seen."""

from __future__ import annotations

import numpy as np

FLOOR_WANTED_M2 = 0.5
"""So much floor must have been seen before its normal says where up is."""
_FIT_SAMPLES = 20_000
_MIN_SPREAD_M = 0.2
"""Standard deviation of the floor's points along the shorter side; less has no certain normal."""


def level_rotation(up: np.ndarray) -> np.ndarray:
    """level_R_world (3, 3): z is `up` (3,), x is the world's x (or y, z) as far as it is level.

    Exactly the identity where up is z.
    """
    z = up / np.linalg.norm(up)
    if z[2] == 1.0:
        return np.eye(3)
    for axis in np.eye(3):
        x = axis - z * (axis @ z)
        if (length := np.linalg.norm(x)) > 0.5:
            x /= length
            return np.stack([x, np.cross(z, x), z])
    raise ValueError(f"up is {up.tolist()}, expected a vector of finite numbers that are not all 0")


def floor_normal(points: np.ndarray, floor: np.ndarray, spacing_m: float) -> np.ndarray | None:
    """Unit normal (3,) of the floor, away from the ground; None where too little of it is there.

    A plane through the floor's points (total least squares), fitted again to those near it, because some of what
    is labelled floor is none. Most of a map lies above its floor, which says which side is up.

    Args:
        points: (N, 3) m.
        floor: (N,) which of them are labelled floor.
        spacing_m: of the points.
    """
    near = points[floor].astype(np.float64)
    if len(near) * spacing_m**2 < FLOOR_WANTED_M2:
        return None
    near = near[:: -(-len(near) // _FIT_SAMPLES)]
    kept = near
    for tolerance_m in (0.3, 0.1, 0.05):
        centre, normal, _ = _plane(kept)
        distance = np.abs((near - centre) @ normal)
        # The nearer half stays in any case: the first plane may be far off.
        kept = near[distance <= max(tolerance_m, float(np.median(distance)))]
    centre, normal, spread_m = _plane(kept)
    if spread_m < _MIN_SPREAD_M:
        return None
    rest = points[~floor]
    above = np.median(rest @ normal) - centre @ normal if len(rest) else 0.0
    return -normal if above < 0 else normal


def _plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre (3,), unit normal (3,) and standard deviation along the plane's shorter side of points (N, 3)."""
    centre = points.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((points - centre).T))
    return centre, axes[:, 0], float(np.sqrt(max(variance[1], 0.0)))
