"""`gnesf map`: a recording to a labelled cloud, a mesh, a picture and scores."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import resource
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import yaml
from tqdm import tqdm

from gnesf_model import __version__
from gnesf_model.build import build_mapper
from gnesf_model.config import Config, parse_overrides
from gnesf_model.data.source import ACCEPTED, FrameSource, open_source
from gnesf_model.data.topic_writer import OPTICAL
from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.evaluation.labelled_points import load_labelled_points
from gnesf_model.evaluation.mapping_run import MappingRun, map_scores, run_mapping
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelMapping, LabelSpace
from gnesf_model.mapper import LabelledPoints, MapUpdate, SemanticMapper
from gnesf_model.recording import ResultBag
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.visualization.images import save
from gnesf_model.visualization.overview import overview, sample_frames
from gnesf_model.visualization.ply import write_ply

logger = logging.getLogger("gnesf")
T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("source", metavar="SOURCE", help=ACCEPTED)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--segmenter",
        metavar="ID|PATH",
        help="ONNX file with its YAML sidecar, folder or hub id of a transformers checkpoint, or oracle "
        "(the recording's own labels)",
    )
    parser.add_argument("--geometry", choices=("depth", "rgb"), help="where surfaces come from")
    parser.add_argument("--voxel-size", type=float, metavar="M", help="edge of a voxel, m")
    parser.add_argument(
        "--labels",
        metavar="DIR|NPZ",
        help="ground truth: label images, or a point set with xyz and label (ScanNet-20 unless SOURCE says otherwise)",
    )
    parser.add_argument("--pose-dir", default="pose", metavar="NAME", help="folder of poses (default pose)")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="BAG",
        help="folder of a bag for RViz and Foxglove: cloud, grid, semantic images, legend, poses (must not exist)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, as config/gnesf.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="key=value",
        help="one setting, e.g. volume.max_depth_m=4; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Map the recording; 0 when a map was made."""
    config = _config(arguments)
    labels = Path(arguments.labels) if arguments.labels else None
    points = load_labelled_points(labels) if labels is not None and labels.suffix == ".npz" else None
    source = open_source(
        arguments.source,
        config=config.input,
        labels_dir=labels if points is None else None,
        pose_dir=arguments.pose_dir,
    )
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"--out {arguments.out} cannot be made ({error.strerror}): name a folder that can be written"
        raise OSError(text) from error
    oracle = _Oracle(source, config) if config.segmenter.model == "oracle" else None
    mapper = build_mapper(config, oracle.segmenter if oracle else None)
    if points is not None:  # what cannot be compared is refused before the work, not after
        own = LabelSpace.load(source.label_space or "scannet20")
        Confusion(own).add(points[1], points[1])
        points = points[0], LabelMapping.between(own, mapper.labels).lookup[points[1]]
    before = oracle.look if oracle else lambda frame: None
    folder = arguments.record or config.node.record
    with ResultBag(folder, mapper, config) if folder else nullcontext() as bag:

        def after(frame: Frame, update: MapUpdate) -> None:
            if bag is not None:
                bag.frame(frame, update.segmentation, update.blocks, frame.frame_id or OPTICAL)

        done = map_recording(source, mapper, before, after)
    if oracle:
        oracle.remember(done.kept)
    write_ply(arguments.out / "cloud.ply", done.surface, mapper.labels)
    (arguments.out / "config.yaml").write_text(yaml.safe_dump(config.to_flat(), sort_keys=False))
    scores = map_scores(
        source, mapper, done.run, done.surface, points=points, progress=progress(len(source), "scoring")
    )
    metrics = _metrics(arguments, mapper, done.run, len(done.surface.points), scores)
    (arguments.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    write_mesh_and_overview(arguments.out, done, f"{source.name}, {config.segmenter.model}")
    _report(arguments.out, metrics)
    return 0


@dataclass(frozen=True)
class MappedRecording:
    """A recording that was mapped offline.

    Attributes:
        mapper: holds the map.
        run: what went in, and how long it took.
        surface: the map's points.
        kept: some 16 to 32 frames spread over the recording.
    """

    mapper: SemanticMapper
    run: MappingRun
    surface: LabelledPoints
    kept: list[Frame]


def map_recording(
    source: FrameSource,
    mapper: SemanticMapper,
    before_frame: Callable[[Frame], None] = lambda frame: None,
    after_frame: Callable[[Frame, MapUpdate], None] = lambda frame, update: None,
) -> MappedRecording:
    """Map all frames, with a progress bar.

    Args:
        source, mapper: the recording, and an empty map.
        before_frame: called with each frame before it is mapped.
        after_frame: called with each frame that is in the map, and with what it did.

    Raises:
        ValueError: no frame could be mapped; says why.
    """
    spread: Spread[Frame] = Spread()

    def look(frame: Frame) -> None:
        spread.add(frame)
        before_frame(frame)

    run = run_mapping(source, mapper, progress(len(source), "mapping"), look, after_frame)
    if run.frames == 0:
        reasons = "; ".join(f"{n} x {reason}" for reason, n in run.dropped.items()) or "it is empty"
        details = " ".join(source.last_message.values())
        raise ValueError(f"no frame of {source.name} could be mapped: {reasons}. {details}")
    return MappedRecording(mapper, run, mapper.surface(), spread.kept)


def write_mesh_and_overview(out: Path, done: MappedRecording, title: str) -> LabelledPoints:
    """Write mesh.ply and overview.png into a folder; gives the mesh."""
    mesh = done.mapper.mesh()
    write_ply(out / "mesh.ply", mesh, done.mapper.labels)
    title = f"{title}: {done.run.frames} frames, {done.run.keyframes} keyframes"
    frames = [done.run.ground_truth(frame) for frame in sample_frames(done.kept)]
    save(out / "overview.png", overview(done.mapper, done.surface, frames, title))
    return mesh


def _config(arguments: argparse.Namespace) -> Config:
    overrides = parse_overrides(arguments.overrides)
    named = {
        "segmenter.model": arguments.segmenter,
        "geometry": arguments.geometry,
        "volume.voxel_size_m": arguments.voxel_size,
    }
    overrides |= {name: value for name, value in named.items() if value is not None}
    if arguments.config is None:
        return Config.from_flat(overrides)
    return Config.load(arguments.config, overrides)


class _Oracle:
    """A segmenter that is told each frame's own ground truth before it is asked."""

    def __init__(self, source: FrameSource, config: Config) -> None:
        if source.label_space is None:
            raise ValueError(
                f"the segmenter is 'oracle', but {source.name} has no ground truth: name a network with "
                "--segmenter, or label images with --labels"
            )
        self._labels: dict[int, Any] = {}
        own = LabelSpace.load(source.label_space)
        wanted = config.semantics.labels
        target = None if wanted == "native" else LabelSpace.load(wanted)
        self.segmenter = OracleSegmenter(self._labels.__getitem__, own, target)

    def look(self, frame: Frame) -> None:
        """The next question is about this frame."""
        self._labels.clear()
        self.remember([frame])

    def remember(self, frames: list[Frame]) -> None:
        """Questions about these frames follow."""
        self._labels.update({f.stamp_ns: f.labels for f in frames if f.labels is not None})


class Spread(Generic[T]):
    """Keeps about 16 to 32 items spread over a stream of unknown length, in constant memory.

    Attributes:
        kept: so far.
    """

    def __init__(self) -> None:
        self.kept: list[T] = []
        self._step, self._count = 1, 0

    def add(self, item: T) -> None:
        """Take the next item of the stream."""
        if self._count % self._step == 0:
            self.kept.append(item)
        if len(self.kept) > 32:
            del self.kept[1::2]
            self._step *= 2
        self._count += 1


def progress(total: int, what: str) -> Callable[[Iterable[T]], Iterable[T]]:
    """Wraps an iterable in a progress bar with an ETA."""
    return lambda items: tqdm(items, total=total, desc=what, unit="frame", smoothing=0.1)


def _metrics(
    arguments: argparse.Namespace,
    mapper: SemanticMapper,
    result: MappingRun,
    surface_points: int,
    scores: dict[str, Any] | None,
) -> dict[str, Any]:
    # Linux counts the peak in kilobytes, macOS in bytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    metrics: dict[str, Any] = {
        "source": str(arguments.source),
        "frames": result.frames,
        "keyframes": result.keyframes,
        "dropped": dict(result.dropped),
        "pose_jumps": mapper.jumps.count,
        "turned_too_fast_to_vote": mapper.keyframes.too_fast,
        "stages": result.stage_percentiles(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "map": {
            "memory_mb": mapper.memory_bytes / 1e6,
            "blocks": mapper.grid.count,
            "voxels_with_votes": mapper.votes.count,
            "surface_points": surface_points,
            "label_space": mapper.labels.name,
        },
        "versions": {
            "gnesf_ros": __version__,
            "torch": torch.__version__,
            "numpy": importlib.metadata.version("numpy"),
        },
        "device": str(mapper.device),
    }
    if scores is not None:
        metrics["scores"] = scores
    return metrics


def _report(out: Path, metrics: dict[str, Any]) -> None:
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
    logger.info("results are in %s", out)
