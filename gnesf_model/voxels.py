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
    label, share = mapper.votes.labels(row[voted])
    labels[voted] = label
    confidence[voted] = torch.where(label != UNKNOWN, share * 255.0, 0.0).round().to(torch.uint8)
    return VoxelBlocks(
        coords=mapper.grid.coords[slots].cpu().numpy(),
        tsdf=tsdf.cpu().numpy(),
        labels=labels.cpu().numpy(),
        confidence=confidence.cpu().numpy(),
    )
