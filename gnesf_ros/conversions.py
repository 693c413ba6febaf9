"""Outgoing messages from arrays, filled without element-wise copies."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from gnesf_msgs.msg import Legend, LegendClass
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from gnesf_model.frame import Camera
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.segment.segmenter import STRIDE, Segmentation, argmax_labels
from gnesf_model.visualization.images import blend

_ENCODINGS = {(np.dtype(np.uint8), 1): "mono8", (np.dtype(np.uint8), 3): "rgb8", (np.dtype(np.float32), 1): "32FC1"}

CLOUD_POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("label", "<u4"), ("confidence", "<f4")]
)
"""One point of a semantic cloud. `rgb` holds 0x00RRGGBB in the four bytes of a FLOAT32, as PCL and RViz expect."""

_FIELDS = [
    PointField(name=name, offset=offset, datatype=kind, count=1)
    for name, offset, kind in (
        ("x", 0, PointField.FLOAT32),
        ("y", 4, PointField.FLOAT32),
        ("z", 8, PointField.FLOAT32),
        ("rgb", 12, PointField.FLOAT32),
        ("label", 16, PointField.UINT32),
        ("confidence", 20, PointField.FLOAT32),
    )
]


def fill(data: np.ndarray) -> array:
    """The bytes of an array as what a message field takes fast; anything else is checked byte by byte."""
    filled = array("B")
    filled.frombytes(memoryview(np.ascontiguousarray(data)).cast("B") if data.size else b"")
    return filled


def image_message(pixels: np.ndarray, head: Header) -> Image:
    """sensor_msgs/Image: mono8 from (H, W) uint8, rgb8 from (H, W, 3) uint8, 32FC1 from (H, W) float32.

    Raises:
        ValueError: another shape or type.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    encoding = _ENCODINGS.get((pixels.dtype, channels))
    if encoding is None:
        raise ValueError(
            f"image is {pixels.dtype} {pixels.shape}, expected uint8 (H, W) or (H, W, 3), or float32 (H, W)"
        )
    height, width = pixels.shape[:2]
    return Image(
        header=head,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * channels * pixels.itemsize,
        data=fill(pixels),
    )


def camera_info_message(camera: Camera, head: Header) -> CameraInfo:
    """sensor_msgs/CameraInfo of a pinhole camera without distortion."""
    K = camera.K
    return CameraInfo(
        header=head,
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=np.hstack([K, np.zeros((3, 1))]).ravel().tolist(),
    )


def cloud_message(surface: LabelledPoints, labels: LabelSpace, head: Header) -> PointCloud2:
    """sensor_msgs/PointCloud2 of labelled points, coloured by label (unknown: black)."""
    color = labels.colors.astype(np.uint32)
    packed = color[:, 0] << 16 | color[:, 1] << 8 | color[:, 2]
    cloud = np.empty(len(surface.points), CLOUD_POINT)
    cloud["x"], cloud["y"], cloud["z"] = surface.points.T
    cloud["rgb"] = packed[surface.labels]
    cloud["label"] = surface.labels
    cloud["confidence"] = surface.confidence
    return PointCloud2(
        header=head,
        height=1,
        width=len(cloud),
        fields=_FIELDS,
        is_bigendian=False,
        point_step=CLOUD_POINT.itemsize,
        row_step=CLOUD_POINT.itemsize * len(cloud),
        data=fill(cloud.view(np.uint8)),
        is_dense=True,
    )


def legend_message(labels: LabelSpace, head: Header) -> Legend:
    """gnesf_msgs/Legend of a label space."""
    classes = [LegendClass(id=c.id, name=c.name, color=list(c.color), kind=c.kind) for c in labels.classes]
    return Legend(header=head, label_space=labels.name, classes=classes)


class SemanticImages:
    """What a segmentation looks like at the size of its image: each pixel is that of its 4x4 block.

    Args:
        segmentation: of the image.
        camera: its size.

    Attributes:
        labels: (H, W) uint8, 255 = unlabelled.
    """

    def __init__(self, segmentation: Segmentation, camera: Camera) -> None:
        self._space, self._camera = segmentation.labels, camera
        self._grid, self._probability = argmax_labels(segmentation)
        self.labels = self._upsampled(self._grid)

    def confidence(self) -> np.ndarray:
        """(H, W) uint8, probability times 255; 0 where unlabelled."""
        confidence = np.rint(self._probability * 255.0).astype(np.uint8)
        confidence[self._grid == UNKNOWN] = 0
        return self._upsampled(confidence)

    def color(self) -> np.ndarray:
        """(H, W, 3) uint8 colours of the labels, black where unlabelled."""
        return self._upsampled(self._space.colors[self._grid])

    def overlay(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8: image and label colour half and half, the plain image where unlabelled."""
        return blend(rgb, self.color(), self._upsampled((self._grid == UNKNOWN).astype(np.uint8)), 0.5)

    def _upsampled(self, grid: np.ndarray) -> np.ndarray:
        size = (grid.shape[1] * STRIDE, grid.shape[0] * STRIDE)
        full = cv2.resize(grid, size, interpolation=cv2.INTER_NEAREST)
        return np.ascontiguousarray(full[: self._camera.height, : self._camera.width])
