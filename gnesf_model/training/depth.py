"""Trains depth from images (`geometry: rgb`) on keyframes of procedural rooms. The loop is Lightning's."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import lightning
import torch

from gnesf_model.field.depth_network import DepthNetwork, DepthOptions
from gnesf_model.field.weights import load_depth, save_depth
from gnesf_model.training.depth_data import DepthData, DepthExample
from gnesf_model.training.depth_recipe import DepthRecipe
from gnesf_model.training.loop import run_training, scheduled

EXPORT = "depth.safetensors"
_NEAR = 0.05
"""Relative error up to which a depth counts as right."""


class DepthModule(lightning.LightningModule):
    """The network, its loss and its optimiser.

    Args:
        recipe: fields of a `DepthRecipe`.
        options: of the network.
    """

    def __init__(self, recipe: dict, options: DepthOptions | None = None) -> None:
        super().__init__()
        self.recipe = DepthRecipe(**recipe)
        self.network = DepthNetwork(options)
        self.save_hyperparameters({"recipe": recipe, "options": asdict(self.network.options)})
        self.sums: dict[str, torch.Tensor] = {}

    def training_step(self, example: DepthExample, index: int) -> torch.Tensor:
        found = self.predict(example)
        losses = [self.network.loss(p, depth) for p, depth in zip(found, example.depth)]
        loss = torch.stack(losses).mean()
        self.log("loss", loss, prog_bar=True, batch_size=1)
        return loss

    def validation_step(self, example: DepthExample, index: int) -> None:
        """Relative error and the share of right depths, of all cells and of those that are sure."""
        planes = self.network.planes
        for p, truth in zip(self.predict(example), example.depth):
            depth, confidence = self.network.depth(p)
            known = (truth > planes[0]) & (truth < planes[-1])
            sure = known & (confidence > 0.5)
            error = (depth / truth.clamp_min(1e-3) - 1).abs()
            sums = {
                "loss": self.network.loss(p, truth) * known.sum(),
                "cells": known.sum(),
                "error": error[known].sum(),
                "right": (error[known] < _NEAR).sum(),
                "sure": sure.sum(),
                "sure_right": (error[sure] < _NEAR).sum(),
            }
            for name, value in sums.items():
                self.sums[name] = self.sums.get(name, 0) + value.float()

    def on_validation_epoch_end(self) -> None:
        s, self.sums = self.sums, {}
        cells, sure = s["cells"].clamp_min(1), s["sure"].clamp_min(1)
        self.log("val_loss", s["loss"] / cells, sync_dist=True)
        self.log("val_error", s["error"] / cells, prog_bar=True, sync_dist=True)
        self.log("val_right", s["right"] / cells, prog_bar=True, sync_dist=True)
        self.log("val_sure", s["sure"] / cells, sync_dist=True)
        self.log("val_sure_right", s["sure_right"] / sure, sync_dist=True)

    def predict(self, example: DepthExample) -> list[torch.Tensor]:
        """Log-probabilities (D, h, w) of every target."""
        cameras = [example.camera] * len(example.images)
        views = self.network.describe(example.images, cameras, example.world_T_cam)
        return [self.network(views[target], [views[s] for s in sources]) for target, sources in example.targets]

    def configure_optimizers(self) -> dict:
        recipe, total = self.recipe, self.trainer.estimated_stepping_batches
        optimizer = torch.optim.AdamW(self.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return scheduled(optimizer, recipe.warm_up, total)


def train_depth(
    recipe: DepthRecipe,
    out: Path,
    *,
    rendered: Path | None = None,
    options: DepthOptions | None = None,
    start: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int = 1,
    resume: bool = False,
) -> Path:
    """Train, or go on training, and write the network.

    Args:
        recipe: how.
        out: gets TensorBoard's files, checkpoints/last.ckpt every pass and, at the end, `EXPORT`.
        rendered: folder of the rendered rooms; OUT/rendered where None.
        options: of the network.
        start: a network that an earlier training wrote, whose weights are the first and whose options hold; None:
            random weights.
        device: 'auto', 'cpu' or 'cuda'.
        devices: how many GPUs.
        workers: processes that render and read.
        resume: go on from OUT's last checkpoint.

    Returns:
        the file `EXPORT`.

    Raises:
        ValueError: `out` has a checkpoint and `resume` is False, or one of another recipe or other
            options; more devices than there are.
        FileNotFoundError: `resume` without a checkpoint.
        OSError: `start` is no such network.
    """
    started = None if start is None else load_depth(start)
    if started is not None:
        options = started.options

    def make() -> DepthModule:
        module = DepthModule(asdict(recipe), options)
        if started is not None:
            module.network.load_state_dict(started.state_dict())
        return module

    data = DepthData(recipe, rendered or out / "rendered", workers)
    module, writes = run_training(make, data, recipe, out, device=device, devices=devices, resume=resume)
    if writes:
        save_depth(module.network, out / EXPORT)
    return out / EXPORT
