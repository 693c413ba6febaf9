"""Where furniture stands: rectangles on the floor that must not overlap, and intervals on walls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gnesf_model.data.procrooms.furniture.assembly import Assembly, pose_2d

WALL_GAP = 0.02
ATTEMPTS = 80

Rectangle = tuple[float, float, float, float]
"""x0, y0, x1, y1 in the room's frame, metres."""


@dataclass
class Placed:
    """A piece of furniture and its place."""

    assembly: Assembly
    room_T_piece: np.ndarray


@dataclass
class Layout:
    """The floor plan of a room while it fills up.

    Attributes:
        width, depth: inner size of the room, x and y, metres.
        rng: draws the places.
        placed: what stands, hangs and lies so far.
        solid: footprints that nothing may overlap.
        clear: floor that must stay walkable, e.g. before doors and cupboards; may overlap itself.
        on_wall: (wall, from, to, bottom, top) of what hangs or stands at a wall.
    """

    width: float
    depth: float
    rng: np.random.Generator
    placed: list[Placed] = field(default_factory=list)
    solid: list[Rectangle] = field(default_factory=list)
    clear: list[Rectangle] = field(default_factory=list)
    on_wall: list[tuple[int, float, float, float, float]] = field(default_factory=list)

    def wall_length(self, wall: int) -> float:
        """Inner length of wall 0 to 3: at +y, -x, -y, +x."""
        return self.depth if wall % 2 else self.width

    def room_T_wall(self, wall: int) -> np.ndarray:
        """(4, 4): origin in the middle of the wall's face at the floor, y into the wall."""
        distance = (self.width if wall % 2 else self.depth) / 2
        yaw = wall * np.pi / 2
        return pose_2d(-distance * np.sin(yaw), distance * np.cos(yaw), yaw)

    def hang(self, assembly: Assembly, wall: int, u: float, bottom: float, top: float) -> None:
        """Put something on a wall without asking."""
        self.placed.append(Placed(assembly, self.room_T_wall(wall) @ pose_2d(u, 0, 0)))
        half = assembly.size[0] / 2
        self.on_wall.append((wall, u - half, u + half, bottom, top))

    def wall_is_free(self, wall: int, low: float, high: float, bottom: float, top: float) -> bool:
        """Is the rectangle of the wall between low and high, bottom and top empty?"""
        return not any(w == wall and low < b and a < high and bottom < t and z < top for w, a, b, z, t in self.on_wall)

    def beside_walls(self, solid: Rectangle, reach: float = 0.2) -> Iterator[tuple[int, float, float]]:
        """(wall, from, to) that a rectangle of the floor covers on every wall nearer than `reach` metres."""
        x0, y0, x1, y1 = solid
        x, y = self.width / 2, self.depth / 2
        spans = ((y - y1, x0, x1), (x + x0, y0, y1), (y + y0, -x1, -x0), (x - x1, -y1, -y0))
        for wall, (gap, low, high) in enumerate(spans):
            if gap < reach:
                yield wall, low, high

    def walls_are_free(self, solid: Rectangle, height: float) -> bool:
        """Is there nothing on the walls beside a piece of furniture of that footprint?"""
        return all(self.wall_is_free(*span, 0.0, height) for span in self.beside_walls(solid))

    def floor_rectangle(self, pose: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> Rectangle:
        """Bounds in the room's frame of a rectangle in a piece's frame."""
        corners = np.array([[x, y, 0, 1] for x in (low[0], high[0]) for y in (low[1], high[1])])
        points = corners @ pose.T
        return (*points[:, :2].min(0).tolist(), *points[:, :2].max(0).tolist())

    def is_free(self, solid: Rectangle, clear: Rectangle | None = None) -> bool:
        """May something stand on `solid` and keep `clear` walkable?"""
        x, y = self.width / 2, self.depth / 2
        if solid[0] < -x or solid[1] < -y or solid[2] > x or solid[3] > y:
            return False
        if any(_overlap(solid, r) for r in self.solid + self.clear):
            return False
        return clear is None or not any(_overlap(clear, r) for r in self.solid)

    def stand_at_wall(
        self,
        assembly: Assembly,
        front: float = 0.6,
        walls: tuple[int, ...] = (0, 1, 2, 3),
        corner: float = 0.0,
        reserve: float = 0.0,
    ) -> int | None:
        """Stand a piece with its back to a wall; None when there is no room, else the wall.

        Args:
            front: depth in metres of the floor before it that stays walkable.
            walls: candidates.
            corner: probability of trying a corner rather than any place.
            reserve: depth in metres before it that is kept for parts added later (chair, coffee table).
        """
        w, d, h = assembly.size
        for _ in range(ATTEMPTS):
            wall = int(self.rng.choice(walls))
            span = self.wall_length(wall) - w - 2 * WALL_GAP
            if span < 0:
                continue
            u = (self.rng.random() - 0.5) * span
            if self.rng.random() < corner:
                u = float(np.sign(u)) * span / 2
            pose = self.room_T_wall(wall) @ pose_2d(u, -d / 2 - WALL_GAP, 0)
            solid = self.floor_rectangle(pose, (-w / 2 - 0.01, -d / 2 - reserve), (w / 2 + 0.01, d / 2))
            clear = self.floor_rectangle(pose, (-w / 2, -d / 2 - reserve - front), (w / 2, -d / 2 - reserve))
            if self.is_free(solid, clear) and self.walls_are_free(solid, h):
                self.put(assembly, pose, solid, clear)
                return wall
        return None

    def stand_free(self, width: float, depth: float, margin: float, spread: float = 0.15) -> np.ndarray | None:
        """A pose (4, 4) for a group of the given footprint in the middle of the room, or None.

        The places nearest to the centre of the room are tried first; `margin` metres around are free now, and
        `spread` metres stay so.
        """
        found = []
        for _ in range(ATTEMPTS):
            x = (self.rng.random() - 0.5) * (self.width - depth)
            y = (self.rng.random() - 0.5) * (self.depth - depth)
            pose = pose_2d(x, y, float(self.rng.integers(4)) * np.pi / 2)
            solid = self.floor_rectangle(pose, (-width / 2, -depth / 2), (width / 2, depth / 2))
            grown = (solid[0] - margin, solid[1] - margin, solid[2] + margin, solid[3] + margin)
            off_walls = min(self.width / 2 - max(-solid[0], solid[2]), self.depth / 2 - max(-solid[1], solid[3]))
            if off_walls > spread + 0.1 and self.is_free(solid) and not any(_overlap(grown, r) for r in self.solid):
                found.append((x * x + y * y, len(found), pose, solid))
        if not found:
            return None
        _, _, pose, solid = min(found, key=lambda f: f[:2])
        self.solid.append(solid)
        self.clear.append((solid[0] - spread, solid[1] - spread, solid[2] + spread, solid[3] + spread))
        return pose

    def put(
        self, assembly: Assembly, pose: np.ndarray, solid: Rectangle | None, clear: Rectangle | None = None
    ) -> None:
        """Record a piece at a pose (4, 4) in the room with its footprints."""
        self.placed.append(Placed(assembly, pose))
        if solid is not None:
            self.solid.append(solid)
            self.on_wall += [(*span, 0.0, assembly.size[2]) for span in self.beside_walls(solid)]
        if clear is not None:
            self.clear.append(clear)


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] - 1e-9 and b[0] < a[2] - 1e-9 and a[1] < b[3] - 1e-9 and b[1] < a[3] - 1e-9
