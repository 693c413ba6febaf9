"""The networks of the neural field that run for every keyframe, as ONNX files: image encoder and voting."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from gnesf_model.export.onnx_graph import write_graph
from gnesf_model.field.image_encoder import ImageEncoder
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.statistics import STATISTICS
from gnesf_model.field.views import FEATURE_STRIDES
from gnesf_model.field.voting import VoteInputs, VotingNetwork

ENCODER, VOTING = "image_encoder.onnx", "voting.onnx"
VOTE_INPUTS = tuple(entry.name for entry in fields(VoteInputs))


def export_field(field: NeuralSemanticField, folder: Path) -> dict[str, float]:
    """Write the image encoder (eq. of section 3.1) and the voting network f_v (eq. 3) into a folder.

    `ENCODER`: ``images`` (N, 3, H, W) in 0..1 -> ``features_4``, ``features_8``, ``features_16``, see `ImageEncoder`.
    `VOTING`: the attributes of `VoteInputs` by name, here all with their full leading axes -> ``scores`` (N, K).
    N, H, W and K may be any.

    Returns:
        File name -> difference, as `write_graph`.

    Raises:
        ImportError, ValueError, RuntimeError, OSError: as `write_graph`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"features_{stride}" for stride in FEATURE_STRIDES]
    axes = {name: {0: "views", 2: f"rows_{s}", 3: f"columns_{s}"} for name, s in zip(names, FEATURE_STRIDES)}
    axes["images"] = {0: "views", 2: "height", 3: "width"}
    everywhere = {name: {0: "views", 1: "points"} for name in (*VOTE_INPUTS, "scores")}
    everywhere["encoding"] = {0: "points"}
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 72, 104, generator=generator)
    return {
        ENCODER: write_graph(AnySize(field.encoder), (images,), folder / ENCODER, ["images"], names, axes),
        VOTING: write_graph(
            Votes(field.voting), vote_examples(field, 3, 50), folder / VOTING, VOTE_INPUTS, ["scores"], everywhere
        ),
    }


class AnySize(nn.Module):
    """The image encoder, with the sizes in numbers that ONNX divides as Python does: not below zero."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `ImageEncoder`."""
        coarsest, (height, width) = FEATURE_STRIDES[-1], images.shape[2:]
        more = ((side + coarsest - 1) // coarsest * coarsest - side for side in (width, height))
        right, below = more
        maps = self.encoder(F.pad(images, (0, right, 0, below), mode="replicate"))
        return tuple(m[:, :, : (height + s - 1) // s, : (width + s - 1) // s] for m, s in zip(maps, FEATURE_STRIDES))


class Votes(nn.Module):
    """The voting network, with its inputs one by one."""

    def __init__(self, network: VotingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """v_i(x) (N, K)."""
        with torch.enable_grad():  # all points at once: their number is no number here
            return self.network(VoteInputs(*inputs))


def vote_examples(field: NeuralSemanticField, views: int, points: int) -> tuple[torch.Tensor, ...]:
    """Random inputs of the voting network, in the order of `VOTE_INPUTS`."""
    options, generator = field.options.voting, torch.Generator().manual_seed(1)

    def of(*size: int) -> torch.Tensor:
        return torch.rand(*size, generator=generator)

    features = (views, points, options.features)
    return (
        of(*features), of(*features), of(*features), of(views, points, 3), of(views, points, len(STATISTICS)),
        of(views, points) * views, of(points, options.encoding), of(views, points),
    )  # fmt: skip
