"""Voxel blocks as planners take them: distance, class and confidence in a byte each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gnesf_model.device import single_thread
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import SemanticMapper

UNOBSERVED = -128
"""Distance of a voxel that was never measured."""
_STEPS = 127
"""Steps of the truncation distance: 1.3 mm where that is 16 cm."""


@dataclass(frozen=True)
class VoxelBlocks:
    """Some blocks of the map, on the host; voxel (i, j, k) of a block is column ``(8 i + j) 8 + k``.

    Attributes:
        coords: (N, 3) int32 block coordinates.
        tsdf: (N, 512) int8 signed distance in units of a 127th of the truncation distance, -128 = not measured.
        labels: (N, 512) uint8 class, 255 = unknown.
        confidence: (N, 512) uint8 share of the votes for that class times 255, 0 where unknown.
    """

    coords: np.ndarray
    tsdf: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray


@torch.inference_mode()
@single_thread()
def voxel_blocks(mapper: SemanticMapper, slots: torch.Tensor) -> VoxelBlocks:
    """The blocks with rows (N,) of a map."""
    voxels = mapper.grid.voxels
    row = voxels["row"][slots].long()
    tsdf = (voxels["tsdf"][slots] * _STEPS).round().to(torch.int8)
    tsdf[voxels["weight"][slots] <= 0] = UNOBSERVED
    labels = torch.full(row.shape, UNKNOWN, dtype=torch.uint8, device=row.device)
    confidence = torch.zeros_like(labels)
    voted = row >= 0
    label, share = mapper.classes.labels(row[voted])
    labels[voted] = label
    confidence[voted] = torch.where(label != UNKNOWN, share * 255.0, 0.0).round().to(torch.uint8)
    return VoxelBlocks(
        coords=mapper.grid.coords[slots].cpu().numpy(),
        tsdf=tsdf.cpu().numpy(),
        labels=labels.cpu().numpy(),
        confidence=confidence.cpu().numpy(),
    )


@dataclass(frozen=True)
class VoxelPoints:
    """Voxels that were measured, on the host.

    Attributes:
        points: (N, 3) float32 their centres in the world, m.
        distance: (N,) float32 signed distance to the surface, m, positive in free space.
        labels: (N,) uint8 class, 255 = unknown, as everywhere off the surface.
        confidence: (N,) float32 share of the votes for that class, 0 where unknown.
    """

    points: np.ndarray
    distance: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray


@torch.inference_mode()
@single_thread()
def voxel_points(mapper: SemanticMapper, eye: np.ndarray, limit: int) -> VoxelPoints:
    """Voxels measured at least `volume.min_weight` times, of the blocks nearest to `eye` (3,), `limit` at most."""
    grid = mapper.grid
    weight = grid.voxels["weight"]
    middle = (grid.coords[: grid.count].double() + 0.5) * grid.block_size_m
    order = (middle - torch.from_numpy(eye).to(grid.device)).square().sum(dim=1).argsort()
    least = max(mapper.config.volume.min_weight, 1e-6)
    counts = torch.cat([(weight[part] >= least).sum(dim=1) for part in order.split(8192)] or [order])
    order = order[counts.cumsum(dim=0) <= limit]
    block, column = (weight[order] >= least).nonzero(as_tuple=True)
    slot = order[block]
    row = grid.voxels["row"][slot, column].long()
    label, share = mapper.classes.labels(row)
    return VoxelPoints(
        points=grid.positions(slot, column).float().cpu().numpy(),
        distance=(grid.voxels["tsdf"][slot, column] * mapper.truncation_m).cpu().numpy(),
        labels=label.cpu().numpy(),
        confidence=torch.where(label != UNKNOWN, share, 0.0).cpu().numpy(),
    )
