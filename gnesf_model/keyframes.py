"""Which frames are keyframes, and the sliding window of the latest ones."""

from __future__ import annotations

from collections import deque
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


class KeyframeWindow:
    """Selects keyframes by motion and keeps the last few (paper, section 4: 0.1 m or 15 degrees).

    Attributes:
        count: keyframes since the last reset.
        last_pose: (4, 4) world_T_cam of the latest; None before the first.
        window: the latest ones; shorter than `count` says after `restore`.
    """

    def __init__(self, config: KeyframeConfig) -> None:
        self.config = config
        self.clear()

    def clear(self) -> None:
        """Forget all keyframes: the next frame becomes the first."""
        self.count = 0
        self.last_pose: np.ndarray | None = None
        self.window: deque[Keyframe] = deque(maxlen=self.config.window)

    def accepts(self, frame: Frame) -> bool:
        """Whether the camera moved far enough since the last keyframe."""
        if self.last_pose is None:
            return True
        distance, angle = motion(self.last_pose, frame.world_T_cam)
        return distance >= self.config.min_translation_m or angle >= self.config.min_rotation_deg

    def push(self, frame: Frame) -> Keyframe:
        """Make `frame` the newest keyframe; the oldest leaves a full window."""
        keyframe = Keyframe(self.count, frame)
        self.window.append(keyframe)
        self.last_pose = frame.world_T_cam
        self.count += 1
        return keyframe

    def restore(self, count: int, last_pose: np.ndarray | None) -> None:
        """Go on after `count` keyframes, the latest of them at `last_pose`; their images are not there any more."""
        self.clear()
        self.count, self.last_pose = count, last_pose
