"""metrics.json: everything that a run over a recording is described by, in a layout that stays.

docs/evaluation.md lists the keys. `SCHEMA` moves when one is removed or means something else; new ones may come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gnesf_model import __version__
from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.growth import Growth
from gnesf_model.evaluation.mapping_run import MappingRun, percentiles
from gnesf_model.machine import machine, peak_memory_mb, versions
from gnesf_model.mapper import SemanticMapper

SCHEMA = "gnesf_metrics/1"
FILE = "metrics.json"
OF_RECORDING, OF_FOLDER, OF_POINTS = "recording", "folder", "points"
"""Kinds of ground truth: label images of the recording, of the folder that --labels names, and labelled points."""
_PACKAGES = ("gnesf_ros", "torch", "numpy", "opencv-python", "onnxruntime", "transformers")
_MAX_BYTES = 100_000_000
"""A file of an hour's recording takes one; more is not read."""
_SECTIONS = {"recording": dict, "settings": dict, "latency": dict, "stages": dict, "map": dict, "dropped": dict}
_NUMBERS = re.compile(r"\[\s+([^\[\]{}\"]*?)\s+\]")


@dataclass(frozen=True)
class NodeRun:
    """A recording that was played through the node.

    Attributes:
        queue, rate: how it was played.
        received: colour images that reached the node; frames: those in its map; keyframes: those that voted.
        dropped: images and frames that are not, by reason.
        latency_ms: of every frame in the map, from its image on the topic to the status that counts it in.
        map_path: its map, saved as a file.
        growth: the map's size, as the node told it.
        peak_memory_mb: of the node's process; None if it did not tell.
    """

    queue: str
    rate: float
    received: int
    frames: int
    keyframes: int
    dropped: Mapping[str, int]
    latency_ms: Sequence[float]
    map_path: Path
    growth: Growth = field(default_factory=Growth)
    peak_memory_mb: float | None = None


def describe_run(
    source: FrameSource,
    spec: str,
    mapper: SemanticMapper,
    run: MappingRun,
    surface_points: int,
    scores: dict[str, Any] | None,
    node: NodeRun | None = None,
    truth: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        source, spec: the recording, and how the user named it.
        mapper: holds the map.
        run: the recording mapped offline.
        surface_points: of the map.
        scores: as `map_scores`; None without ground truth.
        node: where the map is the node's; what it tells then takes the place of what `run` does.
        truth: what the scores are against, see `OpenRecording.truth`.
    """
    done = node or run
    latency_ms = node.latency_ms if node else run.frame_ms
    first_ns, last_ns = run.span_ns or (0, 0)
    metrics: dict[str, Any] = {
        "schema": SCHEMA,
        "source": spec,
        "recording": {
            "name": source.name,
            "images": len(source),
            "first_stamp_ns": first_ns,
            "last_stamp_ns": last_ns,
            "label_space": source.label_space,
        },
        "through": "node" if node else "offline",
        "frames": done.frames,
        "keyframes": done.keyframes,
        "dropped": dict(sorted(done.dropped.items())),
        "pose_jumps": mapper.jumps.count,
        "turned_too_fast_to_vote": mapper.keyframes.too_fast,
        "latency": _latency(latency_ms),
        "stages": run.stage_percentiles(),
        "peak_memory_mb": peak_memory_mb(),
        "map": {
            "memory_mb": mapper.memory_bytes / 1e6,
            "blocks": mapper.grid.count,
            "voxels_with_votes": mapper.votes.count,
            "surface_points": surface_points,
            "label_space": mapper.labels.name,
        },
        "growth": done.growth.columns(),
        "settings": mapper.config.to_flat(),
        "versions": {**versions(*_PACKAGES), "gnesf_ros": __version__},
        "machine": machine(),
        "device": str(mapper.device),
    }
    if node:
        metrics["node"] = {
            "queue": node.queue,
            "rate": node.rate,
            "images_received": node.received,
            "peak_memory_mb": node.peak_memory_mb,
        }
    if scores is not None:
        metrics["scores"] = scores
        if truth is not None:
            metrics["ground_truth"] = dict(truth)
    return metrics


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write them, lists of numbers on one line."""
    text = _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(metrics, indent=2))
    path.write_text(text + "\n", encoding="utf-8")


def load_metrics(path: Path) -> dict[str, Any]:
    """Read a metrics.json, or that of a folder.

    Raises:
        OSError: it is not there or cannot be read.
        ValueError: not such a file, or one of another version.
    """
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, expected a {FILE} or the folder of a run")
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise ValueError(f"{path} holds {size / 1e6:.0f} MB: no {FILE} is as large as that")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no {FILE}: {error}") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        made_by = f"the schema {schema!r}" if schema else "no schema"
        raise ValueError(
            f"{path} has {made_by}, expected {SCHEMA!r}: make it anew with this version ({__version__}) of "
            "`gnesf eval recording` or `gnesf map`"
        )
    for name, kind in _SECTIONS.items():
        if not isinstance(found.get(name), kind):
            raise ValueError(f"{path} is damaged: {name!r} is {found.get(name)!r}, expected a mapping")
    return found


def _latency(ms: Sequence[float]) -> dict[str, float | int | None]:
    """Percentiles, maximum and number of durations; None where there are none."""
    if not len(ms):
        return {"n": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
    return {"n": len(ms), **percentiles(ms), "max_ms": float(np.max(ms))}
