"""`gnesf train`: train the networks that come with the package, on procedural rooms."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from gnesf_model.device import torch_device
from gnesf_model.training import depth_recipe, field_recipe, recipe

logger = logging.getLogger("gnesf")

RECIPES = {"segmenter": recipe.RECIPES, "field": field_recipe.RECIPES, "depth": depth_recipe.RECIPES}
_NAMED = {"segmenter": "segmenter.model", "field": "semantics.field", "depth": "predicted_depth.model"}
"""Network -> the setting that takes what was trained."""
_CHANGES = {
    "segmenter": {
        "rooms": (int, "rooms to train on"),
        "first_room": (int, "rooms of the training seeds left out before these"),
        "permuted": (float, "share of the rooms with the materials of other classes"),
        "repaint": (float, "share of the pictures in which every class is painted anew"),
        "views": (int, "pictures of each room"),
        "epochs": (int, "passes over the pictures"),
        "small_epochs": (int, "of these, the first ones at 5/8 of the size"),
        "batch": (int, "pictures of a step, on each device"),
        "learning_rate": (float, "peak of the learning rate"),
        "seed": (int, "of everything random"),
    },
    "field": {
        "rooms": (int, "rooms to train on"),
        "views": (int, "views of each room"),
        "epochs": (int, "passes over the rooms"),
        "points": (int, "surface points of a step"),
        "learn": (
            str,
            "votes; geometry: beside them density and signed distance; or colors: the head for images of new views, of "
            "the field given as --start",
        ),
        "learning_rate": (float, "peak of the learning rate"),
        "seed": (int, "of everything random"),
    },
    "depth": {
        "rooms": (int, "rooms to train on"),
        "first_room": (int, "rooms of its training seeds left out before these"),
        "views": (int, "keyframes of each room"),
        "targets": (int, "of these, whose depth is learned in a pass"),
        "epochs": (int, "passes over the rooms"),
        "learning_rate": (float, "peak of the learning rate"),
        "seed": (int, "of everything random"),
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    networks = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    segmenter = networks.add_parser("segmenter", help="the small segmenter of the demonstration")
    field = networks.add_parser("field", help="the neural semantic field: how much each view's vote counts")
    depth = networks.add_parser("depth", help="depth from colour alone, for geometry: rgb")
    for network, sub in (("segmenter", segmenter), ("field", field), ("depth", depth)):
        sub.add_argument(
            "--start", type=Path, metavar="PATH", help="begin with the weights that a training wrote there"
        )
        sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoints, logs, the network")
        sub.add_argument("--rendered", type=Path, metavar="DIR", help="the rendered rooms (default OUT/rendered)")
        sub.add_argument("--recipe", choices=tuple(RECIPES[network]), help="default: what the device calls for")
        sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        sub.add_argument("--devices", type=int, default=1, metavar="N", help="how many GPUs (default 1)")
        sub.add_argument("--workers", type=int, default=2, metavar="N", help="processes that render and read")
        sub.add_argument("--resume", action="store_true", help="go on from OUT's last checkpoint")
        for name, (kind, text) in _CHANGES[network].items():
            sub.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=f"{text} (of the recipe)")


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 when the network is written."""
    for name in ("devices", "workers"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}, expected at least 1")
    device, network = torch_device(arguments.device).type, arguments.network
    chosen = RECIPES[network][arguments.recipe or ("gpu" if device == "cuda" else "cpu")]
    chosen = chosen.with_changes(**{name: getattr(arguments, name) for name in _CHANGES[network]})
    if network == "segmenter":
        from gnesf_model.training.segmenter import train_segmenter as train
    elif network == "field":
        from gnesf_model.training.field import train_field as train
    else:
        from gnesf_model.training.depth import train_depth as train
    found = train(
        chosen,
        arguments.out,
        rendered=arguments.rendered,
        device=device,
        devices=arguments.devices,
        workers=arguments.workers,
        resume=arguments.resume,
        start=arguments.start,
    )
    logger.info("wrote %s: name it as %s; logs: tensorboard --logdir %s", found, _NAMED[network], arguments.out)
    return 0
