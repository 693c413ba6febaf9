"""`make_room(seed)`: one furnished room, every choice drawn from PCG64(seed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gnesf_model.data.procrooms.furniture import bedroom, decor, kitchen, seating, shell, storage, tables
from gnesf_model.data.procrooms.furniture.assembly import Assembly, Style, pose_2d
from gnesf_model.data.procrooms.layout import Layout
from gnesf_model.data.procrooms.scene import Light, Scene, SceneObject

LAYOUT_ATTEMPTS = 24


@dataclass(frozen=True)
class RoomKind:
    """What a kind of room is: its size and the groups of furniture that go in, in this order.

    Attributes:
        width, depth: ranges of the inner size in metres.
        required: groups without which the layout is drawn again.
        optional: groups that go in where there is room.
    """

    width: tuple[float, float]
    depth: tuple[float, float]
    required: tuple[str, ...]
    optional: tuple[str, ...]


KINDS = {
    "studio": RoomKind(
        (6.6, 7.4), (5.6, 6.4), ("kitchen", "bed", "lounge", "desk", "dining", "bookshelf", "cabinet"),
        ("wardrobe", "plant", "bin", "floor_lamp"),
    ),
    "living room": RoomKind(
        (5.0, 6.4), (4.4, 5.4), ("lounge", "tv", "bookshelf"),
        ("dining", "cabinet", "armchair", "bookshelf", "floor_lamp", "plant", "plant"),
    ),
    "kitchen": RoomKind(
        (4.4, 5.6), (4.0, 5.0), ("kitchen", "dining"), ("cabinet", "bin", "cabinet", "plant")
    ),
    "office": RoomKind(
        (4.6, 6.0), (4.2, 5.2), ("desk", "desk", "bookshelf", "cabinet"),
        ("meeting", "bookshelf", "bin", "desk", "plant", "wardrobe"),
    ),
    "bedroom": RoomKind(
        (4.2, 5.4), (4.0, 4.8), ("bed", "wardrobe"),
        ("desk", "cabinet", "armchair", "bookshelf", "floor_lamp", "bin", "plant"),
    ),
}
"""Kind of room `seed % 5`; a studio holds nearly everything."""


def make_room(seed: int) -> Scene:
    """One furnished room.

    Args:
        seed: >= 0; the same seed gives the same room, number by number, on any machine.

    Returns:
        A scene whose world has z up and the floor at z = 0; the room stands turned by some angle about z,
        so that no wall lies along a voxel grid by accident.

    Raises:
        ValueError: negative seed.
    """
    if seed < 0:
        raise ValueError(f"room seed is {seed}, expected a number >= 0")
    rng = np.random.Generator(np.random.PCG64(seed))
    name = list(KINDS)[seed % len(KINDS)]
    kind = KINDS[name]
    for attempt in range(LAYOUT_ATTEMPTS):
        style = Style(rng)
        grow = 1 + 0.02 * attempt
        width, depth = style.uniform(*kind.width) * grow, style.uniform(*kind.depth) * grow
        layout, height = Layout(width, depth, rng), style.uniform(2.5, 2.9)
        _openings(layout, style, height)
        if not all(GROUPS[group](layout, style) for group in kind.required):
            continue
        for group in kind.optional:
            GROUPS[group](layout, style)
        if _walkable(layout) > 0.25:
            break
    else:
        raise RuntimeError(f"no layout found for the {name} of seed {seed}: report this seed")
    _pictures(layout, style)
    return _assemble(layout, style, height, f"{name} {seed}")


def _assemble(layout: Layout, style: Style, height: float, name: str) -> Scene:
    world_T_room = pose_2d(style.uniform(-0.5, 0.5), style.uniform(-0.5, 0.5), style.uniform(-0.6, 0.6))
    lamps, lights = _lamps(layout, style, height, world_T_room)
    pieces: list[tuple[Assembly, np.ndarray]] = [
        (part, np.eye(4)) for part in shell.shell(style, layout.width, layout.depth, height)
    ]
    pieces += [(p.assembly, p.room_T_piece) for p in layout.placed] + lamps
    primitives, objects = [], []
    for assembly, room_T_piece in pieces:
        first = len(primitives)
        primitives += assembly.placed(world_T_room @ room_T_piece)
        objects.append(SceneObject(assembly.name, first, len(primitives)))
    return Scene(
        primitives, objects, style.materials, lights, (layout.width, layout.depth, height), world_T_room, name
    )


def _lamps(
    layout: Layout, style: Style, height: float, world_T_room: np.ndarray
) -> tuple[list[tuple[Assembly, np.ndarray]], list[Light]]:
    """Two ceiling lamps along the longer side, with the lights a little below them."""
    lamps, lights = [], []
    power = style.uniform(0.9, 1.2) * layout.width * layout.depth / 3.6
    warmth = style.uniform(0.75, 1.0)
    for side in (-1, 1):
        along, across = side * style.uniform(0.22, 0.27), style.uniform(-0.08, 0.08)
        x, y = along * layout.width, across * layout.depth
        lamps.append((decor.ceiling_lamp(style, height), pose_2d(x, y, 0)))
        position = world_T_room @ np.array([x, y, height - 0.25, 1])
        color = np.array([1.0, 0.5 + 0.5 * warmth, warmth]) * power
        lights.append(Light(position[:3], color))
    return lamps, lights


def _openings(layout: Layout, style: Style, height: float) -> None:
    """A door with free floor before it, and a window or two, some with curtains."""
    walls = style.rng.permutation(4)
    door, wall = shell.door(style), int(walls[0])
    side = 1 if style.chance(0.5) else -1
    u = side * (layout.wall_length(wall) / 2 - door.size[0] / 2 - style.uniform(0.15, 0.6))
    layout.hang(door, wall, u, 0.0, door.size[2])
    half = door.size[0] / 2
    layout.clear.append(
        layout.floor_rectangle(layout.room_T_wall(wall), (u - half, -0.9), (u + half, 0.0))
    )
    for wall in walls[1 : 2 + int(style.chance(0.5))]:
        wall = int(wall)
        width, sill, top = style.uniform(1.0, 1.7), style.uniform(0.9, 1.05), style.uniform(2.05, 2.2)
        u = style.uniform(-0.2, 0.2) * layout.wall_length(wall)
        layout.hang(shell.window(style, width, sill, top), wall, u, sill - 0.05, top)
        if style.chance(0.6):
            _curtains(layout, style, wall, u, width, min(top + 0.15, height - 0.1))


def _curtains(layout: Layout, style: Style, wall: int, u: float, width: float, height: float) -> None:
    cloth, spread = style.fabric(), style.uniform(0.35, 0.5)
    for side in (-1, 1):
        centre = u + side * (width / 2 + spread / 2 - 0.02 + 0.09)
        if abs(centre) + spread / 2 > layout.wall_length(wall) / 2 - 0.05:
            continue
        layout.hang(shell.curtain(style, spread, height, cloth), wall, centre, 0.0, height)
        pose = layout.room_T_wall(wall)
        layout.solid.append(
            layout.floor_rectangle(pose, (centre - spread / 2, -0.16), (centre + spread / 2, 0.0))
        )


def _pictures(layout: Layout, style: Style) -> None:
    """Up to four pictures where the wall is empty."""
    hung = 0
    for _ in range(60):
        wall = int(style.rng.integers(4))
        w, h, z = style.uniform(0.5, 1.0), style.uniform(0.45, 0.75), style.uniform(1.5, 1.65)
        u = style.uniform(-0.5, 0.5) * (layout.wall_length(wall) - w - 0.4)
        if hung < 4 and layout.wall_is_free(wall, u - w / 2 - 0.1, u + w / 2 + 0.1, z - h / 2 - 0.06, z + h / 2):
            layout.hang(shell.picture(style, w, h, z), wall, u, z - h / 2, z + h / 2)
            hung += 1


# -- groups of furniture: place themselves and say whether there was room


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
        same = Style(np.random.Generator(np.random.PCG64(alike)), style.materials)
        chair = seating.chair(same, wood, seat)
        out = style.uniform(-0.1, 0.12)
        if round_:
            yaw = np.pi / 2 * place + style.uniform(-0.15, 0.15)
            x, y = 0.0, d / 2 + chair.size[1] / 2 - 0.1 + out / 2
        else:
            per_side = (count - 2) // 2
            side, along = place // per_side, place % per_side
            yaw = (0.0, np.pi, np.pi / 2)[side] if side < 2 else np.pi / 2 + np.pi * (place - 2 * per_side)
            x = 0.0 if side >= 2 else (along - (per_side - 1) / 2) * w / per_side * 0.84
            y = (d if side < 2 else w) / 2 + chair.size[1] / 2 - 0.1 + out
            if place == count - 1 and style.chance(0.4):
                continue
        turn = style.uniform(-0.12, 0.12)
        layout.put(chair, pose @ pose_2d(0, 0, yaw) @ pose_2d(x, y, turn), None)
    return True


def _at_wall(
    make: Callable[[Style], Assembly], front: float, corner: float = 0.3
) -> Callable[[Layout, Style], bool]:
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
}
"""Name of a group -> (layout, style) -> was there room?"""


def _walkable(layout: Layout, clearance: float = 0.32, cell: float = 0.1) -> float:
    """Fraction of the floor in the largest connected piece that keeps `clearance` from everything."""
    from scipy.ndimage import label  # scipy.ndimage takes a while to import

    x, y = (np.arange(-s / 2 + cell / 2, s / 2, cell) for s in (layout.width, layout.depth))
    free = (np.abs(x)[:, None] < layout.width / 2 - clearance) & (np.abs(y) < layout.depth / 2 - clearance)
    for x0, y0, x1, y1 in layout.solid:
        beside = (x < x0 - clearance) | (x > x1 + clearance)
        free &= beside[:, None] | (y < y0 - clearance) | (y > y1 + clearance)
    regions, count = label(free)
    sizes = np.bincount(regions.reshape(-1))[1:] if count else np.zeros(1)
    return float(sizes.max()) * cell * cell / (layout.width * layout.depth)
