"""`gnesf eval scannet` and `gnesf eval replica`: ways of fusing views over the scenes of a data set."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from gnesf_model import __version__
from gnesf_model.build import build_field, build_mapper, build_view_depth
from gnesf_model.commands.eval_voting import table
from gnesf_model.commands.recording import add_config_arguments, config_of, progress
from gnesf_model.data.replica import ReplicaRendering, find_renderings
from gnesf_model.data.replica import room_of as replica_room
from gnesf_model.data.scannet import ScanNetScan, find_scans
from gnesf_model.data.scannet import room_of as scannet_room
from gnesf_model.data.scannet_labels import LABEL_SPACE
from gnesf_model.evaluation.dataset_tables import LabelledScene, dataset_table
from gnesf_model.labels import LabelMapping, LabelSpace

DATA_SETS = {
    "scannet": "scans of ScanNet v2 (docs/datasets.md): ways of fusing views, side by side",
    "replica": "renderings of Replica (docs/datasets.md): ways of fusing views, side by side",
}
EVERY = 10
TITLES = {"table2": "surface, 3D", "images": "images seen"}

logger = logging.getLogger("gnesf")


def add_arguments(parser: argparse.ArgumentParser, data_set: str) -> None:
    """Options of the command for one of `DATA_SETS`."""
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of the data set, or of one scene")
    if data_set == "scannet":
        parser.add_argument(
            "--split", type=Path, metavar="FILE", help="only the scans it names, e.g. scannetv2_val.txt"
        )
    parser.add_argument(
        "--every", type=int, default=EVERY, metavar="N", help="take each N-th frame of 30 Hz (default %(default)s)"
    )
    parser.add_argument("--segmenter", metavar="ID|PATH", help="network, as for gnesf map")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the tables, and as Markdown beside it")
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare and tell; 0 when there are scores."""
    config = config_of(arguments)
    if arguments.every < 1:
        raise ValueError(f"--every is {arguments.every}, expected at least 1")
    if config.segmenter.model.partition(":")[0] == "oracle":
        raise ValueError("the segmenter is the oracle, which has nothing to vote on: name a network with --segmenter")
    path = arguments.path.expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder, expected {DATA_SETS[arguments.kind]}")
    scenes = list(_scenes(arguments, path))  # all are opened first: what cannot be used is refused before the work
    trained = build_field(config)
    segmenter = build_mapper(config).segmenter
    found = dataset_table(
        (_labelled(room, scene, segmenter.labels) for room, scene in scenes),
        segmenter,
        trained,
        config=config,
        view_depth=lambda: build_view_depth(config),
        progress=lambda scene: progress(len(scene.source), scene.source.name),
    )
    unmapped = [name for name, recording in found["recordings"].items() if not recording["keyframes"]]
    if unmapped:
        logger.warning("nothing of %s could be mapped; it counts as wrong", ", ".join(unmapped))
    text = "\n".join(table(TITLES[name], found[name]) for name in TITLES if found[name])
    print(text)
    if arguments.json:
        split = getattr(arguments, "split", None)
        settings = {"path": str(path), "split": split and str(split), "every": arguments.every}
        stored = {**found, "settings": settings, "config": config.to_flat(), "version": __version__}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text(text, encoding="utf-8")
    return 0


def _scenes(arguments: argparse.Namespace, path: Path) -> Iterator[tuple[str, ScanNetScan | ReplicaRendering]]:
    """Room and recording of every scene.

    Raises:
        ValueError, OSError: there is none, one cannot be read, or it has no ground truth.
    """
    if arguments.kind == "scannet":
        for folder in find_scans(path, arguments.split):
            scan = ScanNetScan(folder, every=arguments.every)
            _check_truth(folder, scan.label_space is not None or scan.has_labelled_points)
            yield scannet_room(scan.name), scan
    else:
        for folder in find_renderings(path):
            rendering = ReplicaRendering(folder, every=arguments.every)
            _check_truth(folder, rendering.label_space is not None)
            yield replica_room(folder), rendering


def _check_truth(folder: Path, there: bool) -> None:
    if not there:
        raise ValueError(f"{folder} has no ground truth: add it (docs/datasets.md), or leave the scene out")


def _labelled(room: str, scene: ScanNetScan | ReplicaRendering, labels: LabelSpace) -> LabelledScene:
    if not isinstance(scene, ScanNetScan) or not scene.has_labelled_points:
        return LabelledScene(room, scene)
    points, classes = scene.labelled_points()
    lookup = LabelMapping.between(LabelSpace.load(LABEL_SPACE), labels).lookup
    return LabelledScene(room, scene, (points, lookup[classes]))
