"""Other looks for the same rooms: shape stays, colours, patterns and lights change.

A network trained on rooms whose wardrobes are always wooden learns wood. `varied` draws colours, patterns
and lights widely, for training; `permuted` gives every class the materials of another, to measure how much
a network goes by shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from gnesf_model.data.procrooms.furniture.assembly import linear_rgb
from gnesf_model.data.procrooms.materials import Material
from gnesf_model.data.procrooms.scene import Light, Scene

LOOKS = ("natural", "varied", "permuted")

FREE_PATTERNS = (
    ("plain", 0.1),
    ("plaster", 0.1),
    ("wood", 0.03),
    ("planks", 0.12),
    ("tiles", 0.25),
    ("checker", 0.2),
    ("brick", 0.24),
    ("fabric", 0.009),
    ("stripes", 0.06),
    ("carpet", 0.012),
    ("speckle", 0.01),
    ("metal", 0.05),
)
"""Patterns that any surface may have, with their usual period in metres."""

BOUND_PATTERNS = ("panel", "books", "poster", "outdoors")
"""Patterns that are part of a thing's shape, such as the seams of doors: they change colour only."""


def with_looks(scene: Scene, looks: str, seed: int) -> Scene:
    """The same room with other materials and lights.

    Args:
        looks: one of `LOOKS`; ``natural`` gives the scene back as it is.
        seed: of the looks.

    Raises:
        ValueError: no such looks.
    """
    if looks not in LOOKS:
        raise ValueError(f"looks is {looks!r}, expected one of {', '.join(LOOKS)}")
    rng = np.random.Generator(np.random.PCG64([seed, 7, LOOKS.index(looks)]))
    if looks == "varied":
        return replace(scene, materials=_varied(scene.materials, rng), lights=_varied_lights(scene, rng))
    if looks == "permuted":
        return replace(scene, materials=_permuted(scene, rng))
    return scene


def _varied(materials: Sequence[Material], rng: np.random.Generator) -> list[Material]:
    shares = rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.6)  # rooms differ in how odd they are
    out = []
    for material in materials:
        changes: dict[str, object] = {}
        if rng.random() < shares[0]:
            hue, value = rng.random(), rng.uniform(0.15, 1.0)
            saturation = rng.random() ** 1.5
            changes["color"] = linear_rgb(hue, saturation, value)
            other = hue + rng.choice([0.0, rng.uniform(-0.15, 0.15), 0.5]), value * rng.uniform(0.4, 1.5)
            changes["accent"] = linear_rgb(other[0], saturation, other[1])
        elif rng.random() < 0.5:
            factor = rng.uniform(0.7, 1.3)
            changes["color"] = tuple(min(c * factor, 1.0) for c in material.color)
        if material.pattern not in BOUND_PATTERNS:
            if rng.random() < shares[1]:
                changes["pattern"], period = FREE_PATTERNS[int(rng.integers(len(FREE_PATTERNS)))]
                changes["scale"] = float(period * 2 ** rng.uniform(-1, 1))
            else:
                changes["scale"] = float(material.scale * 2 ** rng.uniform(-0.7, 0.7))
        changes["gloss"] = float(np.clip(material.gloss + rng.uniform(-0.2, 0.3), 0, 1))
        if material.glow:
            changes["glow"] = float(material.glow * rng.uniform(0.3, 1.3))
        out.append(replace(material, **changes))
    return out


def _varied_lights(scene: Scene, rng: np.random.Generator) -> list[Light]:
    """The lamps dimmed, tinted or off, and one or two lights from elsewhere: a window, a lamp on the floor."""
    lights = []
    rooms = {light.room for light in scene.lights}
    for room in sorted(rooms, key=str):
        own = [light for light in scene.lights if light.room == room]
        power = float(np.mean([light.intensity.mean() for light in own]))
        for light in own:
            if rng.random() < 0.75:
                lights.append(replace(light, intensity=light.intensity * rng.uniform(0.3, 1.3) * _tint(rng)))
        for _ in range(int(rng.integers(0 if lights else 1, 3))):
            position = _free_point(scene, room, rng)
            lights.append(Light(position, power * rng.uniform(0.4, 1.6) * _tint(rng), room))
    return lights


def _tint(rng: np.random.Generator) -> np.ndarray:
    warmth = rng.uniform(-0.25, 0.35)
    return np.array([1 + warmth, 1.0, 1 - warmth])


def _free_point(scene: Scene, room: tuple[float, float, float, float] | None, rng: np.random.Generator) -> np.ndarray:
    """A point (3,) in the world, 20 cm from everything where possible."""
    width, depth, height = scene.room_size
    x0, y0, x1, y1 = room or (-width / 2, -depth / 2, width / 2, depth / 2)
    local = rng.uniform((x0, y0, 0.5), (x1, y1, min(height, 2.5)), (64, 3))
    world = local @ scene.world_T_room[:3, :3].T + scene.world_T_room[:3, 3]
    distance = scene.sdf(torch.from_numpy(world)).numpy()
    free = np.flatnonzero(distance > 0.2)
    return world[free[0] if len(free) else distance.argmax()]


def _permuted(scene: Scene, rng: np.random.Generator) -> list[Material]:
    """Every class takes the materials of another; a row of several classes belongs to the first."""
    owner: dict[int, int] = {}
    for primitive in scene.primitives:
        owner.setdefault(primitive.material, primitive.label)
    classes = sorted(set(owner.values()))
    start = rng.permutation(len(classes))
    giver = {classes[a]: classes[b] for a, b in zip(start, np.roll(start, 1))}  # one cycle: nobody keeps its own
    out = list(scene.materials)
    for row, label in sorted(owner.items()):
        rows = [r for r, other in sorted(owner.items()) if other == giver[label]]
        given = scene.materials[rows[int(rng.integers(len(rows)))]]
        out[row] = replace(given, glow=scene.materials[row].glow)  # lamps stay lamps
    return out
