"""Cabinets, wardrobes, bookshelves with books, TV stands, night stands."""

from __future__ import annotations

from gnesf_model.data.procrooms.furniture import held_out
from gnesf_model.data.procrooms.furniture.assembly import (
    BOOKSHELF,
    CABINET,
    OTHER,
    UNLABELLED,
    Assembly,
    Style,
    linear_rgb,
)


def cabinet(style: Style, tall: bool = False) -> Assembly:
    """Sideboard, or a wardrobe when `tall`: plinth, body with doors, cover plate."""
    if not tall and style.held_out_variant():
        return held_out.legged_cabinet(style)
    w = style.uniform(1.0, 1.5) if tall else style.uniform(0.9, 1.4)
    d = style.uniform(0.52, 0.6) if tall else style.uniform(0.4, 0.48)
    h = style.uniform(1.9, 2.1) if tall else style.uniform(0.8, 1.05)
    doors = (2 if w < 1.2 else 3, 1 if tall or style.chance(0.5) else 3)
    front, dark = style.front(doors), style.dark()
    plate = style.wood()
    a = Assembly("wardrobe" if tall else "cabinet", CABINET, (w, d, h))
    x, y = w / 2, d / 2
    a.box((-x + 0.02, -y + 0.05, 0), (x - 0.02, y, 0.07), dark)
    a.box((-x, -y + 0.01, 0.07), (x, y, h - 0.04), front)
    a.box((-x, -y, h - 0.04), (x, y, h), plate)
    return a


def bookshelf(style: Style) -> Assembly:
    """Open shelves with upright books, a few lying or leaning stacks and gaps."""
    if style.held_out_variant():
        rack, places = held_out.cube_rack(style)
        for left, right, z in places:
            _books(rack, style, left, right, -rack.size[1] / 2, rack.size[1] / 2 - 0.02, z, 0.3)
        return rack
    w, d = style.uniform(0.8, 1.2), style.uniform(0.28, 0.34)
    levels = int(style.rng.integers(4, 6))
    pitch = style.uniform(0.34, 0.39)
    board, h = 0.04, levels * pitch + 0.1
    wood = style.wood()
    a = Assembly("bookshelf", BOOKSHELF, (w, d, h))
    x, y = w / 2, d / 2
    for sx in (-1, 1):
        low, high = sorted((sx * x, sx * (x - board)))
        a.box((low, -y, 0), (high, y, h), wood)
    a.box((-x + board, y - board, 0), (x - board, y, h), wood)
    for level in range(levels + 1):
        z = 0.06 + level * pitch
        a.box((-x + board, -y, z), (x - board, y - board, z + board), wood)
        if level < levels:
            _books(a, style, -x + board, x - board, -y, y - board, z + board, pitch - board)
    return a


def _books(
    a: Assembly, style: Style, left: float, right: float, front: float, back: float, z: float, room: float
) -> None:
    """One row of books between two sides, standing on height z."""
    x = left + style.uniform(0.0, 0.05)
    depth = back - front
    while x < right - 0.06:
        if style.chance(0.08):
            x += style.uniform(0.05, 0.25)  # a gap
            continue
        count = int(style.rng.integers(2, 6))  # a series: same height and colour
        height = style.uniform(0.6, 0.92) * room
        thick, inset = style.uniform(0.032, 0.055), style.uniform(0.02, 0.06)
        color = linear_rgb(style.uniform(0, 1), style.uniform(0.2, 0.8), style.uniform(0.25, 0.85))
        material = style.add("books", color, linear_rgb(0.12, 0.3, 0.8), scale=0.03)
        width = min(count * thick, right - x)
        for k in range(int(width / thick)):
            low = x + k * thick
            a.box((low, front + inset, z), (low + thick - 0.003, front + 0.85 * depth, z + height), material)
        x += width


def tv_stand(style: Style) -> Assembly:
    """Low board with a television on it (the television is unlabelled)."""
    w, d, h = style.uniform(1.3, 1.7), style.uniform(0.4, 0.46), style.uniform(0.42, 0.52)
    front, dark = style.front((3, 1)), style.dark()
    a = Assembly("tv stand", OTHER, (w, d, h + 0.72))
    x, y = w / 2, d / 2
    a.box((-x + 0.03, -y + 0.04, 0), (x - 0.03, y, 0.06), dark)
    a.box((-x, -y, 0.06), (x, y, h), front)
    glow = linear_rgb(style.uniform(0.5, 0.65), 0.5, 0.2)
    picture = style.add("poster", glow, linear_rgb(style.uniform(0, 1), 0.4, 0.4), gloss=0.6, glow=0.2)
    tw = style.uniform(0.5, 0.6)
    a.box((-0.25, -0.1, h), (0.25, 0.1, h + 0.02), dark, UNLABELLED)
    a.box((-0.05, 0.0, h + 0.02), (0.05, 0.04, h + 0.1), dark, UNLABELLED)
    a.box((-tw, -0.03, h + 0.07), (tw, 0.03, h + 0.07 + 1.06 * tw), picture, UNLABELLED)
    return a


def night_stand(style: Style) -> Assembly:
    """Small chest with a lamp on it; ScanNet-20 has no class for either."""
    w, d, h = 0.45, 0.4, style.uniform(0.45, 0.55)
    a = Assembly("night stand", UNLABELLED, (w, d, h + 0.42))
    a.box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), style.front((1, 2)))
    shade = style.add("plain", linear_rgb(0.11, 0.25, 0.95), glow=0.5)
    a.cylinder((0, 0, h), 0.06, 0.03, style.dark())
    a.cylinder((0, 0, h + 0.03), 0.02, 0.17, style.metal())
    a.cylinder((0, 0, h + 0.2), 0.12, 0.2, shade)
    return a
