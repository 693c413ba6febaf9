"""Depth images that wait for the colour images they belong to."""

from __future__ import annotations

import bisect
from typing import NamedTuple

import numpy as np

from gnesf_model.frame import FrameDropped
from gnesf_model.trajectory import NotReady


class DepthImage(NamedTuple):
    """(H, W) float32 metres as received, taken in the optical frame `frame_id`; `rectified`: without distortion."""

    stamp_ns: int
    frame_id: str
    depth: np.ndarray
    rectified: bool


class DepthBuffer:
    """Depth images in order of time, found by the nearest stamp.

    Attributes:
        tolerance_ns: largest distance between the stamps of a colour image and its depth.
    """

    def __init__(self, tolerance_ns: int) -> None:
        self.tolerance_ns = tolerance_ns
        self._stamps: list[int] = []
        self._images: list[DepthImage] = []

    @property
    def nbytes(self) -> int:
        """Memory of the images."""
        return sum(image.depth.nbytes for image in self._images)

    def reset(self) -> None:
        """Forget every image."""
        self._stamps.clear()
        self._images.clear()

    def forget_before(self, stamp_ns: int) -> None:
        """Forget what no image from `stamp_ns` on can be paired with."""
        expired = bisect.bisect_left(self._stamps, stamp_ns - self.tolerance_ns)
        del self._stamps[:expired], self._images[:expired]

    def add(self, image: DepthImage) -> None:
        """Remember an image.

        Raises:
            FrameDropped: (``duplicate_stamp``) there is one with this stamp.
        """
        at = bisect.bisect_left(self._stamps, image.stamp_ns)
        if at < len(self._stamps) and self._stamps[at] == image.stamp_ns:
            raise FrameDropped("duplicate_stamp", f"a second depth has the stamp {image.stamp_ns} ns")
        self._stamps.insert(at, image.stamp_ns)
        self._images.insert(at, image)

    def at(self, stamp_ns: int, ended: bool) -> DepthImage:
        """The image with the stamp nearest to that of a colour image.

        Args:
            stamp_ns: stamp of the colour image.
            ended: take what is there, although a nearer one may still come.

        Raises:
            NotReady: (``no_depth``) no depth at or after the stamp came yet, so which is nearest is open.
            FrameDropped: (``no_depth``) none is near enough.
        """
        after = bisect.bisect_left(self._stamps, stamp_ns)
        if after == len(self._stamps) and not ended:
            raise NotReady("no_depth", "no depth image at or after the colour image's stamp yet")
        neighbours = range(max(after - 1, 0), min(after + 1, len(self._stamps)))
        nearest = min(neighbours, key=lambda i: abs(self._stamps[i] - stamp_ns), default=None)
        if nearest is None:
            raise FrameDropped(
                "no_depth", "no depth image came: check its topic, or take geometry: rgb, which needs none"
            )
        distance_ns = abs(self._stamps[nearest] - stamp_ns)
        if distance_ns > self.tolerance_ns:
            raise FrameDropped(
                "no_depth",
                f"the nearest depth image is {distance_ns * 1e-9:.4f} s away, at most "
                f"{self.tolerance_ns * 1e-9:g} s expected: synchronise the streams or raise input.sync_tolerance_s",
            )
        return self._images[nearest]
