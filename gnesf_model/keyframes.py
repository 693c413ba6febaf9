"""Which frames are keyframes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnesf_model.config import KeyframeConfig
from gnesf_model.frame import Frame
from gnesf_model.geometry import motion


@dataclass(frozen=True)
class Keyframe:
    """A frame that voted; `index` counts keyframes since the last reset, from 0."""

    index: int
    frame: Frame


class KeyframeSelector:
    """Selects keyframes by motion (paper, section 4: 0.1 m or 15 degrees).

    What moves far enough is judged camera by camera. A frame that turns fast is blurred, and none.

    Attributes:
        count: keyframes since the last reset.
        last_poses: world_T_cam (4, 4) of the latest keyframe, by camera.
        too_fast: frames that moved far enough and turned too fast, since the last `clear`.
    """

    def __init__(self, config: KeyframeConfig) -> None:
        self.config = config
        self.clear()

    def clear(self) -> None:
        """Forget all keyframes: the next frame becomes the first."""
        self.count = 0
        self.too_fast = 0
        self.last_poses: dict[str, np.ndarray] = {}

    def accepts(self, frame: Frame) -> bool:
        """Whether the camera moved far enough since its last keyframe, and turns slowly enough."""
        last = self.last_poses.get(frame.source)
        if last is not None:
            distance, angle = motion(last, frame.world_T_cam)
            if distance < self.config.min_translation_m and angle < self.config.min_rotation_deg:
                return False
        limit = self.config.max_angular_rate_deg_s
        if limit and frame.angular_rate_deg_s is not None and frame.angular_rate_deg_s > limit:
            self.too_fast += 1
            return False
        return True

    def push(self, frame: Frame) -> Keyframe:
        """Make `frame` the newest keyframe."""
        keyframe = Keyframe(self.count, frame)
        self.last_poses[frame.source] = frame.world_T_cam
        self.count += 1
        return keyframe

    def restore(self, count: int, last_poses: dict[str, np.ndarray]) -> None:
        """Go on after `count` keyframes, the latest of them at `last_poses`; their images are not there any more."""
        self.clear()
        self.count, self.last_poses = count, dict(last_poses)
