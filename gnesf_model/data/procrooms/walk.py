"""A handheld walk through the free space of a room, looking at its furniture.

The walker repeatedly picks the thing looked at least so far, goes to a free place from which to see it,
and turns the camera there; places and angles are then smoothed in time and shaken a little, as a hand does.
"""

from __future__ import annotations

import heapq

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from gnesf_model.data.procrooms.scene import Scene

RATE_HZ = 30.0
CLEARANCE_M = 0.15
"""The camera keeps at least this distance from every surface (exactly checked)."""
PLAN_CLEARANCE_M = 0.32
"""What the path plans for: room for the smoothing, the shaking and a body around the camera."""
CELL_M = 0.1
WALK_SPEED_MPS = 0.55
TURN_SPEED_RPS = np.deg2rad(40.0)
SMOOTHING_S = 0.35
TAIL_S = 3.0  # planned beyond the end, so that more frames do not change the first ones
EYE_HEIGHT_M = (1.35, 1.6)
SHAKE_M, SHAKE_RAD = 0.012, np.deg2rad(0.9)
NOT_LOOKED_AT = ("floor", "wall", "ceiling", "ceiling lamp", "bin")


def walk(scene: Scene, seed: int, ticks: int) -> np.ndarray:
    """Camera poses at 30 Hz.

    Args:
        scene: a room of `make_room`.
        seed: of the walk.
        ticks: number of poses; a longer walk starts with the same poses.

    Returns:
        world_T_cam (ticks, 4, 4) float64, at least `CLEARANCE_M` from every surface.

    Raises:
        RuntimeError: the room has no free space to walk in.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    floor = _Floor(scene)
    shake = _Shake(rng)
    marks = _plan(scene, floor, rng, ticks / RATE_HZ + TAIL_S)
    for smoothing in (SMOOTHING_S, SMOOTHING_S / 2, SMOOTHING_S / 4, 0.0):
        poses = _sample(scene, marks, shake, ticks, smoothing)
        points = torch.from_numpy(poses[:, :3, 3])
        if float(scene.sdf(points).min()) > CLEARANCE_M:
            return poses
    raise RuntimeError(f"no walk keeps {CLEARANCE_M} m from the furniture in {scene.name}: report this seed")


class _Floor:
    """Cells of the floor, in the room's frame, where a walker with a camera can be.

    Attributes:
        xy: (C, 2) centres of the cells of the largest connected free region.
        clearance: (C,) metres to the nearest thing at any height between knee and head.
        neighbours: for each cell, its free neighbours and the distances to them.
    """

    def __init__(self, scene: Scene) -> None:
        from scipy.ndimage import label

        width, depth, _ = scene.room_size
        x, y = (np.arange(-s / 2 + CELL_M / 2, s / 2, CELL_M) for s in (width, depth))
        heights = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7])
        grid = np.stack(np.meshgrid(x, y, heights, indexing="ij"), -1)
        world = grid @ scene.world_T_room[:3, :3].T + scene.world_T_room[:3, 3]
        distance = scene.sdf(torch.from_numpy(world.astype(np.float32))).numpy()
        distance[..., 0] += 0.25  # the floor itself is no obstacle
        distance[..., 1] += 0.05
        clearance = distance.min(-1)
        regions, count = label(clearance > PLAN_CLEARANCE_M, structure=np.ones((3, 3)))
        if not count:
            raise RuntimeError(f"{scene.name} has no free floor to walk on: report this seed")
        largest = np.bincount(regions[regions > 0]).argmax()
        self._number = np.full(regions.shape, -1)
        ij = np.argwhere(regions == largest)
        self._number[tuple(ij.T)] = np.arange(len(ij))
        self.xy = np.stack([x[ij[:, 0]], y[ij[:, 1]]], 1)
        self.clearance = clearance[tuple(ij.T)]
        self.neighbours = [self._around(i, j) for i, j in ij]

    def _around(self, i: int, j: int) -> list[tuple[int, float]]:
        steps = [(di, dj) for di in (-1, 0, 1) for dj in (-1, 0, 1) if di or dj]
        return [
            (int(self._number[i + di, j + dj]), CELL_M * float(np.hypot(di, dj)))
            for di, dj in steps
            if 0 <= i + di < self._number.shape[0]
            and 0 <= j + dj < self._number.shape[1]
            and self._number[i + di, j + dj] >= 0
        ]

    def costs_from(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """Cost of the way from `start` to every cell (metres, dearer in tight places), and predecessors."""
        cost = np.full(len(self.xy), np.inf)
        before = np.full(len(self.xy), -1)
        cost[start] = 0.0
        queue = [(0.0, start)]
        while queue:
            c, cell = heapq.heappop(queue)
            if c > cost[cell]:
                continue
            for other, step in self.neighbours[cell]:
                price = c + step * (1 + 0.15 / (self.clearance[other] - PLAN_CLEARANCE_M + 0.1))
                if price < cost[other]:
                    cost[other], before[other] = price, cell
                    heapq.heappush(queue, (price, other))
        return cost, before


def _plan(scene: Scene, floor: _Floor, rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Marks (M, 6): time, x, y, eye height, yaw, pitch in the room's frame; angles of the optical axis."""
    targets = _targets(scene)
    seen = np.zeros(len(targets))
    cell = int(np.argmax(floor.clearance + 0.3 * rng.random(len(floor.xy))))
    eye = rng.uniform(*EYE_HEIGHT_M)
    yaw, marks = None, []
    time = 0.0
    while time < duration_s:
        here = floor.xy[cell]
        offset = targets[:, :2] - here
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        turn = np.zeros(len(targets)) if yaw is None else np.abs(_wrap(angle - yaw))
        dull = 2.0 * seen + 0.5 * turn + 0.15 * np.hypot(*offset.T) + 0.3 * rng.random(len(targets))
        choice = int(np.argmin(dull))
        cost, before = floor.costs_from(cell)
        goal = _viewpoint(floor, cost, targets[choice], rng)
        path = [goal]
        while path[-1] != cell:
            path.append(int(before[path[-1]]))
        path = path[::-1]
        new_eye = float(np.clip(eye + rng.uniform(-0.12, 0.12), *EYE_HEIGHT_M))
        way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(floor.xy[path], axis=0).T))])
        aim = targets[choice] - np.array([*floor.xy[goal], new_eye])
        new_yaw, new_pitch = np.arctan2(aim[1], aim[0]), np.arctan2(aim[2], np.hypot(aim[0], aim[1]))
        new_pitch = float(np.clip(new_pitch, np.deg2rad(-38), np.deg2rad(3)))
        if yaw is None:
            yaw, pitch = new_yaw, new_pitch
            marks.append([0.0, *here, eye, yaw, pitch])
        new_yaw = yaw + _wrap(new_yaw - yaw)
        needed = max(way[-1] / WALK_SPEED_MPS, abs(new_yaw - yaw) / TURN_SPEED_RPS, 0.8)
        share = way / way[-1] if way[-1] > 0 else np.array([1.0])
        for f, c in zip(share, path if way[-1] > 0 else [goal]):
            if f > 0:
                between = [eye + f * (new_eye - eye), yaw + f * (new_yaw - yaw), pitch + f * (new_pitch - pitch)]
                marks.append([time + f * needed, *floor.xy[c], *between])
        time += needed
        offset = targets[:, :2] - floor.xy[goal]
        aside = np.abs(_wrap(np.arctan2(offset[:, 1], offset[:, 0]) - new_yaw))
        looking = (aside < np.deg2rad(25)) & (np.hypot(*offset.T) < 4.5)
        seen[choice] += 1.0
        seen[looking] += 0.6
        cell, eye, yaw, pitch = goal, new_eye, new_yaw, new_pitch
    return np.array(marks)


