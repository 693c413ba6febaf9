"""A piece of the surface that one view measured, as the map would hold it, with that view's labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from gnesf_model.field.spatial_voting import SurfacePatch
from gnesf_model.labels import UNKNOWN
from gnesf_model.training.room_sequences import RoomSequence

SPACING_M = 0.04
"""One point per voxel of the map's default size: votes pass between points as far apart as they will be there."""
_PLANE_POINTS = 12


@dataclass(frozen=True, eq=False)
class LabelledPatch:
    """Surface points and what is true of them.

    Attributes:
        surface: points (K, 3), normals towards the camera and colours; without M.
        labels: (K,) int64; 255 where the view's pixel has none.
    """

    surface: SurfacePatch
    labels: torch.Tensor

    @classmethod
    def of_view(cls, sequence: RoomSequence, view: int, count: int, rng: np.random.Generator) -> LabelledPatch:
        """At most `count` points that lie together, around a point drawn from the view's pixels with a label."""
        depth, labels = sequence.depth[view], sequence.labels[view]
        v, u = np.nonzero(depth > 0)
        if len(v) == 0:
            return cls(SurfacePatch(*(torch.zeros(0, 3) for _ in range(3))), torch.zeros(0, dtype=torch.int64))
        c, z, pose = sequence.camera, depth[v, u], sequence.world_T_cam[view]
        local = np.stack([(u - c.cx) / c.fx * z, (v - c.cy) / c.fy * z, z], axis=1)
        points = local @ pose[:3, :3].T + pose[:3, 3]
        _, first = np.unique(np.floor(points / SPACING_M).astype(np.int64), axis=0, return_index=True)
        labelled = first[labels[v[first], u[first]] != UNKNOWN]
        middle = points[rng.choice(labelled if len(labelled) else first)]
        _, near = cKDTree(points[first]).query(middle, k=min(count, len(first)))
        chosen = first[np.atleast_1d(near)]
        surface = SurfacePatch(
            torch.from_numpy(points[chosen].astype(np.float32)),
            torch.from_numpy(_normals(points[chosen], points, pose[:3, 3]).astype(np.float32)),
            torch.from_numpy(sequence.rgb[view][v[chosen], u[chosen]].astype(np.float32) / 255),
        )
        return cls(surface, torch.from_numpy(labels[v[chosen], u[chosen]].astype(np.int64)))


def _normals(points: np.ndarray, cloud: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """(K, 3) normals of the planes through the nearest points of a cloud (N, 3), towards `eye`."""
    _, rows = cKDTree(cloud).query(points, k=min(4 * _PLANE_POINTS, len(cloud)))
    around = cloud[rows.reshape(len(points), -1)[:, ::4]]
    around = around - around.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("kji,kjl->kil", around, around))
    normals = axes[:, :, 0]
    return normals * np.where(((eye - points) * normals).sum(1) < 0, -1.0, 1.0)[:, None]
