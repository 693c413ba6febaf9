"""`gnesf train`: train the networks that come with the package, on procedural rooms."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from gnesf_model.device import torch_device
from gnesf_model.training.recipe import RECIPES

logger = logging.getLogger("gnesf")

_CHANGES = {
    "rooms": (int, "rooms to train on"),
    "views": (int, "pictures of each room"),
    "epochs": (int, "passes over the pictures"),
    "small_epochs": (int, "of these, the first ones at 5/8 of the size"),
    "batch": (int, "pictures of a step, on each device"),
    "learning_rate": (float, "peak of the learning rate"),
    "seed": (int, "of everything random"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    networks = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    segmenter = networks.add_parser("segmenter", help="the small segmenter of the demonstration")
    segmenter.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoints, logs, the network")
    segmenter.add_argument("--images", type=Path, metavar="DIR", help="rendered pictures (default OUT/images)")
    segmenter.add_argument("--recipe", choices=tuple(RECIPES), help="default: what the device calls for")
    segmenter.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    segmenter.add_argument("--devices", type=int, default=1, metavar="N", help="how many GPUs (default 1)")
    segmenter.add_argument("--workers", type=int, default=2, metavar="N", help="processes that render and read")
    segmenter.add_argument("--resume", action="store_true", help="go on from OUT's last checkpoint")
    for name, (kind, text) in _CHANGES.items():
        segmenter.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=f"{text} (of the recipe)")


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 when the network is written."""
    from gnesf_model.training.segmenter import train_segmenter

    for name in ("devices", "workers"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}, expected at least 1")
    device = torch_device(arguments.device).type
    recipe = RECIPES[arguments.recipe or ("gpu" if device == "cuda" else "cpu")]
    recipe = recipe.with_changes(**{name: getattr(arguments, name) for name in _CHANGES})
    folder = train_segmenter(
        recipe,
        arguments.out,
        images=arguments.images,
        device=device,
        devices=arguments.devices,
        workers=arguments.workers,
        resume=arguments.resume,
    )
    logger.info("wrote %s: name that folder as segmenter.model; logs: tensorboard --logdir %s", folder, arguments.out)
    return 0
