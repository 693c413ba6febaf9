"""The zero level of the distance field as points and as a triangle mesh, with the votes' rows.

Points lie where the field changes sign between two neighbouring voxels. The mesh is a surface net
(Gibson 1998): one vertex in every cell that the surface crosses, at the mean of its edge crossings,
one quad for every crossed edge. Both use only voxels measured at least `min_weight` times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gnesf_model.volume.block_grid import SIDE_VOX, VOXELS, BlockGrid

_CHUNK_BLOCKS = 2048
"""Blocks worked on at a time: bounds the scratch memory at about 50 MB."""

_LARGEST_STEP = 1.6
"""Neighbouring voxels that differ by more have no surface between them: one lies in the free space beside
an object, the other in the band behind its edge. A floor seen 81 degrees off its normal still passes."""

_CORNERS = torch.tensor([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
_EDGES = torch.tensor([(0, 4), (1, 5), (2, 6), (3, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 1), (2, 3), (4, 5), (6, 7)])
# Cells around an edge along x, y, z, in the order that makes a quad.
_AROUND = torch.tensor(
    [
        [(0, 0, 0), (0, -1, 0), (0, -1, -1), (0, 0, -1)],
        [(0, 0, 0), (0, 0, -1), (-1, 0, -1), (-1, 0, 0)],
        [(0, 0, 0), (-1, 0, 0), (-1, -1, 0), (0, -1, 0)],
    ]
)


@dataclass(frozen=True)
class SurfacePoints:
    """Points of the surface.

    Attributes:
        points: (N, 3) float32 world coordinates, m.
        rows: (N,) int64 rows of the vote table, -1 where no view voted nearby.
        blocks: (N,) int64 rows of the blocks whose voxels they follow.
    """

    points: torch.Tensor
    rows: torch.Tensor
    blocks: torch.Tensor


@dataclass(frozen=True)
class SurfaceMesh:
    """Triangles of the surface, counter-clockwise seen from free space.

    Attributes:
        vertices: (V, 3) float32 world coordinates, m.
        rows: (V,) int64 rows of the vote table, -1 where no view voted nearby.
        faces: (F, 3) int64 indices of vertices.
    """

    vertices: torch.Tensor
    rows: torch.Tensor
    faces: torch.Tensor


def surface_points(grid: BlockGrid, slots: torch.Tensor, min_weight: float) -> SurfacePoints:
    """Sign changes between the voxels of some blocks and their neighbours at +x, +y, +z.

    Args:
        grid: blocks with attributes tsdf, weight and row.
        slots: (N,) rows of the blocks.
        min_weight: voxels measured less often than this count as unknown.
    """
    points, rows, blocks = [torch.zeros(0, 3, device=grid.device)], [slots.new_zeros(0)], [slots.new_zeros(0)]
    for chunk, tsdf, row in _padded(grid, slots, min_weight):
        here, here_row = tsdf[:, :-1, :-1, :-1], row[:, :-1, :-1, :-1]
        for axis in range(3):
            there, there_row = _shift(tsdf, axis), _shift(row, axis)
            cell = _crosses(here, there).nonzero(as_tuple=True)
            a, b = here[cell], there[cell]
            fraction = a / (a - b)
            voxel = _voxel_coords(grid, chunk, cell)
            point = voxel + 0.5
            point[:, axis] += fraction
            points.append((point * grid.voxel_size_m).float())
            near, far = here_row[cell], there_row[cell]
            near, far = torch.where(fraction < 0.5, near, far), torch.where(fraction < 0.5, far, near)
            rows.append(torch.where(near >= 0, near, far).long())
            blocks.append(chunk[cell[0]])
    return SurfacePoints(torch.cat(points), torch.cat(rows), torch.cat(blocks))


def surface_mesh(grid: BlockGrid, slots: torch.Tensor, min_weight: float) -> SurfaceMesh:
    """Surface net of some blocks; see `surface_points` for the arguments."""
    corners, edges = _CORNERS.to(grid.device), _EDGES.to(grid.device)
    vertices, rows = [torch.zeros(0, 3, device=grid.device)], [slots.new_zeros(0)]
    cells, quads = [slots.new_zeros(0, 3)], [slots.new_zeros(0, 4, 3)]
    for chunk, tsdf, row in _padded(grid, slots, min_weight):
        inside = tsdf < 0
        both = _any_corner(inside) & _any_corner(~inside) & ~_any_corner(tsdf.isnan())
        cell = both.nonzero(as_tuple=True)
        anchor = _voxel_coords(grid, chunk, cell)
        places = [(cell[0], cell[1] + i, cell[2] + j, cell[3] + k) for i, j, k in corners.tolist()]
        value = torch.stack([tsdf[place] for place in places], dim=1)
        owner = torch.stack([row[place] for place in places], dim=1)
        a, b = value[:, edges[:, 0]], value[:, edges[:, 1]]
        crossed = ((a < 0) != (b < 0)).float()
        fraction = a / torch.where(crossed > 0, a - b, 1.0)
        start, along = corners[edges[:, 0]].float(), (corners[edges[:, 1]] - corners[edges[:, 0]]).float()
        at = start + fraction[..., None] * along
        vertex = (at * crossed[..., None]).sum(1) / crossed.sum(1, keepdim=True)
        vertices.append(((anchor + 0.5 + vertex.double()) * grid.voxel_size_m).float())
        # The class comes from the corner nearest to the surface that has votes.
        nearest = (value.abs() + 10.0 * (owner < 0)).argmin(dim=1, keepdim=True)
        rows.append(owner.gather(1, nearest)[:, 0].long())
        cells.append(anchor.long())
        for axis in range(3):
            here, there = tsdf[:, :-1, :-1, :-1], _shift(tsdf, axis)
            edge = _crosses(here, there).nonzero(as_tuple=True)
            quad = _voxel_coords(grid, chunk, edge).long()[:, None] + _AROUND[axis].to(grid.device)
            quads.append(torch.where((here[edge] < 0)[:, None, None], quad, quad.flip(1)))
    faces = _triangles(torch.cat(cells), torch.cat(quads))
    return SurfaceMesh(torch.cat(vertices), torch.cat(rows), faces)


def at_surface(grid: BlockGrid, slots: torch.Tensor) -> torch.Tensor:
    """Flags (N, 512) of the voxels with a sign change between them and one of their six neighbours.

    However steeply the field falls where a surface was seen at a grazing angle, these are the voxels
    from which `surface_points` and `surface_mesh` are made.
    """
    shape = (len(slots), SIDE_VOX, SIDE_VOX, SIDE_VOX)
    coords = grid.coords[slots].long()
    here = _known(grid, slots, 0.0).view(shape)
    flags = torch.zeros(shape, dtype=torch.bool, device=grid.device)
    for axis in range(1, 4):
        step = torch.zeros(3, dtype=torch.int64, device=grid.device)
        step[axis - 1] = 1
        before, after = grid.find(coords - step), grid.find(coords + step)
        edges = []
        for neighbour, place in ((before, SIDE_VOX - 1), (after, 0)):
            plane = _known(grid, neighbour.clamp_min(0), 0.0).view(shape).select(axis, place)
            missing = (neighbour < 0).view(-1, 1, 1)
            edges.append(plane.masked_fill(missing, torch.nan).unsqueeze(axis))
        line = torch.cat([edges[0], here, edges[1]], dim=axis)
        low, high = line.narrow(axis, 0, SIDE_VOX + 1), line.narrow(axis, 1, SIDE_VOX + 1)
        crossed = _crosses(low, high)
        flags |= crossed.narrow(axis, 0, SIDE_VOX) | crossed.narrow(axis, 1, SIDE_VOX)
    return flags.view(len(slots), VOXELS)


def voxel_normals(grid: BlockGrid, points: torch.Tensor) -> torch.Tensor:
    """Unit normals (N, 3) float32, out of the surface, at points (N, 3): central differences of the voxels they lie in.

    Where a neighbour was not measured, the difference is that to the other side; zero along axes where both were not.
    """
    voxel = (points.double() / grid.voxel_size_m).floor().long()
    here = _tsdf_at(grid, voxel)
    slopes = []
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.int64, device=points.device)
        step[axis] = 1
        ahead, behind = _tsdf_at(grid, voxel + step), _tsdf_at(grid, voxel - step)
        slope = torch.where(ahead.isnan(), here, ahead) - torch.where(behind.isnan(), here, behind)
        both = ~ahead.isnan() & ~behind.isnan()
        slopes.append((slope / torch.where(both, 2.0, 1.0)).nan_to_num())
    return torch.nn.functional.normalize(torch.stack(slopes, dim=1), dim=1)


def _tsdf_at(grid: BlockGrid, voxels: torch.Tensor) -> torch.Tensor:
    """tsdf (N,) of voxels (N, 3) int64, NaN where it was not measured."""
    slot, within = grid.find(voxels >> 3), voxels & (SIDE_VOX - 1)
    column, there = (within[:, 0] * SIDE_VOX + within[:, 1]) * SIDE_VOX + within[:, 2], slot.clamp_min(0)
    if grid.count == 0:
        return torch.full((len(voxels),), torch.nan, device=grid.device)
    known = (slot >= 0) & (grid.voxels["weight"][there, column] > 0)
    return torch.where(known, grid.voxels["tsdf"][there, column], torch.nan)


def _known(grid: BlockGrid, slots: torch.Tensor, min_weight: float) -> torch.Tensor:
    """tsdf (N, 512), NaN where it was not measured, or less often than `min_weight`."""
    weight = grid.voxels["weight"][slots]
    return grid.voxels["tsdf"][slots].masked_fill((weight <= 0) | (weight < min_weight), torch.nan)


def _triangles(cells: torch.Tensor, quads: torch.Tensor) -> torch.Tensor:
    """Faces (F, 3) from the voxel coordinates of the vertices' cells (V, 3) and of quads (Q, 4, 3)."""
    if len(cells) == 0 or len(quads) == 0:
        return cells.new_zeros(0, 3)
    base = torch.minimum(cells.amin(dim=0), quads.view(-1, 3).amin(dim=0))
    keys, order = _key(cells - base).sort()
    wanted = _key(quads.view(-1, 3) - base)
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    vertex = torch.where(keys[place] == wanted, order[place], -1).view(-1, 4)
    vertex = vertex[(vertex >= 0).all(dim=1)]
    return torch.cat([vertex[:, [0, 1, 2]], vertex[:, [0, 2, 3]]])


