"""What the demonstration found, as tables: what went in, what came out, and how fast."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gnesf_model import __version__
from gnesf_model.commands.recording import MappedRecording
from gnesf_model.data.bag_topics import BagTopics
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import LabelledPoints
from gnesf_model.report.markdown import table
from gnesf_ros.recorder import OutputRecorder

_CLASSES = 12
_NO_VALUE = "-"


@dataclass(frozen=True)
class DemoResult:
    """Everything that the report tells.

    Attributes:
        title: the recording and the segmenter.
        topics: of the bag.
        heard: what the node said.
        live: the last cloud it published.
        offline, mesh: the same bag mapped in this process.
        scores: of the map; None without ground truth.
        agreement: how `live` and `offline` compare, in words.
        seconds: wall time by step.
        files: name -> what is in it.
    """

    title: str
    topics: BagTopics
    heard: OutputRecorder
    live: LabelledPoints
    offline: MappedRecording
    mesh: LabelledPoints
    scores: dict[str, Any] | None
    agreement: str
    seconds: dict[str, float]
    files: dict[str, str]


def render(result: DemoResult) -> str:
    """The report as Markdown, which reads well unrendered, too."""
    system = f"{os.cpu_count()} CPU cores, Python {platform.python_version()}, torch {torch.__version__}"
    parts = [
        f"# {result.title}",
        f"gnesf_ros {__version__} on {result.offline.mapper.device}; {system}.",
        "## In",
        _inputs(result),
        "## Out",
        _outputs(result),
        "## How fast",
        _speed(result),
        "## The map",
        _map(result),
        result.agreement,
    ]
    if result.scores:
        parts += ["## Scores against the ground truth", _scores(result.scores)]
    parts += ["## Wall time", table(("step", "s"), [(step, f"{s:.1f}") for step, s in result.seconds.items()])]
    parts += ["## Files", table(("file", "what"), result.files.items())]
    return "\n\n".join(parts) + "\n"


def _inputs(result: DemoResult) -> str:
    topics, heard = result.topics, result.heard
    camera = topics.first
    connections = {"color": camera.color, "camera_info": camera.camera_info, "depth": camera.depth}
    connections |= {topics.pose_source: topics.pose} if topics.pose else {}
    listed = [(role, c) for role, c in connections.items() if c]
    listed += [("tf_static" if c.topic.endswith("tf_static") else "tf", c) for c in topics.tf]
    rows = [(c.topic, c.msgcount, _reached(heard, role), c.msgtype) for role, c in listed]
    status = heard.status
    dropped = [f"{n} {reason}" for reason, n in zip(status.drop_reasons, status.drop_counts)]
    counts = [
        ("images received", status.frames_received),
        ("frames mapped", status.frames_processed),
        ("keyframes (the frames that vote on classes)", status.keyframes),
        ("dropped", ", ".join(dropped) or "none"),
    ]
    return "\n\n".join(
        [table(("topic", "in the bag", "reached the node", "type"), rows), table(("frames", "number"), counts)]
    )


def _reached(heard: OutputRecorder, role: str) -> str:
    """How many messages of an input the node counted."""
    values = heard.values.get("input", {})
    return next((text.split()[0] for key, text in values.items() if key.startswith(f"{role} /")), _NO_VALUE)


def _outputs(result: DemoResult) -> str:
    rows = [
        (topic, traffic.count, f"{traffic.rate_hz:.1f}" if traffic.count > 1 else _NO_VALUE)
        for topic, traffic in result.heard.traffic.items()
    ]
    return table(("topic", "messages", "Hz"), rows)


def _speed(result: DemoResult) -> str:
    ms = result.heard.latencies_ms()
    rows = [("image on its topic -> frame in the map and status published", *_percentiles(ms))]
    rows += [
        (f"stage {stage}", f"{p['p50_ms']:.1f}", f"{p['p95_ms']:.1f}")
        for stage, p in result.offline.run.stage_percentiles().items()
    ]
    words = "Latency in the node; stages as measured offline on the same frames. Of the node's own last 60 frames: "
    values = result.heard.values.get("mapping", {})
    live = ", ".join(f"{key} {text}" for key, text in values.items() if key == "rate" or key.endswith(" p50"))
    return table(("ms", "p50", "p95"), rows) + f"\n\n{words}{live}."


def _percentiles(ms: np.ndarray) -> tuple[str, str]:
    if not len(ms):
        return _NO_VALUE, _NO_VALUE
    return f"{np.percentile(ms, 50):.1f}", f"{np.percentile(ms, 95):.1f}"


def _map(result: DemoResult) -> str:
    live, mapper = result.live, result.offline.mapper
    size = live.points.max(axis=0) - live.points.min(axis=0)
    rows = [
        ("surface points", f"{len(live.points)}"),
        ("of them labelled", f"{(live.labels != UNKNOWN).mean():.1%}"),
        ("extent", " x ".join(f"{edge:.1f}" for edge in size) + " m"),
        ("voxel", f"{mapper.grid.voxel_size_m * 100:g} cm"),
        ("mesh", f"{len(result.mesh.points)} vertices, {len(result.mesh.faces)} triangles"),
        ("blocks, voxels with votes", f"{mapper.grid.count}, {mapper.votes.count}"),
        ("memory of the map", result.heard.values.get("mapping", {}).get("map memory", _NO_VALUE)),
        ("memory of the node, at most", result.heard.values.get("mapping", {}).get("peak memory of the process", "-")),
    ]
    labels, counts = np.unique(live.labels, return_counts=True)
    order = np.argsort(-counts)
    names = {entry.id: entry.name for entry in mapper.labels.classes}
    shares = [(names.get(int(labels[i]), "unknown"), f"{counts[i] / len(live.labels):.1%}") for i in order[:_CLASSES]]
    if len(order) > _CLASSES:
        shares.append((f"{len(order) - _CLASSES} more", f"{counts[order[_CLASSES:]].sum() / len(live.labels):.1%}"))
    return "\n\n".join([table(("map", "value"), rows), table(("class", "of the points"), shares)])


def _scores(scores: dict[str, Any]) -> str:
    named = [(f"images: {name}", score) for name, score in scores.get("2d", {}).items()]
    words = {"images: per_frame": "images, segmenter alone", "images: map": "images, rendered from the map"}
    named += [("points in 3D", scores["3d"])] if "3d" in scores else []
    rows = [
        (words.get(name, name), *(f"{s[key]:.3f}" for key in ("miou", "pixel_accuracy", "coverage")), s["n"])
        for name, s in named
    ]
    return table(("what", "mIoU", "accuracy", "coverage", "number"), rows)
