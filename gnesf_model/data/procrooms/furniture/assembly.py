"""What furniture is built with: `Style` draws materials, `Assembly` collects placed primitives."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gnesf_model.data.procrooms.materials import Material
from gnesf_model.data.procrooms.primitives import Kind, Primitive

Vector = Sequence[float]

# ScanNet-20 indices. What ScanNet-20 has no class for is UNLABELLED, as in its evaluation: ceilings, lamps,
# plants, screens, night stands, dishes. Books count as the shelf they stand on, cushions and pillows as the
# sofa or bed, a tap as the sink; bins and TV stands are "otherfurniture" (NYU40 39).
WALL, FLOOR, CABINET, BED, CHAIR, SOFA, TABLE, DOOR, WINDOW, BOOKSHELF = range(10)
PICTURE, COUNTER, DESK, CURTAIN, REFRIGERATOR, SHOWER_CURTAIN, TOILET, SINK, BATHTUB, OTHER = range(10, 20)
UNLABELLED = 255

WOODS = [(0.075, 0.45, 0.50), (0.06, 0.6, 0.30), (0.085, 0.40, 0.72), (0.05, 0.55, 0.40), (0.09, 0.22, 0.80)]
"""Hue, saturation, value (sRGB) of oak, walnut, pine, cherry, birch."""


def linear_rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """Linear RGB in 0..1 of an sRGB colour given as HSV."""
    rgb = colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1)))
    return tuple(float(c**2.2) for c in rgb)


@dataclass
class Style:
    """Draws materials and keeps them: the material table of a scene.

    Attributes:
        rng: every choice comes from here, in a fixed order.
        materials: the table; functions return row numbers.
        held_out: may pieces take the shapes that no training room has?
    """

    rng: np.random.Generator
    materials: list[Material] = field(default_factory=list)
    held_out: bool = False

    def add(self, pattern: str, color: Vector, accent: Vector = (0.1, 0.1, 0.1), **options: object) -> int:
        """Row of a new material."""
        seed = int(self.rng.integers(1 << 20))
        self.materials.append(Material(pattern, tuple(color), tuple(accent), seed=seed, **options))
        return len(self.materials) - 1

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def held_out_variant(self) -> bool:
        """Should this piece take its held-out shape? Never, and without a draw, unless `held_out`."""
        return self.held_out and self.chance(0.6)

    def _wood_tones(self) -> tuple[Vector, Vector]:
        h, s, v = WOODS[self.rng.integers(len(WOODS))]
        h, v = h + self.uniform(-0.01, 0.01), v * self.uniform(0.9, 1.1)
        return linear_rgb(h, s, v), linear_rgb(h - 0.01, s + 0.1, v * 0.68)

    def wood(self, pattern: str = "wood", **options: object) -> int:
        options = {"scale": self.uniform(0.02, 0.04), "gloss": 0.15, **options}
        return self.add(pattern, *self._wood_tones(), **options)

    def front(self, divisions: tuple[int, int], painted: float = 0.5) -> int:
        """Cabinet fronts: wood, or paint with probability `painted`."""
        if self.chance(painted):
            hue, value = self.uniform(0, 1), self.uniform(0.55, 0.92)
            tone = linear_rgb(hue, self.uniform(0.0, 0.3), value)
            return self.add("panel", tone, tone, scale=0.03, gloss=0.25, divisions=divisions)
        return self.wood("panel", divisions=divisions)

    def fabric(self, pattern: str = "fabric") -> int:
        hue, saturation = self.uniform(0, 1), self.uniform(0.15, 0.65)
        value = self.uniform(0.35, 0.8)
        accent = linear_rgb(hue + self.uniform(-0.08, 0.08), saturation, value * self.uniform(0.6, 1.3))
        return self.add(pattern, linear_rgb(hue, saturation, value), accent, scale=self.uniform(0.006, 0.012))

    def paint(self, saturation: float = 0.4, value: tuple[float, float] = (0.4, 0.9), gloss: float = 0.2) -> int:
        color = linear_rgb(self.uniform(0, 1), self.uniform(0, saturation), self.uniform(*value))
        return self.add("plain", color, gloss=gloss)

    def metal(self, value: float = 0.62) -> int:
        return self.add("metal", linear_rgb(0.6, 0.03, value), gloss=0.7)

    def dark(self) -> int:
        return self.add("plain", linear_rgb(0.6, 0.1, 0.16), gloss=0.3)


class Assembly:
    """A piece of furniture: primitives in its own frame.

    Attributes:
        name: what it is.
        size: (3,) metres, width, depth and height of its box: x and y centred, z from 0.
        primitives: its parts.
    """

    def __init__(self, name: str, label: int, size: Vector) -> None:
        self.name, self.label = name, label
        self.size = (float(size[0]), float(size[1]), float(size[2]))
        self.primitives: list[Primitive] = []

    def box(self, low: Vector, high: Vector, material: int, label: int | None = None) -> None:
        """Box between two corners."""
        low, high = np.asarray(low, float), np.asarray(high, float)
        self.add(Kind.BOX, (high - low) / 2, (high + low) / 2, np.eye(3), material, label)

    def turned_box(
        self, half: Vector, centre: Vector, rotation: np.ndarray, material: int, label: int | None = None
    ) -> None:
        """Box of half extents `half`, turned by a (3, 3) matrix about its centre."""
        self.add(Kind.BOX, half, centre, rotation, material, label)

    def cylinder(self, base: Vector, radius: float, height: float, material: int, label: int | None = None) -> None:
        """Upright cylinder on the middle of its base."""
        centre = (base[0], base[1], base[2] + height / 2)
        self.add(Kind.CYLINDER, (radius, radius, height / 2), centre, np.eye(3), material, label)

    def ellipsoid(self, centre: Vector, radii: Vector, material: int, label: int | None = None) -> None:
        self.add(Kind.ELLIPSOID, radii, centre, np.eye(3), material, label)

    def capsule(self, start: Vector, end: Vector, radius: float, material: int, label: int | None = None) -> None:
        """Round bar of `radius` around the segment from start to end."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.linalg.norm(end - start))
        size = (radius, radius, length / 2)
        self.add(Kind.CAPSULE, size, (start + end) / 2, _along((end - start) / length), material, label)

    def add(
        self, kind: Kind, size: Vector, centre: Vector, rotation: np.ndarray, material: int, label: int | None
    ) -> None:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, centre
        label = self.label if label is None else label
        self.primitives.append(Primitive(kind, tuple(float(s) for s in size), pose, label, material))

    def include(self, other: Assembly, parent_T_other: np.ndarray) -> None:
        """Add another assembly as part of this one."""
        self.primitives += other.placed(parent_T_other)

    def placed(self, parent_T_self: np.ndarray) -> list[Primitive]:
        """The primitives in the parent's frame."""
        return [
            Primitive(p.kind, p.size, parent_T_self @ p.parent_T_local, p.label, p.material) for p in self.primitives
        ]


def pose_2d(x: float, y: float, yaw: float, z: float = 0.0) -> np.ndarray:
    """(4, 4) transform: turned about z by `yaw` radians, then moved."""
    pose = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = (x, y, z)
    return pose


def tilt(angle: float) -> np.ndarray:
    """(3, 3) rotation about x by `angle` radians: leans the top of an upright part to the front."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _along(z: np.ndarray) -> np.ndarray:
    """A rotation whose third column is the unit vector `z`."""
    helper = np.eye(3)[np.argmin(np.abs(z))]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)
