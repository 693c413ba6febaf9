"""Depth as a structured-light or a time-of-flight sensor measures it, from exact depth."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from gnesf_model.frame import Camera

DISPARITY_STEP_PX = 0.125
BASELINE_M = 0.075
TIME_OF_FLIGHT_RANGE_M = (0.25, 5.5)

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Camera, np.random.Generator], np.ndarray]


def structured_light(
    depth: np.ndarray,
    facing: np.ndarray,
    brightness: np.ndarray,
    gloss: np.ndarray,
    camera: Camera,
    rng: np.random.Generator,
) -> np.ndarray:
    """Depth with noise that grows with the square of the distance, quantised, with holes.

    Axial noise after Nguyen, Izadi and Lovell, "Modeling Kinect Sensor Noise for Improved 3D Reconstruction and
    Tracking" (3DIMPVT 2012), equation 2; holes where a surface is seen at less than 12 degrees, partly beside
    jumps of depth, and on what is dark and far or shines back.

    Args:
        depth: (H, W) float32 exact metres, 0 = none.
        facing: (H, W) cosine between the surface's normal and the way to the camera.
        brightness: (H, W) of the picture, 0 to 1.
        gloss: (H, W) of the material, 0 to 1.
        rng: draws the noise.

    Returns:
        (H, W) float32 metres, 0 = no measurement.
    """
    sigma = 0.0012 + 0.0019 * (depth - 0.4) ** 2
    noisy = depth + sigma * rng.standard_normal(depth.shape)
    focal_baseline = camera.fx * BASELINE_M * 640 / camera.width
    disparity = focal_baseline / np.maximum(noisy, 0.2)
    noisy = focal_baseline / np.maximum(np.round(disparity / DISPARITY_STEP_PX) * DISPARITY_STEP_PX, 1e-3)
    lost = (depth <= 0) | (facing < np.sin(np.deg2rad(12)))
    lost |= _jumps(depth) & (rng.random(depth.shape) < 0.6)
    lost |= _patchy(0.9 * _too_dark(depth, facing, brightness) + 0.8 * _glare(facing, gloss), rng)
    return np.where(lost, 0, noisy).astype(np.float32)


def time_of_flight(
    depth: np.ndarray,
    facing: np.ndarray,
    brightness: np.ndarray,
    gloss: np.ndarray,
    camera: Camera,
    rng: np.random.Generator,
) -> np.ndarray:
    """Depth with noise that grows as the light that returns fades, flying pixels at edges, a short range.

    Pixels on an outline see both surfaces and report some depth between them. Arguments as for
    `structured_light`. The constants are of the order of published evaluations of consumer sensors (Tölgyessy
    and others, "Evaluation of the Azure Kinect and Its Comparison to Kinect V1 and Kinect V2", Sensors 2021).
    """
    returned = np.maximum(0.15 + 0.85 * brightness, 0.05) * np.clip(facing, 0.1, 1) / np.maximum(depth, 0.3) ** 2
    sigma = 0.0015 + 0.0006 / np.sqrt(returned)
    noisy = depth + sigma * rng.standard_normal(depth.shape)
    edge = _jumps(depth)
    other = np.where(rng.random(depth.shape) < 0.5, np.roll(depth, 1, 0), np.roll(depth, 1, 1))
    mixed = edge & (rng.random(depth.shape) < 0.5) & (other > 0) & (depth > 0)
    noisy = np.where(mixed, noisy + rng.random(depth.shape) * (other - depth), noisy).clip(0)
    low, high = TIME_OF_FLIGHT_RANGE_M
    lost = (depth < low) | (depth > high) | (facing < np.sin(np.deg2rad(6)))
    lost |= edge & (rng.random(depth.shape) < 0.3)
    lost |= _patchy(0.9 * _too_dark(depth, facing, brightness) + 0.7 * _glare(facing, gloss), rng)
    return np.where(lost, 0, noisy).astype(np.float32)


SENSORS: dict[str, Measure] = {"structured_light": structured_light, "time_of_flight": time_of_flight}
"""Name -> function; see `structured_light` for the arguments."""


def facing_ratio(normals: np.ndarray, camera: Camera, world_T_cam: np.ndarray) -> np.ndarray:
    """(H, W) cosine between normals (H, W, 3) in the world and the way to the camera."""
    u = (np.arange(camera.width) - camera.cx) / camera.fx
    v = (np.arange(camera.height) - camera.cy) / camera.fy
    rays = np.stack([*np.meshgrid(u, v), np.ones(normals.shape[:2])], axis=2)
    return -((normals @ world_T_cam[:3, :3]) * rays).sum(2) / np.linalg.norm(rays, axis=2)


def _jumps(depth: np.ndarray) -> np.ndarray:
    jump = np.zeros(depth.shape, dtype=bool)
    limit = 0.05 + 0.02 * depth
    jump[:, 1:] |= np.abs(np.diff(depth, axis=1)) > limit[:, 1:]
    jump[1:] |= np.abs(np.diff(depth, axis=0)) > limit[1:]
    return jump


def _too_dark(depth: np.ndarray, facing: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """0..1: how likely it is that too little light returns."""
    returned = (0.006 + brightness) * np.clip(facing, 0.05, 1) / np.maximum(depth, 0.5) ** 2
    return np.clip(1.2 - returned / 0.003, 0, 1)


def _glare(facing: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """0..1: how likely a mirror image of the emitter, or light mirrored away, hides the surface."""
    return np.clip(2.5 * (gloss - 0.45), 0, 1) * np.maximum(np.clip((facing - 0.985) / 0.01, 0, 1), facing < 0.35)


def _patchy(probability: np.ndarray, rng: np.random.Generator, cell: int = 6) -> np.ndarray:
    """(H, W) bool, true about as often as the probability says, in patches of a few pixels."""
    height, width = probability.shape
    coarse = rng.random((height // cell + 2, width // cell + 2))
    patches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return 0.7 * patches + 0.3 * rng.random(probability.shape) < probability
