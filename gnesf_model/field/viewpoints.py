"""Which source views lie near a viewpoint, and how often a viewpoint has been taken."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gnesf_model.geometry import motion


def nearest_views(world_T_cam: np.ndarray, poses: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` poses (N, 4, 4) nearest to one (4, 4), nearest first.

    By the distance of the camera centres; a pose turned by more than 90 degrees looks elsewhere and comes last.
    """
    poses = np.asarray(poses).reshape(-1, 4, 4)
    distance = np.linalg.norm(poses[:, :3, 3] - world_T_cam[:3, 3], axis=1)
    away = poses[:, :3, 2] @ world_T_cam[:3, 2] < 0
    return np.lexsort((distance, away))[:count]


def earlier_repeats(poses: np.ndarray, distance_m: float = 0.5, angle_deg: float = 30.0) -> np.ndarray:
    """(N,) for each pose of (N, 4, 4): how many earlier ones are this near and turned no further."""
    return np.array([repeats_of(poses[i], poses[:i], distance_m, angle_deg) for i in range(len(poses))], float)


def repeats_of(
    world_T_cam: np.ndarray, earlier: Iterable[np.ndarray], distance_m: float = 0.5, angle_deg: float = 30.0
) -> int:
    """How many of the `earlier` poses (4, 4) are this near to one (4, 4) and turned no further."""
    found = (motion(pose, world_T_cam) for pose in earlier)
    return sum(apart <= distance_m and turned <= angle_deg for apart, turned in found)
