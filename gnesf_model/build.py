"""From a configuration to a mapper: the one way in for the command line and the node."""

from __future__ import annotations

from gnesf_model.config import Config
from gnesf_model.device import set_cpu_threads
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.build import build_segmenter
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
    return SemanticMapper(config, segmenter)
