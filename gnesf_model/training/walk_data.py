"""Feeds a training that draws an example of each walk in each pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from gnesf_model.training.loading import reading_processes
from gnesf_model.training.walks import WalkFolder, Walks


class WalkData(lightning.LightningDataModule):
    """Renders what is missing, then draws an example of each room in each pass.

    Args:
        walks: ``train`` and ``validation``.
        seed: of everything random.
        folder: gets them, in train/ and validation/.
        workers: processes that render and read.
    """

    def __init__(self, walks: Mapping[str, Walks], seed: int, folder: Path, workers: int = 1) -> None:
        super().__init__()
        self.walks, self.seed, self.folder, self.workers = walks, seed, folder, workers

    def training_examples(self, walks: WalkFolder, seed: tuple[int, int]) -> Dataset:
        """Examples of a pass, drawn with its seed."""
        raise NotImplementedError

    def validation_examples(self, walks: WalkFolder, seed: tuple[int, int]) -> Dataset:
        """Examples that are the same in every pass."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Render, once on every machine."""
        for split, walks in self.walks.items():
            walks.render(self.folder / split, self.workers)

    def setup(self, stage: str) -> None:
        """Open the folders."""
        self.rooms = {split: walks.open(self.folder / split) for split, walks in self.walks.items()}

    def train_dataloader(self) -> DataLoader:
        """Asked for before every pass."""
        epoch = self.trainer.current_epoch
        examples = self.training_examples(self.rooms["train"], (self.seed, epoch))
        order = torch.Generator().manual_seed(self.seed * 1000 + epoch)
        sampler = RandomSampler(examples, generator=order)
        return DataLoader(examples, None, sampler=sampler, **reading_processes(self.workers))

    def val_dataloader(self) -> DataLoader:
        examples = self.validation_examples(self.rooms["validation"], (self.seed, 1 << 20))
        return DataLoader(examples, None, **reading_processes(self.workers))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        """The tensors of an example, which is a dataclass, on a device."""
        held = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return replace(batch, **{n: v.to(device) for n, v in held.items() if isinstance(v, torch.Tensor)})
