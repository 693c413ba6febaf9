"""What `gnesf map` and `gnesf eval recording` share: a recording is opened, mapped offline and scored."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from tqdm import tqdm

from gnesf_model.build import build_mapper
from gnesf_model.config import Config, parse_overrides
from gnesf_model.data.source import ACCEPTED, FrameSource, open_source
from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.evaluation.labelled_points import load_labelled_points, points_digest
from gnesf_model.evaluation.mapping_run import MappingRun, map_scores, run_mapping
from gnesf_model.evaluation.metrics import OF_FOLDER, OF_POINTS, OF_RECORDING
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelMapping, LabelSpace
from gnesf_model.mapper import LabelledPoints, MapUpdate, SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter

T = TypeVar("T")


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what is mapped, and how."""
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
    add_config_arguments(parser)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that settings come from."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, as config/gnesf.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="key=value",
        help="one setting, e.g. volume.max_depth_m=4; may be repeated",
    )


class OpenRecording:
    """A recording, its ground truth and an empty map: what is wrong with any of them is said before the work begins.

    Args:
        arguments: of `add_recording_arguments`; the folder for the results is made.

    Attributes:
        config, source, mapper: the settings, the recording and the map.
        points: ground truth points (N, 3) and labels (N,) in the label space of the map; None without a point set.
        truth: kind of the ground truth and, of a point set, how many points and their digest: what metrics.json says.

    Raises:
        ValueError, OSError: something cannot be used; says what and why.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.config = config = config_of(arguments)
        labels = Path(arguments.labels) if arguments.labels else None
        points = load_labelled_points(labels) if labels is not None and labels.suffix == ".npz" else None
        self.labels_dir = labels if points is None else None
        truth: dict[str, Any] = {"kind": OF_RECORDING if self.labels_dir is None else OF_FOLDER}
        if points is not None:  # as they are in the file: the label space of the map may be another
            truth = {"kind": OF_POINTS, "points": len(points[0]), "sha256": points_digest(*points)}
        self.source = open_source(
            arguments.source,
            config=config.input,
            labels_dir=self.labels_dir,
            pose_dir=arguments.pose_dir,
            need_depth=config.geometry == "depth",
        )
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"--out {arguments.out} cannot be made ({error.strerror}): name a folder that can be written"
            raise OSError(text) from error
        self._oracle = _Oracle(self.source, config) if config.segmenter.model == "oracle" else None
        self.mapper = build_mapper(config, self._oracle.segmenter if self._oracle else None)
        if points is not None:  # what cannot be compared is refused before the work, not after
            own = LabelSpace.load(self.source.label_space or "scannet20")
            Confusion(own).add(points[1], points[1])
            points = points[0], LabelMapping.between(own, self.mapper.labels).lookup[points[1]]
        self.points: tuple[np.ndarray, np.ndarray] | None = points
        self.truth = truth

    def map(self, after_frame: Callable[[Frame, MapUpdate], None] = lambda frame, update: None) -> MappedRecording:
        """Map all frames; see `map_recording`."""
        before = self._oracle.look if self._oracle else lambda frame: None
        done = map_recording(self.source, self.mapper, before, after_frame)
        if self._oracle:
            self._oracle.remember(done.kept)
        return done

    def scores(self, done: MappedRecording) -> dict[str, Any] | None:
        """Scores of the map; None without ground truth."""
        bar = progress(len(self.source), "scoring")
        return map_scores(self.source, self.mapper, done.run, done.surface, points=self.points, progress=bar)


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


def config_of(arguments: argparse.Namespace) -> Config:
    """The settings of `add_config_arguments`, and of the options that have a name of their own.

    Raises:
        ValueError, OSError: no such setting, or a value out of range.
    """
    overrides = parse_overrides(arguments.overrides)
    named = {"segmenter.model": "segmenter", "geometry": "geometry", "volume.voxel_size_m": "voxel_size"}
    given = {name: getattr(arguments, option, None) for name, option in named.items()}
    overrides |= {name: value for name, value in given.items() if value is not None}
    if arguments.config is None:
        return Config.from_flat(overrides)
    return Config.load(arguments.config, overrides)
