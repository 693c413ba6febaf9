"""Short walks through procedural rooms with all that a field learns from, rendered once and read from a folder."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Camera
from gnesf_model.training.noisy_segmenter import noisy_segmenter
from gnesf_model.training.rendered_rooms import claim_folder, render_missing

SETTINGS_FILE = "sequences.json"


@dataclass(frozen=True)
class RoomSequence:
    """Views of one room, in the order of the walk.

    Attributes:
        camera: of all views.
        world_T_cam: (T, 4, 4) float64.
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) float32 m, 0 where there is none.
        labels: (T, H, W) uint8, 255 = none.
        said: (T, C, h, w) float32 class probabilities at stride 4: what a segmenter of its own says of the room.
    """

    camera: Camera
    world_T_cam: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray
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

    def save(self, path: Path) -> None:
        """Write a .npz, whole or not at all; depth in mm, probabilities in 255ths."""
        part = path.with_suffix(".part.npz")
        camera = [getattr(self.camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")]
        depth = np.round(np.minimum(self.depth, 65.0) * 1000).astype(np.uint16)
        arrays = {"world_T_cam": self.world_T_cam, "rgb": self.rgb, "depth": depth, "labels": self.labels}
        arrays["said"] = np.round(self.said * 255).astype(np.uint8)
        np.savez_compressed(part, camera=np.array(camera), **arrays)
        part.rename(path)

    @classmethod
    def load(cls, path: Path) -> RoomSequence:
        """Read what `save` wrote.

        Raises:
            OSError: there is no such file, or it is none of these.
        """
        try:
            with np.load(path) as found:
                width, height, *intrinsics = found["camera"].tolist()
                camera = Camera(int(width), int(height), *intrinsics)
                depth = found["depth"].astype(np.float32) * np.float32(1e-3)
                said = found["said"] / np.float32(255)
                return cls(camera, found["world_T_cam"], found["rgb"], depth, found["labels"], said)
        except (KeyError, ValueError) as error:
            raise OSError(f"{path} is no room sequence ({error}): remove it, and it is rendered anew") from error


@dataclass(frozen=True)
class RoomSequences:
    """Which rooms a folder of sequences holds.

    Attributes:
        first_seed: of the first room.
        rooms: how many, with consecutive seeds.
        views: of each.
        stride: ticks of the walk at 30 Hz between two views.
        width, height: in pixels.
        looks: of the rooms (see `RoomSource`).
        noise: what segments each room is a `NoisySegmenter` of its own, with a noise between 0 and this.
    """

    first_seed: int
    rooms: int
    views: int = 24
    stride: int = 12
    width: int = 160
    height: int = 120
    looks: str = "varied"
    noise: float = 0.3

    def __post_init__(self) -> None:
        for name in ("rooms", "views", "stride", "width", "height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")

    def path(self, folder: Path, number: int) -> Path:
        """File of the room number `number`."""
        return folder / f"{self.first_seed + number:07d}.npz"

    def render(self, folder: Path, workers: int = 1) -> RoomSequenceFolder:
        """Make the sequences that `folder` lacks, by `workers` processes of one thread each.

        Raises:
            ValueError: the folder holds sequences with other settings.
        """
        claim_folder(folder / SETTINGS_FILE, asdict(self), "sequences")
        missing = [n for n in range(self.rooms) if not self.path(folder, n).is_file()]
        render_missing(functools.partial(self._render, folder), missing, self.rooms, workers)
        return RoomSequenceFolder(folder)

    def _render(self, folder: Path, number: int) -> None:
        source = RoomSource.as_recorded(
            self.first_seed + number, self.views, (self.width, self.height), self.stride, looks=self.looks
        )
        source.renderer.antialias = False
        noise = float(np.random.Generator(np.random.PCG64(source.seed)).uniform(0, self.noise))
        segmenter = noisy_segmenter((self.width, self.height))
        segment = functools.partial(segmenter, noise=noise, seed=source.seed)
        RoomSequence.render(source, segment).save(self.path(folder, number))


class RoomSequenceFolder(Dataset):
    """The `RoomSequence`s of a folder made by `RoomSequences.render`.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / SETTINGS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {SETTINGS_FILE}: it is not a folder of room sequences")
        self.folder = folder
        self.settings = RoomSequences(**json.loads(path.read_text(encoding="utf-8")))

    def __len__(self) -> int:
        return self.settings.rooms

    def __getitem__(self, index: int) -> RoomSequence:
        index = range(len(self))[index]
        return RoomSequence.load(self.settings.path(self.folder, index))


def jittered(world_T_cam: np.ndarray, rng: np.random.Generator, shift_m: float, turn_rad: float) -> np.ndarray:
    """Poses (N, 4, 4), each moved and turned by a random error of these standard deviations."""
    from scipy.spatial.transform import Rotation

    poses = np.array(world_T_cam)
    turns = Rotation.from_rotvec(rng.normal(0, turn_rad, (len(poses), 3))).as_matrix()
    poses[:, :3, :3] = poses[:, :3, :3] @ turns
    poses[:, :3, 3] += rng.normal(0, shift_m, (len(poses), 3))
    return poses
