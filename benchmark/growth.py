"""What a keyframe costs while the map grows from 1 to 100 rooms: flat is the goal.

usage: python -m benchmark.growth [--sizes 2 10 30 100] [--views 12] [--threads 1]

Two procedural rooms are walked through again and again, each time shifted by whole blocks of voxels to where nothing is
mapped yet: every window holds the same views, so its figures differ by the size of the map alone. The mapper has its
defaults, learned votes and neighbours, and enough memory; classes come from the room, for what a network costs does not
depend on the map. A window is the two rooms up to a size; its figure is the median over their keyframes, on the clock
and of the processor. The mean counts the moments in which tables grow, too. After each room somebody looks at what
changed, as occupancy grid and voxel blocks do, and in each window once at the whole surface, as the cloud does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.machine import describe, load
from gnesf_model.machine import peak_memory_mb

GOAL = 1.2
SIZES = (2, 10, 30, 100)
SPACING_BLOCKS = 48
PER_ROW = 10
SEEDS = (1, 2)


def measure(arguments: list[str]) -> dict[str, Any]:
    """Walk through all rooms once."""
    from gnesf_model.build import build_mapper
    from gnesf_model.config import Config
    from gnesf_model.data.procrooms import RoomSource
    from gnesf_model.device import set_cpu_threads
    from gnesf_model.labels import LabelSpace
    from gnesf_model.segment.oracle import OracleSegmenter
    from gnesf_model.volume.changes import BlockChanges

    options = _parser().parse_args(arguments)
    set_cpu_threads(options.threads)
    size = {"width": options.width, "height": options.width * 3 // 4}
    rooms = [
        list(RoomSource(seed, frames=options.views, stride=15, max_depth_m=5.0, shading=False, **size))
        for seed in SEEDS
    ]
    labels: dict[int, np.ndarray] = {}
    segmenter = OracleSegmenter(labels.__getitem__, LabelSpace.load(RoomSource.label_space))
    settings = {"device": "cpu", "cpu_threads": options.threads, "volume.max_map_memory_mb": 1e5}
    # Every view votes, wherever the room before it ended.
    mapper = build_mapper(Config.from_flat({**settings, "keyframes.min_translation_m": 0.0}), segmenter)
    changes = BlockChanges(lambda: mapper.grid)
    before, keyframes, looks, windows = load(), [], [], []
    for number in range(max(options.sizes)):
        shift = np.array([number % PER_ROW, number // PER_ROW, 0.0]) * SPACING_BLOCKS * mapper.grid.block_size_m
        for index, view in enumerate(rooms[number % len(rooms)]):
            frame = _moved(view, number * options.views + index, shift)
            labels.clear()
            labels[frame.stamp_ns] = frame.labels
            keyframes.append(_timed(lambda frame=frame: changes.add(mapper.integrate(frame).blocks)))
        looks.append(_timed(lambda: mapper.surface(changes.take()[0])))
        if number + 1 in options.sizes:
            whole = _timed(mapper.surface)
            window = _window(keyframes[-len(rooms) * options.views :], looks[-len(rooms) :])
            windows.append(window | {"rooms": number + 1, "cloud_ms": whole[0], "cloud_processor_ms": whole[1]})
            windows[-1] |= {
                "blocks": mapper.grid.count,
                "map_mb": mapper.memory_bytes / 1e6,
                "peak_memory_mb": peak_memory_mb(),
            }
    first, last = windows[0], windows[-1]
    ratios = {
        name: last[name] / first[name] for name in ("keyframe_ms", "processor_ms", "processor_mean_ms", "look_ms")
    }
    return {
        "benchmark": "growth",
        **describe("torch", "numpy"),
        "rooms": max(options.sizes),
        "views_per_room": options.views,
        "size": [size["width"], size["height"]],
        "threads": options.threads,
        "load": [before, load()],
        "windows": windows,
        "ratio": ratios,
        "rows": [
            *(
                (
                    f"{w['rooms']} rooms, {w['blocks']} blocks",
                    f"{w['keyframe_ms']:.1f} ms",
                    f"processor {w['processor_ms']:.1f} ms, mean {w['processor_mean_ms']:.1f} ms; look at the room's "
                    f"changes {w['look_ms']:.0f} ms, at all {w['cloud_ms']:.0f} ms; map {w['map_mb']:.0f} MB",
                )
                for w in windows
            ),
            (
                "last window / first",
                f"{ratios['keyframe_ms']:.2f}",
                f"processor {ratios['processor_ms']:.2f}, mean {ratios['processor_mean_ms']:.2f}; goal {GOAL:.1f}",
            ),
            ("load", f"{before} to {load()}", f"{options.threads} thread"),
        ],
    }


def _moved(view: Any, number: int, shift: np.ndarray) -> Any:
    """A view as if the room stood elsewhere, seen a second after the one before."""
    pose = view.world_T_cam.copy()
    pose[:3, 3] += shift
    return replace(view, world_T_cam=pose, stamp_ns=(number + 1) * 1_000_000_000)


def _timed(action: Any) -> tuple[float, float]:
    """Milliseconds on the clock and of the processor."""
    start, processor = time.perf_counter(), time.process_time()
    action()
    return (time.perf_counter() - start) * 1e3, (time.process_time() - processor) * 1e3


def _window(keyframes: list[tuple[float, float]], looks: list[tuple[float, float]]) -> dict[str, float]:
    wall, processor = np.array(keyframes).T
    look_wall, look_processor = np.median(looks, axis=0)
    return {
        "keyframe_ms": float(np.median(wall)),
        "keyframe_p95_ms": float(np.percentile(wall, 95)),
        "processor_ms": float(np.median(processor)),
        "processor_mean_ms": float(processor.mean()),
        "look_ms": float(look_wall),
        "look_processor_ms": float(look_processor),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rooms at the end of each window")
    parser.add_argument("--views", type=int, default=12, help="of each room")
    parser.add_argument("--width", type=int, default=320, help="of the images, pixels")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
