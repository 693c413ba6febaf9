"""What a meeting room has: a long table, a whiteboard, a screen on the wall."""

from __future__ import annotations

from gnesf_model.data.procrooms.furniture.assembly import TABLE, UNLABELLED, Assembly, Style, linear_rgb


def conference_table(style: Style, width: float) -> Assembly:
    """Long table on two broad supports, with a sunk strip for cables."""
    d, h = style.uniform(1.0, 1.2), style.uniform(0.72, 0.75)
    top = style.wood() if style.chance(0.7) else style.paint(0.1, (0.75, 0.95), gloss=0.4)
    foot = style.metal(0.35) if style.chance(0.5) else style.dark()
    a = Assembly("conference table", TABLE, (width, d, h))
    x, y = width / 2, d / 2
    a.box((-x, -y, h - 0.05), (x, y, h), top)
    for s in (-1, 1):
        middle = s * (x - 0.45)
        a.box((middle - 0.05, -y + 0.2, 0.04), (middle + 0.05, y - 0.2, h - 0.05), foot)
        a.box((middle - 0.12, -y + 0.12, 0), (middle + 0.12, y - 0.12, 0.04), foot)
    return a


def whiteboard(style: Style, width: float) -> Assembly:
    """Whiteboard with an aluminium frame, a tray and some writing; unlabelled, as in ScanNet-20."""
    low, high = 0.95, style.uniform(1.95, 2.05)
    white = style.add("plain", (0.8, 0.8, 0.8), gloss=0.6)
    ink = style.add("plain", linear_rgb(style.uniform(0.0, 1.0), 0.7, 0.5))
    steel = style.metal(0.6)
    a = Assembly("whiteboard", UNLABELLED, (width, 0.1, high))
    x = width / 2
    a.box((-x, -0.02, low), (x, 0, high), steel)
    a.box((-x + 0.03, -0.03, low + 0.03), (x - 0.03, -0.02, high - 0.03), white)
    a.box((-x + 0.1, -0.1, low - 0.02), (x - 0.1, 0, low), steel)
    z = high - 0.18
    while z > low + 0.35:
        start, length = -x + 0.2, style.uniform(0.25, 0.75) * (width - 0.6)
        a.box((start, -0.034, z), (start + length, -0.03, z + 0.02), ink)
        z -= style.uniform(0.12, 0.2)
    return a


def wall_screen(style: Style, width: float) -> Assembly:
    """Flat screen on the wall; unlabelled."""
    dark = style.dark()
    glow = linear_rgb(style.uniform(0.5, 0.7), 0.4, style.uniform(0.4, 0.8))
    picture = style.add("poster", glow, linear_rgb(style.uniform(0, 1), 0.3, 0.8), glow=0.5, gloss=0.5)
    low, height = 1.15, 0.58 * width
    a = Assembly("screen", UNLABELLED, (width, 0.08, low + height))
    a.box((-0.2, -0.03, low + 0.15), (0.2, 0, low + height - 0.15), dark)
    a.box((-width / 2, -0.08, low), (width / 2, -0.03, low + height), picture)
    return a
