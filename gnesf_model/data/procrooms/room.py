"""`make_room(seed)`: one furnished room, every choice drawn from PCG64(seed)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnesf_model.data.procrooms.furniture import decor, shell
from gnesf_model.data.procrooms.furniture.assembly import Assembly, Style, pose_2d
from gnesf_model.data.procrooms.groups import GROUPS
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
        tiled: are floor and walls tiled, and pictures out of place?
    """

    width: tuple[float, float]
    depth: tuple[float, float]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    tiled: bool = False


KINDS = {
    "studio": RoomKind(
        (6.6, 7.4),
        (5.6, 6.4),
        ("kitchen", "bed", "lounge", "desk", "dining", "bookshelf", "cabinet"),
        ("wardrobe", "plant", "bin", "floor_lamp"),
    ),
    "living room": RoomKind(
        (5.0, 6.4),
        (4.4, 5.4),
        ("lounge", "tv", "bookshelf"),
        ("dining", "cabinet", "armchair", "bookshelf", "floor_lamp", "plant", "plant"),
    ),
    "kitchen": RoomKind((4.4, 5.6), (4.0, 5.0), ("kitchen", "dining"), ("cabinet", "bin", "cabinet", "plant")),
    "office": RoomKind(
        (4.6, 6.0),
        (4.2, 5.2),
        ("desk", "desk", "bookshelf", "cabinet"),
        ("meeting", "bookshelf", "bin", "desk", "plant", "wardrobe"),
    ),
    "bedroom": RoomKind(
        (4.2, 5.4),
        (4.0, 4.8),
        ("bed", "wardrobe"),
        ("desk", "cabinet", "armchair", "bookshelf", "floor_lamp", "bin", "plant"),
    ),
    "bathroom": RoomKind(
        (2.7, 3.5), (2.6, 3.3), ("bathtub", "toilet", "washbasin"), ("cabinet", "towel", "bin", "towel"), tiled=True
    ),
    "meeting room": RoomKind(
        (5.2, 6.6), (4.4, 5.2), ("conference", "whiteboard"), ("screen", "cabinet", "plant", "bin", "plant")
    ),
}
"""Kind of room `seed % 7`; a studio holds nearly everything but a bathroom."""


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
    if not kind.tiled:
        _pictures(layout, style)
    return _assemble(layout, style, height, kind.tiled, f"{name} {seed}")


def _assemble(layout: Layout, style: Style, height: float, tiled: bool, name: str) -> Scene:
    world_T_room = pose_2d(style.uniform(-0.5, 0.5), style.uniform(-0.5, 0.5), style.uniform(-0.6, 0.6))
    lamps, lights = _lamps(layout, style, height, world_T_room)
    pieces: list[tuple[Assembly, np.ndarray]] = [
        (part, np.eye(4)) for part in shell.shell(style, layout.width, layout.depth, height, tiled)
    ]
    pieces += [(p.assembly, p.room_T_piece) for p in layout.placed] + lamps
    primitives, objects = [], []
    for assembly, room_T_piece in pieces:
        first = len(primitives)
        primitives += assembly.placed(world_T_room @ room_T_piece)
        objects.append(SceneObject(assembly.name, first, len(primitives)))
    return Scene(primitives, objects, style.materials, lights, (layout.width, layout.depth, height), world_T_room, name)


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
    layout.clear.append(layout.floor_rectangle(layout.room_T_wall(wall), (u - half, -0.9), (u + half, 0.0)))
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
        layout.solid.append(layout.floor_rectangle(pose, (centre - spread / 2, -0.16), (centre + spread / 2, 0.0)))


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
