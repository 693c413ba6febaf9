"""What every training shares: checkpoints that can be resumed, the schedule, the trainer, weights of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from gnesf_model.training.recipe import check_devices

CHECKPOINTS = "checkpoints"


def last_checkpoint(out: Path, resume: bool) -> Path:
    """The checkpoint of a training in `out`: there where it is resumed, not there where one begins.

    Raises:
        ValueError: there is one, and `resume` is False.
        FileNotFoundError: there is none, and `resume` is True.
    """
    last = out / CHECKPOINTS / "last.ckpt"
    if resume and not last.is_file():
        raise FileNotFoundError(f"{last} does not exist: there is nothing to resume")
    if not resume and last.is_file():
        raise ValueError(f"{out} holds a training already: go on with it (--resume) or name another folder")
    return last


def check_same(checkpoint: Path, settings: Mapping[str, Mapping]) -> None:
    """Raise ValueError where a checkpoint was made with another ``recipe`` or other ``options`` than these."""
    stored = _flat(torch.load(checkpoint, map_location="cpu", weights_only=True)["hyper_parameters"])
    wanted = _flat(settings)
    other = [name for name in wanted if stored.get(name) != wanted[name]]
    if other:
        text = ", ".join(f"{name} {stored.get(name)} (now {wanted[name]})" for name in other)
        raise ValueError(f"{checkpoint} was made with {text}: resume with the same options")


def _flat(values: Mapping[str, Mapping]) -> dict[str, object]:
    """The numbers of nested settings by their own names, with the outer name of those within settings of their own."""
    found: dict[str, object] = {}
    for group in ("recipe", "options"):
        for name, value in values.get(group, {}).items():
            inner = value.items() if isinstance(value, Mapping) else ((None, value),)
            for key, v in inner:
                found[f"{name}.{key}" if key else name] = tuple(v) if isinstance(v, list) else v
    return found


def scheduled(optimizer: torch.optim.Optimizer, warm_up: int, total: int) -> dict:
    """An optimiser for Lightning whose rate rises over `warm_up` steps and falls linearly to 0 at step `total`."""
    warm_up = max(1, min(warm_up, total // 10))

    def factor(step: int) -> float:
        return min((step + 1) / warm_up, max(0.0, 1 - step / total))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def class_weights(shares: torch.Tensor) -> torch.Tensor:
    """(C,) weights 1 / sqrt of the classes' shares (C,), mean 1 over what they are shares of; at most 5."""
    weights = shares.clamp_min(1e-5).rsqrt()
    return (weights / (weights * shares).sum().clamp_min(1e-9)).clamp_max(5.0)


def uses_cuda(device: str) -> bool:
    """Whether 'auto', 'cpu' or 'cuda' trains on GPUs here."""
    return device != "cpu" and torch.cuda.is_available()


def run_training(
    make: Callable[[], lightning.LightningModule],
    data: lightning.LightningDataModule,
    recipe: Any,
    out: Path,
    *,
    device: str,
    devices: int,
    resume: bool,
    **more: Any,
) -> tuple[lightning.LightningModule, bool]:
    """Train on walks, or go on training.

    Args:
        make: the module, whose hyperparameters are ``recipe`` and ``options``.
        data: what it learns from; its loaders are made anew for every pass.
        recipe: with epochs, rooms_per_step and seed.
        out, device, devices, resume: as of the commands.
        more: options of the trainer.

    Returns:
        the module, and whether this process is the one that writes it.

    Raises:
        ValueError, FileNotFoundError: as `last_checkpoint`, `check_devices` and `check_same`.
    """
    last = last_checkpoint(out, resume)
    check_devices(devices, torch.cuda.device_count() if uses_cuda(device) else 0)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    module = make()
    if resume:
        check_same(last, module.hparams)
    trainer = make_trainer(
        out,
        recipe.epochs,
        device,
        devices,
        reload_dataloaders_every_n_epochs=1,
        accumulate_grad_batches=recipe.rooms_per_step,
        **more,
    )
    trainer.fit(module, datamodule=data, ckpt_path=last if resume else None, weights_only=True if resume else None)
    return module, trainer.is_global_zero


def make_trainer(
    out: Path, epochs: int, device: str, devices: int, callbacks: list[Callback] | None = None, **more: Any
) -> lightning.Trainer:
    """A trainer that logs to TensorBoard and writes a checkpoint after every pass, both in `out`.

    Args:
        callbacks, more: besides its own.
    """
    cuda = uses_cuda(device)
    return lightning.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        precision="bf16-mixed" if cuda else "32-true",
        max_epochs=epochs,
        gradient_clip_val=1.0,
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(out, name="", version="log"),
        callbacks=[
            *(callbacks or []),
            # One file, written anew after every pass. (With save_top_k=0 there is none before the end.)
            ModelCheckpoint(out / CHECKPOINTS, "last", enable_version_counter=False, save_on_train_epoch_end=True),
            LearningRateMonitor("step"),
        ],
        **more,
    )
