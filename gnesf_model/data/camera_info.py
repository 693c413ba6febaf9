"""What a camera info says, and which one belongs to which image."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np

from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import Camera, FrameDropped
from gnesf_model.trajectory import CLOCK_JUMP_NS, NotReady

_REGISTERED_PX = 2.0
"""Corners of a depth image may lie this far from those of the colour image."""
_MANY = 1000
"""Infos that are remembered at most, should no image ever come."""


def decode_camera_info(msg: Any, rectified: bool = False) -> Rectifier:
    """sensor_msgs/CameraInfo as what turns its images into those of a pinhole camera.

    A raw image with distortion becomes the one that P describes, as image_proc makes it, or, where P is not
    given or R turns the camera, the one with the same K. Binning and region of interest are taken as
    image_geometry takes them: the offset is left out first, then everything is divided by the binning.

    Args:
        msg: K and D describe the raw image, P the rectified one.
        rectified: the images come without distortion: P counts, and D does not.

    Raises:
        FrameDropped: (``bad_camera_info``) K of zeros, unknown distortion model, not finite.
    """
    K = np.asarray(msg.k, dtype=np.float64).reshape(3, 3)
    P = np.asarray(msg.p, dtype=np.float64).reshape(3, 4)[:, :3]
    if rectified:
        return Rectifier(_pinhole(P if P.any() else K, msg))
    coefficients = tuple(float(d) for d in msg.d)
    raw = _pinhole(K, msg)
    if not any(coefficients) or not _is_projection(P) or not _is_identity(msg.r):
        return Rectifier(raw, msg.distortion_model, coefficients)
    return Rectifier(_pinhole(P, msg), msg.distortion_model, coefficients, raw)


def check_registered(depth: Camera, color: Camera) -> None:
    """Refuse depth whose pixels look elsewhere than those of the colour image.

    Raises:
        FrameDropped: (``depth_not_registered``, or ``depth_size`` where the sizes differ already).
    """
    remedy = "use depth registered to colour (e.g. align_depth.enable:=true, or depth_image_proc/register)"
    if (depth.width, depth.height) != (color.width, color.height):
        raise FrameDropped(
            "depth_size",
            f"depth has {depth.height} rows and {depth.width} columns, colour {color.height} and {color.width}: "
            f"register depth to colour, {remedy}",
        )
    corners = np.array([[0, 0, 1], [color.width - 1, color.height - 1, 1]], dtype=np.float64)
    seen = corners @ np.linalg.inv(color.K).T @ depth.K.T
    distance = float(np.abs(seen - corners).max())
    if distance > _REGISTERED_PX:
        raise FrameDropped(
            "depth_not_registered",
            f"depth has fx, fy, cx, cy {_intrinsics(depth)} by its camera info and colour {_intrinsics(color)}, "
            f"which is {distance:.1f} px apart at the image's corners, at most {_REGISTERED_PX:g} expected: {remedy}. "
            "If it is registered and only its camera info is wrong, set input.depth_registered: always",
        )


class CameraInfos:
    """The infos of one camera, of which each image takes the one that was true at its stamp.

    A change of resolution, zoom or calibration holds from the info's stamp on; an info without a stamp holds for
    whatever is not a frame yet. Where infos come with the images' own stamps, an image waits for its own.
    """

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._changes: list[tuple[int, Rectifier]] = []
        self._paired = False
        """Whether the latest image had an info with its own stamp."""

    def __bool__(self) -> bool:
        return bool(self._changes)

    def add(self, stamp_ns: int, rectifier: Rectifier) -> None:
        """Remember an info; one that says the same as the one before keeps that one's maps."""
        if self._stamps and stamp_ns < self._stamps[-1] - CLOCK_JUMP_NS:
            self.reset()
        if not stamp_ns and (not self._changes or self._changes[-1][1] != rectifier):
            self._changes = [(0, rectifier)]
        if not stamp_ns:
            return
        bisect.insort(self._stamps, stamp_ns)
        if not self._changes or self._changes[-1][1] != rectifier:
            self._changes.append((stamp_ns, rectifier))
        if len(self._stamps) > _MANY or len(self._changes) > _MANY:
            self.forget_before(self._stamps[-_MANY // 2])

    def at(self, stamp_ns: int, ended: bool) -> Rectifier:
        """The info of an image.

        Args:
            stamp_ns: of the image.
            ended: take what is there, although the image's own may still come.

        Raises:
            NotReady: (``no_camera_info``) there is none yet, or not yet the image's own.
        """
        if not self._changes:
            raise NotReady("no_camera_info", "no usable camera info received yet")
        if self._paired and not ended and self._stamps and self._stamps[-1] < stamp_ns:
            raise NotReady("no_camera_info", "the camera info with the image's stamp did not come yet")
        known = [rectifier for since, rectifier in self._changes if since <= stamp_ns]
        return known[-1] if known else self._changes[0][1]

    def decided(self, stamp_ns: int) -> None:
        """Take note of an image that became a frame or was dropped."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        self._paired = at < len(self._stamps) and self._stamps[at] == stamp_ns

    def forget_before(self, stamp_ns: int) -> None:
        """Forget what no image from `stamp_ns` on needs."""
        del self._stamps[: bisect.bisect_left(self._stamps, stamp_ns)]
        while len(self._changes) > 1 and self._changes[1][0] <= stamp_ns:
            del self._changes[0]

    def reset(self) -> None:
        """Time stepped back: the latest info stays true."""
        self._stamps.clear()
        self._changes = [(0, rectifier) for _, rectifier in self._changes[-1:]]
        self._paired = False


def _pinhole(K: np.ndarray, msg: Any) -> Camera:
    """The pinhole (3, 3) of the full sensor as that of the image, which may be a part of it, binned."""
    across, down = max(int(getattr(msg, "binning_x", 0)), 1), max(int(getattr(msg, "binning_y", 0)), 1)
    left = top = 0
    width, height = int(msg.width), int(msg.height)
    roi = getattr(msg, "roi", None)
    if roi is not None and roi.width and roi.height:
        left, top, width, height = int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
    camera = Camera.from_matrix(K, width // across, height // down)
    if (across, down, left, top) == (1, 1, 0, 0):
        return camera
    return Camera(
        camera.width,
        camera.height,
        camera.fx / across,
        camera.fy / down,
        (camera.cx - left) / across,
        (camera.cy - top) / down,
    )


def _is_projection(P: np.ndarray) -> bool:
    return bool(np.isfinite(P).all() and P[0, 0] > 0 and P[1, 1] > 0 and abs(P[2, 2] - 1) < 1e-6)


def _is_identity(r: Any) -> bool:
    R = np.asarray(r, dtype=np.float64).reshape(3, 3)
    return not R.any() or np.allclose(R, np.eye(3), atol=1e-6)


def _intrinsics(camera: Camera) -> str:
    return ", ".join(f"{value:.1f}" for value in (camera.fx, camera.fy, camera.cx, camera.cy))
