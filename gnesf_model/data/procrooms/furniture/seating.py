"""Chairs, office chairs and sofas."""

from __future__ import annotations

import numpy as np

from gnesf_model.data.procrooms.furniture import held_out
from gnesf_model.data.procrooms.furniture.assembly import CHAIR, SOFA, Assembly, Style, tilt


def chair(style: Style, wood: int | None = None, seat: int | None = None) -> Assembly:
    """Dining chair: four legs, a seat, a back of slats, ladder rungs or one panel."""
    if style.held_out_variant():
        return held_out.shell_chair(style)
    w, d = style.uniform(0.42, 0.48), style.uniform(0.42, 0.48)
    seat_z, top = style.uniform(0.44, 0.47), style.uniform(0.84, 0.98)
    leg = style.uniform(0.04, 0.05)
    wood = style.wood() if wood is None else wood
    kind = style.rng.integers(3)
    a = Assembly("chair", CHAIR, (w, d, top))
    x, y = w / 2, d / 2
    for sx in (-1, 1):
        outer, inner = sx * x, sx * (x - leg)
        left, right = min(outer, inner), max(outer, inner)
        a.box((left, -y, 0), (right, -y + leg, seat_z - 0.05), wood)
        a.box((left, y - leg, 0), (right, y, top), wood)
        a.box((left, -y + leg, seat_z - 0.11), (right, y - leg, seat_z - 0.05), wood)
    a.box((-x, -y, seat_z - 0.05), (x, y - leg, seat_z), wood if seat is None else seat)
    a.box((-x + leg, y - leg, top - 0.10), (x - leg, y, top), wood)
    low = seat_z + 0.10
    if kind == 0:
        a.box((-x + leg, y - leg, low), (x - leg, y, top - 0.10), wood if seat is None else seat)
    elif kind == 1:
        for centre in np.linspace(-x + leg, x - leg, 5)[1:-1]:
            a.box((centre - 0.02, y - leg, low - 0.1), (centre + 0.02, y, top - 0.10), wood)
    else:
        for z in (low, (low + top) / 2 - 0.05):
            a.box((-x + leg, y - leg, z), (x - leg, y, z + 0.07), wood)
    return a


def office_chair(style: Style) -> Assembly:
    """Swivel chair: five-star base, column, upholstered seat and back, armrests."""
    seat, dark = style.fabric(), style.dark()
    if style.chance(0.5):
        seat = style.add("fabric", (0.02, 0.02, 0.025), (0.03, 0.03, 0.03), scale=0.01)
    a = Assembly("office chair", CHAIR, (0.64, 0.64, 1.02))
    for k in range(5):
        angle = 2 * np.pi * k / 5 + 0.3
        tip = (0.28 * np.cos(angle), 0.28 * np.sin(angle), 0.06)
        a.capsule((0, 0, 0.1), tip, 0.022, dark)
        a.ellipsoid((tip[0], tip[1], 0.032), (0.032, 0.032, 0.032), dark)
    a.cylinder((0, 0, 0.1), 0.03, 0.34, dark)
    a.box((-0.24, -0.24, 0.44), (0.24, 0.22, 0.52), seat)
    a.box((-0.05, 0.22, 0.46), (0.05, 0.26, 0.66), dark)
    a.turned_box((0.22, 0.03, 0.23), (0, 0.26, 0.78), tilt(-0.1), seat)
    for sx in (-1, 1):
        a.box((sx * 0.26 - 0.02, -0.03, 0.46), (sx * 0.26 + 0.02, 0.03, 0.66), dark)
        a.box((sx * 0.26 - 0.035, -0.15, 0.66), (sx * 0.26 + 0.035, 0.13, 0.70), dark)
    return a


def sofa(style: Style, seats: int = 3) -> Assembly:
    """Sofa or armchair (`seats` = 1): plinth, arms, back, seat and back cushions."""
    if style.held_out_variant():
        return held_out.bench_sofa(style, seats)
    arm, seat_w = style.uniform(0.14, 0.22), style.uniform(0.58, 0.66)
    w, d = seats * seat_w + 2 * arm, style.uniform(0.86, 0.96)
    seat_z, arm_z, top = style.uniform(0.40, 0.45), style.uniform(0.56, 0.64), style.uniform(0.78, 0.88)
    cloth, foot = style.fabric(), style.wood()
    cushion = cloth if style.chance(0.6) else style.fabric()
    a = Assembly("sofa" if seats > 1 else "armchair", SOFA, (w, d, top))
    x, y, back = w / 2, d / 2, 0.18
    for sx in (-1, 1):
        for py in (-y + 0.08, y - 0.08):
            a.cylinder((sx * (x - 0.08), py, 0), 0.03, 0.08, foot)
        low, high = sorted((sx * x, sx * (x - arm)))
        a.box((low, -y, 0.08), (high, y, arm_z), cloth)
        if style.chance(0.5):  # rolled arm
            mid = (low + high) / 2
            a.capsule((mid, -y + arm / 2, arm_z), (mid, y - arm / 2, arm_z), arm / 2, cloth)
    a.box((-x + arm, -y + 0.03, 0.08), (x - arm, y, seat_z - 0.14), cloth)
    a.box((-x + arm, y - back, seat_z - 0.14), (x - arm, y, top), cloth)
    for k in range(seats):
        left = -x + arm + k * seat_w
        a.box((left + 0.005, -y, seat_z - 0.14), (left + seat_w - 0.005, y - back, seat_z), cushion)
        a.turned_box(
            (seat_w / 2 - 0.015, 0.065, 0.21),
            (left + seat_w / 2, y - back - 0.095, seat_z + 0.215),
            tilt(-0.12),
            cushion,
        )
    pillow = style.fabric("stripes" if style.chance(0.3) else "fabric")
    for sx in (-1, 1)[: int(style.rng.integers(0, 3))]:
        if seats > 1:
            a.ellipsoid((sx * (x - arm - 0.22), y - back - 0.27, seat_z + 0.2), (0.2, 0.09, 0.19), pillow)
    return a
