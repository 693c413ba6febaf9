"""Labelled pictures of procedural rooms, rendered once into a folder and read from there."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.device import torch_device
from gnesf_model.training.rendered_rooms import claim_folder, render_missing

SETTINGS_FILE = "rooms.json"
_NATURAL = 3 / 8
"""Share of natural colours among the rooms whose materials are those of their classes; the others are varied."""


@dataclass(frozen=True)
class RoomImages:
    """Which pictures a folder of them holds.

    Attributes:
        first_seed: of the first room.
        rooms: how many, with consecutive seeds.
        views: pictures of each room, from places along a walk through it.
        width, height: in pixels.
        looks: name -> share of the rooms (see `RoomSource`).
    """

    first_seed: int
    rooms: int
    views: int = 4
    width: int = 256
    height: int = 192
    looks: dict[str, float] = field(default_factory=lambda: looks_share(0.2))

    SECONDS_BETWEEN = 2.5
    """Walked between two pictures, so that they show different things."""

    def __post_init__(self) -> None:
        for name in ("rooms", "views", "width", "height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")

    @property
    def seeds(self) -> range:
        """Seeds of the rooms."""
        return range(self.first_seed, self.first_seed + self.rooms)

    def source(self, seed: int, device: torch.device | str = "cpu") -> RoomSource:
        """The room of a seed, as some camera would record it."""
        rng = np.random.Generator(np.random.PCG64([seed, 8]))
        looks = str(rng.choice(list(self.looks), p=list(self.looks.values())))
        stride = round(30 * self.SECONDS_BETWEEN)
        source = RoomSource.as_recorded(seed, self.views, (self.width, self.height), stride, looks=looks, device=device)
        source.renderer.antialias = False  # half of the time; outlines are the camera's blur and JPEG anyway
        return source

    def render(self, folder: Path, device: str = "auto", workers: int = 1) -> RoomImageFolder:
        """Make the pictures that `folder` lacks.

        Args:
            folder: gets color/ and label/ (PNG, label 255 = none) and what they are in `SETTINGS_FILE`.
            device: where to render; on CUDA by one process.
            workers: processes on the CPU, one thread each.

        Raises:
            ValueError: the folder holds pictures with other settings.
        """
        claim_folder(folder / SETTINGS_FILE, asdict(self), "rooms")
        for name in ("color", "label"):
            (folder / name).mkdir(exist_ok=True)
        missing = [seed for seed in self.seeds if not self._is_whole(folder, seed)]
        alone = torch_device(device).type == "cuda"
        render = functools.partial(self._render_room, folder, device=device)
        render_missing(render, missing, self.rooms, 1 if alone else workers)
        return RoomImageFolder(folder)

    def files(self, folder: Path, seed: int) -> list[tuple[Path, Path]]:
        """(color, label) of each view of a room."""
        names = [f"{seed:07d}_{view}.png" for view in range(self.views)]
        return [(folder / "color" / name, folder / "label" / name) for name in names]

    def _is_whole(self, folder: Path, seed: int) -> bool:
        return all(path.is_file() for pair in self.files(folder, seed) for path in pair)

    def _render_room(self, folder: Path, seed: int, device: str = "cpu") -> None:
        source = self.source(seed, torch_device(device))
        for view, (color, label) in enumerate(self.files(folder, seed)):
            frame = source[view]
            _write(color, frame.rgb[..., ::-1])
            _write(label, frame.labels)


def looks_share(permuted: float) -> dict[str, float]:
    """Looks of the rooms to train on, by share. Permuted materials leave shape as the only sure sign of a class."""
    rest = 1 - permuted
    return {"natural": rest * _NATURAL, "varied": rest * (1 - _NATURAL), "permuted": permuted}


class RoomImageFolder(Dataset):
    """Pictures and labels of a folder made by `RoomImages.render`.

    An item is rgb (H, W, 3) uint8 and labels (H, W) uint8, 255 = none.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / SETTINGS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {SETTINGS_FILE}: it is not a folder of rendered rooms")
        self.settings = RoomImages(**json.loads(path.read_text(encoding="utf-8")))
        self.files = [pair for seed in self.settings.seeds for pair in self.settings.files(folder, seed)]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        color, label = self.files[index]
        return _read(color, cv2.IMREAD_COLOR)[..., ::-1], _read(label, cv2.IMREAD_GRAYSCALE)


def class_shares(images: Sequence[tuple[np.ndarray, np.ndarray]], classes: int, sample: int = 500) -> np.ndarray:
    """(classes,) share of the labelled pixels of each class, over `sample` random pictures."""
    counts = np.zeros(256, np.int64)
    # At an even stride each would be the same view of its room: the first, where the walk begins.
    rng = np.random.Generator(np.random.PCG64(0))
    for index in sorted(rng.permutation(len(images))[:sample].tolist()):
        counts += np.bincount(images[index][1].reshape(-1), minlength=256)
    counts = counts[:classes]
    return counts / max(counts.sum(), 1)


def _write(path: Path, image: np.ndarray) -> None:
    """Write an image whole or not at all."""
    part = path.with_suffix(".part.png")
    if not cv2.imwrite(str(part), image):
        raise OSError(f"cannot write {path}")
    part.rename(path)


def _read(path: Path, how: int) -> np.ndarray:
    image = cv2.imread(str(path), how)
    if image is None:
        raise OSError(f"{path} is missing or no image: remove it, and the next training renders it anew")
    return image
