"""Outgoing messages from arrays, filled without element-wise copies."""

from __future__ import annotations

from array import array
from functools import cached_property

import cv2
import numpy as np
from gnesf_msgs.msg import Legend, LegendClass
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from gnesf_model.frame import Camera
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.segment.pixels import pixel_segmentation
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.visualization.images import blend

_ENCODINGS = {(np.dtype(np.uint8), 1): "mono8", (np.dtype(np.uint8), 3): "rgb8", (np.dtype(np.float32), 1): "32FC1"}

_FIELD_KINDS = {np.dtype("<f4"): PointField.FLOAT32, np.dtype("<u4"): PointField.UINT32}


def fill(data: np.ndarray, code: str = "B") -> array:
    """An array as what a message field takes fast, anything else is checked value by value; `code` is array's."""
    filled = array(code)
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


def cloud_message(points: np.ndarray, head: Header) -> PointCloud2:
    """sensor_msgs/PointCloud2 of a structured array: (N,), or (H, W) for an organised cloud with gaps of NaN."""
    height, width = (1, *points.shape)[-2:]
    fields = [
        # PCL and RViz want the packed colour declared as the float whose four bytes it takes.
        PointField(
            name=name, offset=offset, datatype=PointField.FLOAT32 if name == "rgb" else _FIELD_KINDS[kind], count=1
        )
        for name, (kind, offset) in points.dtype.fields.items()
    ]
    return PointCloud2(
        header=head,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.itemsize * width,
        data=fill(points.reshape(-1).view(np.uint8)),
        is_dense=points.ndim == 1,
    )


def legend_message(labels: LabelSpace, head: Header) -> Legend:
    """gnesf_msgs/Legend of a label space."""
    classes = [LegendClass(id=c.id, name=c.name, color=list(c.color), kind=c.kind) for c in labels.classes]
    return Legend(header=head, label_space=labels.name, classes=classes)


class SemanticImages:
    """What a segmentation looks like at the size of its image; each picture is made when it is first asked for.

    Args:
        segmentation: of the image.
        camera: its size.
    """

    def __init__(self, segmentation: Segmentation, camera: Camera) -> None:
        self._segmentation, self._camera = segmentation, camera

    @property
    def labels(self) -> np.ndarray:
        """(H, W) uint8, 255 = unlabelled."""
        return self._pixels[0]

    @property
    def confidence(self) -> np.ndarray:
        """(H, W) uint8, probability times 255; 0 where unlabelled."""
        return self._pixels[1]

    @cached_property
    def color(self) -> np.ndarray:
        """(H, W, 3) uint8 colours of the labels, black where unlabelled."""
        return color_image(self.labels, self._segmentation.labels)

    def overlay(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8: image and label colour half and half, the plain image where unlabelled."""
        return blend(rgb, self.color.copy(), (self.labels == UNKNOWN).astype(np.uint8), 0.5)

    @cached_property
    def _pixels(self) -> tuple[np.ndarray, np.ndarray]:
        return pixel_segmentation(self._segmentation, self._camera.height, self._camera.width)


def color_image(labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Colours (H, W, 3) uint8 of labels (H, W) uint8, black where unlabelled."""
    return cv2.applyColorMap(labels, np.ascontiguousarray(space.colors[:, None]))
