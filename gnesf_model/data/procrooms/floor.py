"""Where one can walk in a room, and what there is to look at."""

from __future__ import annotations

import heapq

import numpy as np
import torch

from gnesf_model.data.procrooms.scene import Scene

PLAN_CLEARANCE_M = 0.32
"""What a path keeps from everything: room for smoothing, shaking and a body around the camera."""
CELL_M = 0.1
NOT_LOOKED_AT = ("floor", "wall", "ceiling", "ceiling lamp", "bin")


class Floor:
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
        self._index = ij
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

    def path(self, before: np.ndarray, goal: int) -> list[int]:
        """Cells from where `costs_from` started to `goal`, both included."""
        cells = [goal]
        while before[cells[-1]] >= 0:
            cells.append(int(before[cells[-1]]))
        return cells[::-1]

    def straightened(self, cells: list[int]) -> list[int]:
        """The same way in as few straight lines through free cells as a greedy search finds."""
        kept, start = [cells[0]], 0
        while start < len(cells) - 1:
            end = len(cells) - 1
            while end > start + 1 and not self._sees(cells[start], cells[end]):
                end -= 1
            kept.append(cells[end])
            start = end
        return kept

    def _sees(self, a: int, b: int) -> bool:
        ends = self._index[[a, b]]
        steps = 2 * int(np.abs(ends[1] - ends[0]).max()) + 1
        line = np.rint(np.linspace(ends[0], ends[1], steps)).astype(int)
        return bool((self._number[line[:, 0], line[:, 1]] >= 0).all())


class Tour:
    """Which thing to look at next, and from where.

    Attributes:
        floor: where one can go.
        cell: where the walker is.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.floor = Floor(scene)
        self.cell = 0
        self._rng = rng
        self._targets = _targets(scene)
        self._room_of_target = _rooms_of(scene, self._targets[:, :2])
        self._room_of_cell = _rooms_of(scene, self.floor.xy)
        self._seen = np.zeros(len(self._targets))
        self._choice = 0

    def start(self) -> None:
        """Begin where there is much space."""
        self.cell = int(np.argmax(self.floor.clearance + 0.3 * self._rng.random(len(self.floor.xy))))

    def next_target(self, yaw: float | None) -> tuple[np.ndarray, list[int]]:
        """A target (3,) little looked at and near the heading, and the cells of the way to where it is seen."""
        offset = self._targets[:, :2] - self.floor.xy[self.cell]
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        turn = np.zeros(len(angle)) if yaw is None else np.abs(wrapped(angle - yaw))
        dull = 2.0 * self._seen + 0.5 * turn + 0.15 * np.hypot(*offset.T) + 0.3 * self._rng.random(len(angle))
        dull += 1.5 * (self._room_of_target != self._room_of_cell[self.cell])
        self._choice = int(np.argmin(dull))
        cost, before = self.floor.costs_from(self.cell)
        goal = self._viewpoint(cost)
        return self._targets[self._choice], self.floor.path(before, goal)

    def arrived(self, cell: int, yaw: float) -> None:
        """The target is looked at from a cell, and so is what is beside it."""
        self._seen[self._choice] += 1.0
        self.glanced(cell, yaw)
        self.cell = cell

    def glanced(self, cell: int, yaw: float) -> None:
        """Remember what is in view from a cell."""
        offset = self._targets[:, :2] - self.floor.xy[cell]
        aside = np.abs(wrapped(np.arctan2(offset[:, 1], offset[:, 0]) - yaw))
        looking = (aside < np.deg2rad(25)) & (np.hypot(*offset.T) < 4.5)
        looking &= self._room_of_target == self._room_of_cell[cell]
        self._seen[looking] += 0.6

    def _viewpoint(self, cost: np.ndarray) -> int:
        """A reachable cell not too far from here, 1.2 to 3 m from the target where possible."""
        distance = np.hypot(*(self.floor.xy - self._targets[self._choice, :2]).T)
        bad = np.maximum(0, 1.3 - distance) * 3 + np.maximum(0, distance - 2.8) * 1.5
        bad += 1e3 * (self._room_of_cell != self._room_of_target[self._choice])
        return int(np.argmin(bad + 0.35 * np.abs(cost - 1.0) + 0.3 * self._rng.random(len(cost))))


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


def _rooms_of(scene: Scene, xy: np.ndarray) -> np.ndarray:
    """(N,) which of `Scene.rooms` places (N, 2) in the room's frame are in, or nearest to."""
    if not scene.rooms:
        return np.zeros(len(xy), dtype=int)
    rooms = np.array(scene.rooms)
    outside = np.maximum(rooms[:, None, :2] - xy, xy - rooms[:, None, 2:]).max(2)
    return outside.argmin(0)


def wrapped(angle: np.ndarray | float) -> np.ndarray | float:
    """The same angle in -pi..pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
