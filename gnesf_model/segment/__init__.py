"""Segmenters behind one protocol: an image in, class probabilities at stride 4 out."""

from gnesf_model.segment.build import BUNDLED, FOR_DEMONSTRATION, build_segmenter
from gnesf_model.segment.oracle import LabelFolder, OracleSegmenter
from gnesf_model.segment.segmenter import (
    STRIDE,
    Segmentation,
    Segmenter,
    argmax_labels,
    grid_size,
)

__all__ = [
    "BUNDLED",
    "FOR_DEMONSTRATION",
    "STRIDE",
    "LabelFolder",
    "OracleSegmenter",
    "Segmentation",
    "Segmenter",
    "argmax_labels",
    "build_segmenter",
    "grid_size",
]
