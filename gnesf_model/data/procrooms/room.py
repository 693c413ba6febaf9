"""`make_room(seed)`: one furnished room or several, every choice drawn from PCG64(seed)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnesf_model.data.procrooms.flat import MAX_ROOMS, Cell, plan_flat
from gnesf_model.data.procrooms.furnish import FurnishedRoom, furnish
from gnesf_model.data.procrooms.furniture import decor, shell
from gnesf_model.data.procrooms.furniture.assembly import Assembly, pose_2d
from gnesf_model.data.procrooms.kinds import KINDS
from gnesf_model.data.procrooms.layout import Rectangle
from gnesf_model.data.procrooms.scene import Light, Scene, SceneObject
from gnesf_model.data.procrooms.splits import split_of

FLAT_ATTEMPTS = 8


def make_room(seed: int, rooms: int = 1) -> Scene:
    """One furnished room of the kind `seed % 7`, or a flat.

    Args:
        seed: >= 0; the same seed gives the same room, number by number, on any machine. Seeds of the test
            split (`splits.SPLITS`) have furniture of shapes that no other room has, besides the usual ones.
        rooms: more than 1 makes a flat of that many rooms, joined by doorways.

    Returns:
        A scene whose world has z up and the floor at z = 0; the room stands turned by some angle about z,
        so that no wall lies along a voxel grid by accident.

    Raises:
        ValueError: negative seed, or a number of rooms that is not 1 to 40.
    """
    if seed < 0:
        raise ValueError(f"room seed is {seed}, expected a number >= 0")
    if not 1 <= rooms <= MAX_ROOMS:
        raise ValueError(f"a flat of {rooms} rooms cannot be planned, expected 1 to {MAX_ROOMS}")
    held_out = split_of(seed) == "test"
    rng = np.random.Generator(np.random.PCG64(seed if rooms == 1 else [seed, rooms]))
    if rooms == 1:
        name = list(KINDS)[seed % len(KINDS)]
        room = furnish(name, rng, held_out=held_out)
        if room is None:
            raise RuntimeError(f"no layout found for the {name} of seed {seed}: report this seed")
        size = (room.layout.width, room.layout.depth)
        return _assemble([room], [Cell(name, (0.0, 0.0), size)], size, f"{name} {seed}")
    for _ in range(FLAT_ATTEMPTS):
        cells = plan_flat(rng, rooms)
        furnished: list[FurnishedRoom] = []
        for cell in cells:
            materials = furnished[-1].style.materials if furnished else ()
            room = furnish(cell.kind, rng, materials, cell, held_out)
            if room is None:
                break
            furnished.append(room)
        if len(furnished) == len(cells):
            corners = np.array([cell.rectangle for cell in cells])
            size = tuple((corners[:, 2:].max(0) - corners[:, :2].min(0)).tolist())
            return _assemble(furnished, cells, size, f"flat {seed}")
    raise RuntimeError(f"no layout found for the {rooms} rooms of seed {seed}: report this seed")


def _assemble(rooms: Sequence[FurnishedRoom], cells: Sequence[Cell], size: tuple[float, float], name: str) -> Scene:
    style = rooms[-1].style  # has the materials of all rooms
    world_T_flat = pose_2d(style.uniform(-0.5, 0.5), style.uniform(-0.5, 0.5), style.uniform(-0.6, 0.6))
    primitives, objects, lights = [], [], []
    for room, cell in zip(rooms, cells):
        room.style.materials = style.materials
        world_T_room = world_T_flat @ pose_2d(*cell.centre, 0)
        lamps, room_lights = _lamps(room, world_T_room, cell.rectangle if len(cells) > 1 else None)
        lights += room_lights
        walls = shell.shell(
            room.style, cell.size, room.height, room.kind.tiled, frozenset(cell.joined), tuple(cell.doorways)
        )
        pieces = [(part, np.eye(4)) for part in walls]
        pieces += [(p.assembly, p.room_T_piece) for p in room.layout.placed] + lamps
        for assembly, room_T_piece in pieces:
            first = len(primitives)
            primitives += assembly.placed(world_T_room @ room_T_piece)
            objects.append(SceneObject(assembly.name, first, len(primitives)))
    height = max(room.height for room in rooms)
    rectangles = tuple(cell.rectangle for cell in cells)
    return Scene(primitives, objects, style.materials, lights, (*size, height), world_T_flat, name, rectangles)


def _lamps(
    room: FurnishedRoom, world_T_room: np.ndarray, lit: Rectangle | None
) -> tuple[list[tuple[Assembly, np.ndarray]], list[Light]]:
    """Two ceiling lamps along the longer side, with the lights a little below them."""
    layout, style, height = room.layout, room.style, room.height
    lamps, lights = [], []
    power = style.uniform(0.9, 1.2) * layout.width * layout.depth / 3.6
    warmth = style.uniform(0.75, 1.0)
    for side in (-1, 1):
        along, across = side * style.uniform(0.22, 0.27), style.uniform(-0.08, 0.08)
        x, y = along * layout.width, across * layout.depth
        lamps.append((decor.ceiling_lamp(style, height), pose_2d(x, y, 0)))
        position = world_T_room @ np.array([x, y, height - 0.25, 1])
        color = np.array([1.0, 0.5 + 0.5 * warmth, warmth]) * power
        lights.append(Light(position[:3], color, lit))
    return lamps, lights
