"""The room itself: floor, walls, ceiling, and what hangs on the walls.

Things on a wall have their origin on the wall's face at floor height: x to the right of someone who
looks at the wall, y into the wall, z up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnesf_model.data.procrooms.flat import WALL_M, Doorway
from gnesf_model.data.procrooms.furniture.assembly import (
    CURTAIN,
    DOOR,
    FLOOR,
    PICTURE,
    UNLABELLED,
    WALL,
    WINDOW,
    Assembly,
    Style,
    linear_rgb,
)

THICKNESS = 0.2
DOORWAY_HEIGHT = 2.08


def shell(
    style: Style,
    size: tuple[float, float],
    height: float,
    tiled: bool = False,
    joined: frozenset[int] = frozenset(),
    doorways: Sequence[Doorway] = (),
) -> list[Assembly]:
    """Floor, four walls and ceiling around an inner box; its frame is the room's.

    Args:
        size: inner width and depth, metres.
        joined: walls that another room stands behind: it has the other half.
        doorways: openings in the walls.
    """
    width, depth = size
    x, y, t = width / 2, depth / 2, THICKNESS
    north, west, south, east = (WALL_M / 2 if wall in joined else t for wall in range(4))
    low, high = (-x - west, -y - south), (x + east, y + north)
    floor = Assembly("floor", FLOOR, (width, depth, 0))
    floor.box((*low, -t), (*high, 0), _tiles(style, (0.2, 0.45)) if tiled else _floor_material(style))
    wall = Assembly("wall", WALL, (width, depth, height))
    paint = _tiles(style, (0.1, 0.3)) if tiled else _wall_material(style)
    accent = _wall_material(style, bold=True) if style.chance(0.5) else paint
    for number, (start, end, thick) in ((0, (-x - west, x + east, north)), (2, (-x - east, x + west, south))):
        _wall(wall, number, y, start, end, thick, height, accent if number == 0 else paint, doorways)
    for number, thick in ((1, west), (3, east)):
        _wall(wall, number, x, -y, y, thick, height, paint, doorways)
    ceiling = Assembly("ceiling", UNLABELLED, (width, depth, height))
    white = style.add("plaster", (0.8, 0.8, 0.78))
    ceiling.box((*low, height), (*high, height + t), white)
    return [floor, wall, ceiling]


def _wall(
    a: Assembly,
    number: int,
    distance: float,
    start: float,
    end: float,
    thick: float,
    height: float,
    material: int,
    doorways: Sequence[Doorway],
) -> None:
    """Wall 0 to 3 (at +y, -x, -y, +x) from start to end along its u, with its openings."""
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[number]

    def box(u0: float, u1: float, z0: float, z1: float) -> None:
        # x to the right and y into the wall, turned by the number of quarter turns; corners in order again
        corners = [(u * cos - v * sin, u * sin + v * cos) for u, v in ((u0, distance), (u1, distance + thick))]
        lows, highs = np.minimum(*corners), np.maximum(*corners)
        a.box((*lows, z0), (*highs, z1), material)

    for doorway in sorted((d for d in doorways if d.wall == number), key=lambda d: d.u):
        left, right = doorway.u - doorway.width / 2, doorway.u + doorway.width / 2
        box(start, left, 0, height)
        box(left, right, DOORWAY_HEIGHT, height)
        start = right
    box(start, end, 0, height)


def doorway_frame(style: Style, width: float) -> Assembly:
    """Frame of an opening without a door leaf, through a wall between two rooms."""
    material = style.paint(0.15, (0.6, 0.95)) if style.chance(0.6) else style.wood()
    x, bar, near, far = width / 2, 0.05, -0.03, WALL_M + 0.03
    a = Assembly("doorway", DOOR, (width, far - near, DOORWAY_HEIGHT))
    for low, high in ((-x, -x + bar), (x - bar, x)):
        a.box((low, near, 0), (high, far, DOORWAY_HEIGHT), material)
    a.box((-x + bar, near, DOORWAY_HEIGHT - bar), (x - bar, far, DOORWAY_HEIGHT), material)
    return a


def _floor_material(style: Style) -> int:
    kind = style.rng.integers(4)
    if kind < 2:
        return style.wood("planks", scale=style.uniform(0.1, 0.16), gloss=0.3)
    if kind == 2:
        tone = linear_rgb(style.uniform(0.05, 0.15), style.uniform(0.05, 0.25), style.uniform(0.6, 0.85))
        return style.add("tiles", tone, (0.25, 0.24, 0.22), scale=style.uniform(0.3, 0.5), gloss=0.4)
    tone = style.uniform(0, 1), style.uniform(0.1, 0.35), style.uniform(0.4, 0.65)
    light = linear_rgb(tone[0], tone[1], tone[2] + 0.12)
    return style.add("carpet", linear_rgb(*tone), light, scale=0.012)


def _tiles(style: Style, period: tuple[float, float]) -> int:
    tone = linear_rgb(style.uniform(0, 1), style.uniform(0.0, 0.25), style.uniform(0.65, 0.9))
    joint = style.uniform(0.2, 0.6)
    return style.add("tiles", tone, (joint, joint, joint), scale=style.uniform(*period), gloss=0.5)


def _wall_material(style: Style, bold: bool = False) -> int:
    if bold and style.chance(0.3):
        return style.add("brick", linear_rgb(0.03, 0.5, 0.6), (0.45, 0.42, 0.4), scale=0.24)
    saturation = style.uniform(0.15, 0.4) if bold else style.uniform(0.02, 0.15)
    value = style.uniform(0.6, 0.8) if bold else style.uniform(0.82, 0.93)
    return style.add("plaster", linear_rgb(style.uniform(0, 1), saturation, value))


def door(style: Style) -> Assembly:
    """Closed door in its frame."""
    w, h = style.uniform(0.82, 0.95), style.uniform(2.0, 2.1)
    leaf = style.front((1, 2)) if style.chance(0.3) else style.wood(scale=0.05)
    frame = style.paint(0.15, (0.6, 0.95))
    a = Assembly("door", DOOR, (w + 0.16, 0.1, h + 0.08))
    x = w / 2
    a.box((-x, -0.04, 0), (x, 0, h), leaf)
    if style.chance(0.6):  # raised fields
        for low, high in ((0.2, 0.9), (1.05, h - 0.15)):
            a.box((-x + 0.14, -0.055, low), (x - 0.14, -0.04, high), leaf)
    for low, high in ((-x - 0.08, -x), (x, x + 0.08)):
        a.box((low, -0.07, 0), (high, 0, h), frame)
    a.box((-x - 0.08, -0.07, h), (x + 0.08, 0, h + 0.08), frame)
    metal = style.metal()
    side = 1 if style.chance(0.5) else -1
    hx = side * (x - 0.07)
    a.capsule((hx, -0.04, 1.0), (hx, -0.085, 1.0), 0.02, metal)
    a.capsule((hx, -0.085, 1.0), (hx - side * 0.11, -0.085, 1.0), 0.015, metal)
    return a


def window(style: Style, width: float, sill: float, top: float) -> Assembly:
    """Window: panes with the world outside, sash bars, a sill board."""
    sky = linear_rgb(style.uniform(0.55, 0.6), style.uniform(0.1, 0.4), 1.0)
    green = linear_rgb(style.uniform(0.22, 0.36), 0.45, 0.5)
    pane = style.add("outdoors", sky, green, glow=0.85, gloss=0.3)
    frame = style.paint(0.1, (0.85, 0.95)) if style.chance(0.7) else style.wood()
    a = Assembly("window", WINDOW, (width + 0.12, 0.12, top))
    x, bar = width / 2, 0.06
    a.box((-x, -0.02, sill), (x, 0, top), pane)
    uprights = 3 if width > 1.3 else 2
    for left in np.linspace(-x, x - bar, uprights + (uprights == 2)):
        a.box((left, -0.06, sill), (left + bar, -0.02, top), frame)
    for z in (sill, top - bar):
        a.box((-x, -0.06, z), (x, -0.02, z + bar), frame)
    a.box((-x - 0.06, -0.1, sill - 0.04), (x + 0.06, 0, sill), frame)
    return a


def curtain(style: Style, width: float, height: float, cloth: int | None = None) -> Assembly:
    """One side of a pair of curtains: folds hanging from a rail."""
    cloth = style.fabric("stripes" if style.chance(0.2) else "fabric") if cloth is None else cloth
    a = Assembly("curtain", CURTAIN, (width, 0.16, height))
    radius = 0.04
    folds = max(3, round((width - 2 * radius) / 0.075) + 1)
    for k, x in enumerate(np.linspace(-width / 2 + radius, width / 2 - radius, folds)):
        a.cylinder((x, -0.075 - 0.02 * (k % 2), 0.06), radius, height - 0.1, cloth)
    a.box((-width / 2, -0.105, height - 0.04), (width / 2, -0.055, height), cloth)
    return a


def picture(style: Style, width: float, height: float, z: float) -> Assembly:
    """Framed picture with its middle at height z."""
    ground = linear_rgb(style.uniform(0, 1), style.uniform(0.2, 0.6), style.uniform(0.5, 0.9))
    shapes = linear_rgb(style.uniform(0, 1), style.uniform(0.3, 0.8), style.uniform(0.2, 0.9))
    image = style.add("poster", ground, shapes, gloss=0.2)
    a = Assembly("picture", PICTURE, (width, 0.04, height))
    a.box((-width / 2, -0.04, z - height / 2), (width / 2, 0, z + height / 2), image)
    return a
