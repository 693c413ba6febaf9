"""Feeds the segmenter's training: pictures of rooms, augmented, in sizes that grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from gnesf_model.data.procrooms.splits import SEGMENTER_SEEDS, SPLITS
from gnesf_model.device import torch_device
from gnesf_model.training.augment import augmented
from gnesf_model.training.loading import reading_processes
from gnesf_model.training.recipe import SegmenterRecipe
from gnesf_model.training.room_images import RoomImageFolder, RoomImages, looks_share

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the network's input; export stores them beside the weights."""
VALIDATION_VIEWS = 2


class TrainingPictures(Dataset):
    """Augmented pictures, by (pass, index).

    Each has its own random numbers: the same on every machine, with any number of workers, and after a resume.
    """

    def __init__(self, folder: RoomImageFolder, recipe: SegmenterRecipe) -> None:
        self.folder, self.recipe = folder, recipe

    def __getitem__(self, at: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = at
        rng = np.random.Generator(np.random.PCG64([self.recipe.seed, epoch, index]))
        rgb, labels = augmented(*self.folder[index], self.recipe.size(epoch), rng, self.recipe.repaint)
        return network_input(rgb), torch.from_numpy(labels).long()


class ValidationPictures(Dataset):
    """Pictures as they are."""

    def __init__(self, folder: RoomImageFolder) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rgb, labels = self.folder[index]
        return network_input(rgb), torch.from_numpy(labels).long()


class PassSampler(Sampler[tuple[int, int]]):
    """(pass, index) in an order that the pass decides; each of several devices gets its own share.

    Lightning calls `set_epoch` before every pass. The pass travels with the index because workers live longer.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, devices: int = 1) -> None:
        self.count, self.seed, self.rank, self.devices, self.epoch = count, seed, rank, devices, 0

    def set_epoch(self, epoch: int) -> None:
        """Which pass comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.devices

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.Generator(np.random.PCG64([self.seed, self.epoch])).permutation(self.count)
        mine = order[self.rank :: self.devices][: len(self)]
        return ((self.epoch, int(index)) for index in mine)


def network_input(rgb: np.ndarray) -> torch.Tensor:
    """(3, H, W) float32 of an (H, W, 3) uint8 picture, scaled as preprocessor_config.json says."""
    values = (rgb / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32))


class SegmenterData(lightning.LightningDataModule):
    """Renders what is missing, then reads; the size of the pictures grows with the passes.

    Args:
        recipe: which pictures, and how large.
        folder: gets them, in train/ and validation/.
        device: where to render.
        workers: processes that render on a CPU, or that read for a GPU.
    """

    def __init__(self, recipe: SegmenterRecipe, folder: Path, device: str, workers: int) -> None:
        super().__init__()
        self.recipe, self.folder, self.device, self.workers = recipe, folder, device, workers

    def prepare_data(self) -> None:
        """Render, once on every machine."""
        for split, images in self._images().items():
            images.render(self.folder / split, self.device, self.workers)

    def setup(self, stage: str) -> None:
        """Open the folders."""
        self.train = RoomImageFolder(self.folder / "train")
        self.validation = RoomImageFolder(self.folder / "validation")

    def train_dataloader(self) -> DataLoader:
        """Batches of the training pictures, for all passes."""
        sampler = PassSampler(
            len(self.train), self.recipe.seed, self.trainer.global_rank, max(1, self.trainer.world_size)
        )
        pictures = TrainingPictures(self.train, self.recipe)
        return DataLoader(pictures, self.recipe.batch, sampler=sampler, drop_last=True, **self._loading())

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation pictures."""
        return DataLoader(ValidationPictures(self.validation), self.recipe.batch, **self._loading())

    def _loading(self) -> dict:
        if torch_device(self.device).type == "cpu":
            return {}  # a picture takes a twentieth of the time of its step: no processes beside the network's threads
        return {"persistent_workers": True, **reading_processes(self.workers)}

    def _images(self) -> dict[str, RoomImages]:
        recipe = self.recipe
        size = {"width": recipe.width, "height": recipe.height}
        held_out = SPLITS["validation"].start
        return {
            "train": RoomImages(
                SEGMENTER_SEEDS[recipe.first_room],
                recipe.rooms,
                recipe.views,
                **size,
                looks=looks_share(recipe.permuted),
            ),
            "validation": RoomImages(
                held_out, recipe.validation_rooms, VALIDATION_VIEWS, **size, looks={"natural": 1.0}
            ),
        }
