"""Frames at the resolution at which the image encoder looks at them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from gnesf_model.frame import Camera, Frame


def shrunk(frame: Frame, side_px: int) -> Frame:
    """The frame with images whose longer side has at most `side_px` pixels; 0 leaves it. Without labels."""
    camera = scaled(frame.camera, side_px)
    if camera == frame.camera:
        return replace(frame, labels=None)
    size = (camera.width, camera.height)
    depth = frame.depth
    if depth is not None:
        depth = np.ascontiguousarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST))
    rgb = np.ascontiguousarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA))
    return replace(frame, rgb=rgb, depth=depth, labels=None, camera=camera)


def scaled(camera: Camera, side_px: int) -> Camera:
    """The camera of an image made smaller so that its longer side has at most `side_px` pixels; 0 leaves it."""
    longer = max(camera.width, camera.height)
    if side_px <= 0 or longer <= side_px:
        return camera
    width, height = (max(1, round(n * side_px / longer)) for n in (camera.width, camera.height))
    sx, sy = width / camera.width, height / camera.height
    cx, cy = (camera.cx + 0.5) * sx - 0.5, (camera.cy + 0.5) * sy - 0.5
    return Camera(width, height, camera.fx * sx, camera.fy * sy, cx, cy)
