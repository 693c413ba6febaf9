"""Kitchen run (base cabinets, counter, sink, wall cabinets) and refrigerator."""

from __future__ import annotations

from gnesf_model.data.procrooms.furniture.assembly import (
    CABINET,
    COUNTER,
    REFRIGERATOR,
    SINK,
    UNLABELLED,
    Assembly,
    Style,
)


def counter(style: Style, width: float = 2.2, upper: bool = True) -> Assembly:
    """Base cabinets under a counter with a sink let into it; wall cabinets above when `upper`."""
    d, h, slab = 0.62, 0.9, 0.04
    columns = max(2, round(width / 0.6))
    front, dark, steel = style.front((columns, 1), painted=0.7), style.dark(), style.metal()
    stone = style.add("speckle", (0.5, 0.48, 0.45), (0.12, 0.11, 0.1), scale=0.006, gloss=0.5)
    if style.chance(0.5):
        stone = style.wood(gloss=0.4)
    a = Assembly("counter", COUNTER, (width, d, 2.1 if upper else h + 0.35))
    x, y, z = width / 2, d / 2, h - slab
    a.box((-x, -y + 0.08, 0), (x, y, 0.09), dark, CABINET)
    # The basin hangs into a lower part of the body behind a front of full height.
    sx, rim, basin = style.uniform(-x + 0.45, x - 0.45), (0.26, 0.19), 0.18
    cy, deep = -0.02, z - basin
    a.box((-x, -y + 0.03, 0.09), (x, -y + 0.07, z), front, CABINET)
    a.box((-x, -y + 0.07, 0.09), (x, y, deep - 0.04), front, CABINET)
    for low, high in ((-x, sx - rim[0] - 0.04), (sx + rim[0] + 0.04, x)):
        a.box((low, -y + 0.07, deep - 0.04), (high, y, z), front, CABINET)
    for low, high in (  # the slab around the basin
        ((-x, -y), (sx - rim[0], y)),
        ((sx + rim[0], -y), (x, y)),
        ((sx - rim[0], -y), (sx + rim[0], cy - rim[1])),
        ((sx - rim[0], cy + rim[1]), (sx + rim[0], y)),
    ):
        a.box((*low, z), (*high, h), stone)
    _sink(a, sx, cy, rim, deep, h, steel)
    a.box((-x, y - 0.04, h), (x, y, h + 0.1), stone)
    if upper:
        wall = style.front((columns, 1), painted=0.7) if style.chance(0.3) else front
        a.box((-x, y - 0.36, 1.45), (x, y, 2.1), wall, CABINET)
    _clutter(a, style, sx, x, h)
    return a


def _sink(a: Assembly, x: float, y: float, rim: tuple[float, float], bottom: float, top: float, steel: int) -> None:
    """Open basin of 4 cm walls and a tap behind it."""
    rx, ry = rim
    a.box((x - rx, y - ry, bottom - 0.04), (x + rx, y + ry, bottom), steel, SINK)
    for s in (-1, 1):
        low, high = sorted((s * rx, s * (rx - 0.04)))
        a.box((x + low, y - ry, bottom), (x + high, y + ry, top + 0.01), steel, SINK)
        low, high = sorted((s * ry, s * (ry - 0.04)))
        a.box((x - rx + 0.04, y + low, bottom), (x + rx - 0.04, y + high, top + 0.01), steel, SINK)
    base = y + ry + 0.035
    a.cylinder((x, base, top), 0.025, 0.03, steel, SINK)
    a.capsule((x, base, top + 0.03), (x, base, top + 0.26), 0.02, steel, SINK)
    a.capsule((x, base, top + 0.26), (x, base - 0.17, top + 0.24), 0.02, steel, SINK)


def _clutter(a: Assembly, style: Style, sink_x: float, x: float, top: float) -> None:
    """A board, a pot and canisters on the longer side of the counter."""
    side = -1 if sink_x > 0 else 1
    start, end = sink_x + side * 0.4, side * (x - 0.15)
    if (end - start) * side < 0.35:
        return
    pot, tin = style.metal(0.5), style.paint(0.7, gloss=0.5)
    a.cylinder((end, 0.1, top), 0.1, 0.13, pot, UNLABELLED)
    a.cylinder((end, 0.1, top + 0.13), 0.03, 0.03, style.dark(), UNLABELLED)
    for k in range(2):
        a.cylinder((start + side * 0.13 * k, 0.16, top), 0.05, 0.2 - 0.05 * k, tin, UNLABELLED)


def refrigerator(style: Style) -> Assembly:
    """Tall body with a freezer door, a fridge door, a seam between and bar handles."""
    w, d, h = style.uniform(0.6, 0.75), style.uniform(0.62, 0.7), style.uniform(1.65, 1.85)
    split = h * style.uniform(0.62, 0.7) if style.chance(0.6) else h * style.uniform(0.35, 0.4)
    white = style.add("plain", (0.75, 0.75, 0.76), gloss=0.5) if style.chance(0.5) else style.metal(0.68)
    dark, steel = style.dark(), style.metal(0.45)
    a = Assembly("refrigerator", REFRIGERATOR, (w, d, h))
    x, y = w / 2, d / 2
    a.box((-x, -y + 0.1, 0.03), (x, y, h), white)
    a.box((-x + 0.01, -y + 0.1, 0), (x - 0.01, y, 0.03), dark)
    a.box((-x + 0.01, -y + 0.085, 0.05), (x - 0.01, -y + 0.1, h - 0.01), dark)  # seal, seen in the gaps
    side = x - 0.06 if style.chance(0.5) else -x + 0.06
    for low, high in ((0.05, split - 0.008), (split + 0.008, h)):
        a.box((-x, -y + 0.045, low), (x, -y + 0.085, high), white)
        middle = (low + high) / 2
        reach = min(0.22, (high - low) / 2 - 0.06)
        a.capsule((side, -y + 0.022, middle - reach), (side, -y + 0.022, middle + reach), 0.02, steel)
        for z in (middle - reach, middle + reach):
            a.box((side - 0.015, -y + 0.03, z - 0.02), (side + 0.015, -y + 0.045, z + 0.02), steel)
    return a
