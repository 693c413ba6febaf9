"""Tables and desks, and what stands on them."""

from __future__ import annotations

import numpy as np

from gnesf_model.data.procrooms.furniture import held_out
from gnesf_model.data.procrooms.furniture.assembly import (
    DESK,
    TABLE,
    UNLABELLED,
    Assembly,
    Style,
    linear_rgb,
    pose_2d,
)


def _four_legs(a: Assembly, w: float, d: float, top: float, leg: float, wood: int, inset: float = 0.03) -> None:
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (w / 2 - inset - leg / 2), sy * (d / 2 - inset - leg / 2)
            a.box((x - leg / 2, y - leg / 2, 0), (x + leg / 2, y + leg / 2, top), wood)


def table(style: Style, width: float = 1.5, depth: float = 0.85, height: float = 0.75) -> Assembly:
    """Rectangular table: top, apron and four legs."""
    if style.held_out_variant():
        return held_out.trestle_table(style, width, depth, height)
    wood, leg = style.wood(), style.uniform(0.06, 0.08)
    a = Assembly("table", TABLE, (width, depth, height))
    _four_legs(a, width, depth, height - 0.04, leg, wood)
    x, y, z = width / 2 - 0.05 - leg / 4, depth / 2 - 0.05 - leg / 4, height - 0.04
    for sy in (-1, 1):
        a.box((-x + leg, sy * y - 0.02, z - 0.08), (x - leg, sy * y + 0.02, z), wood)
    a.box((-width / 2, -depth / 2, z), (width / 2, depth / 2, height), wood)
    return a


def round_table(style: Style, diameter: float = 1.1, height: float = 0.75) -> Assembly:
    """Round table on a central column with a foot."""
    wood = style.wood()
    a = Assembly("round table", TABLE, (diameter, diameter, height))
    a.cylinder((0, 0, height - 0.045), diameter / 2, 0.045, wood)
    a.cylinder((0, 0, 0.04), 0.06, height - 0.085, wood)
    a.cylinder((0, 0, 0), diameter * 0.28, 0.04, wood)
    return a


def coffee_table(style: Style) -> Assembly:
    """Low table with a shelf below the top."""
    w, d, h = style.uniform(0.9, 1.2), style.uniform(0.5, 0.65), style.uniform(0.40, 0.46)
    wood = style.wood()
    a = Assembly("coffee table", TABLE, (w, d, h))
    _four_legs(a, w, d, h - 0.045, 0.06, wood, inset=0.0)
    a.box((-w / 2, -d / 2, h - 0.045), (w / 2, d / 2, h), wood)
    a.box((-w / 2 + 0.06, -d / 2 + 0.06, 0.12), (w / 2 - 0.06, d / 2 - 0.06, 0.16), wood)
    return a


def desk(style: Style) -> Assembly:
    """Desk: top, a side panel, a pedestal of drawers, a back panel; a screen and a keyboard on it."""
    w, d, h = style.uniform(1.2, 1.6), style.uniform(0.65, 0.75), style.uniform(0.72, 0.76)
    wood, drawers, dark = style.wood(), style.front((1, 3)), style.dark()
    a = Assembly("desk", DESK, (w, d, h + 0.5))
    x, y, z = w / 2, d / 2, h - 0.04
    side = 1 if style.chance(0.5) else -1
    a.box((-x, -y, z), (x, y, h), wood)
    low, high = sorted((-side * x, -side * (x - 0.045)))
    a.box((low, -y + 0.03, 0), (high, y, z), wood)
    low, high = sorted((side * x, side * (x - 0.40)))
    a.box((low, -y + 0.03, 0.03), (high, y, z), drawers)
    back = sorted((-side * (x - 0.045), side * (x - 0.40)))
    a.box((back[0], y - 0.04, 0.3), (back[1], y, z), wood)
    screen(a, style, -side * 0.12, y - 0.2, h, dark)
    a.box((-side * 0.12 - 0.21, -y + 0.14, h), (-side * 0.12 + 0.21, -y + 0.28, h + 0.02), dark, UNLABELLED)
    return a


def screen(a: Assembly, style: Style, x: float, y: float, z: float, dark: int) -> None:
    """A monitor on its stand, facing the front, placed on a top at height z."""
    width = style.uniform(0.5, 0.62)
    glow = linear_rgb(style.uniform(0.5, 0.7), 0.5, style.uniform(0.35, 0.7))
    picture = style.add("poster", glow, linear_rgb(style.uniform(0, 1), 0.3, 0.8), glow=0.5, gloss=0.5)
    a.box((x - 0.12, y - 0.1, z), (x + 0.12, y + 0.1, z + 0.02), dark, UNLABELLED)
    a.box((x - 0.03, y - 0.01, z + 0.02), (x + 0.03, y + 0.03, z + 0.15), dark, UNLABELLED)
    a.box((x - width / 2, y - 0.05, z + 0.10), (x + width / 2, y - 0.01, z + 0.10 + 0.6 * width), picture, UNLABELLED)


def tableware(style: Style, width: float, depth: float) -> Assembly:
    """A bowl of fruit, cups and a bottle for a top of the given size; unlabelled."""
    a = Assembly("tableware", UNLABELLED, (width, depth, 0.3))
    china = style.paint(0.6, (0.5, 0.95), gloss=0.6)
    a.cylinder((0, 0, 0), 0.11, 0.05, china)
    for k in range(3):
        angle = 2.1 * k
        fruit = style.add("plain", linear_rgb(style.uniform(0, 0.3), 0.8, 0.8), gloss=0.3)
        centre = (0.048 * np.cos(angle), 0.048 * np.sin(angle), 0.085)
        a.ellipsoid(centre, (0.04, 0.04, 0.04), fruit)
    for x, y in ((0.3, 0.2), (-0.32, -0.18), (-0.3, 0.22)):
        a.cylinder((x * width, y * depth, 0), 0.04, 0.095, china)
    glass = style.add("plain", linear_rgb(style.uniform(0.25, 0.45), 0.7, 0.4), gloss=0.8)
    a.cylinder((0.22 * width, -0.15 * depth, 0), 0.04, 0.18, glass)
    a.cylinder((0.22 * width, -0.15 * depth, 0.18), 0.02, 0.08, glass)
    return a


def with_tableware(style: Style, top: Assembly) -> Assembly:
    """The same table with things on it."""
    things = tableware(style, top.size[0], top.size[1])
    top.include(things, pose_2d(0.0, 0.0, 0.0, top.size[2]))
    return top
