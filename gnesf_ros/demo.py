"""`gnesf demo`: a recording through the real node, in a process of its own, with pictures and a report."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import Image

from gnesf_model.build import build_mapper
from gnesf_model.commands.map_recording import write_mesh_and_overview
from gnesf_model.commands.recording import MappedRecording, map_recording, progress
from gnesf_model.config import Config, parse_overrides
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.source import ACCEPTED, FrameSource, open_source
from gnesf_model.evaluation.labelled_points import agreement
from gnesf_model.evaluation.mapping_run import map_scores
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.segment import BUNDLED
from gnesf_model.visualization.images import contact_sheet, legend, save
from gnesf_model.visualization.ply import write_ply
from gnesf_ros.demo_report import DemoResult, render
from gnesf_ros.recorder import label_space_of, points_of
from gnesf_ros.replay import LOG, PARAMETERS, as_bag, for_bag, replay

ROOM = {"seed": 2_000_005, "frames": 90, "stride": 10}
"""The default recording: once round a room that no network was trained on, 30 s at 3 Hz; rendering more frames would
take longer than all else."""
PICTURES = 12
GPU_AGREEMENT = 0.99
"""Share of points and of classes in which node and offline map agree on a GPU; on a CPU they are bit-equal."""
RESULTS = {
    "overlays.png": "some of the node's semantic overlay images, which lie in overlays/",
    "overview.png": "the map from above, and beside photographs",
    "cloud.ply": "the node's last semantic cloud",
    "mesh.ply": "the same map as a mesh, made offline",
    "report.md": "this report",
    PARAMETERS: "every parameter of the node",
    LOG: "what the node printed",
}
"""Files that are left, and what is in them."""
SEGMENTERS = (
    "an ONNX file with its YAML sidecar, the folder or hub id of a transformers checkpoint, or oracle (the recording's "
    "own labels); default: the bundled network, trained on procedural rooms alone (docs/models.md)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--bag", metavar="SOURCE", help=f"{ACCEPTED}; a procedural room by default")
    parser.add_argument("--segmenter", metavar="ID|PATH", help=SEGMENTERS)
    parser.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR", help="default demo_out")
    parser.add_argument("--pose-dir", default="pose", metavar="NAME", help="folder of poses of an RGB-D folder")
    parser.add_argument("--labels", metavar="DIR", help="ground truth of the recording, for scores")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, as config/gnesf.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="key=value", help="one setting")
    parser.add_argument(
        "--queue",
        choices=("all", "newest"),
        default="all",
        help="all: every frame is mapped, the player waits; newest: as on a robot (default all)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=1.0,
        help="1: as recorded; 0: as fast as it maps, and then the latency is that of the images that wait (default 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 when a labelled cloud arrived, the node ended well and offline gives the same map."""
    clock = _Stopwatch()
    config = _config(arguments)
    print(_first_line(arguments, config), flush=True)
    oracle = config.segmenter.model == "oracle"
    # What is wrong with the network or the recording shows before anything is written.
    mapper = None if oracle else build_mapper(config)
    given = _open(arguments, config)
    out: Path = arguments.out
    _make_folder(out)
    with clock("preparing the recording"):
        shutil.rmtree(out / "recording", ignore_errors=True)
        given_labels = Path(arguments.labels) if arguments.labels else None
        source, labels = as_bag(given, given_labels, config, out / "recording")
        config = for_bag(config, source.topics, labels, arguments.queue)
        mapper = mapper or build_mapper(config)
    with clock("playing it through the node, the node's start included"):
        node = replay(source, config, arguments.rate, out)
    live, space = points_of(node.heard.cloud), label_space_of(node.heard.legend)
    write_ply(out / "cloud.ply", live, space)
    _write_overlays(out, node.heard.overlays, live, space)
    with clock("mapping it offline"):
        offline = map_recording(source, mapper)
    with clock("mesh, pictures and scores"):
        title = f"{source.name}, segmented by {'the oracle' if oracle else config.segmenter.model}"
        mesh = write_mesh_and_overview(out, offline, title)
        scores = map_scores(source, mapper, offline.run, live, progress=progress(len(source), "scoring"))
    same, words = compare(live, offline, every_frame=arguments.queue == "all")
    result = DemoResult(title, source.topics, node.heard, live, offline, mesh, scores, words, clock.seconds, RESULTS)
    report = render(result)
    (out / "report.md").write_text(report, encoding="utf-8")
    print(f"\n{report}\nAll of it is in {out}/")
    if node.status != 0:
        print(f"The node ended with status {node.status}, expected 0: see {out / LOG}")
    return 0 if same and node.status == 0 and len(live.points) else 1


