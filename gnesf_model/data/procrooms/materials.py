"""Procedural materials: the colour of a surface point from where it lies on its primitive.

Patterns live in object space, so they stick to the furniture and look the same from every view. Fine
detail fades out where a pixel covers more than the pattern's period, which keeps it from flickering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes:
        pattern: a key of `PATTERNS`.
        color, accent: linear RGB in 0..1; what the accent colours depends on the pattern.
        scale: period of the pattern in metres.
        gloss: 0 (matt) to 1 (polished).
        glow: emitted light relative to the colour, 0 for everything but lamps, screens and windows.
        divisions: columns and rows of door panels on each face (`panel` only).
        seed: makes two objects of the same material differ.
    """

    pattern: str
    color: tuple[float, float, float]
    accent: tuple[float, float, float] = (0.1, 0.1, 0.1)
    scale: float = 0.1
    gloss: float = 0.0
    glow: float = 0.0
    divisions: tuple[int, int] = (1, 1)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern is {self.pattern!r}, expected one of {', '.join(PATTERNS)}")


class Surface(NamedTuple):
    """N surface points of one pattern.

    Attributes:
        point: (N, 3) metres in the primitive's frame.
        uv: (N, 2) metres along the face (the two axes that the normal is not).
        face: (N, 2) uv from 0 to 1 over the face of a box.
        extent: (N, 2) metres, size of that face.
        grain: (N, 3) point with the primitive's longest axis last, for patterns with a direction.
        axis: (N,) int64, axis that the face looks along.
        period: (N,) metres, `Material.scale`.
        pixel: (N,) metres that a pixel covers.
        seed: (N,) int64.
        divisions: (N, 2).
    """

    point: Tensor
    uv: Tensor
    face: Tensor
    extent: Tensor
    grain: Tensor
    axis: Tensor
    period: Tensor
    pixel: Tensor
    seed: Tensor
    divisions: Tensor


