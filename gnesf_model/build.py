"""From a configuration to a mapper: the one way in for the command line and the node."""

from __future__ import annotations

from pathlib import Path

from gnesf_model.config import Config
from gnesf_model.device import set_cpu_threads, torch_device
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.online import LearnedFusion
from gnesf_model.field.spatial_voting import SpatialVoting
from gnesf_model.field.weights import load_field
from gnesf_model.fusion import UniformFusion, ViewFusion
from gnesf_model.mapper import SemanticMapper
from gnesf_model.resources import weights_dir
from gnesf_model.segment.build import BUNDLED, build_segmenter
from gnesf_model.segment.segmenter import Segmenter


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
    return SemanticMapper(config, segmenter, *build_voting(config))


def build_voting(config: Config) -> tuple[ViewFusion, SpatialVoting | None]:
    """How views and neighbours vote.

    Raises:
        OSError, ValueError: the field's weights are missing or are none.
    """
    semantics, device = config.semantics, torch_device(config.device)
    spatial = SpatialVoting(learned=False).to(device) if semantics.neighbours == "geometric" else None
    fusion: ViewFusion = UniformFusion()
    if "learned" in (semantics.voting, semantics.neighbours):
        field = build_field(config)
        if semantics.voting == "learned":
            fusion = LearnedFusion(field, image_side_px=semantics.field_side_px, device=device)
        if semantics.neighbours == "learned":
            spatial = field.spatial
    return fusion, spatial


def build_field(config: Config) -> NeuralSemanticField:
    """The neural field that the configuration names.

    Raises:
        OSError, ValueError: its weights are missing or are none.
    """
    name = config.semantics.field
    path = weights_dir() / "field" / "field.safetensors" if name == BUNDLED else Path(name).expanduser()
    return load_field(path, torch_device(config.device))
