"""Toilet, bathtub with a shower curtain, washbasin with its mirror, towel rail."""

from __future__ import annotations

import numpy as np

from gnesf_model.data.procrooms.furniture.assembly import (
    BATHTUB,
    CABINET,
    COUNTER,
    SHOWER_CURTAIN,
    SINK,
    TOILET,
    UNLABELLED,
    Assembly,
    Style,
    linear_rgb,
    tilt,
)
from gnesf_model.data.procrooms.primitives import Kind


def porcelain(style: Style) -> int:
    tone = style.uniform(0.78, 0.86)
    return style.add("plain", (tone, tone, tone * style.uniform(0.94, 1.0)), gloss=0.7)


def toilet(style: Style) -> Assembly:
    """Bowl on a foot, seat, cistern with a button; the lid leans on the cistern or is shut.

    Held out for the test rooms: bowl hung on a low panel that hides the cistern.
    """
    hung = style.held_out_variant()
    w, d, top = style.uniform(0.38, 0.44), style.uniform(0.66, 0.72), style.uniform(0.74, 0.82)
    white, steel = porcelain(style), style.metal(0.7)
    seat = white if style.chance(0.6) else style.wood(gloss=0.4)
    water = style.add("plain", linear_rgb(0.55, 0.15, 0.25), gloss=0.8)
    is_open = style.chance(0.6)
    a = Assembly("toilet", TOILET, (w, d, 1.12 if hung else top))
    y, r, rim = d / 2, 0.46 * w, 0.39
    tank = y - (0.16 if hung else 0.19)  # its front
    bowl = -y + 0.28  # middle of the bowl
    if hung:
        a.box((-w / 2, tank, 0), (w / 2, y, 1.12), white)
        a.box((-0.12, tank - 0.02, 0.9), (0.12, tank, 1.0), steel)
        a.box((-0.13, bowl, 0.16), (0.13, tank, rim), white)
    else:
        a.box((-w / 2 + 0.01, tank, 0.36), (w / 2 - 0.01, y, top - 0.04), white)
        a.box((-w / 2, tank - 0.015, top - 0.04), (w / 2, y, top - 0.005), white)
        a.cylinder((0, (tank + y) / 2, top - 0.005), 0.035, 0.015, steel)
        a.box((-0.11, bowl - 0.1, 0), (0.11, y - 0.05, 0.2), white)
        a.box((-0.13, bowl, 0.15), (0.13, y - 0.02, rim), white)
    for drop, share, half in ((0.035, 1.0, 0.05), (0.1, 0.9, 0.08), (0.19, 0.68, 0.13)):  # narrower further down
        a.ellipsoid((0, bowl + 0.04 * (1 - share), rim - drop), (share * r, share * 0.27, half), white)
    a.ellipsoid((0, bowl, rim + 0.015), (r + 0.015, 0.28, 0.035), seat)
    if is_open:
        a.ellipsoid((0, bowl - 0.02, rim + 0.035), (r - 0.05, 0.2, 0.022), water)
        a.add(Kind.ELLIPSOID, (r, 0.03, 0.23), (0, tank - 0.055, rim + 0.25), tilt(-0.1), seat, None)
    else:
        a.ellipsoid((0, bowl, rim + 0.045), (r + 0.01, 0.275, 0.03), seat)
    return a


def bathtub(style: Style) -> Assembly:
    """Open tub of 6 cm walls with a tap, and a curtain of folds on a rail that reaches to the wall."""
    w, d, h = style.uniform(1.55, 1.75), style.uniform(0.74, 0.82), style.uniform(0.5, 0.58)
    white, steel = porcelain(style), style.metal(0.7)
    apron = white if style.chance(0.6) else style.add("tiles", _tile(style), (0.5, 0.5, 0.48), scale=0.15, gloss=0.5)
    a = Assembly("bathtub", BATHTUB, (w, d, 2.05))
    x, y, t = w / 2, d / 2, 0.06
    a.box((-x, -y, 0), (x, -y + t, h - 0.05), apron)
    a.box((-x, -y + t, 0), (x, y, 0.12), white)
    a.box((-x, y - t, 0.12), (x, y, h - 0.05), white)
    for low, high in ((-x, -x + t), (x - t, x)):
        a.box((low, -y + t, 0.12), (high, y - t, h - 0.05), white)
    for low, high in (  # the rim
        ((-x, -y), (x, -y + 0.08)),
        ((-x, y - 0.08), (x, y)),
        ((-x, -y + 0.08), (-x + 0.1, y - 0.08)),
        ((x - 0.1, -y + 0.08), (x, y - 0.08)),
    ):
        a.box((*low, h - 0.05), (*high, h), white)
    side = 1 if style.chance(0.5) else -1
    a.capsule((side * (x - 0.05), 0, h), (side * (x - 0.05), 0, h + 0.16), 0.022, steel)
    a.capsule((side * (x - 0.05), 0, h + 0.16), (side * (x - 0.2), 0, h + 0.14), 0.02, steel)
    if style.chance(0.85):
        _shower_curtain(a, style, -side, steel)
    else:
        a.size = (w, d, h + 0.2)
    return a


