"""ROS messages as arrays and poses.

The functions look at fields, not at types, so they read messages of rclpy (``array.array``) and those
that rosbags deserialises (NumPy) alike. Where the layout allows, images are views of the message.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from gnesf_model.data.encoded import decode_rgb
from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import MAX_IMAGE_SIDE_PX, Camera, FrameDropped, clean_depth
from gnesf_model.geometry import pose_from_quaternion
from gnesf_model.transforms import clean_frame_id

_TO_RGB = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),  # OpenCV's order, as cv_bridge reads it
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
}
COLOR_ENCODINGS = tuple(_TO_RGB)
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")


class StampedPose(NamedTuple):
    """A pose message: `frame_T_child` (4, 4) at a stamp; `child` is None where the message names none."""

    stamp_ns: int
    frame: str
    child: str | None
    pose: np.ndarray


class StampedTransform(NamedTuple):
    """One edge of a TFMessage: `parent_T_child` (4, 4) at a stamp."""

    stamp_ns: int
    parent: str
    child: str
    pose: np.ndarray


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def decode_image(msg: Any) -> np.ndarray:
    """sensor_msgs/Image as (H, W, 3) uint8 RGB; rgb8 as rclpy holds it, without padding, is a view.

    Raises:
        FrameDropped: ``encoding`` (the message lists what is accepted) or ``bad_image`` (sizes).
    """
    if msg.encoding not in _TO_RGB:
        raise _unknown_encoding("colour", msg.encoding, COLOR_ENCODINGS)
    channels, conversion = _TO_RGB[msg.encoding]
    pixels = _pixels(msg, np.dtype(np.uint8), channels)
    if conversion is not None:
        return cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    return np.require(pixels, requirements=["C", "W"])  # torch warns of arrays that cannot be written


def decode_compressed(msg: Any) -> np.ndarray:
    """sensor_msgs/CompressedImage with a JPEG or PNG inside as (H, W, 3) uint8 RGB.

    Raises:
        FrameDropped: ``encoding`` (compressed depth) or ``unreadable_image``.
    """
    if "compressedDepth" in msg.format:
        raise _unknown_encoding("compressed colour", msg.format, ("jpeg", "png"))
    return decode_rgb(msg.data)


def decode_depth(msg: Any, depth_unit_m: float = 0.001) -> np.ndarray:
    """sensor_msgs/Image as (H, W) float32 metres, 0 where there is no measurement.

    Args:
        msg: encoding 16UC1 or mono16 in units of `depth_unit_m`, or 32FC1 in metres.
        depth_unit_m: metres per unit of an integer depth.

    Raises:
        FrameDropped: ``encoding`` (the message lists what is accepted) or ``bad_image`` (sizes).
    """
    if msg.encoding not in DEPTH_ENCODINGS:
        raise _unknown_encoding("depth", msg.encoding, DEPTH_ENCODINGS)
    order = ">" if msg.is_bigendian else "<"
    if msg.encoding == "32FC1":
        return clean_depth(_pixels(msg, np.dtype(f"{order}f4"), 1))
    return clean_depth(_pixels(msg, np.dtype(f"{order}u2"), 1), depth_unit_m)


def decode_camera_info(msg: Any, rectified: bool = False) -> Rectifier:
    """sensor_msgs/CameraInfo as what turns its images into those of a pinhole camera.

    Args:
        msg: K and D describe the raw image, P the rectified one.
        rectified: the images come from an ``image_rect`` topic: P counts, and there is no distortion.

    Raises:
        FrameDropped: (``bad_camera_info``) K of zeros, unknown distortion model, not finite.
    """
    K = np.asarray(msg.k, dtype=np.float64).reshape(3, 3)
    if not rectified:
        camera = Camera.from_matrix(K, int(msg.width), int(msg.height))
        return Rectifier(camera, msg.distortion_model, tuple(float(d) for d in msg.d))
    P = np.asarray(msg.p, dtype=np.float64).reshape(3, 4)[:, :3]
    return Rectifier(Camera.from_matrix(P if P.any() else K, int(msg.width), int(msg.height)))


def decode_pose(msg: Any) -> StampedPose:
    """geometry_msgs/PoseStamped, PoseWithCovarianceStamped or nav_msgs/Odometry.

    Raises:
        FrameDropped: (``bad_pose``) not finite, or not a unit quaternion.
    """
    pose = getattr(msg.pose, "pose", msg.pose)  # with covariance one level deeper
    child = getattr(msg, "child_frame_id", None)
    return StampedPose(
        stamp_ns(msg.header),
        clean_frame_id(msg.header.frame_id),
        None if child is None else clean_frame_id(child),
        _rigid(pose.position, pose.orientation),
    )


def decode_transform(item: Any) -> StampedTransform:
    """geometry_msgs/TransformStamped, one of a TFMessage's.

    Raises:
        FrameDropped: (``bad_pose``) not finite, or not a unit quaternion.
    """
    return StampedTransform(
        stamp_ns(item.header),
        clean_frame_id(item.header.frame_id),
        clean_frame_id(item.child_frame_id),
        _rigid(item.transform.translation, item.transform.rotation),
    )


def _rigid(t: Any, q: Any) -> np.ndarray:
    return pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def _pixels(msg: Any, dtype: np.dtype, channels: int) -> np.ndarray:
    """View (H, W) or (H, W, channels) of an image's data, rows possibly padded."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    if not (1 <= width <= MAX_IMAGE_SIDE_PX and 1 <= height <= MAX_IMAGE_SIDE_PX):
        raise FrameDropped("bad_image", f"image is {width}x{height} pixels, expected sides of 1 to {MAX_IMAGE_SIDE_PX}")
    row = width * channels * dtype.itemsize
    needed = step * (height - 1) + row
    size = memoryview(msg.data).nbytes
    if step < row or size < needed:
        raise FrameDropped(
            "bad_image",
            f"{msg.encoding} image of {width}x{height} has rows of {step} bytes and {size} bytes of data, "
            f"expected at least {row} and {needed}: check the driver",
        )
    shape: tuple[int, ...] = (height, width)
    strides: tuple[int, ...] = (step, channels * dtype.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    return np.ndarray(shape, dtype, buffer=memoryview(msg.data).cast("B"), strides=strides)


def _unknown_encoding(what: str, encoding: str, accepted: tuple[str, ...]) -> FrameDropped:
    return FrameDropped(
        "encoding",
        f"{what} image has the encoding {encoding!r}, accepted are {', '.join(accepted)}: change the driver's output",
    )
