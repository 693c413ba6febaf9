"""Lens distortion: what a CameraInfo says about it, and images without it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from gnesf_model.frame import Camera, FrameDropped

FISHEYE = "equidistant"
COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), FISHEYE: (4,)}
"""Distortion models of sensor_msgs/distortion_models and how many coefficients OpenCV takes for them."""

_WRONG_SIZE = {
    "image_size": ("image", "publish the camera info of this image"),
    "depth_size": ("depth image", "register depth to colour (e.g. depth_image_proc/register)"),
    "label_size": ("label image", "label images must be as large as the colour images"),
}
"""By reason of a drop: what has another size than the colour's camera info says, and the remedy."""


@dataclass(frozen=True)
class Rectifier:
    """Images of a lens with distortion as its pinhole camera would see them.

    The pinhole has the size of the distorted image. Where it looks past the distorted image, colour becomes
    black and depth and labels "nothing". Without distortion images pass untouched.

    Attributes:
        camera: the pinhole camera of the rectified images.
        model: distortion model, one of `COEFFICIENTS`; empty without distortion.
        coefficients: distortion in OpenCV's order; empty without distortion.
        raw: intrinsics of the distorted images; None: those of `camera`.

    Raises:
        FrameDropped: (``bad_camera_info``) unknown model, or coefficients that do not fit it.
    """

    camera: Camera
    model: str = ""
    coefficients: tuple[float, ...] = ()
    raw: Camera | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.coefficients, dtype=np.float64)
        if not np.isfinite(values).all():
            raise FrameDropped(
                "bad_camera_info",
                f"camera info has distortion {self.coefficients}, expected finite numbers: recalibrate",
            )
        if not values.any():
            object.__setattr__(self, "coefficients", ())
            object.__setattr__(self, "model", "")
            object.__setattr__(self, "raw", None)
            return
        if self.model not in COEFFICIENTS:
            raise FrameDropped(
                "bad_camera_info",
                f"camera info has distortion model {self.model!r}, expected one of "
                f"{', '.join(COEFFICIENTS)}: recalibrate, or rectify the images",
            )
        if len(values) not in COEFFICIENTS[self.model]:
            raise FrameDropped(
                "bad_camera_info",
                f"camera info has {len(values)} coefficients for {self.model}, expected "
                f"{' or '.join(map(str, COEFFICIENTS[self.model]))}: recalibrate",
            )

    def color(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 image without distortion, interpolated linearly.

        Raises:
            FrameDropped: (``image_size``) the image is not as large as the camera info says.
        """
        return self._remap(rgb, cv2.INTER_LINEAR, 0, "image_size")

    def depth(self, depth: np.ndarray) -> np.ndarray:
        """(H, W) depth without distortion, from the nearest pixel; z is the same in both images.

        Raises:
            FrameDropped: (``depth_size``) it is not as large as the camera info says.
        """
        return self._remap(depth, cv2.INTER_NEAREST, 0, "depth_size")

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """(H, W) uint8 labels without distortion, from the nearest pixel, 255 outside.

        Raises:
            FrameDropped: (``label_size``) they are not as large as the camera info says.
        """
        return self._remap(labels, cv2.INTER_NEAREST, 255, "label_size")

    def _remap(self, image: np.ndarray, interpolation: int, outside: int, reason: str) -> np.ndarray:
        size = (self.camera.height, self.camera.width)
        if image.shape[:2] != size:
            what, remedy = _WRONG_SIZE[reason]
            raise FrameDropped(
                reason,
                f"{what} has {image.shape[0]} rows and {image.shape[1]} columns, the camera info of colour says "
                f"{size[0]} and {size[1]}: {remedy}",
            )
        if not self.coefficients:
            return image
        return cv2.remap(
            np.ascontiguousarray(image),
            *self._maps,
            interpolation,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(outside,) * 3,
        )

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        make = cv2.initUndistortRectifyMap
        if self.model == FISHEYE:
            make = cv2.fisheye.initUndistortRectifyMap
        K, D = (self.raw or self.camera).K, np.asarray(self.coefficients)
        size = (self.camera.width, self.camera.height)
        return make(K, D, np.eye(3), self.camera.K, size, cv2.CV_32FC1)