def _shower_curtain(a: Assembly, style: Style, side: int, steel: int) -> None:
    x, y, rail = a.size[0] / 2 - 0.06, a.size[1] / 2, 2.0
    front, radius = -y + 0.16, 0.032
    a.capsule((-x, front, rail), (x, front, rail), 0.015, steel, SHOWER_CURTAIN)
    for s in (-1, 1):
        a.capsule((s * x, front, rail), (s * x, y - 0.016, rail), 0.015, steel, SHOWER_CURTAIN)
    kind = style.rng.integers(3)
    ground = linear_rgb(style.uniform(0, 1), style.uniform(0.0, 0.4), style.uniform(0.75, 0.95))
    accent = linear_rgb(style.uniform(0, 1), style.uniform(0.3, 0.7), style.uniform(0.4, 0.8))
    pattern, scale = (("plain", 0.1), ("speckle", 0.05), ("stripes", 0.09))[kind]
    cloth = style.add(pattern, ground, accent, scale=scale, gloss=0.2)
    length = (2 * x - 0.05) * style.uniform(0.4, 1.0)
    start = side * (x - 0.05)
    for k, along in enumerate(np.arange(0.0, length, 0.058)):
        depth = front + (0.018 if k % 2 else -0.018)
        a.cylinder((start - side * along, depth, 0.24), radius, rail - 0.26, cloth, SHOWER_CURTAIN)


def washbasin(style: Style) -> Assembly:
    """Basin let into a plate on a cabinet, or on a column; a tap behind it."""
    wide = style.chance(0.65)
    w, d, h = (style.uniform(0.7, 1.1) if wide else style.uniform(0.52, 0.6)), style.uniform(0.46, 0.52), 0.86
    white, steel = porcelain(style), style.metal(0.7)
    a = Assembly("washbasin", CABINET if wide else SINK, (w, d, h + 0.2))
    x, y, t = w / 2, d / 2, 0.045
    rx, front, back = min(0.26, x - 0.02), -y, y - 0.12
    deep = h - 0.15
    if wide:
        doors = style.front((2 if w > 0.75 else 1, 1), painted=0.6)
        plate = style.add("speckle", _tile(style), (0.2, 0.19, 0.18), scale=0.006, gloss=0.5)
        if style.chance(0.3):
            plate = style.wood(gloss=0.4)
        a.box((-x + 0.03, -y + 0.06, 0), (x - 0.03, y, 0.08), style.dark(), CABINET)
        a.box((-x, -y + 0.02, 0.08), (x, y, deep - t), doors, CABINET)
        a.box((-x, -y, deep - t), (x, -y + 0.02, h - 0.03), doors, CABINET)
        for low, high in ((-x, -rx), (rx, x)):
            a.box((low, -y + 0.02, deep - t), (high, y, h - 0.03), doors, CABINET)
            a.box((low, -y, h - 0.03), (high, y, h), plate, COUNTER)
        a.box((-rx, back, deep - t), (rx, y, h), plate, COUNTER)
    else:
        a.cylinder((0, 0.02, 0), 0.1, deep - t, white)
        a.box((-rx, back, deep - t), (rx, y, h), white, SINK)
    a.box((-rx, front + 0.02, deep - t), (rx, back, deep), white, SINK)
    for low, high in (
        ((-rx, front + 0.02), (-rx + t, back)),
        ((rx - t, front + 0.02), (rx, back)),
        ((-rx + t, front + 0.02), (rx - t, front + 0.02 + t)),
        ((-rx + t, back - t), (rx - t, back)),
    ):
        a.box((*low, deep), (*high, h + 0.02), white, SINK)
    a.capsule((0, back + 0.05, h), (0, back + 0.05, h + 0.15), 0.018, steel, SINK)
    a.capsule((0, back + 0.05, h + 0.15), (0, back - 0.08, h + 0.13), 0.016, steel, SINK)
    return a


def mirror(style: Style, width: float) -> Assembly:
    """Mirror over a washbasin, matt silver because rays do not bounce; unlabelled, as in ScanNet-20."""
    w, low, high = min(width, style.uniform(0.5, 0.8)), 1.2, style.uniform(1.75, 1.95)
    glass, frame = style.add("metal", linear_rgb(0.55, 0.08, 0.9), gloss=0.9), style.metal(0.4)
    a = Assembly("mirror", UNLABELLED, (w, 0.04, high))
    a.box((-w / 2, -0.02, low), (w / 2, 0, high), frame)
    a.box((-w / 2 + 0.03, -0.04, low + 0.03), (w / 2 - 0.03, -0.02, high - 0.03), glass)
    return a


def towel(style: Style) -> Assembly:
    """Towel on a rail at the wall; unlabelled."""
    w, rail = style.uniform(0.4, 0.6), style.uniform(1.2, 1.4)
    steel, cloth = style.metal(0.7), style.fabric("stripes" if style.chance(0.4) else "fabric")
    a = Assembly("towel", UNLABELLED, (w, 0.12, rail + 0.02))
    for s in (-1, 1):
        a.capsule((s * (w / 2 - 0.02), -0.015, rail), (s * (w / 2 - 0.02), -0.09, rail), 0.015, steel)
    a.capsule((-w / 2 + 0.02, -0.09, rail), (w / 2 - 0.02, -0.09, rail), 0.012, steel)
    a.box((-w / 2 + 0.06, -0.11, rail - style.uniform(0.4, 0.6)), (w / 2 - 0.06, -0.07, rail + 0.015), cloth)
    return a


def _tile(style: Style) -> tuple[float, float, float]:
    return linear_rgb(style.uniform(0, 1), style.uniform(0.0, 0.3), style.uniform(0.6, 0.92))
