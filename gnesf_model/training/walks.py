"""Short walks through procedural rooms, rendered once, a file each, and read from a folder."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from gnesf_model.frame import Camera
from gnesf_model.training.rendered_rooms import claim_folder, render_missing


@dataclass(frozen=True)
class Walk:
    """Views of one room, in the order of the walk.

    Attributes:
        camera: of all views.
        world_T_cam: (T, 4, 4) float64.
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) float32 m, 0 where there is none.
    """

    camera: Camera
    world_T_cam: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray

    def save(self, path: Path) -> None:
        """Write a .npz, whole or not at all."""
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **self._arrays())
        part.rename(path)

    @classmethod
    def load(cls, path: Path) -> Walk:
        """Read what `save` wrote.

        Raises:
            OSError: there is no such file, or it is none of these.
        """
        try:
            with np.load(path) as found:
                return cls(**cls._fields(found))
        except (KeyError, ValueError) as error:
            raise OSError(f"{path} is no rendered walk ({error}): remove it, and it is rendered anew") from error

    def _arrays(self) -> dict[str, np.ndarray]:
        """What is stored; depth in mm."""
        camera = [getattr(self.camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")]
        depth = np.round(np.minimum(self.depth, 65.0) * 1000).astype(np.uint16)
        return {"camera": np.array(camera), "world_T_cam": self.world_T_cam, "rgb": self.rgb, "depth": depth}

    @classmethod
    def _fields(cls, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
        width, height, *intrinsics = found["camera"].tolist()
        return {
            "camera": Camera(int(width), int(height), *intrinsics),
            "world_T_cam": found["world_T_cam"],
            "rgb": found["rgb"],
            "depth": found["depth"].astype(np.float32) * np.float32(1e-3),
        }


@dataclass(frozen=True)
class Walks:
    """Which walks a folder holds; how one is rendered is up to the subclass.

    Attributes:
        first_seed: of the first room.
        rooms: how many, with consecutive seeds.
    """

    first_seed: int
    rooms: int

    SETTINGS_FILE: ClassVar[str]
    ITEM: ClassVar[type[Walk]] = Walk

    def path(self, folder: Path, number: int) -> Path:
        """File of the room number `number`."""
        return folder / f"{self.first_seed + number:07d}.npz"

    def render(self, folder: Path, workers: int = 1) -> WalkFolder:
        """Make the walks that `folder` lacks, by `workers` processes of one thread each.

        Raises:
            ValueError: the folder holds walks with other settings.
        """
        claim_folder(folder / self.SETTINGS_FILE, asdict(self), "walks")
        missing = [n for n in range(self.rooms) if not self.path(folder, n).is_file()]
        render_missing(functools.partial(self._render, folder), missing, self.rooms, workers)
        return self.open(folder)

    @classmethod
    def open(cls, folder: Path) -> WalkFolder:
        """The walks of a folder made by `render`.

        Raises:
            FileNotFoundError: it is none.
        """
        path = folder / cls.SETTINGS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {cls.SETTINGS_FILE}: it is not a folder of rendered walks")
        return WalkFolder(folder, cls(**json.loads(path.read_text(encoding="utf-8"))))

    def walk(self, seed: int) -> Walk:
        """The walk through the room of a seed."""
        raise NotImplementedError

    def _render(self, folder: Path, number: int) -> None:
        self.walk(self.first_seed + number).save(self.path(folder, number))


class WalkFolder(Dataset):
    """The walks of a folder, by index."""

    def __init__(self, folder: Path, settings: Walks) -> None:
        self.folder, self.settings = folder, settings

    def __len__(self) -> int:
        return self.settings.rooms

    def __getitem__(self, index: int) -> Walk:
        index = range(len(self))[index]
        return self.settings.ITEM.load(self.settings.path(self.folder, index))
