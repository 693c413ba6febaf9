"""What the map itself loses: the oracle segmenter on a room that is known exactly (docs/evaluation.md)."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmark.machine import describe
from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import OracleSegmenter

EVERY_VIEW = {"keyframes.min_translation_m": 0.0, "volume.min_weight": 0.5}
ROWS = {
    "4 cm, defaults": {},
    "4 cm, every frame votes, surface from the first measurement on": EVERY_VIEW,
    "2 cm, likewise": {**EVERY_VIEW, "volume.voxel_size_m": 0.02},
    "1.5 cm, likewise": {**EVERY_VIEW, "volume.voxel_size_m": 0.015},
}


def row(room: RoomSource, frames: list, settings: dict[str, float]) -> dict[str, Any]:
    """Scores of the votes, and of the exact class of every surface point in their place."""
    labels = {frame.stamp_ns: frame.labels for frame in frames}
    space = LabelSpace.load(room.label_space)
    mapper = build_mapper(Config.from_flat({"device": "cpu", **settings}), OracleSegmenter(labels.__getitem__, space))
    voxel = mapper.grid.voxel_size_m
    truth = PointCollector(voxel)
    for frame in frames:
        mapper.integrate(frame)
        truth.add(frame)
    points, wanted = truth.points()
    surface = mapper.surface()
    distance, primitive = room.scene.nearest(torch.from_numpy(surface.points))
    exact = np.asarray(room.scene.labels)[primitive.numpy()].astype(np.uint8)
    result: dict[str, Any] = {}
    for name, found in (("votes", surface.labels), ("exact_classes", exact)):
        confusion = Confusion(space)
        confusion.add(wanted, nearest_labels(points, surface.points, found, 2 * voxel))
        result[name] = confusion.scores()
    error = distance.abs().numpy() / voxel
    result["surface_error_vox"] = {f"p{p}": float(np.percentile(error, p)) for p in (50, 90, 95, 99)}
    return result


def measure(arguments: list[str]) -> dict[str, Any]:
    """Every row of `ROWS`: 3D scores and the distance of the surface points from the exact surface."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the room")
    parser.add_argument("--frames", type=int, default=60, help="five a second")
    options = parser.parse_args(arguments)
    room = RoomSource(
        options.seed, frames=options.frames, stride=6, width=640, height=480, max_depth_m=5.0, shading=False
    )
    frames = list(room)
    results = {name: row(room, frames, settings) for name, settings in ROWS.items()}
    return {
        "benchmark": "oracle",
        **describe("torch", "numpy"),
        "seed": options.seed,
        "frames": options.frames,
        "results": results,
        "rows": [
            (
                room.name,
                name,
                f"mIoU {r['votes']['miou']:.3f}, coverage {r['votes']['coverage']:.3f}",
                f"exact classes {r['exact_classes']['miou']:.3f}, surface error p50 "
                f"{r['surface_error_vox']['p50']:.2f} p95 {r['surface_error_vox']['p95']:.2f} voxels",
            )
            for name, r in results.items()
        ],
    }
