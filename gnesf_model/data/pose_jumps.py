"""Jumps of a camera's pose from one frame to the next: loop closures and relocalisation."""

from __future__ import annotations

import math

import numpy as np

from gnesf_model.trajectory import jump_limit_m


class PoseJumps:
    """Counts how often a camera was further away than it can have moved.

    Args:
        max_jump_m: further than this, plus what can be covered in the time between, is a jump; 0: nothing is.

    Attributes:
        count: jumps so far.
        last_m: length of the latest one, m.
    """

    def __init__(self, max_jump_m: float) -> None:
        self.count = 0
        self.last_m = 0.0
        self._last: tuple[int, np.ndarray] | None = None
        self.adjust(max_jump_m)

    def adjust(self, max_jump_m: float) -> None:
        """Go on with another limit, from the next frame on; what was counted stays."""
        self._max_jump_m = max_jump_m or math.inf

    def jumped(self, stamp_ns: int, world_T_cam: np.ndarray) -> bool:
        """Whether this frame's pose (4, 4) is a jump from the frame before."""
        before, self._last = self._last, (stamp_ns, world_T_cam[:3, 3].copy())
        if before is None:
            return False
        distance_m = float(np.linalg.norm(self._last[1] - before[1]))
        if distance_m <= jump_limit_m(self._max_jump_m, abs(stamp_ns - before[0])):
            return False
        self.count, self.last_m = self.count + 1, distance_m
        return True

    def start_over(self) -> None:
        """Time stepped back: the next frame is no jump, wherever it is."""
        self._last = None
