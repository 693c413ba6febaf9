"""Trains the neural semantic field in procedural rooms: votes at measured surface points, and geometry from colour.

2D supervision alone: the labels are those of the pixels of a view that is not among the sources. The vote learns whom
to trust by watching segmenters that err (`noisy_segmenter`, `corruption`). The loop is Lightning's.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import lightning
import torch

from gnesf_model.field.cells import Lattice
from gnesf_model.field.encoding_volume import Encoding
from gnesf_model.field.losses import decision_loss, gain_penalty, rendered_cross_entropy
from gnesf_model.field.model import FieldOptions, NeuralSemanticField, PointViews
from gnesf_model.field.spatial_voting import SpatialVoting, SurfacePatch
from gnesf_model.field.viewpoints import earlier_repeats
from gnesf_model.field.views import SourceViews
from gnesf_model.field.visibility import visible_in_depth
from gnesf_model.field.weights import load_field, save_field
from gnesf_model.labels import UNKNOWN
from gnesf_model.training.field_data import CLASSES, FieldData, VoteExample
from gnesf_model.training.field_recipe import FieldRecipe
from gnesf_model.training.geometry_losses import (
    FAR_M,
    TOLERANCE_M,
    TrueRays,
    distance_losses,
    encoding_from_color,
    ray_scores,
    rendering_losses,
)
from gnesf_model.training.loop import class_weights, run_training, scheduled

EXPORT = "field.safetensors"
_SPATIAL_FASTER = 5
_WINDOW, _REACH_M = 9, 1.28
"""Geometry is learned from so many views at a time, in a cube with half this side, which bounds memory and time."""
_RAYS, _SAMPLES = 256, 48


class FieldModule(lightning.LightningModule):
    """The field, its losses and its optimiser.

    Every head learns from the same views, points and steps: votes that accumulate over time (the mapper's) and pass
    between neighbours, votes of all views at once (the paper's), and the ablation's. With ``geometry`` signed distance
    and density learn from them, too (`geometry_losses`). Colours are learned afterwards, by an RGB loss that reaches
    their head alone.

    Args:
        recipe: fields of a `FieldRecipe`.
        options: of the field; the recipe says how often inputs are dropped.
    """

    def __init__(self, recipe: dict, options: FieldOptions | None = None) -> None:
        super().__init__()
        self.recipe = FieldRecipe(**{**recipe, "sources": tuple(recipe["sources"])})
        options = options or FieldOptions(direct_classes=CLASSES)
        learned = options.geometry or self.recipe.learn == "geometry"
        voting = replace(options.voting, drop=self.recipe.drop)
        self.field = NeuralSemanticField(replace(options, voting=voting, geometry=learned))
        self.geometric = SpatialVoting(options.spatial, learned=False)
        self.save_hyperparameters({"recipe": recipe, "options": asdict(self.field.options)})
        self.counts: dict[str, torch.Tensor] = {}
        self.errors: dict[str, torch.Tensor] = {}
        self.shares: dict[str, torch.Tensor] = {}
        if self.recipe.learn == "colors":
            self.requires_grad_(False)
            self.field.blending.requires_grad_(True)

    def on_train_batch_start(self, example: VoteExample, index: int) -> None:
        # A checkpoint does not hold the state of the random numbers (dropped inputs), and what loads the examples
        # draws some before a pass, other ones after a resume: every step starts its own.
        batch = 1_000_000 * self.current_epoch + index
        torch.manual_seed(10_000_000_000 * self.recipe.seed + 1_000_000_000_000 * self.global_rank + batch)

    def training_step(self, example: VoteExample, index: int) -> torch.Tensor:
        views = self._views(example)
        found = self.look(example, views)
        geometry = self._geometry_losses(example, views) if self.recipe.learn == "geometry" else {}
        if self.recipe.learn == "colors":
            loss = self._color_errors(example, views, found)["blended"].mean()
            self.log("loss", loss, prog_bar=True, batch_size=1)
            return loss
        votes = self.field.stream(found)
        spread = self._spread(self.field.spatial, example, votes.probabilities, votes.total, found.encoding)
        rows = self._telling(example, found)
        part, labels = found.select(rows), example.labels[rows]
        window = self.field.vote(part)
        heads = {"stream": (votes.probabilities[rows], labels), "window": (window.probabilities, labels)}
        # What no vote has reached says nothing of the network.
        heads["spatial"] = (spread, example.labels.masked_fill(spread.detach().sum(1) <= 0, UNKNOWN))
        if self.field.direct is not None:
            heads["logits"] = (self.field.vote(part, "logits").probabilities, labels)
            if not example.merged:
                heads["direct"] = (self.field.vote(part, "direct").probabilities, labels)
        losses = {name: _loss(name, p, true) for name, (p, true) in heads.items()} | geometry
        self.log_dict({f"loss_{name}": loss for name, loss in losses.items()}, batch_size=1)
        self.log("loss", losses["spatial"], prog_bar=True, batch_size=1)
        penalty = gain_penalty(votes.scores, votes.seen) + gain_penalty(window.scores, window.seen)
        return sum(losses.values()) + self.recipe.penalty * penalty

    def validation_step(self, example: VoteExample, index: int) -> None:
        """Every head beside plain averaging, and votes across space beside their geometric fallback."""
        views = self._views(example)
        found = self.look(example, views)
        if self.recipe.learn == "colors":
            for name, error in self._color_errors(example, views, found).items():
                sums = torch.stack([error.sum(), error.new_tensor(float(error.numel()))])
                self.errors[name] = self.errors.get(name, 0) + sums
            return
        votes, average = self.field.stream(found), self.field.vote(found, weighting="uniform")
        heads = {
            "averaged": average.probabilities,
            "averaged_geometric": self._spread(self.geometric, example, average.probabilities, average.total),
            "voted": votes.probabilities,
            "voted_geometric": self._spread(self.geometric, example, votes.probabilities, votes.total),
            "spatial": self._spread(self.field.spatial, example, votes.probabilities, votes.total, found.encoding),
            "spatial_without_encoding": self._spread(self.field.spatial, example, votes.probabilities, votes.total),
            "window": self.field.vote(found).probabilities,
        }
        if self.field.direct is not None:
            heads["logits"] = self.field.vote(found, "logits").probabilities
            heads["direct"] = self.field.vote(found, "direct").probabilities
        if self.recipe.learn == "geometry" and len(example.points):
            encoding, rays = self._colored(example, views, learning=False)
            # What ends beyond the cells cannot be found.
            end = rays.origins + rays.depth[:, None] * rays.directions
            rays = rays.select((rays.depth < FAR_M) & ((end - end.median(dim=0).values).abs().amax(1) < _REACH_M))
            for name, flags in ray_scores(self.field, encoding, views, rays).items():
                self.shares[name] = self.shares.get(name, 0) + rays.depth.new_tensor([int(flags.sum()), len(flags)])
        seen = found.seen.any(0) & (example.labels != UNKNOWN)
        for name, p in heads.items():
            self.counts[name] = self.counts.get(name, 0) + _counts(_named(p)[seen], example.labels[seen])

    def on_validation_epoch_end(self) -> None:
        for name, counts in self.counts.items():
            self.log(f"val_{name}", mean_iou(counts), prog_bar=name in ("averaged", "spatial"), sync_dist=True)
        for name, (total, number) in self.errors.items():
            self.log(f"val_psnr_{name}", psnr(total / number.clamp_min(1)), prog_bar=True, sync_dist=True)
        for name, (hits, number) in self.shares.items():
            self.log(f"val_{name}", hits / number.clamp_min(1), prog_bar=name == "sdf_5cm", sync_dist=True)
        self.counts, self.errors, self.shares = {}, {}, {}

    def look(self, example: VoteExample, views: SourceViews | None = None) -> PointViews:
        """What the views of an example show of its points, with M of the first `known` views.

        Args:
            views: of the example; None makes them.
        """
        views = self._views(example) if views is None else views
        level = self.field.options.vote_level + 1
        known = views.select(list(range(example.known)))
        encoding = self.field.volume.around(known, Lattice.world(example.points), example.points, level)
        visible = visible_in_depth(views, views.project(example.points), TOLERANCE_M)
        repeats = None
        if self.field.options.voting.use_repeats:
            repeats = example.points.new_tensor(earlier_repeats(example.world_T_cam))
        return self.field.look(example.points, views, encoding, visible, repeats)

    def configure_optimizers(self) -> dict:
        recipe, total = self.recipe, self.trainer.estimated_stepping_batches
        # Few weights, next to no noise in their gradient: votes across space learn faster than the rest.
        spatial = list(self.field.spatial.parameters())
        rest = [p for name, p in self.named_parameters() if not name.startswith("field.spatial.")]
        groups = [{"params": rest}, {"params": spatial, "lr": _SPATIAL_FASTER * recipe.learning_rate}]
        optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return scheduled(optimizer, recipe.warm_up, total)

    def _views(self, example: VoteExample) -> SourceViews:
        cameras = [example.camera] * len(example.images)
        return self.field.observe(
            cameras, example.world_T_cam, example.images, example.probabilities, example.depth, example.images
        )

    def _geometry_losses(self, example: VoteExample, views: SourceViews) -> dict[str, torch.Tensor]:
        """By eq. 2 and by eq. 5 to 7, from colour alone."""
        if not len(example.points):
            return {}
        encoding, rays = self._colored(example, views, learning=True)
        if not len(encoding.levels[0].cells):
            return {}
        generator = torch.Generator(rays.depth.device)
        generator.manual_seed(int(torch.randint(1 << 62, ())))
        return {
            **distance_losses(self.field, encoding, views),
            **rendering_losses(self.field, encoding, views, rays, _SAMPLES, generator),
        }

    def _colored(self, example: VoteExample, views: SourceViews, learning: bool) -> tuple[Encoding, TrueRays]:
        """M around the points from the views that see most of them, without depth, and rays to some of the points."""
        window = (
            visible_in_depth(views, views.project(example.points), TOLERANCE_M).sum(1).topk(min(_WINDOW, len(views)))
        )
        middle = example.points.median(dim=0).values
        encoding = encoding_from_color(self.field, views.select(window.indices), middle, _REACH_M, learning)
        some = slice(None, None, max(1, len(example.points) // _RAYS))
        return encoding, TrueRays.to_points(example.eye, example.points[some], example.labels[some])

    def _color_errors(self, example: VoteExample, views: SourceViews, found: PointViews) -> dict[str, torch.Tensor]:
        """Squared errors (k, 3) of the points' colours, of those that a view sees: blended, and plain averages."""
        seen = found.seen.any(0)
        blended = self.field.blend(found, views, example.points, example.eye)
        if not bool(seen.any()):
            return {"blended": (blended * 0).sum(0, keepdim=True), "averaged": blended.new_zeros(0, 3)}
        weight = found.seen.to(blended.dtype)[..., None]
        average = (views.sample_colors(found.place.pixels) * weight).sum(0) / weight.sum(0).clamp_min(1)
        return {name: (c - example.colors)[seen].square() for name, c in (("blended", blended), ("averaged", average))}

    def _spread(
        self,
        spatial: SpatialVoting,
        example: VoteExample,
        distribution: torch.Tensor,
        total: torch.Tensor,
        encoding: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Distributions (K, C) after votes across space; in training M is left out half of the time."""
        if self.training and float(torch.rand(())) < 0.5:
            encoding = None
        patch = SurfacePatch(example.points, example.normals, example.colors, encoding)
        return spatial(patch, distribution, spatial.neighbours(example.points), total)

    def _telling(self, example: VoteExample, found: PointViews) -> torch.Tensor:
        """Rows of the points to learn from: half of them where there is something to learn.

        Where all views agree, or none is right, no weighting of them changes anything.
        """
        best, labelled = _named(found.probabilities), example.labels != UNKNOWN
        right = ((best == example.labels) & found.seen).any(0)
        wrong = ((best != example.labels) & found.seen).any(0)
        order = torch.randperm(len(labelled), device=labelled.device)
        telling = order[(right & wrong & labelled)[order]]
        other = order[(found.seen.any(0) & ~(right & wrong) & labelled)[order]]
        most = self.recipe.telling
        telling = telling[: max(most // 2, most - len(other))]
        return torch.cat([telling, other[: most - len(telling)]])


def train_field(
    recipe: FieldRecipe,
    out: Path,
    *,
    rendered: Path | None = None,
    options: FieldOptions | None = None,
    start: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int = 1,
    resume: bool = False,
) -> Path:
    """Train, or go on training, and write the field.

    Args:
        recipe: how.
        out: gets TensorBoard's files, checkpoints/last.ckpt every pass and, at the end, `EXPORT`.
        rendered: folder of the rendered rooms; OUT/rendered where None.
        options: of the field.
        start: a field that an earlier training wrote, whose weights are the first and whose options hold; a head
            for colours, where it has none, is added. None: random weights.
        device: 'auto', 'cpu' or 'cuda'.
        devices: how many GPUs.
        workers: processes that render and read.
        resume: go on from OUT's last checkpoint.

    Returns:
        the file `EXPORT`.

    Raises:
        ValueError: `out` has a checkpoint and `resume` is False, or one of another recipe or other
            options; more devices than there are; only colours are to be learned, and nothing is given to start from.
        FileNotFoundError: `resume` without a checkpoint.
        OSError: `start` is no field.
    """
    if recipe.learn == "colors" and start is None:
        raise ValueError("learn is 'colors', and there is no field to start from: name one (--start)")
    started = None if start is None else load_field(start)
    if started is not None:
        options = replace(started.options, colors=True)

    def make() -> FieldModule:
        module = FieldModule(asdict(recipe), options)
        if started is not None:
            # What a field without this head lacks stays as it begins.
            module.field.load_state_dict({**module.field.state_dict(), **started.state_dict()})
        return module

    data = FieldData(recipe, rendered or out / "rendered", workers)
    module, writes = run_training(
        make,
        data,
        recipe,
        out,
        device=device,
        devices=devices,
        resume=resume,
        # The losses do not reach every network: heads of the geometry, levels of M that the vote does not read.
        strategy="ddp_find_unused_parameters_true" if devices > 1 else "auto",
    )
    if writes:
        save_field(module.field, out / EXPORT)
    return out / EXPORT


def mean_iou(counts: torch.Tensor) -> torch.Tensor:
    """() mean over the classes that there are, of (C, 3): right, labelled so, named so."""
    right, labelled, named = counts.unbind(1)
    there = labelled > 0
    return (right / (labelled + named - right).clamp_min(1))[there].mean()


def psnr(error: torch.Tensor) -> torch.Tensor:
    """() dB of a mean squared error () of colours in 0..1."""
    return -10 * error.clamp_min(1e-7).log10()


def _counts(found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(C, 3): right, labelled so, named so; C one more than the classes, the last one for what is not named."""
    found, size = found.clamp_max(CLASSES), CLASSES + 1
    counted = (torch.bincount(x, minlength=size) for x in (labels[found == labels], labels, found))
    return torch.stack(tuple(counted), dim=1).float()


def _loss(head: str, probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Eq. 6, and for votes above all which class wins them."""
    weights = _balance(labels, probabilities.shape[1])
    likelihood = rendered_cross_entropy(probabilities, labels, weights)
    if head == "direct":
        return likelihood
    return 4 * decision_loss(probabilities, labels, weights) + 0.2 * likelihood


def _named(probabilities: torch.Tensor) -> torch.Tensor:
    """(...) best class of (..., C); 255 where nothing is named, which argmax would take for class 0."""
    return torch.where(probabilities.sum(-1) > 0, probabilities.argmax(-1), UNKNOWN)


def _balance(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(C,) weights 1 / sqrt of a class's share of the points; rare ones at most 5 times the mean."""
    shares = torch.bincount(labels[labels < classes], minlength=classes).float()
    return class_weights(shares / shares.sum().clamp_min(1))
