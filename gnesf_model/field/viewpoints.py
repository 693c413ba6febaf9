"""Which source views lie near a viewpoint, and how often a viewpoint has been taken."""

from __future__ import annotations

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
    repeats = np.zeros(len(poses))
    for later in range(len(poses)):
        for earlier in range(later):
            apart, turned = motion(poses[earlier], poses[later])
            repeats[later] += apart <= distance_m and turned <= angle_deg
    return repeats
