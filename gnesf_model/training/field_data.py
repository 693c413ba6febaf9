"""What the votes learn from: source views of a room, a segmenter that errs, labelled points that another view saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gnesf_model.data.procrooms.splits import FIELD_SEEDS, SPLITS
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.frame import Camera
from gnesf_model.labels import LabelSpace
from gnesf_model.training.corruption import Habits, corrupted, merged_classes
from gnesf_model.training.field_recipe import FieldRecipe
from gnesf_model.training.loading import reading_processes
from gnesf_model.training.room_sequences import (
    RoomSequence,
    RoomSequenceFolder,
    RoomSequences,
    jittered,
    surface_samples,
)


@dataclass(frozen=True, eq=False)
class VoteExample:
    """One step: source views of a room, and labelled points that another view saw.

    Attributes:
        camera, world_T_cam: of the N sources, in the order of the walk; the poses are those that a robot would believe.
        images: (N, 3, H, W) in 0..1.
        depth: (N, H, W) m.
        probabilities: (N, C, h, w) of a segmenter that errs.
        points: (K, 3) m.
        labels: (K,) int64.
    """

    camera: Camera
    world_T_cam: np.ndarray
    images: torch.Tensor
    depth: torch.Tensor
    probabilities: torch.Tensor
    points: torch.Tensor
    labels: torch.Tensor


class VoteExamples(Dataset):
    """An example of each room, drawn anew for every pass; the same on every machine and after a resume.

    Args:
        sequences: rooms, by index.
        recipe: what to draw.
        seed: of this pass.
        candidates: points offered for each that is trained on.
        habits: draws the segmenter of an example, for a number of classes.
    """

    def __init__(
        self,
        sequences: Sequence[RoomSequence] | Dataset,
        recipe: FieldRecipe,
        seed: tuple[int, int],
        candidates: int = 3,
        habits: Callable[[int, np.random.Generator], Habits] = Habits.sampled,
    ) -> None:
        self.sequences, self.recipe, self.seed = sequences, recipe, seed
        self.candidates, self.habits = candidates, habits

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> VoteExample:
        rng = np.random.Generator(np.random.PCG64([*self.seed, index]))
        recipe, sequence = self.recipe, self.sequences[index]
        views = len(sequence.rgb)
        target = int(rng.integers(views))
        fewest, most = recipe.sources
        count = min(int(rng.integers(fewest, most + 1)), views - 1)
        sources = np.sort(rng.permutation(np.delete(np.arange(views), target))[:count])
        points, labels = surface_samples(sequence, target, self.candidates * recipe.points, rng)
        classes, images = len(LabelSpace.load("scannet20")), sequence.labels[sources]
        if rng.random() < recipe.merge:
            both, classes = merged_classes(np.concatenate([images.reshape(-1), labels.numpy()]), classes, rng)
            images, labels = both[: images.size].reshape(images.shape), torch.from_numpy(both[images.size :]).long()
        habits = self.habits(classes, rng)
        depth = sequence.depth[sources]
        return VoteExample(
            camera=sequence.camera,
            world_T_cam=jittered(sequence.world_T_cam[sources], rng, recipe.shift_m, np.deg2rad(recipe.turn_deg)),
            images=torch.stack([image_tensor(rgb) for rgb in sequence.rgb[sources]]),
            depth=torch.from_numpy(depth),
            probabilities=torch.from_numpy(
                np.stack([corrupted(image, z, habits, rng) for image, z in zip(images, depth)])
            ),
            points=points,
            labels=labels,
        )


class FieldData(lightning.LightningDataModule):
    """Renders what is missing, then draws an example of each room in each pass."""

    def __init__(self, recipe: FieldRecipe, folder: Path, workers: int = 1) -> None:
        super().__init__()
        self.recipe, self.folder, self.workers = recipe, folder, workers

    def prepare_data(self) -> None:
        """Render, once on every machine."""
        for split, sequences in self._sequences().items():
            sequences.render(self.folder / split, self.workers)

    def setup(self, stage: str) -> None:
        """Open the folders."""
        self.rooms = {split: RoomSequenceFolder(self.folder / split) for split in self._sequences()}

    def train_dataloader(self) -> DataLoader:
        """Asked for before every pass."""
        recipe, epoch = self.recipe, self.trainer.current_epoch
        examples = VoteExamples(self.rooms["train"], recipe, (recipe.seed, epoch))
        order = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
        sampler = torch.utils.data.RandomSampler(examples, generator=order)
        return DataLoader(examples, None, sampler=sampler, **reading_processes(self.workers))

    def val_dataloader(self) -> DataLoader:
        # Merged classes have no name: the score is over those there are.
        plain = replace(self.recipe, merge=0.0)
        examples = VoteExamples(self.rooms["validation"], plain, (self.recipe.seed, 1 << 20), 1)
        return DataLoader(examples, None, **reading_processes(self.workers))

    def transfer_batch_to_device(self, batch: VoteExample, device: torch.device, index: int) -> VoteExample:
        moved = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return VoteExample(**{n: v.to(device) if isinstance(v, torch.Tensor) else v for n, v in moved.items()})

    def _sequences(self) -> dict[str, RoomSequences]:
        r = self.recipe
        size = {"views": r.views, "width": r.width, "height": r.height}
        return {
            "train": RoomSequences(FIELD_SEEDS.start, r.rooms, **size),
            "validation": RoomSequences(SPLITS["validation"].start, r.validation_rooms, **size, looks="natural"),
        }