def hashed(*keys: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) float32 from integer tensors; the same on every machine."""
    h = torch.zeros_like(keys[0])
    for key in keys:
        h = ((h ^ key) * 0x9E3779B1) & 0xFFFFFFFF
        h = ((h ^ (h >> 15)) * 0x85EBCA6B) & 0xFFFFFFFF
        h = h ^ (h >> 13)
    return (h & 0xFFFFFF).float() / float(1 << 24)


def noise(point: Tensor, seed: Tensor) -> Tensor:
    """Smooth value noise (N,) in [0, 1] with period 1 at points (N, 3)."""
    cell = point.floor()
    f = point - cell
    f = f * f * (3 - 2 * f)
    x, y, z = cell.long().unbind(1)
    fx, fy, fz = f.unbind(1)
    planes = []
    for dz in (0, 1):
        rows = []
        for dy in (0, 1):
            a, b = (hashed(seed, x + dx, y + dy, z + dz) for dx in (0, 1))
            rows.append(a + (b - a) * fx)
        planes.append(rows[0] + (rows[1] - rows[0]) * fy)
    return planes[0] + (planes[1] - planes[0]) * fz


def _fade(s: Surface, period: Tensor | float) -> Tensor:
    """1 where the period is well resolved, 0 where a pixel covers all of it."""
    return (1.5 - 3 * s.pixel / period).clamp(0, 1)


def _line(distance: Tensor, width: float, s: Surface) -> Tensor:
    """Coverage 0..1 of a line of half width `width` at a distance, blurred over one pixel."""
    soft = s.pixel.clamp_min(1e-4)
    cover = ((width - distance) / soft + 0.5).clamp(0, 1)
    return cover * (2 * width / soft).clamp_max(1)  # lines thinner than a pixel fade


# Each pattern returns how much of the accent colour shows (N,) and a brightness factor (N,).
Shade = tuple[Tensor, Tensor]


def _plain(s: Surface) -> Shade:
    n = noise(s.point * 3.0, s.seed)
    return torch.zeros_like(n), 0.97 + 0.06 * n


def _plaster(s: Surface) -> Shade:
    n = noise(s.point * 2.0, s.seed)
    fine = noise(s.point / 0.03, s.seed) * _fade(s, 0.03)
    return torch.zeros_like(n), 0.95 + 0.06 * n + 0.05 * (fine - 0.5)


def _wood(s: Surface) -> Shade:
    stretched = s.grain / torch.stack([s.period, s.period, 14 * s.period], 1)
    warp = noise(stretched * 0.5, s.seed)
    rings = ((stretched[:, 0] + stretched[:, 1] + 3.5 * warp) * 6.283).sin() * 0.5 + 0.5
    fibre = noise(stretched * 4.0, s.seed + 1)
    strength = _fade(s, s.period / 2)
    return (0.55 * rings + 0.25 * fibre) * strength + 0.4 * (1 - strength), 0.94 + 0.12 * warp


def _planks(s: Surface) -> Shade:
    width, length = s.period, 9 * s.period
    row = (s.uv[:, 0] / width).floor()
    shifted = s.uv[:, 1] + hashed(s.seed, row.long()) * length
    board = (shifted / length).floor()
    tone = hashed(s.seed, row.long(), board.long())
    edge = (s.uv[:, 0] / width - row - 0.5).abs()
    end = (shifted / length - board - 0.5).abs()
    seam = torch.maximum(_line((0.5 - edge) * width, 0.002, s), _line((0.5 - end) * length, 0.002, s))
    grain = torch.stack([s.uv[:, 0] / 0.02 + 31 * tone, s.uv[:, 1] / 0.5, 7 * tone], 1)
    fibre = noise(grain, s.seed) * _fade(s, 0.02) + 0.5 * (1 - _fade(s, 0.02))
    return 0.55 * tone + 0.35 * fibre, (0.9 + 0.2 * tone) * (1 - 0.55 * seam)


def _tiles(s: Surface) -> Shade:
    q = s.uv / s.period[:, None]
    cell = q.floor()
    border = (0.5 - (q - cell - 0.5).abs().amax(1)) * s.period
    tone = hashed(s.seed, *cell.long().unbind(1))
    return _line(border, 0.004, s), 0.92 + 0.1 * tone + 0.04 * (noise(s.point * 6, s.seed) - 0.5)


def _checker(s: Surface) -> Shade:
    q = s.uv / s.period[:, None]
    cell = q.floor()
    border = (0.5 - (q - cell - 0.5).abs().amax(1)) * s.period
    odd = (cell.sum(1) % 2).abs()
    return odd, 1 - 0.35 * _line(border, 0.003, s)


def _brick(s: Surface) -> Shade:
    height = s.period / 3
    row = (s.uv[:, 1] / height).floor()
    u = s.uv[:, 0] / s.period + 0.5 * (row % 2)
    column = u.floor()
    tone = hashed(s.seed, row.long(), column.long())
    border = torch.minimum(
        (0.5 - (u - column - 0.5).abs()) * s.period,
        (0.5 - (s.uv[:, 1] / height - row - 0.5).abs()) * height,
    )
    return _line(border, 0.006, s), 0.75 + 0.35 * tone + 0.2 * (noise(s.point / 0.02, s.seed) - 0.5)


def _fabric(s: Surface) -> Shade:
    weave = (s.uv / s.period[:, None] * 6.283).sin()
    n = noise(s.point * 8.0, s.seed)
    return 0.3 * n, 0.92 + 0.1 * n + 0.12 * weave[:, 0] * weave[:, 1] * _fade(s, s.period)


def _stripes(s: Surface) -> Shade:
    q = s.uv[:, 0] / s.period
    band = ((q - q.floor() - 0.5).abs() - 0.25) * s.period
    n = noise(s.point * 8.0, s.seed)
    return (0.5 - band / s.pixel.clamp_min(1e-4)).clamp(0, 1), 0.94 + 0.1 * n


def _carpet(s: Surface) -> Shade:
    fine = noise(s.point / s.period[:, None], s.seed) * _fade(s, s.period)
    broad = noise(s.point * 1.5, s.seed)
    return 0.35 * fine + 0.15 * broad, 0.85 + 0.25 * fine + 0.08 * broad


def _speckle(s: Surface) -> Shade:
    fine = noise(s.point / s.period[:, None], s.seed)
    coarse = noise(s.point / (6 * s.period[:, None]), s.seed)
    spots = ((fine + 0.5 * coarse - 0.8) * 5).clamp(0, 1) * _fade(s, s.period)
    return spots, 0.95 + 0.1 * coarse


def _metal(s: Surface) -> Shade:
    brushed = noise(s.grain / torch.tensor([0.004, 0.004, 0.4]).to(s.grain), s.seed) * _fade(s, 0.008)
    return torch.zeros_like(brushed), 0.93 + 0.12 * brushed


def _panel(s: Surface) -> Shade:
    """Doors and drawers on the front: seams between the divisions, a bar for a handle on each."""
    wood, bright = _wood(s)
    q = s.face * s.divisions
    cell = q.floor()
    size = s.extent / s.divisions
    inside = (q - cell) * size  # metres from the lower corner of the door
    border = torch.minimum(inside, size - inside).amin(1)
    seam = torch.maximum(_line(border, 0.006, s), 0.3 * _line((border - 0.05).abs(), 0.004, s))
    wide = size[:, 0] > 1.2 * size[:, 1]  # drawers have the handle in the middle, doors at the side
    right = cell[:, 0] % 2 == 0
    side = torch.where(right, size[:, 0] - 0.07, torch.full_like(size[:, 0], 0.07))
    centre = torch.stack([torch.where(wide, size[:, 0] / 2, side), size[:, 1] * 0.5], 1)
    reach = torch.where(wide[:, None], inside.new_tensor([0.09, 0.012]), inside.new_tensor([0.012, 0.09]))
    beyond = ((inside - centre).abs() - reach).amax(1)
    handle = (0.5 - beyond / s.pixel.clamp_min(1e-4)).clamp(0, 1)
    dark = torch.maximum(seam * 0.6, handle * 0.75) * (s.axis == 1)
    return wood, bright * (1 - dark)


def _books(s: Surface) -> Shade:
    height = s.face[:, 1]
    band = ((height - 0.8).abs() < 0.05) | ((height - 0.16).abs() < 0.03)
    title = ((height - 0.5).abs() < 0.18) & ((s.face[:, 0] - 0.5).abs() < 0.12)
    shown = (band | title).float() * _fade(s, 0.02)
    return shown * 0.8, 0.95 + 0.1 * noise(s.point * 20, s.seed)


def _poster(s: Surface) -> Shade:
    """A frame around a mat and a few soft shapes."""
    from_edge = torch.minimum(s.face * s.extent, (1 - s.face) * s.extent).amin(1)
    frame = (from_edge < 0.03).float()
    mat = ((from_edge >= 0.03) & (from_edge < 0.07)).float()
    p = torch.cat([s.face * 3, torch.zeros_like(s.face[:, :1])], 1)
    shape = noise(p, s.seed) + 0.5 * noise(p * 2.3, s.seed + 5)
    picture = ((shape - 0.75) * 6).clamp(0, 1)
    accent = torch.where(frame + mat > 0, torch.zeros_like(shape), picture)
    bright = 1 - 0.85 * frame + 0.35 * mat + (noise(p * 1.7, s.seed + 9) - 0.5) * (1 - frame) * (1 - mat)
    return accent, bright


def _outdoors(s: Surface) -> Shade:
    """View through a window with its sash: sky above hills, two mullions."""
    q = torch.cat([s.face * torch.tensor([4.0, 1.0]).to(s.face), torch.zeros_like(s.face[:, :1])], 1)
    horizon = 0.3 + 0.25 * noise(q, s.seed)
    ground = ((horizon - s.face[:, 1]) * 25).clamp(0, 1)
    return ground, 0.75 + 0.3 * s.face[:, 1] + 0.15 * (noise(q * 5, s.seed) - 0.5)


PATTERNS: dict[str, Callable[[Surface], Shade]] = {
    "plain": _plain,
    "plaster": _plaster,
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "checker": _checker,
    "brick": _brick,
    "fabric": _fabric,
    "stripes": _stripes,
    "carpet": _carpet,
    "speckle": _speckle,
    "metal": _metal,
    "panel": _panel,
    "books": _books,
    "poster": _poster,
    "outdoors": _outdoors,
}


def albedo(
    materials: Sequence[Material], material: Tensor, point: Tensor, normal: Tensor, size: Tensor, pixel: Tensor
) -> Tensor:
    """Linear RGB (N, 3) of surface points.

    Args:
        material: (N,) int64 rows of `materials`.
        point, normal: (N, 3) in the primitive's frame.
        size: (N, 3) of the primitive.
        pixel: (N,) metres that a pixel covers at the point.
    """
    out = torch.empty_like(point)
    names = list(PATTERNS)
    of_material = torch.tensor([names.index(m.pattern) for m in materials], device=point.device)
    color, accent, scale, seed, divisions = (
        torch.as_tensor(np.array([getattr(m, a) for m in materials]), device=point.device)
        for a in ("color", "accent", "scale", "seed", "divisions")
    )
    pattern = of_material[material]
    others = torch.tensor([[1, 2], [0, 2], [0, 1]], device=point.device)
    for number in pattern.unique().tolist():
        index = (pattern == number).nonzero()[:, 0]
        m, p, half = material[index], point[index], size[index]
        axis = normal[index].abs().argmax(1)
        uv, extent = p.gather(1, others[axis]), half.gather(1, others[axis])
        grain = p.gather(1, (half.argmax(1)[:, None] + torch.tensor([1, 2, 3], device=p.device)) % 3)
        surface = Surface(
            point=p,
            uv=uv,
            face=(uv / extent * 0.5 + 0.5).clamp(0, 0.9999),
            extent=2 * extent,
            grain=grain,
            axis=axis,
            period=scale[m].to(p),
            pixel=pixel[index],
            seed=seed[m],
            divisions=divisions[m].to(p),
        )
        mix, bright = PATTERNS[names[number]](surface)
        base = color[m].to(p)
        out[index] = (base + (accent[m].to(p) - base) * mix[:, None]) * bright[:, None]
    return out.clamp(0, 1)
