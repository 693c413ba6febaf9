"""Camera paths through the free space of a room: handheld, or on a robot with wheels.

The walker repeatedly picks the thing looked at least so far, goes to a free place from which to see it,
and turns the camera there; places and angles are then smoothed in time and shaken a little. A person
looks where they please on the way; a robot looks ahead, turns on the spot, and keeps the camera's height.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from gnesf_model.data.procrooms.floor import Tour, wrapped
from gnesf_model.data.procrooms.scene import Scene

RATE_HZ = 30.0
CLEARANCE_M = 0.15
"""The camera keeps at least this distance from every surface (exactly checked)."""
WALK_SPEED_MPS, DRIVE_SPEED_MPS = 0.55, 0.45
TURN_SPEED_RPS = np.deg2rad(40.0)
SMOOTHING_S = 0.35
TAIL_S = 3.0  # planned beyond the end, so that more frames do not change the first ones
EYE_HEIGHT_M, ROBOT_HEIGHT_M = (1.35, 1.6), (0.4, 1.2)
ROBOT_PITCH_RAD = (np.deg2rad(-12.0), np.deg2rad(4.0))
SHAKE_M, SHAKE_RAD = 0.012, np.deg2rad(0.9)
ROBOT_SHAKE = 0.12
"""How much of a hand's shake a robot's mast has."""


def walk(scene: Scene, seed: int, ticks: int, robot: bool = False) -> np.ndarray:
    """Camera poses at 30 Hz.

    Args:
        scene: a room of `make_room`.
        seed: of the walk.
        ticks: number of poses; a longer walk starts with the same poses.
        robot: drive instead of walk.

    Returns:
        world_T_cam (ticks, 4, 4) float64, at least `CLEARANCE_M` from every surface.

    Raises:
        RuntimeError: the room has no free space to walk in.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    tour = Tour(scene, rng)
    shake = _Shake(rng)
    plan, strength = (_drive, ROBOT_SHAKE) if robot else (_stroll, 1.0)
    marks = plan(tour, rng, ticks / RATE_HZ + TAIL_S)
    for smoothing in (SMOOTHING_S, SMOOTHING_S / 2, SMOOTHING_S / 4, 0.0):
        poses = _sample(scene, marks, shake, strength, ticks, smoothing)
        points = torch.from_numpy(poses[:, :3, 3])
        if float(scene.sdf(points).min()) > CLEARANCE_M:
            return poses
    raise RuntimeError(f"no walk keeps {CLEARANCE_M} m from the furniture in {scene.name}: report this seed")


def _stroll(tour: Tour, rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Marks (M, 6): time, x, y, eye height, yaw, pitch in the room's frame; angles of the optical axis."""
    floor = tour.floor
    tour.start()
    eye = rng.uniform(*EYE_HEIGHT_M)
    yaw, pitch, marks = None, 0.0, []
    time = 0.0
    while time < duration_s:
        here = floor.xy[tour.cell]
        target, path = tour.next_target(yaw)
        new_eye = float(np.clip(eye + rng.uniform(-0.12, 0.12), *EYE_HEIGHT_M))
        way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(floor.xy[path], axis=0).T))])
        new_yaw, new_pitch = _aim(floor.xy[path[-1]], new_eye, target)
        if yaw is None:
            yaw, pitch = new_yaw, new_pitch
            marks.append([0.0, *here, eye, yaw, pitch])
        new_yaw = yaw + wrapped(new_yaw - yaw)
        needed = max(way[-1] / WALK_SPEED_MPS, abs(new_yaw - yaw) / TURN_SPEED_RPS, 0.8)
        share = way / way[-1] if way[-1] > 0 else np.array([1.0])
        for f, c in zip(share, path if way[-1] > 0 else path[-1:]):
            if f > 0:
                between = [eye + f * (new_eye - eye), yaw + f * (new_yaw - yaw), pitch + f * (new_pitch - pitch)]
                marks.append([time + f * needed, *floor.xy[c], *between])
        time += needed
        tour.arrived(path[-1], new_yaw)
        eye, yaw, pitch = new_eye, new_yaw, new_pitch
    return np.array(marks)


