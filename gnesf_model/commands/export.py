"""`gnesf export`: networks and maps in the formats of other programs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from gnesf_model.build import build_mapper
from gnesf_model.commands.recording import add_config_arguments, config_of
from gnesf_model.config import Config
from gnesf_model.map_check import MapFileError, label_space
from gnesf_model.map_file import described_map, load_map
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.visualization.ply import write_ply

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
    ply = formats.add_parser("ply", help="a saved map as PLY files, as gnesf map writes them (docs/node.md)")
    ply.add_argument("map", type=Path, metavar="MAP", help="file that ~/save_map wrote")
    ply.add_argument("--out", type=Path, required=True, metavar="PLY", help="file for the labelled cloud")
    ply.add_argument("--mesh", type=Path, metavar="PLY", help="file for the labelled mesh, too")
    add_config_arguments(ply)


def run(arguments: argparse.Namespace) -> int:
    """Export; 0 when the files are written and, of networks, compute what those do."""
    if arguments.format == "ply":
        return _ply(arguments)
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


def _ply(arguments: argparse.Namespace) -> int:
    for option, path in (("--out", arguments.out), ("--mesh", arguments.mesh)):
        _check_target(option, path)
    if arguments.mesh is not None and arguments.mesh.resolve() == arguments.out.resolve():
        raise ValueError(f"--mesh and --out are both {arguments.out}, expected two files")
    mapper, described = _loaded(arguments.map, config_of(arguments))
    surface, frame = mapper.surface(), described["global_frame"]
    if not len(surface.points):
        raise ValueError(
            f"{arguments.map} has no surface to write: none of its {described['blocks']} blocks was measured "
            f"volume.min_weight ({mapper.config.volume.min_weight:g}) times; lower it with --set, or map more"
        )
    write_ply(arguments.out, surface, mapper.labels)
    logger.info("wrote %s: %d points in the frame %s", arguments.out, len(surface.points), frame)
    if arguments.mesh is not None:
        mesh = mapper.mesh()
        write_ply(arguments.mesh, mesh, mapper.labels)
        logger.info("wrote %s: %d triangles in the frame %s", arguments.mesh, len(mesh.faces), frame)
    return 0


def _check_target(option: str, path: Path | None) -> None:
    """Raise before the work begins for what would end it: a map, above all, is not to be written over."""
    if path is None:
        return
    if path.suffix != ".ply":
        raise ValueError(f"{option} is {path}, expected a name that ends in .ply")
    if not path.parent.is_dir():
        raise OSError(f"{option} is {path}, but there is no folder {path.parent}: make it, or name another")


def _loaded(path: Path, config: Config) -> tuple[SemanticMapper, dict[str, Any]]:
    """The map of a file, with voxels and classes as the file has them, and what the file says of it."""
    described = described_map(path)
    # No view is added: the networks for that are not needed.
    settings = {**config.to_flat(), "geometry": "depth", "semantics.voting": "average"}
    try:
        settings["volume.voxel_size_m"] = described["voxel_size_m"]
        size_m = Config.from_flat(settings).volume.voxel_size_m  # not 0, before anything is divided by it
        # Rounded, because the quotient may be the last bit beyond what the setting allows.
        settings["volume.truncation_vox"] = round(described["truncation_m"] / size_m, 9)
        config = Config.from_flat(settings)
    except ValueError as error:
        raise MapFileError(f"{path} cannot be used: {error}") from error
    mapper = build_mapper(config, OracleSegmenter({}.__getitem__, label_space(path, described)))
    return mapper, load_map(path, mapper)
