"""One room gets its openings, furniture and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnesf_model.data.procrooms.flat import Cell
from gnesf_model.data.procrooms.furniture import shell
from gnesf_model.data.procrooms.furniture.assembly import Style
from gnesf_model.data.procrooms.groups import GROUPS
from gnesf_model.data.procrooms.kinds import KINDS, RoomKind
from gnesf_model.data.procrooms.layout import Layout
from gnesf_model.data.procrooms.materials import Material

LAYOUT_ATTEMPTS = 24


@dataclass
class FurnishedRoom:
    """A room with all that stands and hangs in it; lamps and surfaces are not yet there.

    Attributes:
        kind: what kind it is.
        layout: the floor plan, in the room's own frame.
        style: draws what else it needs; holds the materials.
        height: of the ceiling, metres.
    """

    kind: RoomKind
    layout: Layout
    style: Style
    height: float


def furnish(
    name: str,
    rng: np.random.Generator,
    materials: Sequence[Material] = (),
    cell: Cell | None = None,
    held_out: bool = False,
) -> FurnishedRoom | None:
    """A room of the kind `name`, or None when no layout is found.

    Args:
        materials: rows that the material table begins with.
        cell: its size and doorways as a part of a flat; None for a room of its own.
        held_out: may furniture take the shapes that are kept for test rooms?
    """
    kind = KINDS[name]
    for attempt in range(LAYOUT_ATTEMPTS):
        style = Style(rng, list(materials), held_out)
        grow = 1 + 0.02 * attempt
        width, depth = style.uniform(*kind.width) * grow, style.uniform(*kind.depth) * grow
        if cell:
            width, depth = cell.size
        layout, height = Layout(width, depth, rng), style.uniform(2.5, 2.9)
        if cell:
            _doorways(layout, style, height, cell)
        else:
            _openings(layout, style, height)
        if not all(GROUPS[group](layout, style) for group in kind.required):
            continue
        for group in kind.optional:
            GROUPS[group](layout, style)
        if _walkable(layout, cell) > 0.25:
            break
    else:
        return None
    if not kind.tiled:
        _pictures(layout, style)
    return FurnishedRoom(kind, layout, style, height)


def _doorways(layout: Layout, style: Style, height: float, cell: Cell) -> None:
    """Doorways to other rooms, with free floor before them; windows in the outer walls."""
    for doorway in cell.doorways:
        wall, u, half = doorway.wall, doorway.u, doorway.width / 2
        layout.on_wall.append((wall, u - half, u + half, 0.0, shell.DOORWAY_HEIGHT))
        layout.clear.append(layout.floor_rectangle(layout.room_T_wall(wall), (u - half, -0.9), (u + half, 0.0)))
        if doorway.framed:
            layout.hang(shell.doorway_frame(style, doorway.width), wall, u, 0.0, shell.DOORWAY_HEIGHT)
    for wall in style.rng.permutation([wall for wall in range(4) if wall not in cell.joined]):
        _window(layout, style, height, int(wall))


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
        _window(layout, style, height, int(wall))


def _window(layout: Layout, style: Style, height: float, wall: int) -> None:
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


def _walkable(layout: Layout, cell: Cell | None, clearance: float = 0.32, step: float = 0.1) -> float:
    """Fraction of the floor in the largest connected piece that keeps `clearance` from everything.

    0 where that piece does not reach a doorway.
    """
    from scipy.ndimage import label  # scipy.ndimage takes a while to import

    x, y = (np.arange(-s / 2 + step / 2, s / 2, step) for s in (layout.width, layout.depth))
    free = (np.abs(x)[:, None] < layout.width / 2 - clearance) & (np.abs(y) < layout.depth / 2 - clearance)
    for x0, y0, x1, y1 in layout.solid:
        beside = (x < x0 - clearance) | (x > x1 + clearance)
        free &= beside[:, None] | (y < y0 - clearance) | (y > y1 + clearance)
    regions, count = label(free)
    if not count:
        return 0.0
    sizes = np.bincount(regions.reshape(-1))
    largest = 1 + int(sizes[1:].argmax())
    for doorway in cell.doorways if cell else ():
        before = layout.room_T_wall(doorway.wall) @ (doorway.u, -0.55, 0.0, 1.0)
        if regions[np.abs(x - before[0]).argmin(), np.abs(y - before[1]).argmin()] != largest:
            return 0.0
    return float(sizes[largest]) * step * step / (layout.width * layout.depth)
