"""Trains the votes of the neural semantic field, at measured surface points of procedural rooms.

2D supervision alone: the labels are those of the pixels of a view that is not among the sources. The vote learns whom
to trust by watching segmenters that err (`corruption`). The loop is Lightning's.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import lightning
import torch

from gnesf_model.field.cells import Lattice
from gnesf_model.field.losses import gain_penalty, rendered_cross_entropy
from gnesf_model.field.model import FieldOptions, NeuralSemanticField, PointVotes
from gnesf_model.field.viewpoints import earlier_repeats
from gnesf_model.field.views import SourceViews
from gnesf_model.field.visibility import visible_in_depth
from gnesf_model.field.voting import soft_vote
from gnesf_model.field.weights import save_field
from gnesf_model.labels import UNKNOWN
from gnesf_model.training.field_data import FieldData, VoteExample
from gnesf_model.training.field_recipe import FieldRecipe
from gnesf_model.training.loop import check_same, class_weights, last_checkpoint, make_trainer, scheduled, uses_cuda
from gnesf_model.training.recipe import check_devices

EXPORT = "field.safetensors"
TOLERANCE_M = 0.05
"""A point this far behind a view's depth is hidden from it."""


class FieldModule(lightning.LightningModule):
    """The field, its loss and its optimiser.

    Args:
        recipe: fields of a `FieldRecipe`.
        options: of the field; the recipe says how often inputs are dropped.

    Raises:
        ValueError: a variant that the recipe cannot train.
    """

    def __init__(self, recipe: dict, options: FieldOptions | None = None) -> None:
        super().__init__()
        self.recipe = FieldRecipe(**{**recipe, "sources": tuple(recipe["sources"])})
        options = options or FieldOptions()
        accumulates = options.weighting == "learned" and options.outcome == "probabilities"
        if self.recipe.way == "stream" and not accumulates:
            raise ValueError(
                f"weighting {options.weighting!r}, outcome {options.outcome!r}, way 'stream': only learned votes on "
                "probabilities accumulate over time, use way 'window'"
            )
        if options.outcome == "direct" and self.recipe.merge > 0:
            raise ValueError(f"outcome 'direct' with merge {self.recipe.merge}: its classes are fixed, use merge 0")
        self.field = NeuralSemanticField(replace(options, voting=replace(options.voting, drop=self.recipe.drop)))
        self.save_hyperparameters({"recipe": recipe, "options": asdict(self.field.options)})
        self.counts: dict[str, torch.Tensor] = {}

    def on_train_batch_start(self, example: VoteExample, index: int) -> None:
        # A checkpoint does not hold the state of the random numbers (dropped inputs), and what loads the examples
        # draws some before a pass, other ones after a resume: every step starts its own.
        torch.manual_seed(1_000_000 * self.recipe.seed + 100_000_000_000 * self.global_rank + self.global_step)

    def training_step(self, example: VoteExample, index: int) -> torch.Tensor:
        views, points, labels = self._chosen(example)
        found = self.votes(views, points)
        loss = rendered_cross_entropy(found.probabilities, labels, _balance(labels, found.probabilities.shape[1]))
        self.log("loss", loss, prog_bar=True, batch_size=1)
        if found.scores is None:
            return loss
        return loss + self.recipe.penalty * gain_penalty(found.scores, found.seen)

    def validation_step(self, example: VoteExample, index: int) -> None:
        """Learned votes beside plain averaging: right points over all points, of each."""
        views = self._views(example)
        found = self.votes(views, example.points)
        average = soft_vote(
            views.sample_probabilities(views.project(example.points).pixels), found.seen.float() * 0, found.seen
        )
        seen = found.seen.any(0)
        for name, p in (("voted", found.probabilities), ("averaged", average)):
            right = (_named(p) == example.labels)[seen].float()
            both = torch.stack([right.sum(), torch.ones_like(right).sum()])
            self.counts[name] = self.counts.get(name, 0) + both

    def on_validation_epoch_end(self) -> None:
        for name, (right, all_) in self.counts.items():
            self.log(f"val_{name}", right / all_.clamp_min(1), prog_bar=True, sync_dist=True)
        self.counts = {}

    def votes(self, views: SourceViews, points: torch.Tensor) -> PointVotes:
        """s(x) of points (K, 3) after these views, with M of them all, in the recipe's way."""
        encoding = self.field.volume.around(views, Lattice.world(points), points, self.field.options.vote_level + 1)
        visible = visible_in_depth(views, views.project(points), TOLERANCE_M)
        vote = self.field.stream if self.recipe.way == "stream" else self.field
        repeats = None
        if self.field.options.voting.use_repeats:
            poses = torch.linalg.inv(views.cam_T_world.double()).cpu().numpy()
            repeats = points.new_tensor(earlier_repeats(poses))
        return vote(points, views, encoding, visible, repeats)

    def configure_optimizers(self) -> dict:
        recipe, total = self.recipe, self.trainer.estimated_stepping_batches
        optimizer = torch.optim.AdamW(self.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return scheduled(optimizer, recipe.warm_up, total)

    def _views(self, example: VoteExample) -> SourceViews:
        cameras = [example.camera] * len(example.images)
        return self.field.observe(cameras, example.world_T_cam, example.images, example.probabilities, example.depth)

    def _chosen(self, example: VoteExample) -> tuple[SourceViews, torch.Tensor, torch.Tensor]:
        """Views, points and labels of a step: half of the points where there is something to learn.

        Where all views agree, or none is right, no weighting of them changes anything.
        """
        views = self._views(example)
        with torch.no_grad():
            place = views.project(example.points)
            visible = visible_in_depth(views, place, TOLERANCE_M)
            best = _named(views.sample_probabilities(place.pixels))
            right = ((best == example.labels) & visible).any(0)
            wrong = ((best != example.labels) & visible).any(0)
            telling = (right & wrong).nonzero()[:, 0]
            other = (visible.any(0) & ~(right & wrong)).nonzero()[:, 0]
            half = self.recipe.points // 2
            telling = telling[: max(half, self.recipe.points - len(other))]
            rows = torch.cat([telling, other[: self.recipe.points - len(telling)]])
        return views, example.points[rows], example.labels[rows]


def train_field(
    recipe: FieldRecipe,
    out: Path,
    *,
    rooms: Path | None = None,
    options: FieldOptions | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int = 1,
    resume: bool = False,
) -> Path:
    """Train, or go on training, and write the field.

    Args:
        recipe: how.
        out: gets TensorBoard's files, checkpoints/last.ckpt every pass and, at the end, `EXPORT`.
        rooms: folder of the rendered rooms; OUT/rooms where None.
        options: of the field.
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
    """
    last = last_checkpoint(out, resume)
    check_devices(devices, torch.cuda.device_count() if uses_cuda(device) else 0)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    data = FieldData(recipe, rooms or out / "rooms", workers)
    module = FieldModule(asdict(recipe), options)
    if resume:
        check_same(last, module.hparams)
    trainer = make_trainer(
        out,
        recipe.epochs,
        device,
        devices,
        # The losses do not reach every network: heads of the geometry, levels of M that the vote does not read.
        strategy="ddp_find_unused_parameters_true" if devices > 1 else "auto",
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module, datamodule=data, ckpt_path=last if resume else None, weights_only=True if resume else None)
    if trainer.is_global_zero:
        save_field(module.field, out / EXPORT)
    return out / EXPORT


def _named(probabilities: torch.Tensor) -> torch.Tensor:
    """(...) best class of (..., C); 255 where nothing is named, which argmax would take for class 0."""
    return torch.where(probabilities.sum(-1) > 0, probabilities.argmax(-1), UNKNOWN)


def _balance(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(C,) weights 1 / sqrt of a class's share of the points; rare ones at most 5 times the mean."""
    shares = torch.bincount(labels[labels < classes], minlength=classes).float()
    return class_weights(shares / shares.sum().clamp_min(1))
