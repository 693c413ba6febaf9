"""Depth of each new keyframe from the ones before it: in place of a depth sensor, for `geometry: rgb`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from gnesf_model.field.depth_network import DepthNetwork, DescribedView
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.field.parallax import LEAST_BASELINE_M, useful_views
from gnesf_model.field.precision import reduced_precision
from gnesf_model.field.shrunk import shrunk
from gnesf_model.field.views import FEATURE_STRIDES
from gnesf_model.frame import Frame, FrameDropped

_STEP = 1.2
"""Neighbouring cells whose depths differ by more than this factor belong to different surfaces."""
_LEAST_CONTRAST = 4.0
"""Standard deviation of an image's channels, of 255, below which it is noise."""


@dataclass(frozen=True, eq=False)
class _Remembered:
    world_T_cam: np.ndarray
    view: DescribedView


class ViewDepth:
    """A depth sensor made of a camera that moves.

    It remembers the features of the last few keyframes, no images. Those of several cameras serve each other.

    Args:
        network: trained.
        side_px: longer side that images are brought to; the network was trained at 256.
        window: keyframes that are remembered.
        device: where everything lives.
        reduced: the network computes in half the bits.

    Attributes:
        views: of these, at most so many are compared with a new one.
        min_confidence: cells that are less sure have no depth.
    """

    def __init__(
        self,
        network: DepthNetwork,
        *,
        side_px: int = 320,
        window: int = 9,
        views: int = 4,
        min_confidence: float = 0.5,
        device: torch.device | str = "cpu",
        reduced: bool = False,
    ) -> None:
        self._reduced = reduced
        self.network = network.to(device).eval()
        self.side_px, self.views, self.min_confidence = side_px, views, min_confidence
        self.device = torch.device(device)
        self._window: deque[_Remembered] = deque(maxlen=window)
        self._jumps: dict[str, int] = {}

    def clear(self) -> None:
        """Forget every view."""
        self._window.clear()

    @torch.inference_mode()
    def add(self, frame: Frame) -> np.ndarray:
        """Depth (H, W) float32 m of a keyframe, 0 where it is not known.

        The frame serves the following ones. Where poses have jumped, earlier views are not where they were said to be,
        and are forgotten.

        Raises:
            FrameDropped: ``first_view``, there is none before this one, or ``no_parallax``, none stands apart from it:
                it is remembered; or ``no_contrast``, the image shows nothing, and is not.
        """
        if self._jumps.setdefault(frame.source, frame.pose_jumps) != frame.pose_jumps:
            self._jumps[frame.source] = frame.pose_jumps
            self.clear()
        small = shrunk(frame, self.side_px)
        contrast = float(small.rgb.std(axis=(0, 1)).max())
        if contrast < _LEAST_CONTRAST:  # what the network makes of such an image is a wall, somewhere
            raise FrameDropped(
                "no_contrast",
                f"the image is of one colour (standard deviation {contrast:.1f} of 255, {_LEAST_CONTRAST} expected), "
                "which says nothing of depth: is the lens covered, the exposure right?",
            )
        image = image_tensor(small.rgb, self.device)[None]
        with reduced_precision(self.device, self._reduced):
            (view,) = self.network.describe(image, [small.camera], [small.world_T_cam])
        others = [r.world_T_cam for r in self._window]
        sources = [self._window[n].view for n in useful_views(frame.world_T_cam, others, self.views)]
        self._window.append(_Remembered(frame.world_T_cam, view))
        if not others:
            raise FrameDropped("first_view", "it is the first keyframe: depth begins with the next one")
        if not sources:
            raise FrameDropped(
                "no_parallax",
                f"none of the {len(others)} keyframes before stands {LEAST_BASELINE_M} m apart and looks the same way, "
                "so there is nothing to tell depth by: move the camera sideways, not only on the spot",
            )
        with reduced_precision(self.device, self._reduced):
            found = self.network(view, sources)
        depth, confidence = self.network.depth(found.float())
        known = depth * (confidence >= self.min_confidence)
        fine = _refined(known, small.camera.height, small.camera.width).cpu().numpy()
        size = (frame.camera.width, frame.camera.height)
        return np.ascontiguousarray(cv2.resize(fine, size, interpolation=cv2.INTER_NEAREST))


def _refined(depth: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Depth (h, w) of cells at every pixel (height, width): linear within a surface, 0 between surfaces."""
    known = depth > 0
    far = torch.where(known, depth, torch.zeros_like(depth))
    near = torch.where(known, depth, torch.full_like(depth, 1e6))
    # Pixels lie between the centres of 2 x 2 cells: all four must be known, and near each other.
    padded = F.pad(torch.stack([far, near])[None], (1, 1, 1, 1), mode="replicate")[0]
    low = -F.max_pool2d(-padded, 2, 1)
    high = F.max_pool2d(padded, 2, 1)
    smooth = (low[0] > 0) & (high[1] < 1e6) & (high[0] <= _STEP * low[1])
    stride = FEATURE_STRIDES[0]
    # Pixel p lies in the square of the cells floor((p - 1.5) / 4) and the next one, numbered from 1 in `smooth`.
    rows = ((torch.arange(height, device=depth.device) - (stride - 1) / 2) / stride).floor().long() + 1
    columns = ((torch.arange(width, device=depth.device) - (stride - 1) / 2) / stride).floor().long() + 1
    # Along a plane the inverse of the depth is linear in the pixels.
    inverse = torch.where(known, 1 / depth.clamp_min(1e-3), torch.zeros_like(depth))
    fine = F.interpolate(inverse[None, None], scale_factor=float(stride), mode="bilinear", align_corners=False)[0, 0]
    return smooth[rows[:, None], columns] / fine[:height, :width].clamp_min(1e-6)