def _targets(scene: Scene) -> np.ndarray:
    """Points (T, 3) in the room's frame to look at: the middles of the things in it."""
    room_T_world = np.linalg.inv(scene.world_T_room)
    points = []
    for thing in scene.objects:
        if thing.name not in NOT_LOOKED_AT:
            parts = scene.primitives[thing.first : thing.last]
            centres = np.stack([p.parent_T_local[:, 3] for p in parts])
            middle = room_T_world @ ((centres.min(0) + centres.max(0)) / 2)
            points.append([*middle[:2], min(middle[2], 1.3)])
    return np.array(points)


def _viewpoint(floor: _Floor, cost: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> int:
    """A reachable cell not too far from here, 1.2 to 3 m from the target where possible."""
    distance = np.hypot(*(floor.xy - target[:2]).T)
    bad = np.maximum(0, 1.3 - distance) * 3 + np.maximum(0, distance - 2.8) * 1.5
    return int(np.argmin(bad + 0.35 * np.abs(cost - 1.0) + 0.3 * rng.random(len(cost))))


class _Shake:
    """Slow sums of sines for the six degrees of freedom of a hand."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rate = rng.uniform(0.3, 1.6, (6, 4)) * 2 * np.pi
        self.phase = rng.uniform(0, 2 * np.pi, (6, 4))

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """(N, 6) in -1..1 at times (N,) seconds."""
        return np.sin(time[:, None, None] * self.rate + self.phase).mean(-1)


def _sample(scene: Scene, marks: np.ndarray, shake: _Shake, ticks: int, smoothing_s: float) -> np.ndarray:
    """world_T_cam (ticks, 4, 4) along the marks."""
    rate = 2 * RATE_HZ
    fine = np.arange(int((ticks / RATE_HZ + 0.8 * TAIL_S) * rate)) / rate
    values = np.stack([np.interp(fine, marks[:, 0], marks[:, k]) for k in range(1, 6)], 1)
    if smoothing_s:
        values = gaussian_filter1d(values, smoothing_s * rate, axis=0, mode="nearest", truncate=4.0)
    time = np.arange(ticks) / RATE_HZ
    values = values[: 2 * ticks : 2]
    jitter = shake(time)
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


def _wrap(angle: np.ndarray | float) -> np.ndarray | float:
    return (angle + np.pi) % (2 * np.pi) - np.pi
