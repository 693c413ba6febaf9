"""ROS messages as arrays and poses.

The functions look at fields, not at types, so they read messages of rclpy (``array.array``) and those
that rosbags deserialises (NumPy) alike. Where the layout allows, images are views of the message.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from gnesf_model.data.compressed_depth import decode_compressed_depth, decode_depth_png
from gnesf_model.data.encoded import decode_bytes
from gnesf_model.frame import MAX_IMAGE_SIDE_PX, FrameDropped, clean_depth
from gnesf_model.geometry import pose_from_quaternion
from gnesf_model.transforms import clean_frame_id

# ROS names the four colours of the first two rows, OpenCV those of the second row's second and third column.
_BAYER_TO_RGB = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_TO_RGB = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),  # OpenCV's order, as cv_bridge reads it
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),  # the older name of uyvy
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),  # the older name of yuyv
    **{encoding: (1, conversion) for encoding, conversion in _BAYER_TO_RGB.items()},
}
COLOR_ENCODINGS = tuple(_TO_RGB)
COMPRESSED_COLOR = ("jpeg", "png")
COMPRESSED_DEPTH = ("compressedDepth png", "compressedDepth rvl", "png of 16 bits")
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
        return _converted(np.ascontiguousarray(pixels), conversion, msg.encoding)
    return np.require(pixels, requirements=["C", "W"])  # torch warns of arrays that cannot be written


def decode_compressed(msg: Any) -> np.ndarray:
    """sensor_msgs/CompressedImage with a JPEG or PNG inside as (H, W, 3) uint8 RGB.

    image_transport compresses the mosaic of a bayer camera as a gray image and names the pattern in `format`.

    Raises:
        FrameDropped: ``encoding`` (compressed depth) or ``unreadable_image``.
    """
    if "compressedDepth" in msg.format:
        raise _unknown_encoding("compressed colour", msg.format, COMPRESSED_COLOR)
    pattern = msg.format.split(";")[0].strip()
    if pattern in _BAYER_TO_RGB:
        return _converted(decode_bytes(msg.data, cv2.IMREAD_GRAYSCALE), _BAYER_TO_RGB[pattern], pattern)
    return cv2.cvtColor(decode_bytes(msg.data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


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


def decode_depth_compressed(msg: Any, depth_unit_m: float = 0.001) -> np.ndarray:
    """sensor_msgs/CompressedImage of depth as (H, W) float32 metres, 0 where there is no measurement.

    Args:
        msg: what image_transport's plugin compressedDepth sends (PNG or RVL of 16UC1 or 32FC1), or a PNG of
            16 bits, as its plugin compressed sends 16UC1.
        depth_unit_m: metres per unit of an integer depth.

    Raises:
        FrameDropped: ``encoding`` (the message lists what is accepted) or ``unreadable_image``.
    """
    if "compressedDepth" in msg.format:
        return decode_compressed_depth(msg.data, msg.format, depth_unit_m)
    if "jpeg" in msg.format or "jpg" in msg.format:
        raise _unknown_encoding("compressed depth", msg.format, COMPRESSED_DEPTH)
    return clean_depth(decode_depth_png(msg.data), depth_unit_m)


def decode_pose(msg: Any) -> StampedPose:
    """geometry_msgs/PoseStamped, PoseWithCovarianceStamped or TransformStamped, or nav_msgs/Odometry.

    Raises:
        FrameDropped: (``bad_pose``) not finite, or not a unit quaternion.
    """
    if hasattr(msg, "transform"):
        edge = decode_transform(msg)
        return StampedPose(edge.stamp_ns, edge.parent, edge.child or None, edge.pose)
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


def _converted(pixels: np.ndarray, conversion: int, encoding: str) -> np.ndarray:
    """`cv2.cvtColor`, which refuses sizes that an encoding cannot have: odd widths of YUV, a single row of bayer."""
    try:
        return cv2.cvtColor(pixels, conversion)
    except cv2.error as error:
        text = (
            f"{encoding} image of {pixels.shape[1]}x{pixels.shape[0]} pixels has a size that this encoding cannot have"
        )
        raise FrameDropped("bad_image", f"{text}: check the driver") from error


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