def _key(voxels: torch.Tensor) -> torch.Tensor:
    """One int64 per row of (N, 3) coordinates in 0 .. 2^21 - 1: 40 km at 2 cm."""
    return (voxels[:, 0] << 42) | (voxels[:, 1] << 21) | voxels[:, 2]


def _padded(
    grid: BlockGrid, slots: torch.Tensor, min_weight: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Chunks of (slots (n,), tsdf (n, 9, 9, 9) with NaN = unknown, row (n, 9, 9, 9))."""
    size = SIDE_VOX + 1
    for chunk in slots.split(_CHUNK_BLOCKS):
        tsdf = torch.full((len(chunk), size, size, size), torch.nan, device=grid.device)
        row = torch.full((len(chunk), size, size, size), -1, dtype=torch.int32, device=grid.device)
        coords = grid.coords[chunk].long()
        for corner in _CORNERS.tolist():
            neighbour = grid.find(coords + torch.tensor(corner, device=grid.device))
            exists = neighbour >= 0
            have = neighbour[exists]
            source = tuple(slice(0, 1) if c else slice(0, SIDE_VOX) for c in corner)
            target = tuple(slice(SIDE_VOX, size) if c else slice(0, SIDE_VOX) for c in corner)
            shape = (-1, SIDE_VOX, SIDE_VOX, SIDE_VOX)
            value = _known(grid, have, min_weight).view(shape)
            tsdf[(exists, *target)] = value[(slice(None), *source)]
            row[(exists, *target)] = grid.voxels["row"][have].view(shape)[(slice(None), *source)]
        yield chunk, tsdf, row


def _shift(padded: torch.Tensor, axis: int) -> torch.Tensor:
    """The (n, 8, 8, 8) neighbours one voxel further along `axis`."""
    index = [slice(None)] + [slice(0, -1)] * 3
    index[1 + axis] = slice(1, None)
    return padded[tuple(index)]


def _crosses(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Where a surface lies between two voxels; never where one is NaN (unknown)."""
    return ((a < 0) != (b < 0)) & ((a - b).abs() <= _LARGEST_STEP)


def _any_corner(flags: torch.Tensor) -> torch.Tensor:
    """(n, 8, 8, 8): whether any of the eight corners of each cell of (n, 9, 9, 9) is set."""
    flags = flags[:, 1:] | flags[:, :-1]
    flags = flags[:, :, 1:] | flags[:, :, :-1]
    return flags[:, :, :, 1:] | flags[:, :, :, :-1]


def _voxel_coords(grid: BlockGrid, chunk: torch.Tensor, cell: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Integer voxel coordinates (M, 3), as float64, of entries (block, i, j, k) of a chunk."""
    block = grid.coords[chunk[cell[0]]].long() * SIDE_VOX
    return (block + torch.stack(cell[1:], dim=1)).double()