def _drive(tour: Tour, rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Marks as of `_stroll`: straight lines, turns on the spot, a last turn to what is looked at."""
    floor = tour.floor
    tour.start()
    eye, pitch = rng.uniform(*ROBOT_HEIGHT_M), rng.uniform(*ROBOT_PITCH_RAD)
    yaw, marks = None, []
    time = 0.0

    def mark(seconds: float, cell: int, heading: float) -> None:
        nonlocal time
        time += seconds
        marks.append([time, *floor.xy[cell], eye, heading, pitch])

    while time < duration_s:
        target, path = tour.next_target(yaw)
        corners = floor.straightened(path)
        for a, b in itertools.pairwise(corners):
            way = floor.xy[b] - floor.xy[a]
            heading = float(np.arctan2(way[1], way[0]))
            yaw = heading if yaw is None else yaw + wrapped(heading - yaw)
            mark(_turn_time(marks, yaw), a, yaw)
            tour.glanced(a, yaw)
            mark(float(np.hypot(*way)) / DRIVE_SPEED_MPS, b, yaw)
        aim, _ = _aim(floor.xy[path[-1]], eye, target)
        yaw = aim if yaw is None else yaw + wrapped(aim - yaw)
        mark(_turn_time(marks, yaw), path[-1], yaw)
        mark(0.8, path[-1], yaw)
        tour.arrived(path[-1], yaw)
    return np.array(marks)


def _turn_time(marks: list[list[float]], yaw: float) -> float:
    return abs(yaw - marks[-1][4]) / TURN_SPEED_RPS + 1e-3 if marks else 0.0


def _aim(xy: np.ndarray, eye: float, target: np.ndarray) -> tuple[float, float]:
    """Yaw and pitch from a place at eye height to a target."""
    aim = target - np.array([*xy, eye])
    pitch = np.arctan2(aim[2], np.hypot(aim[0], aim[1]))
    return float(np.arctan2(aim[1], aim[0])), float(np.clip(pitch, np.deg2rad(-38), np.deg2rad(3)))


class _Shake:
    """Slow sums of sines for the six degrees of freedom of a hand."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rate = rng.uniform(0.3, 1.6, (6, 4)) * 2 * np.pi
        self.phase = rng.uniform(0, 2 * np.pi, (6, 4))

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """(N, 6) in -1..1 at times (N,) seconds."""
        return np.sin(time[:, None, None] * self.rate + self.phase).mean(-1)


def _sample(
    scene: Scene, marks: np.ndarray, shake: _Shake, strength: float, ticks: int, smoothing_s: float
) -> np.ndarray:
    """world_T_cam (ticks, 4, 4) along the marks."""
    rate = 2 * RATE_HZ
    fine = np.arange(int((ticks / RATE_HZ + 0.8 * TAIL_S) * rate)) / rate
    values = np.stack([np.interp(fine, marks[:, 0], marks[:, k]) for k in range(1, 6)], 1)
    if smoothing_s:
        values = gaussian_filter1d(values, smoothing_s * rate, axis=0, mode="nearest", truncate=4.0)
    time = np.arange(ticks) / RATE_HZ
    values = values[: 2 * ticks : 2]
    jitter = strength * shake(time)
    position = values[:, 0:3] + SHAKE_M * jitter[:, :3]
    yaw, pitch = values[:, 3] + SHAKE_RAD * jitter[:, 3], values[:, 4] + SHAKE_RAD * jitter[:, 4]
    roll = SHAKE_RAD * jitter[:, 5]
    forward = np.stack([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)], 1)
    level = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], 1)
    down = np.cross(forward, level)
    right = np.cos(roll)[:, None] * level + np.sin(roll)[:, None] * down
    poses = np.tile(np.eye(4), (ticks, 1, 1))
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2] = right, np.cross(forward, right), forward
    poses[:, :3, 3] = position
    return scene.world_T_room @ poses
