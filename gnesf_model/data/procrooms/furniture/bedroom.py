"""Beds."""

from __future__ import annotations

from gnesf_model.data.procrooms.furniture import held_out
from gnesf_model.data.procrooms.furniture.assembly import BED, Assembly, Style


def bed(style: Style) -> Assembly:
    """Frame on legs, headboard at the back, mattress, blanket and pillows."""
    double = style.chance(0.6)
    w, length = (style.uniform(1.5, 1.7) if double else style.uniform(0.95, 1.1)), style.uniform(2.0, 2.1)
    if style.held_out_variant():
        return held_out.four_poster(style, w, length)
    top = style.uniform(0.85, 1.1)
    wood = style.wood() if style.chance(0.7) else style.fabric()
    sheet = style.add("fabric", (0.72, 0.71, 0.68), (0.65, 0.65, 0.65), scale=0.008)
    blanket = style.fabric("stripes" if style.chance(0.3) else "fabric")
    pillow = sheet if style.chance(0.5) else style.fabric()
    a = Assembly("bed", BED, (w, length, top))
    x, y = w / 2, length / 2
    a.box((-x, y - 0.07, 0), (x, y, top), wood)
    a.box((-x, -y, 0), (x, -y + 0.05, 0.42), wood)
    a.box((-x, -y + 0.05, 0.14), (x, y - 0.07, 0.30), wood)
    a.box((-x + 0.04, -y + 0.06, 0.30), (x - 0.04, y - 0.08, 0.50), sheet)
    a.box((-x + 0.01, -y + 0.055, 0.32), (x - 0.01, y - 0.62, 0.54), blanket)
    count = 2 if double else 1
    for k in range(count):
        px = (k - (count - 1) / 2) * w / 2
        a.ellipsoid((px, y - 0.32, 0.56), (w / (2 * count) - 0.06, 0.21, 0.10), pillow)
    return a
