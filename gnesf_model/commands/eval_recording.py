"""`gnesf eval recording`: a recording mapped and scored, with a report that opens in any browser."""

from __future__ import annotations

import argparse
import importlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gnesf_model.commands.map_recording import log_metrics
from gnesf_model.commands.recording import MappedRecording, OpenRecording, add_recording_arguments
from gnesf_model.evaluation.labelled_points import nearest_labels
from gnesf_model.evaluation.mapping_run import REACH_VOX
from gnesf_model.evaluation.metrics import FILE, NodeRun, describe_run, write_metrics
from gnesf_model.labels import UNKNOWN
from gnesf_model.map_file import load_map
from gnesf_model.mapper import LabelledPoints
from gnesf_model.report.cloud3d import RIGHT, UNJUDGED, WRONG, Scene
from gnesf_model.report.markdown import summary
from gnesf_model.report.page import Report, render_page
from gnesf_model.report.pictures import address, frame_row
from gnesf_model.visualization.overview import from_above, sample_frames
from gnesf_model.visualization.ply import write_ply

logger = logging.getLogger("gnesf")

_THROUGH_NODE = "gnesf_ros.node_evaluation"
"""Reached by name, as the command line reaches the commands that need ROS 2."""
_PICTURES = 6
_STILL_PX = 640


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_recording_arguments(parser)
    parser.add_argument(
        "--through-node",
        action="store_true",
        help="play it through the real node, in a process of its own, and score the node's map (needs ROS 2); "
        "--set node.queue=all maps every frame, newest (the default) those that a robot would manage",
    )
    parser.add_argument(
        "--rate", type=float, metavar="F", help="with --through-node, 1: as recorded; 0: as fast as it maps (default 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Map, score and write metrics.json, metrics.md, report.html and cloud.ply; 0 when a map was made."""
    if arguments.rate is not None and not arguments.through_node:
        raise ValueError(
            f"--rate is {arguments.rate:g}, which only --through-node has a use for: add it, or leave it out"
        )
    opened, out = OpenRecording(arguments), arguments.out
    node = None
    if arguments.through_node:
        node = _through_node(opened, 1.0 if arguments.rate is None else arguments.rate, out)
    done = opened.map()
    if node is not None:  # the offline map gave the scores of single images and the stages; the node's map is scored
        load_map(node.map_path, opened.mapper)
        done = replace(done, surface=opened.mapper.surface())
    scores = opened.scores(done)
    points = len(done.surface.points)
    spec = str(arguments.source)
    metrics = describe_run(opened.source, spec, opened.mapper, done.run, points, scores, node, opened.truth)
    write_metrics(out / FILE, metrics)
    (out / "metrics.md").write_text(summary(metrics), encoding="utf-8")
    write_ply(out / "cloud.ply", done.surface, opened.mapper.labels)
    (out / "report.html").write_text(render_page(report(opened, done, metrics, node)), encoding="utf-8")
    log_metrics(metrics)
    logger.info("the report is %s", out / "report.html")
    return 0


def report(opened: OpenRecording, done: MappedRecording, metrics: dict[str, Any], node: NodeRun | None) -> Report:
    """What is on the page of a run."""
    mapper, surface, run = opened.mapper, done.surface, done.run
    truth = opened.points if opened.points is not None else run.truth.points()
    frames = [run.ground_truth(frame) for frame in sample_frames(done.kept, _PICTURES)]
    classes, _, _ = from_above(mapper, surface, frames)
    scene = Scene(
        surface=surface,
        labels=mapper.labels,
        spacing_m=mapper.grid.voxel_size_m,
        judged=_judged(surface, truth, REACH_VOX * mapper.grid.voxel_size_m),
        path=np.array(run.path),
        frames=done.kept,
    )
    return Report(
        metrics=metrics,
        scene=scene,
        still=address(classes, _STILL_PX),
        rows=[frame_row(mapper, frame) for frame in frames],
        growth=node.growth if node else run.growth,
        frame_ms=list(node.latency_ms if node else run.frame_ms),
    )


def _judged(surface: LabelledPoints, truth: tuple[np.ndarray, np.ndarray], reach_m: float) -> np.ndarray:
    """(N,) uint8 per surface point whether it has the label of the nearest ground truth point, see `Scene`."""
    wanted = nearest_labels(surface.points, *truth, reach_m)
    judged = np.where(wanted == surface.labels, np.uint8(RIGHT), np.uint8(WRONG))
    judged[wanted == UNKNOWN] = UNJUDGED
    return judged


def _through_node(opened: OpenRecording, rate: float, out: Path) -> NodeRun:
    run_node = importlib.import_module(_THROUGH_NODE).play_through_node
    return run_node(opened.source, opened.config, opened.labels_dir, rate, out)
