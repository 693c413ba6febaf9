"""What depth from images learns from: views of a room, poses as a robot believes them, exact depth of some views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from gnesf_model.data.procrooms.splits import DEPTH_SEEDS, SPLITS
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.field.parallax import useful_views
from gnesf_model.field.views import FEATURE_STRIDES
from gnesf_model.frame import Camera
from gnesf_model.training.depth_recipe import DepthRecipe
from gnesf_model.training.depth_walks import DepthWalks
from gnesf_model.training.room_sequences import jittered
from gnesf_model.training.walk_data import WalkData
from gnesf_model.training.walks import Walk, WalkFolder

STRIDE = FEATURE_STRIDES[0]


@dataclass(frozen=True, eq=False)
class DepthExample:
    """Views of a room, and the depth of some of them.

    Attributes:
        camera, world_T_cam: of the N views; the poses are those that a robot would believe.
        images: (N, 3, H, W) in 0..1.
        targets: views whose depth is known, and which others are compared with each.
        depth: (targets, h, w) m at stride 4, 0 where there is none.
    """

    camera: Camera
    world_T_cam: np.ndarray
    images: torch.Tensor
    targets: tuple[tuple[int, tuple[int, ...]], ...]
    depth: torch.Tensor


class DepthExamples(Dataset):
    """An example of each room, drawn anew for every pass; the same on every machine and after a resume.

    Args:
        walks: rooms, by index.
        recipe: what to draw.
        seed: of this pass.
        augment: mirror, change colours, and err in the poses.
    """

    def __init__(
        self,
        walks: Sequence[Walk] | Dataset,
        recipe: DepthRecipe,
        seed: tuple[int, int],
        augment: bool = True,
    ) -> None:
        self.walks, self.recipe, self.seed, self.augment = walks, recipe, seed, augment

    def __len__(self) -> int:
        return len(self.walks)

    def __getitem__(self, index: int) -> DepthExample:
        rng = np.random.Generator(np.random.PCG64([*self.seed, index]))
        recipe, walk = self.recipe, self.walks[index]
        views = len(walk.rgb)
        # As on a robot, which has seen what came before; every third time views from both sides.
        both_ways = self.augment and rng.random() < 1 / 3
        chosen: list[tuple[int, tuple[int, ...]]] = []
        for target in rng.permutation(views) if self.augment else range(2, views, 3):
            others = [v for v in range(views) if (v != target if both_ways else v < target)]
            near = useful_views(walk.world_T_cam[target], walk.world_T_cam[others], recipe.sources)
            if near:
                chosen.append((int(target), tuple(others[number] for number in near)))
        # A walk that only turns has no parallax anywhere: what is left is what one image says.
        chosen = chosen[: recipe.targets] or [(views - 1, ())]
        used = sorted({v for target, sources in chosen for v in (target, *sources)})
        place = {view: number for number, view in enumerate(used)}
        poses, camera, rgb, depth = walk.world_T_cam[used], walk.camera, walk.rgb[used], walk.depth
        if self.augment:
            if rng.random() < 0.5:
                poses = jittered(poses, rng, recipe.shift_m, np.deg2rad(recipe.turn_deg))
            rgb = recoloured(rgb, rng)
        return DepthExample(
            camera=camera,
            world_T_cam=poses,
            images=torch.stack([image_tensor(image) for image in rgb]),
            targets=tuple((place[target], tuple(place[s] for s in sources)) for target, sources in chosen),
            depth=torch.stack([torch.from_numpy(cell_depth(depth[target])) for target, _ in chosen]),
        )


def cell_depth(depth: np.ndarray) -> np.ndarray:
    """Depth (h, w) of the cells of stride 4: of the pixel at their middle, for a mean would lie in the air at edges."""
    return np.ascontiguousarray(depth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])


def recoloured(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (N, H, W, 3) uint8 of a sequence in other colours, each a little brighter or darker than the others."""
    grey = np.linspace(0, 1, 256)
    gamma, gains = np.exp(rng.uniform(-0.4, 0.4)), np.exp(rng.uniform(-0.15, 0.15, 3))
    hue, saturation = int(rng.integers(180)) if rng.random() < 0.3 else 0, rng.uniform(0.3, 1.4)
    out = []
    for image in rgb:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + hue) % 180
        hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=saturation)
        exposure = np.exp(rng.uniform(-0.08, 0.08))
        tables = np.rint(255 * np.clip(grey[:, None] ** gamma * gains * exposure, 0, 1)).astype(np.uint8)
        out.append(cv2.LUT(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), tables.reshape(1, 256, 3)))
    return np.stack(out)


class DepthData(WalkData):
    """What depth from images learns from, for Lightning."""

    def __init__(self, recipe: DepthRecipe, folder: Path, workers: int = 1) -> None:
        size = {"views": recipe.views, "width": recipe.width, "height": recipe.height}
        held_out = SPLITS["validation"].start
        walks = {
            "train": DepthWalks(DEPTH_SEEDS.start + recipe.first_room, recipe.rooms, **size),
            "validation": DepthWalks(held_out, recipe.validation_rooms, **size, looks="natural"),
        }
        super().__init__(walks, recipe.seed, folder, workers)
        self.recipe = recipe

    def training_examples(self, walks: WalkFolder, seed: tuple[int, int]) -> DepthExamples:
        """As the recipe says."""
        return DepthExamples(walks, self.recipe, seed)

    def validation_examples(self, walks: WalkFolder, seed: tuple[int, int]) -> DepthExamples:
        """As a robot sees them."""
        return DepthExamples(walks, self.recipe, seed, augment=False)
