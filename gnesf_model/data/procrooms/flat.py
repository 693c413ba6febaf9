"""The plan of a flat: several rooms in one or two rows, joined by doorways."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gnesf_model.data.procrooms.kinds import KINDS

WALL_M = 0.2
"""Thickness of a wall between two rooms; each of them builds one half."""
DOORWAY_WIDTH_M = 1.0
FROM_CORNER_M = 0.35
MAX_ROOMS = 40


@dataclass(frozen=True)
class Doorway:
    """An opening in a wall of a room.

    Attributes:
        wall: 0 to 3, as in `Layout`: at +y, -x, -y, +x.
        u: its middle along the wall, metres from the wall's middle, to the right as seen from the room.
        width: metres.
        framed: does the frame belong to this room? (The room on the other side has it otherwise.)
    """

    wall: int
    u: float
    width: float
    framed: bool


@dataclass
class Cell:
    """One room of a flat.

    Attributes:
        kind: a key of `KINDS`.
        centre: of its floor in the flat's frame, metres.
        size: inner width and depth, metres.
        joined: walls behind which there are other rooms.
        doorways: openings in these walls.
    """

    kind: str
    centre: tuple[float, float]
    size: tuple[float, float]
    joined: set[int] = field(default_factory=set)
    doorways: list[Doorway] = field(default_factory=list)

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the floor in the flat's frame."""
        (x, y), (w, d) = self.centre, self.size
        return x - w / 2, y - d / 2, x + w / 2, y + d / 2


def plan_flat(rng: np.random.Generator, rooms: int) -> list[Cell]:
    """A plan of `rooms` rooms of different kinds around the origin: one row, or two of the same length.

    Neighbours in a row are joined; rooms of different rows are where they share enough wall, most of the time.
    """
    names = [name for name in KINDS if name != "studio"]
    order = [str(n) for _ in range(-(-rooms // len(names))) for n in rng.permutation(names)][:rooms]
    rows = _rows(rng, order) if rooms > 3 else [order]
    widths = [[rng.uniform(*KINDS[name].width) for name in row] for row in rows]
    length = max(sum(row) + WALL_M * (len(row) - 1) for row in widths)
    depths = [max(rng.uniform(*KINDS[name].depth) for name in row) for row in rows]
    total = sum(depths) + WALL_M * (len(rows) - 1)
    cells: list[list[Cell]] = []
    y = -total / 2
    for row, sizes, depth in zip(rows, widths, depths):
        stretch = (length - WALL_M * (len(row) - 1)) / sum(sizes)
        x, line = -length / 2, []
        for name, size in zip(row, sizes):
            width = float(size * stretch)
            line.append(Cell(name, (float(x + width / 2), float(y + depth / 2)), (width, float(depth))))
            x += width + WALL_M
        cells.append(line)
        y += depth + WALL_M
    for line in cells:
        for left, right in itertools.pairwise(line):
            left.joined.add(3)
            right.joined.add(1)
            _join(rng, left, right, 3)
    if len(cells) == 2:
        _join_rows(rng, *cells)
    return [cell for line in cells for cell in line]


def _rows(rng: np.random.Generator, order: Sequence[str]) -> list[list[str]]:
    """The rooms in two rows of about the same length."""
    rows: list[list[str]] = [[], []]
    total = [0.0, 0.0]
    for name in sorted(order, key=lambda name: -sum(KINDS[name].width)):
        shorter = int(total[1] < total[0])
        rows[shorter].append(name)
        total[shorter] += sum(KINDS[name].width) / 2
    return [[row[i] for i in rng.permutation(len(row))] for row in rows]


def _join_rows(rng: np.random.Generator, lower: Sequence[Cell], upper: Sequence[Cell]) -> None:
    for cell in lower:
        cell.joined.add(0)
    for cell in upper:
        cell.joined.add(2)
    pairs = [(a, b) for a in lower for b in upper if _shared(a, b, 0)[1] > DOORWAY_WIDTH_M + 2 * FROM_CORNER_M]
    sure = int(rng.integers(len(pairs)))
    for number, (a, b) in enumerate(pairs):
        if number == sure or rng.random() < 0.5:
            _join(rng, a, b, 0)


def _shared(a: Cell, b: Cell, axis: int) -> tuple[float, float]:
    """Start and length of what two rooms have in common along x (axis 0) or y (axis 1)."""
    low = max(a.rectangle[axis], b.rectangle[axis])
    return low, min(a.rectangle[axis + 2], b.rectangle[axis + 2]) - low


def _join(rng: np.random.Generator, a: Cell, b: Cell, wall: int) -> None:
    """A doorway from a's wall 3 (at +x) or 0 (at +y) to the opposite wall of b."""
    axis = 1 if wall == 3 else 0
    low, length = _shared(a, b, axis)
    margin = DOORWAY_WIDTH_M / 2 + FROM_CORNER_M
    at = float(rng.uniform(low + margin, low + length - margin))
    # u runs to the right as seen from inside: towards +x on the wall at +y, towards -y on that at +x.
    sign = 1 if wall == 0 else -1
    a.doorways.append(Doorway(wall, sign * (at - a.centre[axis]), DOORWAY_WIDTH_M, True))
    b.doorways.append(Doorway((wall + 2) % 4, -sign * (at - b.centre[axis]), DOORWAY_WIDTH_M, False))
