"""Points as the bytes of a sensor_msgs/PointCloud2, whoever writes it."""

from __future__ import annotations

import cv2
import numpy as np

from gnesf_model.frame import Frame
from gnesf_model.geometry import invert
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.segment.pixels import moving_pixels, pixel_labels
from gnesf_model.segment.segmenter import STRIDE, Segmentation
from gnesf_model.voxels import VoxelPoints

IMAGE_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
"""One point of an organised cloud. `rgb` holds 0x00RRGGBB in the four bytes of a FLOAT32, as PCL and RViz expect."""
CLOUD_POINT = np.dtype([*IMAGE_POINT.descr, ("label", "<u4"), ("confidence", "<f4")])
"""One point of a semantic cloud; `rgb` is the colour of the class."""

TSDF_POINT = np.dtype([*CLOUD_POINT.descr, ("tsdf", "<f4")])
"""One voxel; `tsdf` is its signed distance to the surface in metres, positive in free space."""


def packed_cloud(surface: LabelledPoints, labels: LabelSpace) -> np.ndarray:
    """(N,) `CLOUD_POINT` of labelled points, coloured by label (unknown: black)."""
    return _labelled(np.empty(len(surface.points), CLOUD_POINT), surface, labels)


def packed_voxels(voxels: VoxelPoints, labels: LabelSpace) -> np.ndarray:
    """(N,) `TSDF_POINT` of measured voxels, coloured by label (unknown: black)."""
    cloud = _labelled(np.empty(len(voxels.points), TSDF_POINT), voxels, labels)
    cloud["tsdf"] = voxels.distance
    return cloud


def _labelled(cloud: np.ndarray, found: LabelledPoints | VoxelPoints, labels: LabelSpace) -> np.ndarray:
    color = labels.colors.astype(np.uint32)
    packed = color[:, 0] << 16 | color[:, 1] << 8 | color[:, 2]
    cloud["x"], cloud["y"], cloud["z"] = found.points.T
    cloud["rgb"] = packed[found.labels]
    cloud["label"] = found.labels
    cloud["confidence"] = found.confidence
    return cloud


def organised_cloud(frame: Frame) -> np.ndarray:
    """(H, W) `IMAGE_POINT` of a frame with depth, in its optical frame; NaN where nothing was measured.

    Depth that was taken at another moment is where the camera had it then, seen from where it is now.
    """
    camera, depth = frame.camera, frame.depth
    z = np.where(depth > 0, depth, np.float32(np.nan))
    cloud = np.empty(depth.shape, IMAGE_POINT)
    cloud["x"] = z * ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
    cloud["y"] = z * ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)[:, None]
    cloud["z"] = z
    if frame.world_T_depth is not None:
        moved = invert(frame.world_T_cam) @ frame.world_T_depth
        points = np.stack([cloud[axis] for axis in "xyz"], axis=-1) @ moved[:3, :3].T.astype(np.float32)
        for i, axis in enumerate("xyz"):
            cloud[axis] = points[..., i] + np.float32(moved[i, 3])
    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGRA)
    bgr[..., 3] = 0
    cloud["rgb"] = bgr.view("<u4")[..., 0]
    return cloud


def moving_points(frame: Frame, segmentation: Segmentation) -> LabelledPoints:
    """What moves by itself in a frame with depth, in the world: points (N, 3), where the map has none.

    The label is that of the image where it is of kind ``dynamic``, else 255: the map's label space need not name
    people. The confidence is how likely it is that the thing moves.
    """
    height, width = frame.depth.shape
    flags = moving_pixels(segmentation, height, width)
    if flags is None:
        none = np.zeros(0, np.uint8)
        return LabelledPoints(np.zeros((0, 3), np.float32), none, none.astype(np.float32), None)
    v, u = np.nonzero(flags.cpu().numpy() & (frame.depth > 0))
    camera, depth = frame.camera, frame.depth[v, u].astype(np.float64)
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(len(u))], axis=1)
    pose = frame.world_T_cam if frame.world_T_depth is None else frame.world_T_depth
    points = rays * depth[:, None] @ pose[:3, :3].T + pose[:3, 3]
    labels = pixel_labels(segmentation, height, width)[v, u]
    moves = np.zeros(256, bool)
    moves[: len(segmentation.labels)] = segmentation.labels.of_kind("dynamic")
    return LabelledPoints(
        points=points.astype(np.float32),
        labels=np.where(moves[labels], labels, np.uint8(UNKNOWN)),
        confidence=segmentation.dynamic.cpu().numpy()[v // STRIDE, u // STRIDE],
        colors=None,
    )
