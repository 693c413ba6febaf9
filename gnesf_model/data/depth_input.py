"""Depth for colour images: paired by stamp, and refused where its pixels are not those of the colour image."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.data.camera_info import CameraInfos, check_registered
from gnesf_model.data.depth_buffer import DepthBuffer, DepthImage
from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import FrameDropped
from gnesf_model.trajectory import NotReady
from gnesf_model.transforms import TransformTree, clean_frame_id

DepthUse = Literal["required", "optional", "none"]


class PairedDepth(NamedTuple):
    """Depth of a colour image: when it was taken, and (H, W) float32 metres with what removes its distortion."""

    stamp_ns: int
    depth: np.ndarray
    rectifier: Rectifier

    def rectified(self) -> np.ndarray:
        """(H, W) float32 metres without distortion; raises `FrameDropped` (``depth_size``)."""
        return self.rectifier.depth(self.depth)


class DepthInput:
    """Depth images and their camera infos.

    Args:
        config: tolerance, and whether depth is known to be registered.
        use: ``required`` (no depth, no frame), ``optional`` (a frame without; depth is waited for only while there is a
            stream of it) or ``none``.
    """

    def __init__(self, config: InputConfig, use: DepthUse) -> None:
        self.use = use
        self._buffer = DepthBuffer(round(config.sync_tolerance_s * 1e9))
        self._infos = CameraInfos()
        self._trusted = config.depth_registered == "always"
        self._patience_ns = round(config.pose_wait_s * 1e9)
        self._newest_ns: int | None = None

    def adjust(self, config: InputConfig) -> None:
        """Go on with another tolerance and waiting time."""
        self._buffer.tolerance_ns = round(config.sync_tolerance_s * 1e9)
        self._patience_ns = round(config.pose_wait_s * 1e9)

    @property
    def nbytes(self) -> int:
        """Memory of the images that wait."""
        return self._buffer.nbytes

    def add(self, image: DepthImage) -> None:
        """Remember an image; raises `FrameDropped` (``duplicate_stamp``)."""
        self._newest_ns = image.stamp_ns if self._newest_ns is None else max(self._newest_ns, image.stamp_ns)
        self._buffer.add(image)

    def add_info(self, stamp_ns: int, rectifier: Rectifier) -> None:
        """Remember what the depth camera's info says."""
        self._infos.add(stamp_ns, rectifier)

    def forget_before(self, stamp_ns: int) -> None:
        """Forget what no colour image from `stamp_ns` on can be paired with."""
        self._buffer.forget_before(stamp_ns)
        self._infos.forget_before(stamp_ns)

    def reset(self) -> None:
        """Time stepped back: forget the images; the latest info stays true."""
        self._buffer.reset()
        self._infos.reset()
        self._newest_ns = None

    def of(
        self, stamp_ns: int, frame_id: str, color: Rectifier, tree: TransformTree, ended: bool
    ) -> PairedDepth | None:
        """Depth of a colour image; None where it is not used, or optional and nothing to wait for.

        Args:
            stamp_ns, frame_id: of the colour image.
            color: its camera.
            tree: transforms, which tell whether two frames are the same place.
            ended: nothing better will come.

        Raises:
            NotReady, FrameDropped: ``no_depth``, ``depth_not_registered``, ``depth_size``.
        """
        if self.use == "none" or (self.use == "optional" and not self._flows(stamp_ns)):
            return None
        image = self._buffer.at(stamp_ns, ended)
        # Without a word from the depth camera its image is taken for pixel-aligned with the raw colour image.
        rectifier = Rectifier(color.camera) if image.rectified else color
        if not self._trusted:
            _check_frames(frame_id, image, tree)
            if self._infos:
                rectifier = self._infos.at(image.stamp_ns, True)
                check_registered(rectifier.camera, color.camera)
        return PairedDepth(image.stamp_ns, image.depth, rectifier)

    def _flows(self, stamp_ns: int) -> bool:
        """Whether there is a depth stream at all, which has not ended well before `stamp_ns`."""
        return self._newest_ns is not None and stamp_ns - self._newest_ns <= self._patience_ns


def _check_frames(color_frame: str, image: DepthImage, tree: TransformTree) -> None:
    """Refuse depth of another optical frame, unless TF says that both are one place."""
    if not image.frame_id or clean_frame_id(image.frame_id) == clean_frame_id(color_frame):
        return
    try:
        offset = tree.lookup(color_frame, image.frame_id, image.stamp_ns)
    except NotReady:
        offset = None
    if offset is None or not np.allclose(offset, np.eye(4), atol=1e-6):
        raise FrameDropped(
            "depth_not_registered",
            f"depth is in the frame {image.frame_id!r} and colour in {color_frame!r}: use depth registered to "
            "colour (e.g. align_depth.enable:=true, or depth_image_proc/register). If it is registered and only its "
            "frame_id is wrong, set input.depth_registered: always",
        )
