"""Ground truth in 3D: labelled pixels thinned to one point per voxel, or a labelled point set."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from gnesf_model.frame import Frame
from gnesf_model.geometry import backproject, invert, project, transform
from gnesf_model.labels import UNKNOWN

_BITS = 18
_HALF = 1 << (_BITS - 1)
"""Voxel coordinates, from the first camera, lie in [-half, half): three of them and a label fit one int64."""
_MERGE_ROWS = 2_000_000
"""Rows gathered before equal voxels are added up: bounds the memory."""
MAX_POINTS = 50_000_000
"""A point set that claims more is refused before memory is taken for it."""


class PointCollector:
    """Gathers the labelled pixels with depth of many frames, one point per voxel.

    A voxel's point is the mean of its pixels' points, its label the one most pixels have (the lower
    class index on a tie).
    """

    def __init__(self, voxel_size_m: float) -> None:
        self.voxel_size_m = voxel_size_m
        self._keys = [np.zeros(0, dtype=np.int64)]
        self._sums = [np.zeros((0, 4))]
        self._pending = 0
        self._origin_vox: np.ndarray | None = None
        """Where the first camera stood: the world's own origin may be anywhere (UTM)."""

    def add(self, frame: Frame) -> None:
        """Add the labelled pixels of a frame that have depth; frames without either add nothing.

        Raises:
            ValueError: a point is too far from the first camera to be told apart.
        """
        if frame.labels is None or frame.depth is None:
            return
        labels = _labels_of_depth(frame)
        use = (labels != UNKNOWN) & (frame.depth > 0)
        points = backproject(torch.from_numpy(frame.depth), frame.camera).numpy()[use].astype(np.float64)
        pose = frame.world_T_cam if frame.world_T_depth is None else frame.world_T_depth
        points = points @ pose[:3, :3].T + pose[:3, 3]
        if self._origin_vox is None:
            self._origin_vox = np.floor(frame.world_T_cam[:3, 3] / self.voxel_size_m).astype(np.int64)
        voxels = np.floor(points / self.voxel_size_m).astype(np.int64) - self._origin_vox
        furthest = np.abs(voxels).max(initial=0)
        if furthest >= _HALF:
            raise ValueError(
                f"ground truth lies {furthest * self.voxel_size_m / 1000:.0f} km from the first camera, at most "
                f"{_HALF * self.voxel_size_m / 1000:.1f} km are expected: check the poses"
            )
        voxels += _HALF
        key = (voxels[:, 0] << 2 * _BITS | voxels[:, 1] << _BITS | voxels[:, 2]) << 8
        key |= labels[use]
        keys, sums = _merge(key, np.concatenate([points, np.ones((len(points), 1))], axis=1))
        self._keys.append(keys)
        self._sums.append(sums)
        self._pending += len(keys)
        if self._pending > _MERGE_ROWS:
            self._merge_all()

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) float64 in the world and labels (N,) uint8."""
        self._merge_all()
        keys, sums = self._keys[0], self._sums[0]
        if not len(keys):
            return np.zeros((0, 3)), np.zeros(0, np.uint8)
        voxel, label = keys >> 8, keys & 255
        start = np.flatnonzero(np.diff(voxel, prepend=-1))
        by_count = np.lexsort((label, -sums[:, 3], voxel))
        total = np.add.reduceat(sums, start, axis=0)
        return total[:, :3] / total[:, 3:], label[by_count][start].astype(np.uint8)

    def _merge_all(self) -> None:
        keys, sums = _merge(np.concatenate(self._keys), np.concatenate(self._sums))
        self._keys, self._sums, self._pending = [keys], [sums], 0


def _labels_of_depth(frame: Frame) -> np.ndarray:
    """(H, W) labels of the depth image's pixels, which is another than the colour image's where times differ."""
    if frame.world_T_depth is None:
        return frame.labels
    color_T_depth = torch.from_numpy(invert(frame.world_T_cam) @ frame.world_T_depth).float()
    points = transform(color_T_depth, backproject(torch.from_numpy(frame.depth), frame.camera))
    pixels, z = project(points, frame.camera)
    u, v = pixels.round().long().unbind(-1)
    inside = (z > 0) & (u >= 0) & (v >= 0) & (u < frame.camera.width) & (v < frame.camera.height)
    labels = np.full_like(frame.labels, UNKNOWN)
    labels[inside.numpy()] = frame.labels[v[inside].numpy(), u[inside].numpy()]
    return labels


def load_labelled_points(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) float64 and labels (N,) uint8 of an .npz file with arrays `xyz` and `label`.

    Raises:
        OSError: no such file.
        ValueError: not such a file, or arrays of another shape or type.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                points, labels = _read_array(archive, "xyz", "fiu"), _read_array(archive, "label", "iu")
        except MemoryError:
            raise
        except Exception as error:  # zipfile and NumPy raise whatever damaged bytes lead to
            text = str(error).strip("'\"")
            raise ValueError(f"{path}: {text}; expected an .npz with xyz (N, 3) and label (N,)") from error
    if points.ndim != 2 or points.shape[1] != 3 or labels.shape != points.shape[:1]:
        raise ValueError(f"{path} has xyz {points.shape} and label {labels.shape}, expected (N, 3) and (N,)")
    if not np.isfinite(points).all() or labels.min(initial=0) < 0 or labels.max(initial=0) > UNKNOWN:
        raise ValueError(f"{path} has points that are not finite or labels outside 0..255")
    return points.astype(np.float64), labels.astype(np.uint8)


def points_digest(points: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of points (N, 3) and labels (N,), whatever file they came from: two runs tell by it whether they were
    scored on the same ones."""
    found = hashlib.sha256(np.ascontiguousarray(points, "<f8"))
    found.update(np.ascontiguousarray(labels, np.uint8))
    return found.hexdigest()


