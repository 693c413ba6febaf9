"""Signed distances at points: predicted by the field, or measured ("with mesh" of the paper)."""

from __future__ import annotations

import itertools
import math

import torch

from gnesf_model.field.encoding_volume import Encoding, EncodingVolume
from gnesf_model.field.visibility import SignedDistance
from gnesf_model.volume.block_grid import SIDE_VOX, BlockGrid

SHARPNESS = 0.1
"""tr of eq. 8 over the distance at which the SDF is cut, as in the paper's released code."""
_BOX_LIMIT = 1 << 24


class PredictedSurface:
    """Eq. 2 at any point: the finest level whose cells surround it answers.

    Args:
        volume: has the heads.
        encoding: M.
        depth: look at the first so many levels only; all of them by default.
    """

    def __init__(self, volume: EncodingVolume, encoding: Encoding, depth: int | None = None) -> None:
        self.volume, self.encoding = volume, encoding
        self.levels = range(len(encoding.levels))[:depth]

    @property
    def truncation_m(self) -> float:
        """Distance at which the finest level is cut."""
        return self.encoding.levels[self.levels[-1]].truncation_m

    @property
    def tr_m(self) -> float:
        """tr of eq. 8, for `SdfGeometry`."""
        return SHARPNESS * self.truncation_m

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance (K,) in m of points (K, 3); NaN where no view has been."""
        result = points.new_full((len(points),), torch.nan)
        for level in self.levels:
            rows, encoding = self._at(points, level)
            distance = self.volume.heads[level].distance(encoding) * self.encoding.levels[level].truncation_m
            result = result.index_put((rows,), distance.to(result.dtype))
        return result

    def density(self, points: torch.Tensor) -> torch.Tensor:
        """Density (K,) >= 0 of points (K, 3); 0 where no view has been."""
        result = points.new_zeros(len(points))
        for level in self.levels:
            rows, encoding = self._at(points, level)
            result = result.index_put((rows,), self.volume.heads[level].density(encoding).to(result.dtype))
        return result

    def _at(self, points: torch.Tensor, level: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (k,) of the points that a level surrounds, and M there (k, D)."""
        encoding, share = self.encoding.at(points, level)
        rows = (share > 0.5).nonzero()[:, 0]
        return rows, encoding[rows]


class MeasuredSurface:
    """The TSDF of measured depth in place of the prediction: "with mesh" of the paper's table 2.

    Args:
        grid: blocks with attributes tsdf and weight.
        truncation_m: distance that a tsdf of 1 stands for.
        min_weight: voxels measured less often are not known.
    """

    def __init__(self, grid: BlockGrid, truncation_m: float, min_weight: float = 1e-6) -> None:
        self.grid, self.truncation_m, self.min_weight = grid, truncation_m, max(min_weight, 1e-6)

    @property
    def tr_m(self) -> float:
        """tr of eq. 8, for `SdfGeometry`."""
        return SHARPNESS * self.truncation_m

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance (K,) in m of points (K, 3), cut at the truncation distance; NaN: not measured."""
        total = torch.zeros(len(points), device=points.device)
        result = torch.zeros_like(total)
        if self.grid.count == 0 or len(points) == 0:
            return total.fill_(torch.nan).to(points.dtype)
        place = points.double() / self.grid.voxel_size_m - 0.5
        base = place.floor()
        fraction = (place - base).float()
        slots = self._slots(base.long())
        tsdf, weights = self.grid.voxels["tsdf"], self.grid.voxels["weight"]
        for corner in itertools.product((0, 1), repeat=3):
            voxel = base.long() + torch.tensor(corner, device=points.device)
            slot = slots(voxel >> 3)
            within = voxel & (SIDE_VOX - 1)
            column = (within[:, 0] * SIDE_VOX + within[:, 1]) * SIDE_VOX + within[:, 2]
            there = slot.clamp_min(0)
            weight = ((slot >= 0) & (weights[there, column] >= self.min_weight)).float()
            for axis, side in enumerate(corner):
                weight = weight * (fraction[:, axis] if side else 1 - fraction[:, axis])
            result += weight * tsdf[there, column]
            total += weight
        known = torch.where(total > 0.01, result / total.clamp_min(1e-6) * self.truncation_m, torch.nan)
        return known.to(points.dtype)

    def _slots(self, voxels: torch.Tensor):
        """A function from block coordinates (K, 3) to their rows: a table where the points lie close together."""
        low, high = voxels.amin(0) >> 3, (voxels.amax(0) + 1) >> 3
        shape = tuple((high - low + 1).tolist())
        if math.prod(shape) > _BOX_LIMIT:
            return self.grid.find
        table = self.grid.directory(low, shape)
        return lambda blocks: table[tuple((blocks - low).unbind(1))]


def surface_normals(distance: SignedDistance, points: torch.Tensor, step_m: float = 0.04) -> torch.Tensor:
    """Unit normals (K, 3), out of the surface, at points (K, 3): the slope of the distance over +- `step_m`.

    Along an axis on one side of which nothing is known, the slope is that of the other side; zero where both are not.
    """
    here, slopes = distance(points), []
    for axis in range(3):
        step = torch.zeros(3, dtype=points.dtype, device=points.device)
        step[axis] = step_m
        ahead, behind = distance(points + step), distance(points - step)
        one_sided = torch.where(ahead.isnan(), here - behind, ahead - here)
        slopes.append(torch.where(ahead.isnan() | behind.isnan(), one_sided, (ahead - behind) / 2))
    slope = torch.stack(slopes, dim=1)
    known = slope.isfinite().all(dim=1, keepdim=True)
    return torch.nn.functional.normalize(torch.where(known, slope, torch.zeros_like(slope)), dim=1)
