"""Short walks through procedural rooms with all that a field learns from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.training.noisy_segmenter import noisy_segmenter
from gnesf_model.training.walks import Walk, Walks


@dataclass(frozen=True)
class RoomSequence(Walk):
    """Views of one room, labelled, and what a segmenter says of them.

    Attributes:
        camera, world_T_cam, rgb, depth: as in `Walk`.
        labels: (T, H, W) uint8, 255 = none.
        said: (T, C, h, w) float32 class probabilities at stride 4: what a segmenter of its own says of the room.
    """

    labels: np.ndarray
    said: np.ndarray

    @classmethod
    def render(cls, source: RoomSource, segment: Callable[[np.ndarray], np.ndarray]) -> RoomSequence:
        """All frames of a room.

        Args:
            segment: images (T, H, W, 3) uint8 -> `said`.
        """
        frames = list(source)
        rgb = np.stack([f.rgb for f in frames])
        return cls(
            source.camera,
            np.stack([f.world_T_cam for f in frames]),
            rgb,
            np.stack([f.depth for f in frames]),
            np.stack([f.labels for f in frames]),
            segment(rgb),
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        """Probabilities in 255ths."""
        return {**super()._arrays(), "labels": self.labels, "said": np.round(self.said * 255).astype(np.uint8)}

    @classmethod
    def _fields(cls, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {**super()._fields(found), "labels": found["labels"], "said": found["said"] / np.float32(255)}


@dataclass(frozen=True)
class RoomSequences(Walks):
    """Which rooms a folder of sequences holds.

    Attributes:
        first_seed, rooms: as in `Walks`.
        views: of each.
        stride: ticks of the walk at 30 Hz between two views.
        width, height: in pixels.
        looks: of the rooms (see `RoomSource`).
        noise: what segments each room is a `NoisySegmenter` of its own, with a noise between 0 and this.
    """

    views: int = 24
    stride: int = 12
    width: int = 160
    height: int = 120
    looks: str = "varied"
    noise: float = 0.3

    SETTINGS_FILE: ClassVar[str] = "sequences.json"
    ITEM: ClassVar[type[Walk]] = RoomSequence

    def __post_init__(self) -> None:
        for name in ("rooms", "views", "stride", "width", "height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")

    def walk(self, seed: int) -> RoomSequence:
        """Views of the room of a seed."""
        source = RoomSource.as_recorded(seed, self.views, (self.width, self.height), self.stride, looks=self.looks)
        source.renderer.antialias = False
        noise = float(np.random.Generator(np.random.PCG64(source.seed)).uniform(0, self.noise))
        segmenter = noisy_segmenter((self.width, self.height))
        return RoomSequence.render(source, functools.partial(segmenter, noise=noise, seed=source.seed))


def jittered(world_T_cam: np.ndarray, rng: np.random.Generator, shift_m: float, turn_rad: float) -> np.ndarray:
    """Poses (N, 4, 4), each moved and turned by a random error of these standard deviations."""
    from scipy.spatial.transform import Rotation

    poses = np.array(world_T_cam)
    turns = Rotation.from_rotvec(rng.normal(0, turn_rad, (len(poses), 3))).as_matrix()
    poses[:, :3, :3] = poses[:, :3, :3] @ turns
    poses[:, :3, 3] += rng.normal(0, shift_m, (len(poses), 3))
    return poses
