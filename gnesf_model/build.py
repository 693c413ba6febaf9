"""From a configuration to a mapper: the one way in for the command line and the node."""

from __future__ import annotations

from pathlib import Path

import torch

from gnesf_model.config import Config, VolumeConfig
from gnesf_model.device import set_cpu_threads, torch_device
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.online import LearnedFusion
from gnesf_model.field.spatial_voting import SpatialVoting
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.field.weights import load_depth, load_field
from gnesf_model.fusion import UniformFusion, ViewFusion
from gnesf_model.mapper import SemanticMapper, map_device
from gnesf_model.resources import weights_dir
from gnesf_model.segment.build import BUNDLED, build_segmenter
from gnesf_model.segment.segmenter import Segmenter
from gnesf_model.volume.map_disk import MapDisk


def build_mapper(config: Config, segmenter: Segmenter | None = None) -> SemanticMapper:
    """Mapper with the segmenter that the configuration names, or with a given one.

    Raises:
        ValueError, OSError, RuntimeError, ImportError: as `build_segmenter` and `SemanticMapper`.
    """
    set_cpu_threads(config.cpu_threads)
    if segmenter is None:
        chosen = config.segmenter
        segmenter = build_segmenter(
            chosen.model,
            labels=config.semantics.labels,
            device=config.device,
            revision=chosen.revision or None,
            segmenter_labels=chosen.labels or None,
            input_size=chosen.input_size or None,
            cpu_threads=config.cpu_threads or None,
        )
    disk = build_disk(config.volume)
    return SemanticMapper(config, segmenter, *build_voting(config, disk), disk, build_view_depth(config))


def build_disk(config: VolumeConfig) -> MapDisk | None:
    """Where the map goes on when its memory is used up; None where it stops there.

    Raises:
        OSError, ValueError: as `MapDisk`.
    """
    if not config.disk_dir:
        return None
    memory, room = int(config.max_map_memory_mb * 1e6), int(config.max_map_disk_mb * 1e6)
    return MapDisk(Path(config.disk_dir), memory_bytes=memory, disk_bytes=room)


def build_view_depth(config: Config) -> ViewDepth | None:
    """What predicts depth for ``geometry: rgb``; None for ``geometry: depth``.

    Raises:
        OSError, ValueError: its weights are missing or are none.
    """
    if config.geometry != "rgb":
        return None
    chosen, device = config.predicted_depth, torch_device(config.device)
    return ViewDepth(
        load_depth(_weights(chosen.model, "depth"), device),
        side_px=chosen.side_px,
        window=config.keyframes.window,
        views=chosen.views,
        min_confidence=chosen.min_confidence,
        device=device,
        reduced=_reduced(config, device),
    )


def build_voting(config: Config, disk: MapDisk | None = None) -> tuple[ViewFusion, SpatialVoting | None]:
    """How views and neighbours vote; `disk` takes what the former remember and was not seen for long.

    Raises:
        OSError, ValueError: the field's weights are missing or are none.
    """
    semantics, device = config.semantics, map_device(config)
    spatial = SpatialVoting(learned=False).to(device) if semantics.neighbours == "geometric" else None
    fusion: ViewFusion = UniformFusion()
    if "learned" in (semantics.voting, semantics.neighbours):
        field = build_field(config)
        if semantics.voting == "learned":
            fusion = LearnedFusion(
                field,
                image_side_px=semantics.field_side_px,
                device=device,
                disk=disk,
                reduced=_reduced(config, device),
            )
        if semantics.neighbours == "learned":
            spatial = field.spatial
    return fusion, spatial


def build_field(config: Config) -> NeuralSemanticField:
    """The neural field that the configuration names.

    Raises:
        OSError, ValueError: its weights are missing or are none.
    """
    return load_field(_weights(config.semantics.field, "field"), map_device(config))


def _reduced(config: Config, device: torch.device) -> bool:
    """Whether the field's networks compute in half the bits there."""
    return config.half_precision and device.type == "cuda"


def _weights(name: str, network: str) -> Path:
    return weights_dir() / network / f"{network}.safetensors" if name == BUNDLED else Path(name).expanduser()
