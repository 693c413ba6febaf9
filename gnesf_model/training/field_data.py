"""What the votes learn from: source views of a room, a segmenter that errs, labelled points that another view saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from gnesf_model.data.procrooms.splits import FIELD_SEEDS, SPLITS
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.frame import Camera
from gnesf_model.labels import LabelSpace
from gnesf_model.training.corruption import Habits, corrupted, occluded
from gnesf_model.training.field_recipe import FieldRecipe
from gnesf_model.training.labelled_patch import LabelledPatch
from gnesf_model.training.merged_classes import merged_labels, merged_probabilities, merging
from gnesf_model.training.room_sequences import RoomSequence, RoomSequences, jittered
from gnesf_model.training.walk_data import WalkData
from gnesf_model.training.walks import WalkFolder

CLASSES = len(LabelSpace.load("scannet20"))
"""Of the rooms' labels."""


@dataclass(frozen=True, eq=False)
class VoteExample:
    """One step: source views of a room, and labelled points that another view saw.

    Attributes:
        camera, world_T_cam: of the N sources, in the order of the walk; the poses are those that a robot would believe.
        images: (N, 3, H, W) in 0..1.
        depth: (N, H, W) m.
        probabilities: (N, C, h, w) of a segmenter that errs.
        known: from how many of the views M is made: a robot has no more of them when a view votes.
        points: (K, 3) m.
        normals: (K, 3) of length 1.
        colors: (K, 3) in 0..1, as the other view saw them.
        eye: (3,) where that view's camera was, m.
        labels: (K,) int64, 255 where there is none.
        merged: whether these classes are not those of the rooms.
    """

    camera: Camera
    world_T_cam: np.ndarray
    images: torch.Tensor
    depth: torch.Tensor
    probabilities: torch.Tensor
    known: int
    points: torch.Tensor
    normals: torch.Tensor
    colors: torch.Tensor
    eye: torch.Tensor
    labels: torch.Tensor
    merged: bool


class VoteExamples(Dataset):
    """An example of each room, drawn anew for every pass; the same on every machine and after a resume.

    Args:
        sequences: rooms, by index.
        recipe: what to draw.
        seed: of this pass.
        habits: draws the segmenter of an example whose segmentations are made up, for a number of classes.
    """

    def __init__(
        self,
        sequences: Sequence[RoomSequence] | Dataset,
        recipe: FieldRecipe,
        seed: tuple[int, int],
        habits: Callable[[int, np.random.Generator], Habits] = Habits.sampled,
    ) -> None:
        self.sequences, self.recipe, self.seed = sequences, recipe, seed
        self.habits = habits

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
        patch = LabelledPatch.of_view(sequence, target, recipe.points, rng)
        merged = bool(rng.random() < recipe.merge)
        groups = merging(CLASSES, rng) if merged else np.arange(CLASSES)
        images, depth, classes = sequence.rgb[sources], sequence.depth[sources], int(groups.max()) + 1
        if rng.random() < recipe.invented:
            habits = self.habits(classes, rng)
            truth = merged_labels(sequence.labels[sources], groups)
            said = np.stack([corrupted(image, z, habits, rng) for image, z in zip(truth, depth)])
        else:
            sharpness = np.exp(rng.uniform(-0.7, 0.7))  # a temperature of 0.5 to 2
            said = merged_probabilities(sequence.said[sources], groups) ** sharpness
            said /= np.maximum(said.sum(axis=1, keepdims=True), 1e-6)
        poses = sequence.world_T_cam[sources]
        if recipe.learn != "colors":
            views = [occluded(*v, rng) if rng.random() < recipe.occlude else v for v in zip(images, said)]
            images, said = (np.stack(parts) for parts in zip(*views))
            poses = jittered(poses, rng, recipe.shift_m, np.deg2rad(recipe.turn_deg))
        return VoteExample(
            camera=sequence.camera,
            world_T_cam=poses,
            images=torch.stack([image_tensor(rgb) for rgb in images]),
            depth=torch.from_numpy(depth),
            probabilities=torch.from_numpy(said.astype(np.float32)),
            known=int(rng.integers(1, count + 1)),
            points=patch.surface.points,
            normals=patch.surface.normals,
            colors=patch.surface.colors,
            eye=torch.from_numpy(sequence.world_T_cam[target][:3, 3].astype(np.float32)),
            labels=torch.from_numpy(merged_labels(patch.labels.numpy(), groups)),
            merged=merged,
        )


class FieldData(WalkData):
    """What the votes learn from, for Lightning."""

    def __init__(self, recipe: FieldRecipe, folder: Path, workers: int = 1) -> None:
        size = {"views": recipe.views, "width": recipe.width, "height": recipe.height}
        held_out = SPLITS["validation"].start
        walks = {
            "train": RoomSequences(FIELD_SEEDS.start, recipe.rooms, **size),
            "validation": RoomSequences(held_out, recipe.validation_rooms, **size, looks="natural"),
        }
        super().__init__(walks, recipe.seed, folder, workers)
        self.recipe = recipe

    def training_examples(self, walks: WalkFolder, seed: tuple[int, int]) -> VoteExamples:
        """As the recipe says."""
        return VoteExamples(walks, self.recipe, seed)

    def validation_examples(self, walks: WalkFolder, seed: tuple[int, int]) -> VoteExamples:
        """Merged classes have no name: the score is over those there are. Nothing stands in the way."""
        return VoteExamples(walks, replace(self.recipe, merge=0.0, occlude=0.0), seed)