def compare(live: LabelledPoints, offline: MappedRecording, every_frame: bool) -> tuple[bool, str]:
    """Whether the node's cloud is what it should be, and how it compares with the offline map, in words."""
    other = offline.surface
    if not every_frame:
        return True, (
            f"With --queue newest the node leaves out what it cannot keep up with: {len(live.points)} points, "
            f"offline, with every frame, {len(other.points)}."
        )
    same = (
        np.array_equal(live.points, other.points)
        and np.array_equal(live.labels, other.labels)
        and np.array_equal(live.confidence, other.confidence)
    )
    if same:
        return True, f"node and offline map agree: {len(live.points)} points, bit-equal"
    words = f"node and offline map differ: {len(live.points)} and {len(other.points)} points"
    if np.array_equal(live.points, other.points):
        apart = np.abs(live.confidence - other.confidence)
        classes = (live.labels != other.labels).sum()
        words += f", {classes} of other classes, {(apart > 0).sum()} of other confidence, by up to {apart.max():.2g}"
    if offline.mapper.device.type != "cpu":
        near, equal = agreement(live.points, live.labels, other.points, other.labels)
        close = min(near, equal) >= GPU_AGREEMENT
        return close, (
            f"{words}; {near:.2%} lie within 1 mm of one another, {equal:.2%} of these have the same class "
            f"(on a GPU, where sums are taken in no fixed order, {GPU_AGREEMENT:.0%} are expected)"
        )
    return False, f"{words}; expected bit-equal maps. Did every message reach the node (table In)?"


class _Stopwatch:
    """Wall time by step, s."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - start


def _config(arguments: argparse.Namespace) -> Config:
    overrides = parse_overrides(arguments.overrides)
    if arguments.segmenter:
        overrides["segmenter.model"] = arguments.segmenter
    return Config.load(arguments.config, overrides) if arguments.config else Config.from_flat(overrides)


def _first_line(arguments: argparse.Namespace, config: Config) -> str:
    what = arguments.bag or f"a procedural room (rooms:{ROOM['seed']})"
    if config.segmenter.model == BUNDLED:
        advice = "; on real images name a pretrained one with SEGMENTER=id-or-path" if arguments.bag else ""
        return f"demo: {what}, segmented by the bundled network, which was trained on procedural rooms alone{advice}."
    if config.segmenter.model == "oracle":
        return f"demo: {what}, segmented by the oracle, which reads the recording's own ground truth."
    return f"demo: {what}, segmented by {config.segmenter.model}."


def _make_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / PARAMETERS).is_file())):
        raise FileExistsError(f"{out} exists and is not from an earlier demo: name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:  # so that nothing of an earlier run is taken for this one's
        (out / name).unlink(missing_ok=True)
    # By it a later run knows the folder again; filled in once the recording is known.
    (out / PARAMETERS).touch()


def _open(arguments: argparse.Namespace, config: Config) -> FrameSource:
    if arguments.bag is None:
        return RoomSource(**ROOM)
    return open_source(arguments.bag, config=config.input, labels_dir=arguments.labels, pose_dir=arguments.pose_dir)


def _write_overlays(out: Path, messages: list[Image], live: LabelledPoints, space: LabelSpace) -> None:
    """Some overlay pictures, and all of them on one sheet with the legend."""
    folder = out / "overlays"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    pictures = []
    for index in np.linspace(0, len(messages) - 1, min(PICTURES, len(messages))).round().astype(int):
        msg = messages[index]
        pictures.append(np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3))
        save(folder / f"{msg.header.stamp.sec:010d}{msg.header.stamp.nanosec:09d}.jpg", pictures[-1])
    sheet = contact_sheet(pictures, columns=4, width=1600)
    save(out / "overlays.png", cv2.vconcat([sheet, legend(space, np.unique(live.labels), sheet.shape[1])]))
