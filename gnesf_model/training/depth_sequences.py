"""Keyframes of walks through procedural rooms, with exact depth, rendered once and read from a folder."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Camera
from gnesf_model.geometry import motion
from gnesf_model.training.rendered_rooms import claim_folder, render_missing

SETTINGS_FILE = "depth_sequences.json"
FRAMES, STRIDE_TICKS = 250, 3
"""Of the walk that keyframes are taken from: 25 s."""
STEP_M, TURN_DEG = 0.1, 15.0
"""What makes a keyframe (paper, section 4)."""


@dataclass(frozen=True)
class DepthSequence:
    """Keyframes of one room, in the order of the walk.

    Attributes:
        camera: of all of them.
        world_T_cam: (T, 4, 4) float64.
        rgb: (T, H, W, 3) uint8, as a camera would record it.
        depth: (T, H, W) float32 m, exact; 0 where the ray meets nothing.
    """

    camera: Camera
    world_T_cam: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray

    def save(self, path: Path) -> None:
        """Write a .npz, whole or not at all; depth in mm."""
        part = path.with_suffix(".part.npz")
        camera = [getattr(self.camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")]
        depth = np.round(np.minimum(self.depth, 65.0) * 1000).astype(np.uint16)
        np.savez_compressed(part, camera=np.array(camera), world_T_cam=self.world_T_cam, rgb=self.rgb, depth=depth)
        part.rename(path)

    @classmethod
    def load(cls, path: Path) -> DepthSequence:
        """Read what `save` wrote.

        Raises:
            OSError: there is no such file, or it is none of these.
        """
        try:
            with np.load(path) as found:
                width, height, *intrinsics = found["camera"].tolist()
                depth = found["depth"].astype(np.float32) * np.float32(1e-3)
                camera = Camera(int(width), int(height), *intrinsics)
                return cls(camera, found["world_T_cam"], found["rgb"], depth)
        except (KeyError, ValueError) as error:
            raise OSError(f"{path} is no depth sequence ({error}): remove it, and it is rendered anew") from error


@dataclass(frozen=True)
class DepthSequences:
    """Which walks a folder holds.

    Attributes:
        first_seed: of the first room.
        rooms: how many, with consecutive seeds.
        views: keyframes of each.
        width, height: in pixels.
        looks: of the rooms (see `RoomSource`).
    """

    first_seed: int
    rooms: int
    views: int
    width: int
    height: int
    looks: str = "varied"

    def path(self, folder: Path, number: int) -> Path:
        """File of the room number `number`."""
        return folder / f"{self.first_seed + number:07d}.npz"

    def render(self, folder: Path, workers: int = 1) -> DepthSequenceFolder:
        """Make the sequences that `folder` lacks, by `workers` processes of one thread each.

        Raises:
            ValueError: the folder holds sequences with other settings.
        """
        claim_folder(folder / SETTINGS_FILE, asdict(self), "depth sequences")
        missing = [n for n in range(self.rooms) if not self.path(folder, n).is_file()]
        render_missing(functools.partial(self._render, folder), missing, self.rooms, workers)
        return DepthSequenceFolder(folder)

    def _render(self, folder: Path, number: int) -> None:
        seed, size = self.first_seed + number, (self.width, self.height)
        source = RoomSource.as_recorded(seed, FRAMES, size, STRIDE_TICKS, looks=self.looks)
        source.renderer.antialias = False
        source.depth_noise, source.max_depth_m = False, float("inf")
        chosen = moving_stretch(source.poses, self.views)
        frames = [source[index] for index in chosen]
        rgb, depth = (np.stack(images) for images in zip(*((f.rgb, f.depth) for f in frames)))
        DepthSequence(source.camera, source.poses[chosen], rgb, depth).save(self.path(folder, number))


class DepthSequenceFolder(Dataset):
    """The `DepthSequence`s of a folder made by `DepthSequences.render`.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / SETTINGS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {SETTINGS_FILE}: it is not a folder of depth sequences")
        self.folder = folder
        self.settings = DepthSequences(**json.loads(path.read_text(encoding="utf-8")))

    def __len__(self) -> int:
        return self.settings.rooms

    def __getitem__(self, index: int) -> DepthSequence:
        index = range(len(self))[index]
        return DepthSequence.load(self.settings.path(self.folder, index))


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
