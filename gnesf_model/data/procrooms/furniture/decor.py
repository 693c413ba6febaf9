"""Things between the furniture: bin, plant, lamps."""

from __future__ import annotations

import numpy as np

from gnesf_model.data.procrooms.furniture.assembly import OTHER, UNLABELLED, Assembly, Style, linear_rgb


def bin_(style: Style) -> Assembly:
    """Waste bin; "otherfurniture" in ScanNet."""
    r, h = style.uniform(0.13, 0.17), style.uniform(0.28, 0.5)
    a = Assembly("bin", OTHER, (2 * r, 2 * r, h))
    a.cylinder((0, 0, 0), r - 0.01, h - 0.04, style.paint(0.5, (0.2, 0.8)))
    a.cylinder((0, 0, h - 0.04), r, 0.04, style.dark())
    return a


def plant(style: Style) -> Assembly:
    """Potted plant; unlabelled."""
    h = style.uniform(0.8, 1.3)
    a = Assembly("plant", UNLABELLED, (0.6, 0.6, h))
    a.cylinder((0, 0, 0), 0.16, 0.3, style.paint(0.6, (0.4, 0.85)))
    a.cylinder((0, 0, 0.3), 0.03, h - 0.6, style.wood())
    leaf = style.add("speckle", linear_rgb(0.3, 0.6, 0.45), linear_rgb(0.28, 0.7, 0.28), scale=0.03)
    for k in range(5):
        angle, z = 2.4 * k, h - 0.2 - 0.09 * k
        a.ellipsoid((0.11 * np.cos(angle), 0.11 * np.sin(angle), z), (0.19, 0.19, 0.12), leaf)
    return a


def floor_lamp(style: Style) -> Assembly:
    """Standing lamp with a drum shade; unlabelled."""
    h, metal = style.uniform(1.5, 1.7), style.metal(0.4)
    a = Assembly("floor lamp", UNLABELLED, (0.4, 0.4, h))
    a.cylinder((0, 0, 0), 0.15, 0.03, metal)
    a.cylinder((0, 0, 0.03), 0.02, h - 0.33, metal)
    a.cylinder((0, 0, h - 0.3), 0.2, 0.3, style.add("plain", linear_rgb(0.11, 0.2, 0.95), glow=0.55))
    return a


def ceiling_lamp(style: Style, ceiling: float) -> Assembly:
    """Flat round lamp under the ceiling; unlabelled. Its frame's origin is on the floor."""
    a = Assembly("ceiling lamp", UNLABELLED, (0.44, 0.44, ceiling))
    shade = style.add("plain", linear_rgb(0.12, 0.06, 1.0), glow=0.9)
    a.cylinder((0, 0, ceiling - 0.09), 0.22, 0.09, shade)
    return a
