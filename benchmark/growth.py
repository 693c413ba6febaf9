"""What a keyframe costs while the map grows from 1 to 100 rooms: flat is the goal.

usage: python -m benchmark.growth [--sizes 2 10 30 100] [--views 12] [--threads 1]

Two procedural rooms are walked through again and again, each time shifted by whole blocks of voxels to where nothing is
mapped yet. A window is the two rooms up to a size. In it every view goes into a fresh map, too, turn about, so that
both wait alike for what else the machine does: a ratio is the median over the window's keyframes of grown over fresh,
and the first window, where the two are alike, shows how far to trust it. The mapper has its defaults, learned votes and
neighbours, and enough memory; classes come from the room, for what a network costs does not depend on the map. The mean
counts the moments in which tables grow, too. After each room somebody looks at what changed, as occupancy grid and
voxel blocks do, and at the end of each window once at the whole surface, as the cloud does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.machine import describe, load
from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.device import set_cpu_threads
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.machine import peak_memory_mb
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.volume.changes import BlockChanges

GOAL = 1.2
SIZES = (2, 10, 30, 100)
SPACING_BLOCKS = 48
PER_ROW = 10
SEEDS = (1, 2)
RECORDING = "rooms, seeds 1, 2"


class Walk:
    """A mapper with somebody who looks at its changes, and what keyframes and looks took."""

    def __init__(self, mapper: SemanticMapper) -> None:
        self.mapper, self.changes = mapper, BlockChanges(lambda: mapper.grid)
        self.keyframes: list[tuple[float, float]] = []
        self.looks: list[tuple[float, float]] = []

    def see(self, frame: Frame) -> None:
        """Map a frame."""
        self.keyframes.append(timed(lambda: self.changes.add(self.mapper.integrate(frame).blocks)))

    def look(self) -> None:
        """Look at what changed since the last look."""
        self.looks.append(timed(lambda: self.mapper.surface(self.changes.take()[0])))

    def figures(self, rooms: int, views: int) -> dict[str, float]:
        """Medians over the last rooms."""
        wall, processor = np.array(self.keyframes[-rooms * views :]).T
        look_wall, look_processor = np.median(self.looks[-rooms:], axis=0)
        return {
            "keyframe_ms": float(np.median(wall)),
            "keyframe_p95_ms": float(np.percentile(wall, 95)),
            "processor_ms": float(np.median(processor)),
            "processor_mean_ms": float(processor.mean()),
            "look_ms": float(look_wall),
            "look_processor_ms": float(look_processor),
        }


def ratios(grown: Walk, fresh: Walk) -> dict[str, float]:
    """Grown over fresh, of what both did last: medians of the pairs, and the ratio of the means."""
    count = len(fresh.keyframes)
    ours, theirs = np.array(grown.keyframes[-count:]), np.array(fresh.keyframes)
    clock, processor = np.median(ours / theirs, axis=0)
    looks = np.array(grown.looks[-len(fresh.looks) :]) / np.array(fresh.looks)
    return {
        "clock": float(clock),
        "processor": float(processor),
        "processor_mean": float(ours[:, 1].mean() / theirs[:, 1].mean()),
        "look": float(np.median(looks[:, 0])),
        "look_processor": float(np.median(looks[:, 1])),
    }


def measure(arguments: list[str]) -> dict[str, Any]:
    """Walk through all rooms once."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if np.diff([0, *options.sizes]).min() < len(SEEDS):
        parser.error(f"--sizes rise by {len(SEEDS)} at least, the rooms of a window")
    set_cpu_threads(options.threads)
    size = {"width": options.width, "height": options.width * 3 // 4}
    rooms = [
        list(RoomSource(seed, frames=options.views, stride=15, max_depth_m=5.0, shading=False, **size))
        for seed in SEEDS
    ]
    labels: dict[int, np.ndarray] = {}
    segmenter = OracleSegmenter(labels.__getitem__, LabelSpace.load(RoomSource.label_space))
    # Every view votes, wherever the room before it ended.
    settings = {"cpu_threads": options.threads, "volume.max_map_memory_mb": 1e5, "keyframes.min_translation_m": 0.0}
    config = Config.from_flat({"device": "cpu", **settings})
    before, windows = load(), []
    grown, fresh = Walk(build_mapper(config, segmenter)), None
    for number in range(max(options.sizes)):
        if number + len(rooms) in options.sizes:
            fresh = Walk(build_mapper(config, segmenter))
        shift = np.array([number % PER_ROW, number // PER_ROW, 0.0]) * SPACING_BLOCKS * grown.mapper.grid.block_size_m
        for index, view in enumerate(rooms[number % len(rooms)]):
            frame = _moved(view, number * options.views + index, shift)
            labels.clear()
            labels[frame.stamp_ns] = frame.labels
            walks = [grown] if fresh is None else [grown, fresh]
            for walk in walks[:: 1 if index % 2 else -1]:
                walk.see(frame)
        for walk in walks:
            walk.look()
        if number + 1 in options.sizes:
            whole = timed(grown.mapper.surface)
            windows.append(
                {
                    "rooms": number + 1,
                    **grown.figures(len(rooms), options.views),
                    "fresh": fresh.figures(len(rooms), options.views),
                    "ratio": ratios(grown, fresh),
                    "cloud_ms": whole[0],
                    "cloud_processor_ms": whole[1],
                    "blocks": grown.mapper.grid.count,
                    "map_mb": grown.mapper.memory_bytes / 1e6,
                    "peak_memory_mb": peak_memory_mb(),
                }
            )
            fresh = None
    return {
        "benchmark": "growth",
        **describe("torch", "numpy"),
        "rooms": max(options.sizes),
        "views_per_room": options.views,
        "size": [size["width"], size["height"]],
        "threads": options.threads,
        "load": [before, load()],
        "windows": windows,
        "ratio": windows[-1]["ratio"],
        "rows": [
            *(
                (
                    RECORDING,
                    f"{w['rooms']} rooms, {w['blocks']} blocks",
                    f"{w['keyframe_ms']:.0f} ms",
                    f"{w['ratio']['clock']:.2f} of a fresh map's {w['fresh']['keyframe_ms']:.0f} ms, processor "
                    f"{w['ratio']['processor']:.2f}; look at a room's changes {w['look_ms']:.0f} ms "
                    f"({w['ratio']['look']:.2f}), at all {w['cloud_ms']:.0f} ms; map {w['map_mb']:.0f} MB",
                )
                for w in windows
            ),
            (RECORDING, "grown / fresh, last window", f"{windows[-1]['ratio']['clock']:.2f}", f"goal {GOAL:.1f}"),
            (
                RECORDING,
                "load",
                f"{before} to {load()}",
                f"{options.threads} thread; {size['width']}x{size['height']}, {options.views} views a room",
            ),
        ],
    }


def _moved(view: Any, number: int, shift: np.ndarray) -> Any:
    """A view as if the room stood elsewhere, seen a second after the one before."""
    pose = view.world_T_cam.copy()
    pose[:3, 3] += shift
    return replace(view, world_T_cam=pose, stamp_ns=(number + 1) * 1_000_000_000)


def timed(action: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds on the clock and of the processor."""
    start, processor = time.perf_counter(), time.process_time()
    action()
    return (time.perf_counter() - start) * 1e3, (time.process_time() - processor) * 1e3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rooms at the end of each window")
    parser.add_argument("--views", type=int, default=12, help="of each room")
    parser.add_argument("--width", type=int, default=320, help="of the images, pixels")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
