"""Depth as a structured-light sensor measures it, from exact depth."""

from __future__ import annotations

import numpy as np

from gnesf_model.frame import Camera

DISPARITY_STEP_PX = 0.125
BASELINE_M = 0.075


def measured_depth(
    depth: np.ndarray, normals: np.ndarray, camera: Camera, world_T_cam: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Depth with noise that grows with the square of the distance, quantised, with holes.

    Axial noise after Nguyen, Izadi and Lovell, "Modeling Kinect Sensor Noise for Improved 3D Reconstruction and
    Tracking" (3DIMPVT 2012), equation 2; holes where a surface is seen at less than 12 degrees and,
    partly, beside jumps of depth.

    Args:
        depth: (H, W) float32 exact metres, 0 = none.
        normals: (H, W, 3) in the world.
        world_T_cam: (4, 4) pose of the camera.
        rng: draws the noise.

    Returns:
        (H, W) float32 metres, 0 = no measurement.
    """
    height, width = depth.shape
    u = (np.arange(width) - camera.cx) / camera.fx
    v = (np.arange(height) - camera.cy) / camera.fy
    rays = np.stack([*np.meshgrid(u, v), np.ones(depth.shape)], axis=2)
    facing = -((normals @ world_T_cam[:3, :3]) * rays).sum(2) / np.linalg.norm(rays, axis=2)
    sigma = 0.0012 + 0.0019 * (depth - 0.4) ** 2
    noisy = depth + sigma * rng.standard_normal(depth.shape)
    focal_baseline = camera.fx * BASELINE_M * 640 / width
    disparity = focal_baseline / np.maximum(noisy, 0.2)
    noisy = focal_baseline / np.maximum(np.round(disparity / DISPARITY_STEP_PX) * DISPARITY_STEP_PX, 1e-3)
    jump = np.zeros(depth.shape, dtype=bool)
    limit = 0.05 + 0.02 * depth
    jump[:, 1:] |= np.abs(np.diff(depth, axis=1)) > limit[:, 1:]
    jump[1:] |= np.abs(np.diff(depth, axis=0)) > limit[1:]
    lost = (depth <= 0) | (facing < np.sin(np.deg2rad(12))) | (jump & (rng.random(depth.shape) < 0.6))
    return np.where(lost, 0, noisy).astype(np.float32)