def nearest_labels(points: np.ndarray, surface: np.ndarray, surface_labels: np.ndarray, reach_m: float) -> np.ndarray:
    """Label (N,) uint8 of the surface point nearest to each point (N, 3), 255 beyond `reach_m`."""
    labels = np.full(len(points), UNKNOWN, dtype=np.uint8)
    if len(surface) and len(points):
        distance, index = cKDTree(surface).query(points, distance_upper_bound=reach_m, workers=-1)
        found = np.isfinite(distance)
        labels[found] = surface_labels[index[found]]
    return labels


def _read_array(archive: zipfile.ZipFile, name: str, kinds: str) -> np.ndarray:
    """Numbers of one array of an .npz; its header is believed only as far as there is data for it."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"{name} is of .npy version {version}")
        shape, _, dtype = read_header[version](stream)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in kinds:
        raise ValueError(f"{name} is of type {dtype}, expected {'numbers' if 'f' in kinds else 'whole numbers'}")
    if size > info.file_size or math.prod(shape) > 3 * MAX_POINTS:
        raise ValueError(
            f"{name} claims {shape} values in a file of {info.file_size} bytes (at most {MAX_POINTS} points)"
        )
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def agreement(
    points: np.ndarray, labels: np.ndarray, other_points: np.ndarray, other_labels: np.ndarray
) -> tuple[float, float]:
    """How alike two labelled clouds are that should be the same but for rounding.

    Returns:
        Share of the larger cloud's points that have one of the other within 1 mm, and share of those with equal labels.
    """
    if len(points) < len(other_points):
        points, labels, other_points, other_labels = other_points, other_labels, points, labels
    if not len(other_points):
        return 0.0, 0.0
    distance, index = cKDTree(other_points).query(points)
    near = distance < 1e-3
    equal = labels[near] == other_labels[index[near]]
    return float(near.mean()), float(equal.mean()) if near.any() else 0.0


def _merge(keys: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct keys (N,) and the sums (N, 4) of the rows that share one."""
    keys, inverse = np.unique(keys, return_inverse=True)
    inverse = inverse.reshape(-1)
    columns = [np.bincount(inverse, weights=column, minlength=len(keys)) for column in sums.T]
    return keys, np.stack(columns, axis=1)
