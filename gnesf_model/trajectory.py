"""Poses over time: the pose at a stamp, or why there is none."""

from __future__ import annotations

import bisect
import math
from typing import Literal

import numpy as np

from gnesf_model.frame import FrameDropped
from gnesf_model.geometry import interpolate_pose

CLOCK_JUMP_NS = 1_000_000_000
"""Stamps that step back further than this have started over (bag loop, clock reset)."""

FASTEST_M_S = 3.0
"""What carries a camera is not faster; what moves further has jumped (loop closure, relocalisation)."""

Why = Literal["not_yet", "too_early", "gap", "unconnected"]


class NotReady(FrameDropped):
    """Something that a frame needs is missing; `may_come` tells whether waiting can help.

    Attributes:
        why: ``not_yet`` (newer data are needed), ``unconnected`` (a TF edge was never seen), ``too_early``
            (the stamp is before the oldest data) or ``gap`` (the data around the stamp are too far apart).
    """

    def __init__(self, reason: str, message: str, why: Why = "not_yet") -> None:
        super().__init__(reason, message)
        self.why = why

    @property
    def may_come(self) -> bool:
        """Whether later messages can still provide it."""
        return self.why in ("not_yet", "unconnected")


class PoseBuffer:
    """Stamped poses in order of time, interpolated and never extrapolated.

    Poses may arrive late or out of order. Of two with one stamp the first is kept. Those older than
    `max_age_s` before the newest are forgotten, so memory is bounded by rate times age.

    Args:
        max_gap_s: poses further apart are not interpolated between.
        max_age_s: how far back in time poses are kept.
        name: what error messages call the poses, e.g. ``odom -> base_link``.
        max_jump_m: poses further apart than this, and than `FASTEST_M_S` allows, are not interpolated between.
    """

    def __init__(
        self, max_gap_s: float, max_age_s: float = 10.0, name: str = "pose", max_jump_m: float = math.inf
    ) -> None:
        self.name = name
        self.adjust(max_gap_s, max_age_s, max_jump_m)
        self._stamps: list[int] = []
        self._poses: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp; None while there is none."""
        return self._stamps[-1] if self._stamps else None

    def adjust(self, max_gap_s: float, max_age_s: float, max_jump_m: float) -> None:
        """Go on with other limits; the poses stay."""
        self._max_jump_m = max_jump_m
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._max_age_ns = round(max_age_s * 1e9)

    def reset(self) -> None:
        """Forget every pose, as after a backward jump of the clock."""
        self._stamps.clear()
        self._poses.clear()

    def add(self, stamp_ns: int, pose: np.ndarray) -> None:
        """Remember a (4, 4) pose; one that is too old or has a known stamp is ignored."""
        if self._stamps and stamp_ns < self._stamps[-1] - self._max_age_ns:
            return
        at = bisect.bisect_left(self._stamps, stamp_ns)
        if at < len(self._stamps) and self._stamps[at] == stamp_ns:
            return
        self._stamps.insert(at, stamp_ns)
        self._poses.insert(at, np.array(pose, dtype=np.float64))
        expired = bisect.bisect_left(self._stamps, self._stamps[-1] - self._max_age_ns)
        if expired:
            del self._stamps[:expired], self._poses[:expired]

    def at(self, stamp_ns: int) -> np.ndarray:
        """The (4, 4) pose at a stamp: as received where the stamps agree, else interpolated.

        Raises:
            NotReady: (``no_pose``) with `why`: ``not_yet``, ``too_early`` or ``gap``; (``pose_jump``) the
                poses around the stamp are too far apart in space.
        """
        after = bisect.bisect_left(self._stamps, stamp_ns)
        if after < len(self._stamps) and self._stamps[after] == stamp_ns:
            return self._poses[after].copy()
        if not self._stamps:
            raise NotReady("no_pose", f"no {self.name} received yet", "not_yet")
        if after == len(self._stamps):
            behind_s = (stamp_ns - self._stamps[-1]) * 1e-9
            raise NotReady(
                "no_pose",
                f"the newest {self.name} is {behind_s:.3f} s older than the image: a newer one is needed",
                "not_yet",
            )
        if after == 0:
            ahead_s = (self._stamps[0] - stamp_ns) * 1e-9
            raise NotReady(
                "no_pose",
                f"the oldest {self.name} is {ahead_s:.3f} s newer than the image: nothing is extrapolated",
                "too_early",
            )
        start, end = self._stamps[after - 1], self._stamps[after]
        if end - start > self._max_gap_ns:
            raise NotReady(
                "no_pose",
                f"{self.name} has a gap of {(end - start) * 1e-9:.3f} s around the image, at most "
                f"{self._max_gap_ns * 1e-9:g} s expected: raise its rate or input.max_pose_gap_s",
                "gap",
            )
        before, behind = self._poses[after - 1], self._poses[after]
        distance_m = float(np.linalg.norm(behind[:3, 3] - before[:3, 3]))
        if distance_m > jump_limit_m(self._max_jump_m, end - start):
            raise NotReady(
                "pose_jump",
                f"{self.name} jumps by {distance_m:.2f} m around the image, and between is nothing true: "
                "a loop closure or relocalisation (input.pose_jump_m)",
                "gap",
            )
        return interpolate_pose(before, behind, (stamp_ns - start) / (end - start))


def jump_limit_m(max_jump_m: float, interval_ns: int) -> float:
    """How far poses with this distance in time may be apart: `max_jump_m`, and what `FASTEST_M_S` covers."""
    return max_jump_m + FASTEST_M_S * interval_ns * 1e-9
