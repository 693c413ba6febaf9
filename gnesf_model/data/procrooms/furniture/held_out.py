"""Shapes of furniture that only test rooms have: does a network know chairs, or these chairs?"""

from __future__ import annotations

import numpy as np

from gnesf_model.data.procrooms.furniture.assembly import (
    BED,
    BOOKSHELF,
    CABINET,
    CHAIR,
    SOFA,
    TABLE,
    Assembly,
    Style,
    tilt,
)


def shell_chair(style: Style) -> Assembly:
    """Moulded seat and back on four splayed legs of wood or steel."""
    w, top = style.uniform(0.44, 0.5), style.uniform(0.78, 0.84)
    shell = style.paint(0.5, (0.3, 0.95), gloss=0.3)
    leg = style.wood() if style.chance(0.5) else style.metal(0.6)
    a = Assembly("chair", CHAIR, (w, 0.52, top))
    for sx in (-1, 1):
        for y, foot in ((-0.12, -0.22), (0.1, 0.22)):
            a.capsule((sx * 0.12, y, 0.42), (sx * (w / 2 - 0.04), foot, 0.022), 0.02, leg)
    a.box((-w / 2 + 0.03, -0.22, 0.42), (w / 2 - 0.03, 0.18, 0.46), shell)
    a.turned_box((w / 2 - 0.05, 0.02, 0.16), (0, 0.2, top - 0.19), tilt(-0.15), shell)
    for sx in (-1, 1):  # the sides of the shell
        a.ellipsoid((sx * (w / 2 - 0.06), 0.02, 0.49), (0.04, 0.2, 0.05), shell)
    return a


def bench_sofa(style: Style, seats: int) -> Assembly:
    """Loose cushions on an open wooden frame with slatted arms."""
    seat_w = style.uniform(0.6, 0.66)
    w, d, top = seats * seat_w + 0.12, style.uniform(0.8, 0.88), style.uniform(0.76, 0.84)
    wood, cloth = style.wood(), style.fabric()
    a = Assembly("sofa" if seats > 1 else "armchair", SOFA, (w, d, top))
    x, y = w / 2, d / 2
    for sx in (-1, 1):
        low, high = sorted((sx * x, sx * (x - 0.05)))
        for py in (-y, y - 0.05):
            a.box((low, py, 0), (high, py + 0.05, 0.58), wood)
        a.box((low, -y, 0.58), (high, y, 0.62), wood)
        for py in np.linspace(-y + 0.05, y - 0.05, 6)[1:-1]:
            a.box((low + 0.005, py - 0.02, 0.24), (high - 0.005, py + 0.02, 0.58), wood)
    a.box((-x + 0.05, -y + 0.02, 0.2), (x - 0.05, y - 0.06, 0.26), wood)
    for k in range(seats):
        left = -x + 0.06 + k * seat_w
        a.box((left + 0.006, -y + 0.01, 0.26), (left + seat_w - 0.006, y - 0.2, 0.42), cloth)
        centre = (left + seat_w / 2, y - 0.15, 0.26 + (top - 0.27) / 2)
        a.turned_box((seat_w / 2 - 0.01, 0.07, (top - 0.3) / 2), centre, tilt(-0.12), cloth)
    return a


def trestle_table(style: Style, width: float, depth: float, height: float) -> Assembly:
    """Thick top on two trestles whose legs stand apart like an A."""
    wood = style.wood()
    foot = style.metal(0.35) if style.chance(0.4) else style.wood()
    a = Assembly("table", TABLE, (width, depth, height))
    for s in (-1, 1):
        x = s * (width / 2 - 0.3)
        for side in (-1, 1):
            a.capsule((x, side * 0.03, height - 0.07), (x, side * (depth / 2 - 0.27), 0.03), 0.028, foot)
        a.box((x - 0.03, -depth / 2 + 0.1, height - 0.09), (x + 0.03, depth / 2 - 0.1, height - 0.05), foot)
        a.box((x - 0.02, -0.1, 0.3), (x + 0.02, 0.1, 0.34), foot)
    a.box((-width / 2, -depth / 2, height - 0.05), (width / 2, depth / 2, height), wood)
    return a


def four_poster(style: Style, width: float, length: float) -> Assembly:
    """Bed with a post at each corner and rails between their tops."""
    wood, top = style.wood(), style.uniform(1.7, 2.0)
    sheet = style.add("fabric", (0.72, 0.71, 0.68), (0.65, 0.65, 0.65), scale=0.008)
    blanket = style.fabric("stripes" if style.chance(0.3) else "fabric")
    a = Assembly("bed", BED, (width, length, top))
    x, y, post = width / 2, length / 2, 0.06
    for sx in (-x, x - post):
        for sy in (-y, y - post):
            a.box((sx, sy, 0), (sx + post, sy + post, top), wood)
        a.box((sx + 0.01, -y + post, top - 0.05), (sx + post - 0.01, y - post, top), wood)
    for sy in (-y, y - post):
        a.box((-x + post, sy + 0.01, top - 0.05), (x - post, sy + post - 0.01, top), wood)
    a.box((-x + 0.01, -y + post, 0.18), (x - 0.01, y - post, 0.3), wood)
    a.box((-x + post, y - post, 0.18), (x - post, y - 0.01, 0.9), wood)
    a.box((-x + 0.04, -y + post, 0.3), (x - 0.04, y - post, 0.5), sheet)
    a.box((-x + 0.02, -y + post, 0.32), (x - 0.02, y - 0.65, 0.54), blanket)
    for s in (-1, 1):
        a.ellipsoid((s * width / 4, y - 0.3, 0.56), (width / 4 - 0.08, 0.2, 0.09), sheet)
    return a


def cube_rack(style: Style) -> tuple[Assembly, list[tuple[float, float, float]]]:
    """Square compartments, side by side and one above the other, open to the front.

    Returns:
        The rack, and left, right and height of each compartment, for the books.
    """
    columns, rows = int(style.rng.integers(2, 5)), int(style.rng.integers(2, 5))
    cube, board, depth = style.uniform(0.35, 0.4), 0.04, style.uniform(0.34, 0.4)
    material = style.wood() if style.chance(0.4) else style.paint(0.1, (0.8, 0.95))
    w, h = columns * cube + board, rows * cube + board
    a = Assembly("bookshelf", BOOKSHELF, (w, depth, h))
    x, y = w / 2, depth / 2
    for k in range(rows + 1):
        a.box((-x, -y, k * cube), (x, y, k * cube + board), material)
    a.box((-x, y - 0.02, board), (x, y, h - board), material)
    for row in range(rows):
        for k in range(columns + 1):
            left = -x + k * cube
            a.box((left, -y, row * cube + board), (left + board, y - 0.02, (row + 1) * cube), material)
    places = [
        (-x + k * cube + board, -x + (k + 1) * cube, row * cube + board) for row in range(rows) for k in range(columns)
    ]
    return a, places


def legged_cabinet(style: Style) -> Assembly:
    """Sideboard with doors on thin splayed legs."""
    w, d, h = style.uniform(1.0, 1.5), style.uniform(0.4, 0.46), style.uniform(0.72, 0.85)
    front, leg = style.front((3, 1)), style.wood()
    a = Assembly("cabinet", CABINET, (w, d, h))
    x, y, lift = w / 2, d / 2, 0.22
    for sx in (-1, 1):
        for sy in (-1, 1):
            a.capsule(
                (sx * (x - 0.12), sy * (y - 0.08), lift + 0.01), (sx * (x - 0.05), sy * (y - 0.03), 0.022), 0.02, leg
            )
    a.box((-x, -y, lift), (x, y, h), front)
    return a
