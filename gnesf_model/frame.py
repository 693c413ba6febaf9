"""What a camera saw at one instant: the validated input of everything else.

A source of frames, live or recorded, yields `Frame`; whatever cannot become one is dropped with a
reason (`FrameDropped`) so that bad input is counted instead of mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_IMAGE_SIDE_PX = 16384
"""Larger images are refused: no camera in use has them, a corrupt header does."""

POSE_TOLERANCE = 1e-3
"""Largest deviation of R^T R from the identity that still counts as a rotation."""


class FrameDropped(ValueError):
    """One frame (or message) that cannot be used; the stream goes on.

    Attributes:
        reason: short snake_case name under which the drop is counted, e.g. ``no_pose``.
        segmentation: what the segmenter said of the image, where it came that far.
        blocks: (N,) rows of the voxel blocks that it changed all the same; None: it changed nothing.
    """

    def __init__(self, reason: str, message: str, segmentation: Any = None, blocks: Any = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.segmentation = segmentation
        self.blocks = blocks


@dataclass(frozen=True)
class Camera:
    """Pinhole camera without distortion; pixel centres lie at integer coordinates.

    Attributes:
        width, height: image size in pixels.
        fx, fy, cx, cy: intrinsics in pixels.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if not 1 <= value <= MAX_IMAGE_SIDE_PX:
                raise FrameDropped(
                    "bad_camera_info",
                    f"camera {name} is {value}, expected 1 to {MAX_IMAGE_SIDE_PX}: check CameraInfo",
                )
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0:
            raise FrameDropped(
                "bad_camera_info",
                f"camera intrinsics fx, fy, cx, cy are {values}, expected finite numbers with "
                "fx, fy > 0: calibrate the camera or publish its real CameraInfo (K of zeros means "
                "uncalibrated)",
            )

    @classmethod
    def from_matrix(cls, K: np.ndarray, width: int, height: int) -> Camera:
        """Camera from a 3x3 matrix `K` and an image size in pixels."""
        K = np.asarray(K, dtype=np.float64).reshape(3, 3)
        return cls(width, height, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))

    @property
    def K(self) -> np.ndarray:
        """Intrinsic matrix, (3, 3) float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def strided(self, stride: int, offset: float | None = None) -> Camera:
        """The camera whose pixel (i, j) looks where pixel (stride*i + offset, stride*j + offset) does.

        Args:
            stride: step between the pixels that are kept.
            offset: pixel that becomes pixel 0; the centre of a stride x stride block by default, which
                is the grid of a segmenter or of an image resized with area averaging.
        """
        offset = (stride - 1) / 2 if offset is None else offset
        return Camera(
            width=-(-self.width // stride),
            height=-(-self.height // stride),
            fx=self.fx / stride,
            fy=self.fy / stride,
            cx=(self.cx - offset) / stride,
            cy=(self.cy - offset) / stride,
        )


def clean_depth(depth: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Depth of any sensor as float32 metres with 0 where there is none.

    Args:
        depth: (H, W) integer or float; NaN, infinite and negative values mean "no measurement".
        scale: metres per unit of `depth` (0.001 for 16-bit millimetres).
    """
    metres = depth.astype(np.float32)
    if scale != 1.0:
        metres *= np.float32(scale)
    if depth.dtype.kind == "f":
        metres[~(np.isfinite(metres) & (metres > 0))] = 0.0
    return metres


@dataclass(frozen=True)
class Frame:
    """Colour, optional depth and pose of one camera at one instant.

    Attributes:
        stamp_ns: time of the colour image in nanoseconds.
        rgb: (H, W, 3) uint8, red first.
        camera: intrinsics of `rgb` and of `depth`, which are pixel-aligned.
        world_T_cam: (4, 4) float64; maps points of the optical frame (x right, y down, z forward, metres)
            to the world.
        depth: (H, W) float32 metres along z, 0 where there is none; None without a depth sensor.
        labels: (H, W) uint8 ground truth for evaluation, 255 = ignore; None where there is none.
        depth_stamp_ns, world_T_depth: when and from where depth was taken, (4, 4) as `world_T_cam`; None where
            that is the time and the pose of the colour image.
        source: name of the camera; empty where there is one only.
        frame_id: its optical frame; empty outside of ROS.
        angular_rate_deg_s: how fast it turned, degrees per second; None where that is not known.
        pose_jumps: how often the poses of this camera jumped so far (loop closure, relocalisation).

    Raises:
        FrameDropped: when a value is out of range or does not fit the others.
    """

    stamp_ns: int
    rgb: np.ndarray
    camera: Camera
    world_T_cam: np.ndarray
    depth: np.ndarray | None = None
    labels: np.ndarray | None = None
    depth_stamp_ns: int | None = None
    world_T_depth: np.ndarray | None = None
    source: str = ""
    frame_id: str = ""
    angular_rate_deg_s: float | None = None
    pose_jumps: int = 0

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        if self.rgb.dtype != np.uint8 or self.rgb.shape != (*size, 3):
            raise FrameDropped(
                "image_size",
                f"colour image is {self.rgb.dtype} {self.rgb.shape}, expected uint8 {(*size, 3)} as the "
                "camera info says: publish the camera info of this image",
            )
        if self.depth is not None:
            if self.depth.dtype != np.float32 or self.depth.shape != size:
                raise FrameDropped(
                    "depth_size",
                    f"depth image is {self.depth.dtype} {self.depth.shape}, expected float32 {size} like "
                    "the colour image: register depth to colour (e.g. depth_image_proc/register)",
                )
            # One pass that NaN, infinity and negative values all fail.
            if self.depth.size and not (self.depth.min() >= 0 and self.depth.max() < np.inf):
                raise FrameDropped("bad_depth", "depth holds NaN, infinite or negative values: use clean_depth()")
        if self.labels is not None and (self.labels.dtype != np.uint8 or self.labels.shape != size):
            raise FrameDropped(
                "label_size",
                f"label image is {self.labels.dtype} {self.labels.shape}, expected uint8 {size}",
            )
        check_pose(self.world_T_cam)
        if self.world_T_depth is not None:
            check_pose(self.world_T_depth)


def check_pose(a_T_b: np.ndarray) -> None:
    """Raise `FrameDropped` (``bad_pose``) unless `a_T_b` is a finite rigid (4, 4) transform."""
    a_T_b = np.asarray(a_T_b)
    if a_T_b.shape != (4, 4) or not np.isfinite(a_T_b).all():
        raise FrameDropped("bad_pose", f"pose {a_T_b.tolist()} is not a finite 4x4 matrix: check the pose source")
    R = a_T_b[:3, :3]
    error = float(np.abs(R.T @ R - np.eye(3)).max())
    if error > POSE_TOLERANCE or np.linalg.det(R) < 0 or np.abs(a_T_b[3] - (0, 0, 0, 1)).max() > 1e-9:
        raise FrameDropped(
            "bad_pose",
            f"pose {a_T_b.tolist()} is not a rigid transform (R^T R differs from I by {error:.2g}, at most "
            f"{POSE_TOLERANCE} expected): check the pose source",
        )
