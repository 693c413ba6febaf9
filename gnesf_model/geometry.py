"""Rigid transforms and pinhole projection: pure functions, `a_T_b` maps points in b to a.

Optical frames have x right, y down, z forward; lengths are metres; pixel centres lie at integers.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from gnesf_model.frame import Camera, FrameDropped

QUATERNION_TOLERANCE = 1e-2
"""A quaternion whose norm is further from 1 is refused rather than silently normalised."""


def pose_from_quaternion(translation: np.ndarray, quaternion_xyzw: np.ndarray) -> np.ndarray:
    """Rigid (4, 4) float64 transform from a translation (3,) and a unit quaternion (4,) x, y, z, w.

    Raises:
        FrameDropped: (``bad_pose``) not finite, or the quaternion's norm is not 1 within 1 %.
    """
    t = np.asarray(translation, dtype=np.float64)
    q = np.asarray(quaternion_xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if not (np.isfinite(t).all() and np.isfinite(q).all()) or abs(norm - 1) > QUATERNION_TOLERANCE:
        raise FrameDropped(
            "bad_pose",
            f"pose has translation {t.tolist()} and quaternion {q.tolist()} of norm {norm:.4g}, expected "
            "finite values and a unit quaternion: check the pose source",
        )
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(q / norm).as_matrix()
    pose[:3, 3] = t
    return pose


def quaternion_from_pose(a_T_b: np.ndarray) -> np.ndarray:
    """Unit quaternion (4,) x, y, z, w of the rotation of a (4, 4) transform."""
    return Rotation.from_matrix(a_T_b[:3, :3]).as_quat()


def invert(a_T_b: np.ndarray) -> np.ndarray:
    """b_T_a of a rigid (4, 4) transform."""
    b_T_a = np.eye(4)
    b_T_a[:3, :3] = a_T_b[:3, :3].T
    b_T_a[:3, 3] = -a_T_b[:3, :3].T @ a_T_b[:3, 3]
    return b_T_a


def interpolate_pose(a_T_0: np.ndarray, a_T_1: np.ndarray, fraction: float) -> np.ndarray:
    """Pose between two (4, 4) poses: SLERP of the rotation, linear in the translation.

    Args:
        fraction: 0 gives `a_T_0`, 1 gives `a_T_1`.
    """
    rotations = Rotation.from_matrix(np.stack([a_T_0[:3, :3], a_T_1[:3, :3]]))
    pose = np.eye(4)
    pose[:3, :3] = Slerp([0.0, 1.0], rotations)(fraction).as_matrix()
    pose[:3, 3] = (1 - fraction) * a_T_0[:3, 3] + fraction * a_T_1[:3, 3]
    return pose


def motion(a_T_0: np.ndarray, a_T_1: np.ndarray) -> tuple[float, float]:
    """Distance in metres and rotation angle in degrees between two poses."""
    relative = a_T_0[:3, :3].T @ a_T_1[:3, :3]
    angle = float(np.linalg.norm(Rotation.from_matrix(relative).as_rotvec(degrees=True)))
    return float(np.linalg.norm(a_T_1[:3, 3] - a_T_0[:3, 3])), angle


def transform(a_T_b: torch.Tensor, points_b: torch.Tensor) -> torch.Tensor:
    """Points (..., 3) in b as points in a, for a (4, 4) transform of the same dtype and device."""
    return points_b @ a_T_b[:3, :3].T + a_T_b[:3, 3]


def project(points_cam: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (..., 2) as (u, v) and depth (...) of points (..., 3) in the optical frame.

    Points at or behind the camera have depth <= 0 and pixels that mean nothing.
    """
    z = points_cam[..., 2]
    scale = 1.0 / torch.where(z > 0, z, torch.ones_like(z))
    u = points_cam[..., 0] * scale * camera.fx + camera.cx
    v = points_cam[..., 1] * scale * camera.fy + camera.cy
    return torch.stack([u, v], dim=-1), z


def pixel_rays(camera: Camera, device: torch.device | str = "cpu") -> torch.Tensor:
    """Directions (H, W, 3) float32 in the optical frame, scaled so that z = 1."""
    u = (torch.arange(camera.width, dtype=torch.float32, device=device) - camera.cx) / camera.fx
    v = (torch.arange(camera.height, dtype=torch.float32, device=device) - camera.cy) / camera.fy
    rays = torch.ones(camera.height, camera.width, 3, device=device)
    rays[..., 0] = u
    rays[..., 1] = v[:, None]
    return rays


def backproject(depth: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Points (H, W, 3) in the optical frame of a depth image (H, W) in metres."""
    return pixel_rays(camera, depth.device) * depth[..., None]
