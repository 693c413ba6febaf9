"""Keyframes of walks through procedural rooms, with exact depth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.geometry import motion
from gnesf_model.training.walks import Walk, Walks

FRAMES, STRIDE_TICKS = 250, 3
"""Of the walk that keyframes are taken from: 25 s."""
STEP_M, TURN_DEG = 0.1, 15.0
"""What makes a keyframe (paper, section 4)."""


@dataclass(frozen=True)
class DepthWalks(Walks):
    """Keyframes of the stretch of each walk in which the camera moves most, in colour as a camera would record them.

    Attributes:
        first_seed, rooms: as in `Walks`.
        views: keyframes of each.
        width, height: in pixels.
        looks: of the rooms (see `RoomSource`).
    """

    views: int
    width: int
    height: int
    looks: str = "varied"

    SETTINGS_FILE: ClassVar[str] = "depth_walks.json"

    def walk(self, seed: int) -> Walk:
        """The keyframes in the room of a seed; depth is exact, 0 where the ray meets nothing."""
        source = RoomSource.as_recorded(seed, FRAMES, (self.width, self.height), STRIDE_TICKS, looks=self.looks)
        source.renderer.antialias = False
        source.depth_noise, source.max_depth_m = False, float("inf")
        chosen = moving_stretch(source.poses, self.views)
        rgb, depth = (np.stack(images) for images in zip(*((f.rgb, f.depth) for f in map(source.__getitem__, chosen))))
        return Walk(source.camera, source.poses[chosen], rgb, depth)


def moving_stretch(poses: Sequence[np.ndarray], views: int) -> list[int]:
    """The keyframes (as many as `views`) of that stretch of a walk in which the camera moves most.

    Where the walk has too few keyframes, the last frames fill up.
    """
    keyframes = [0]
    for index in range(1, len(poses)):
        distance, angle = motion(poses[keyframes[-1]], poses[index])
        if distance >= STEP_M or angle >= TURN_DEG:
            keyframes.append(index)
    if len(keyframes) < views:
        rest = sorted(set(range(len(poses))) - set(keyframes), reverse=True)
        return sorted(keyframes + rest[: views - len(keyframes)])[:views]
    steps = np.array([motion(poses[a], poses[b])[0] for a, b in itertools.pairwise(keyframes)])
    moved = np.convolve(steps, np.ones(views - 1), "valid")
    first = int(moved.argmax())
    return keyframes[first : first + views]
