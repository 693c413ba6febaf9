"""`gnesf export`: networks in the formats of other programs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

logger = logging.getLogger("gnesf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    onnx = formats.add_parser("onnx", help="ONNX files, for onnxruntime and TensorRT (docs/jetson.md)")
    networks = onnx.add_subparsers(dest="network", required=True, metavar="NETWORK")
    segmenter = networks.add_parser("segmenter", help="a transformers checkpoint, with the sidecar that goes with it")
    segmenter.add_argument("model", metavar="MODEL", help="bundled, a checkpoint's folder or its hub id")
    segmenter.add_argument("out", type=Path, metavar="OUT", help="file that is written; ends in .onnx")
    segmenter.add_argument("--revision", metavar="REVISION", help="of a hub id")
    segmenter.add_argument("--labels", metavar="SPACE", help="label space of its classes, where it is not recognised")
    segmenter.add_argument(
        "--input-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="at which it runs (default: what it asks for with images of 640x480)",
    )  # fmt: skip
    field = networks.add_parser("field", help="image encoder and voting network of a trained neural field")
    field.add_argument("weights", type=Path, metavar="WEIGHTS", help="field.safetensors, as gnesf train writes it")
    field.add_argument("out", type=Path, metavar="OUT", help="folder that the files are written into")


def run(arguments: argparse.Namespace) -> int:
    """Export; 0 when the files are written and compute what the networks do."""
    if arguments.network == "field":
        return _field(arguments)
    from gnesf_model.export.segmenter import export_segmenter
    from gnesf_model.segment.build import build_segmenter
    from gnesf_model.segment.transformers_segmenter import TransformersSegmenter

    segmenter = build_segmenter(
        arguments.model, labels="native", device="cpu", revision=arguments.revision,
        segmenter_labels=arguments.labels, input_size=arguments.input_size,
    )  # fmt: skip
    if not isinstance(segmenter, TransformersSegmenter):
        raise ValueError(f"{arguments.model} is no transformers checkpoint: only these are exported")
    (height, width), difference = export_segmenter(segmenter, arguments.out)
    logger.info(
        "wrote %s and its sidecar: input %d x %d (height x width), differs from the checkpoint by %.1g; use it with "
        "segmenter.model: %s",
        arguments.out, height, width, difference, arguments.out,
    )  # fmt: skip
    return 0


def _field(arguments: argparse.Namespace) -> int:
    from gnesf_model.export.field import export_field
    from gnesf_model.field.weights import load_field

    for name, difference in export_field(load_field(arguments.weights), arguments.out).items():
        logger.info("wrote %s, differs from the field by %.1g", arguments.out / name, difference)
    return 0
