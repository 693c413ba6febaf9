"""Trains the bundled segmenter: a small UPerNet on pictures of procedural rooms.

UPerNet: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, here on a slim ResNet. Both
come from the transformers library's configurations with random weights; the loop is Lightning's. A SegFormer-B0 of the
same size was tried: from random weights it learns more slowly (docs/training.md).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EMAWeightAveraging
from torchmetrics.classification import MulticlassJaccardIndex

from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.training.loop import check_same, class_weights, last_checkpoint, make_trainer, scheduled, uses_cuda
from gnesf_model.training.recipe import SegmenterRecipe, check_devices
from gnesf_model.training.room_images import class_shares
from gnesf_model.training.segmenter_data import MEAN, STD, SegmenterData

EXPORT = "segmenter"


class SegmenterModule(lightning.LightningModule):
    """The network, its loss and its optimiser.

    Args:
        recipe: fields of a `SegmenterRecipe`.
        class_weights: of the loss, one per class.
    """

    def __init__(self, recipe: dict, class_weights: list[float]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.recipe = SegmenterRecipe(**recipe)
        self.network = small_network(LabelSpace.load("scannet20"))
        # In this order convolutions are a tenth faster on a CPU and use tensor cores on a GPU.
        self.network.to(memory_format=torch.channels_last)
        self.register_buffer("class_weights", torch.tensor(class_weights, dtype=torch.float32), persistent=False)
        self.iou = MulticlassJaccardIndex(len(class_weights), ignore_index=UNKNOWN)

    def on_train_epoch_start(self) -> None:
        # A checkpoint does not hold the state of the random numbers (dropout): every pass starts its own.
        torch.manual_seed(1000 * self.recipe.seed + 100_000_000 * self.global_rank + self.current_epoch)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        # At half resolution: the network answers at a quarter, and a full one costs more than it teaches.
        labels = labels[:, 1::2, 1::2]
        logits = F.interpolate(self._logits(images), labels.shape[1:], mode="bilinear")
        loss = F.cross_entropy(
            logits, labels, self.class_weights, ignore_index=UNKNOWN, label_smoothing=self.recipe.smoothing
        )
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        images, labels = batch
        logits = F.interpolate(self._logits(images), labels.shape[1:], mode="bilinear")
        self.iou.update(logits, labels)
        self.log("val_miou", self.iou, prog_bar=True)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H/4, W/4); the network's own forward would bring them to the size of the images, which takes long."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.network.decode_head(self.network.backbone.forward_with_filtered_kwargs(images).feature_maps)

    def configure_optimizers(self) -> dict:
        recipe, total = self.recipe, self.trainer.estimated_stepping_batches
        decay = [p for p in self.parameters() if p.ndim > 1]
        rest = [p for p in self.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        return scheduled(optimizer, recipe.warm_up, total)


def small_network(labels: LabelSpace) -> torch.nn.Module:
    """UPerNet on a ResNet of half the usual width, 3.4 million parameters, with random weights."""
    from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 256],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=64,
        use_auxiliary_head=False,
        loss_ignore_index=UNKNOWN,
        id2label=dict(enumerate(labels.names)),
        label2id={name: index for index, name in enumerate(labels.names)},
    )
    return UperNetForSemanticSegmentation(config)


def train_segmenter(
    recipe: SegmenterRecipe,
    out: Path,
    *,
    rendered: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int = 1,
    resume: bool = False,
    start: Path | None = None,
) -> Path:
    """Train, or go on training, and write the network.

    Args:
        recipe: how.
        out: gets TensorBoard's files, checkpoints/last.ckpt every pass and, at the end, `EXPORT`: a folder
            that segmenter.model can name.
        rendered: folder of the rendered pictures; OUT/rendered where None.
        device: 'auto', 'cpu' or 'cuda'.
        devices: how many GPUs.
        workers: processes that render on a CPU, or read for a GPU.
        resume: go on from OUT's last checkpoint.
        start: a folder that an earlier training wrote, whose weights are the first; None: random ones.

    Returns:
        the folder `EXPORT`.

    Raises:
        ValueError: `out` has a checkpoint and `resume` is False, or one of another recipe;
            more devices than there are; fewer pictures than a step takes.
        FileNotFoundError: `resume` without a checkpoint.
        OSError: `start` holds no such network.
    """
    last = last_checkpoint(out, resume)
    if resume:
        check_same(last, {"recipe": asdict(recipe)})
    check_devices(devices, torch.cuda.device_count() if uses_cuda(device) else 0)
    recipe.check_batches(devices)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    data = SegmenterData(recipe, rendered or out / "rendered", device, workers)
    data.prepare_data()
    data.setup("fit")
    labels = LabelSpace.load("scannet20")
    shares = torch.from_numpy(class_shares(data.train, len(labels)))
    module = SegmenterModule(asdict(recipe), class_weights(shares).tolist())
    if start is not None and not resume:
        module.network.load_state_dict(written_weights(start))
    trainer = make_trainer(
        out,
        recipe.epochs,
        device,
        devices,
        [EMAWeightAveraging(decay=recipe.averaging)],
        use_distributed_sampler=False,  # PassSampler shares the pictures out
    )
    trainer.fit(module, datamodule=data, ckpt_path=last if resume else None, weights_only=True if resume else None)
    if trainer.is_global_zero:
        export(averaged_network(last), module.class_weights, out / EXPORT, recipe)
    return out / EXPORT


def averaged_network(checkpoint: Path) -> torch.nn.Module:
    """The network of a checkpoint, whose state is the averaged one; the module in memory may hold the raw one."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    network = small_network(LabelSpace.load("scannet20"))
    network.load_state_dict({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})
    return network


def written_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Weights that `export` wrote.

    Raises:
        OSError: the folder holds none, or those of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    expected = small_network(LabelSpace.load("scannet20")).state_dict()
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise OSError(f"{path} is no readable safetensors file ({error})") from error
    wrong = sorted(n for n in expected.keys() | found.keys() if n not in found or n not in expected)
    wrong += [n for n in expected.keys() & found.keys() if expected[n].shape != found[n].shape]
    if wrong:
        raise OSError(f"{path} is of another network: {len(wrong)} weights differ, {wrong[0]} among them")
    return {name: tensor.to(expected[name].dtype) for name, tensor in found.items()}


def export(network: torch.nn.Module, class_weights: torch.Tensor, folder: Path, recipe: SegmenterRecipe) -> None:
    """Write the network in half precision, as a checkpoint of the transformers library; it is not used after that.

    The weights of the loss make rare classes likelier than they are; part of that is taken back in the bias of the
    last layer (logit adjustment: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).
    """
    bias = network.decode_head.classifier.bias
    bias.data -= recipe.prior * class_weights.log().to(bias)
    network.half().save_pretrained(folder)
    processor = {
        "image_processor_type": "SegformerImageProcessor",  # resize, rescale, normalise: that of UPerNet too
        "do_resize": True,
        # The shorter side, so that the picture keeps its proportions; the network is convolutional.
        "size": {"shortest_edge": recipe.height},
        "size_divisor": 32,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(processor, indent=1) + "\n", encoding="utf-8")
