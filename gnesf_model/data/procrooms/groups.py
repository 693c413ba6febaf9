"""Groups of furniture that belong together: they place themselves and say whether there was room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gnesf_model.data.procrooms.furniture import (
    bathroom,
    bedroom,
    decor,
    kitchen,
    meeting,
    seating,
    storage,
    tables,
)
from gnesf_model.data.procrooms.furniture.assembly import Assembly, Style, pose_2d
from gnesf_model.data.procrooms.layout import Layout


def _kitchen(layout: Layout, style: Style) -> bool:
    """Counter with sink and a refrigerator beside it, as one block along a wall."""
    run = kitchen.counter(style, style.uniform(1.9, 2.6), upper=style.chance(0.75))
    fridge = kitchen.refrigerator(style)
    gap = 0.03
    width = run.size[0] + gap + fridge.size[0]
    block = Assembly("kitchen", run.label, (width, max(run.size[1], fridge.size[1]), 2.1))
    wall = layout.stand_at_wall(block, front=0.8, corner=0.7)
    if wall is None:
        run = kitchen.counter(style, run.size[0], upper=False)
        return layout.stand_at_wall(run, 0.8) is not None and layout.stand_at_wall(fridge, 0.7) is not None
    pose = layout.placed.pop().room_T_piece
    side = 1 if style.chance(0.5) else -1
    for piece, x in ((run, -side * (width - run.size[0]) / 2), (fridge, side * (width - fridge.size[0]) / 2)):
        layout.put(piece, pose @ pose_2d(x, (block.size[1] - piece.size[1]) / 2, 0), None)
    return True


def _lounge(layout: Layout, style: Style) -> bool:
    """Sofa at a wall with a coffee table before it."""
    sofa, low = seating.sofa(style, int(style.rng.integers(2, 4))), tables.coffee_table(style)
    gap = style.uniform(0.35, 0.45)
    if layout.stand_at_wall(sofa, front=0.45, reserve=gap + low.size[1]) is None:
        return False
    pose = layout.placed[-1].room_T_piece
    y = -sofa.size[1] / 2 - gap - low.size[1] / 2
    top = tables.with_tableware(style, low) if style.chance(0.4) else low
    layout.put(top, pose @ pose_2d(style.uniform(-0.1, 0.1), y, 0), None)
    return True


def _desk(layout: Layout, style: Style) -> bool:
    """Desk at a wall with an office chair before it."""
    desk = tables.desk(style)
    desk.size = (desk.size[0], desk.size[1], min(desk.size[2], 0.85))  # the screen may stand before a window
    chair = seating.office_chair(style) if style.chance(0.7) else seating.chair(style)
    if layout.stand_at_wall(desk, front=0.3, reserve=0.85) is None:
        return False
    pose = layout.placed[-1].room_T_piece
    y = -desk.size[1] / 2 - 0.42
    turn = np.pi + style.uniform(-0.5, 0.5)
    layout.put(chair, pose @ pose_2d(style.uniform(-0.15, 0.15), y, turn), None)
    return True


def _dining(layout: Layout, style: Style, long: bool = False) -> bool:
    """A table with chairs around it, free in the room."""
    round_ = not long and style.chance(0.35)
    top = (
        tables.round_table(style, style.uniform(1.0, 1.2))
        if round_
        else tables.table(style, style.uniform(1.7, 2.0) if long else style.uniform(1.3, 1.6), style.uniform(0.8, 0.9))
    )
    w, d, _ = top.size
    pose = layout.stand_free(w + 0.8, d + 0.8, margin=0.5)
    if pose is None:
        return False
    layout.put(tables.with_tableware(style, top) if style.chance(0.5) else top, pose, None)
    wood, seat = style.wood(), style.fabric() if style.chance(0.5) else None
    count = 4 if round_ else 2 * (3 if long else 2) + 2
    alike = int(style.rng.integers(1 << 30))  # the chairs of a set are the same
    for place in range(count):
        same = Style(np.random.Generator(np.random.PCG64(alike)), style.materials, style.held_out)
        chair = seating.chair(same, wood, seat)
        out = style.uniform(-0.1, 0.12)
        if round_:
            yaw = np.pi / 2 * place + style.uniform(-0.15, 0.15)
            x, y = 0.0, d / 2 + chair.size[1] / 2 - 0.1 + out / 2
        else:
            per_side = (count - 2) // 2
            side, along = place // per_side, place % per_side
            yaw = (0.0, np.pi, np.pi / 2)[side] if side < 2 else np.pi / 2 + np.pi * (place - 2 * per_side)
            x = 0.0 if side >= 2 else (along - (per_side - 1) / 2) * w / per_side * (0.92 if long else 0.84)
            y = (d if side < 2 else w) / 2 + chair.size[1] / 2 - 0.1 + out
            if place == count - 1 and style.chance(0.4):
                continue
        turn = style.uniform(-0.12, 0.12) * (0.2 if long else 1.0)
        layout.put(chair, pose @ pose_2d(0, 0, yaw) @ pose_2d(x, y, turn), None)
    return True


def _conference(layout: Layout, style: Style) -> bool:
    """A long table, free in the room, with office chairs or chairs on all sides."""
    table = meeting.conference_table(style, style.uniform(2.0, 2.8))
    w, d, _ = table.size
    pose = layout.stand_free(w + 1.3, d + 1.3, margin=0.4)
    if pose is None:
        return False
    layout.put(table, pose, None)
    swivel = style.chance(0.6)
    alike, per_side = int(style.rng.integers(1 << 30)), int(w / 0.75)
    places = [(yaw, (k - (per_side - 1) / 2) * 0.75) for yaw in (0.0, np.pi) for k in range(per_side)]
    places += [(yaw, 0.0) for yaw in (np.pi / 2, -np.pi / 2)]
    for yaw, along in places:
        same = Style(np.random.Generator(np.random.PCG64(alike)), style.materials, style.held_out)
        chair = seating.office_chair(same) if swivel else seating.chair(same)
        y = (w if along == 0.0 and abs(yaw) == np.pi / 2 else d) / 2 + chair.size[1] / 2
        if style.chance(0.1):
            continue
        y += style.uniform(-0.04, 0.12) if swivel else style.uniform(-0.1, 0.12)
        turn = style.uniform(-0.1, 0.1)
        layout.put(chair, pose @ pose_2d(0, 0, yaw) @ pose_2d(along, y, turn), None)
    return True


def _washbasin(layout: Layout, style: Style) -> bool:
    """Washbasin with a mirror over it."""
    basin = bathroom.washbasin(style)
    glass = bathroom.mirror(style, basin.size[0])
    wall = layout.stand_at_wall(basin, front=0.6, corner=0.2)
    if wall is None:
        return False
    u = float((np.linalg.inv(layout.room_T_wall(wall)) @ layout.placed[-1].room_T_piece)[0, 3])
    half, low, high = glass.size[0] / 2, 1.15, glass.size[2]
    if layout.wall_is_free(wall, u - half, u + half, low, high):
        layout.hang(glass, wall, u, low, high)
    return True


def _hung(make: Callable[[Style], Assembly], low: float) -> Callable[[Layout, Style], bool]:
    """Hang something where the wall is empty, from height `low` to its top."""

    def place(layout: Layout, style: Style) -> bool:
        piece = make(style)
        half = piece.size[0] / 2 + 0.08
        for _ in range(30):
            wall = int(style.rng.integers(4))
            reach = layout.wall_length(wall) / 2 - half
            if reach <= 0:
                continue
            u = style.uniform(-reach, reach)
            if layout.wall_is_free(wall, u - half, u + half, low - 0.06, piece.size[2]):
                layout.hang(piece, wall, u, low - 0.06, piece.size[2])
                return True
        return False

    return place


def _at_wall(make: Callable[[Style], Assembly], front: float, corner: float = 0.3) -> Callable[[Layout, Style], bool]:
    def place(layout: Layout, style: Style) -> bool:
        return layout.stand_at_wall(make(style), front, corner=corner) is not None

    return place


GROUPS: dict[str, Callable[[Layout, Style], bool]] = {
    "kitchen": _kitchen,
    "lounge": _lounge,
    "desk": _desk,
    "dining": _dining,
    "meeting": lambda layout, style: _dining(layout, style, long=True),
    "bed": _at_wall(bedroom.bed, 0.5, 0.4),
    "tv": _at_wall(storage.tv_stand, 0.8),
    "bookshelf": _at_wall(storage.bookshelf, 0.5),
    "cabinet": _at_wall(storage.cabinet, 0.6),
    "wardrobe": _at_wall(lambda style: storage.cabinet(style, tall=True), 0.6),
    "armchair": _at_wall(lambda style: seating.sofa(style, seats=1), 0.4),
    "night_stand": _at_wall(storage.night_stand, 0.3),
    "bin": _at_wall(decor.bin_, 0.2, 0.5),
    "plant": _at_wall(decor.plant, 0.2, 0.9),
    "floor_lamp": _at_wall(decor.floor_lamp, 0.2, 0.8),
    "toilet": _at_wall(bathroom.toilet, 0.55, 0.1),
    "bathtub": _at_wall(bathroom.bathtub, 0.5, 0.9),
    "washbasin": _washbasin,
    "towel": _hung(bathroom.towel, 0.75),
    "conference": _conference,
    "whiteboard": _hung(lambda style: meeting.whiteboard(style, style.uniform(1.4, 2.2)), 0.9),
    "screen": _hung(lambda style: meeting.wall_screen(style, style.uniform(1.2, 1.6)), 1.1),
}
"""Name of a group -> (layout, style) -> was there room?"""
