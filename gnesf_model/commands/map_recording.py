"""`gnesf map`: a recording to a labelled cloud, a mesh, a picture and scores."""

from __future__ import annotations

import argparse
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from gnesf_model.commands.recording import MappedRecording, OpenRecording, add_recording_arguments
from gnesf_model.data.bag_target import MCAP_SUFFIX
from gnesf_model.data.topic_writer import OPTICAL
from gnesf_model.evaluation.metrics import FILE, describe_run, write_metrics
from gnesf_model.frame import Frame
from gnesf_model.mapper import LabelledPoints, MapUpdate
from gnesf_model.recording import ResultBag
from gnesf_model.visualization.images import save
from gnesf_model.visualization.overview import overview, sample_frames
from gnesf_model.visualization.ply import write_ply

logger = logging.getLogger("gnesf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_recording_arguments(parser)
    parser.add_argument(
        "--record",
        type=Path,
        metavar="BAG",
        help="bag for RViz and Foxglove: cloud, grid, semantic images, legend, poses; a folder, or one file if the "
        f"name ends in {MCAP_SUFFIX} (must not exist)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Map the recording; 0 when a map was made."""
    opened, out = OpenRecording(arguments), arguments.out
    config, mapper, source = opened.config, opened.mapper, opened.source
    path = arguments.record or config.node.record
    with ResultBag(path, mapper, config) if path else nullcontext() as bag:

        def after(frame: Frame, update: MapUpdate) -> None:
            if bag is not None:
                bag.frame(frame, update.segmentation, update.blocks, frame.frame_id or OPTICAL)

        done = opened.map(after)
    write_ply(out / "cloud.ply", done.surface, mapper.labels)
    (out / "config.yaml").write_text(yaml.safe_dump(config.to_flat(), sort_keys=False))
    scores = opened.scores(done)
    points = len(done.surface.points)
    metrics = describe_run(source, str(arguments.source), mapper, done.run, points, scores, truth=opened.truth)
    write_metrics(out / FILE, metrics)
    write_mesh_and_overview(out, done, f"{source.name}, {config.segmenter.model}")
    log_metrics(metrics)
    logger.info("results are in %s", out)
    return 0


def write_mesh_and_overview(out: Path, done: MappedRecording, title: str) -> LabelledPoints:
    """Write mesh.ply and overview.png into a folder; gives the mesh."""
    mesh = done.mapper.mesh()
    write_ply(out / "mesh.ply", mesh, done.mapper.labels)
    title = f"{title}: {done.run.frames} frames, {done.run.keyframes} keyframes"
    frames = [done.run.ground_truth(frame) for frame in sample_frames(done.kept)]
    save(out / "overview.png", overview(done.mapper, done.surface, frames, title))
    return mesh


def log_metrics(metrics: dict[str, Any]) -> None:
    """Say in a few lines what a run gave."""
    dropped = ", ".join(f"{n} {reason}" for reason, n in metrics["dropped"].items()) or "none"
    logger.info(
        "%d frames, %d keyframes, dropped: %s; %d surface points, map %.1f MB",
        metrics["frames"],
        metrics["keyframes"],
        dropped,
        metrics["map"]["surface_points"],
        metrics["map"]["memory_mb"],
    )
    scores = metrics.get("scores", {})
    rows = [(f"2d {name}", s) for name, s in scores.get("2d", {}).items()]
    rows += [("3d", scores["3d"])] if "3d" in scores else []
    for name, score in rows:
        logger.info(
            "%-14s mIoU %.3f  accuracy %.3f  coverage %.3f  n %d",
            name,
            score["miou"],
            score["pixel_accuracy"],
            score["coverage"],
            score["n"],
        )
