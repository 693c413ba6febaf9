"""What the learned vote adds to a keyframe: image encoder, M(x) and voting, with random weights.

usage: python -m benchmark.field [--frames 200] [--threads 2] [--side 320]

The mapper runs on RedKitchen (640x480; a procedural room where that is missing) with its defaults and a segmenter that
costs nothing. Times are those of `LearnedFusion.weights`, by part, over the keyframes after the first five: on the
clock, and of the processor, which other work on the machine does not lengthen (all threads together).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmark.machine import REDKITCHEN, describe, load
from gnesf_model.machine import cores

GOAL_MS = 300.0
_WARM_UP = 5


def measure(arguments: list[str]) -> dict[str, Any]:
    """Map all frames once."""
    import torch

    from gnesf_model.config import Config
    from gnesf_model.data.source import open_source
    from gnesf_model.field.model import NeuralSemanticField
    from gnesf_model.field.online import LearnedFusion
    from gnesf_model.labels import LabelSpace
    from gnesf_model.mapper import SemanticMapper
    from gnesf_model.segment.segmenter import Segmentation, grid_size

    options = _parser().parse_args(arguments)
    labels = LabelSpace.load("scannet20")

    class Constant:
        """The same random probabilities for every image."""

        def __init__(self) -> None:
            self.labels = labels

        def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
            shape = grid_size(*rgb.shape[:2])
            generator = torch.Generator().manual_seed(0)
            p = torch.rand(len(labels), *shape, generator=generator)
            return Segmentation(p / p.sum(0), torch.zeros(shape), labels)

    torch.manual_seed(0)
    field = NeuralSemanticField()
    fusion = LearnedFusion(field, image_side_px=options.side)
    parts: dict[str, list[tuple[float, float]]] = {"encoder": [], "M(x)": [], "all": []}
    fusion._view = _timed(fusion._view, parts["encoder"])
    fusion.volume.add = _timed(fusion.volume.add, parts["M(x)"])
    counted = _Numbered(fusion, parts["all"], options.threads)
    mapper = SemanticMapper(Config.from_flat({"device": "cpu"}), Constant(), counted)
    source = open_source(REDKITCHEN if REDKITCHEN.is_dir() else "rooms:1")
    before = load()
    for number, frame in enumerate(source):
        if number == options.frames:
            break
        mapper.integrate(frame)
    times = {name: np.array(values[_WARM_UP:]) for name, values in parts.items()}
    times["voting"] = times["all"] - times["encoder"] - times["M(x)"]
    stages = {
        name: {
            "p50_ms": float(np.percentile(ms[:, 0], 50)),
            "p95_ms": float(np.percentile(ms[:, 0], 95)),
            "processor_p50_ms": float(np.percentile(ms[:, 1], 50)),
            "processor_p95_ms": float(np.percentile(ms[:, 1], 95)),
        }
        for name, ms in times.items()
    }
    points = [int(np.percentile(counted.points[_WARM_UP:], q)) for q in (50, 95)]
    return {
        "benchmark": "field",
        **describe("torch", "numpy"),
        "source": source.name if hasattr(source, "name") else str(REDKITCHEN.name),
        "keyframes": len(times["all"]),
        "points": {"p50": points[0], "p95": points[1]},
        "image_side_px": options.side,
        "threads": options.threads,
        "parameters": sum(p.numel() for p in field.parameters()),
        "memory_mb": fusion.memory_bytes / 1e6,
        "load": [before, load()],
        "stages": stages,
        "rows": [
            *(
                (
                    name,
                    f"{stages[name]['p50_ms']:.0f} ms",
                    f"p95 {stages[name]['p95_ms']:.0f} ms; processor {stages[name]['processor_p50_ms']:.0f}, "
                    f"p95 {stages[name]['processor_p95_ms']:.0f} ms",
                )
                for name in ("encoder", "M(x)", "voting", "all")
            ),
            ("goal for all", f"{GOAL_MS:.0f} ms", ""),
            ("points of a keyframe", f"{points[0]}", f"p95 {points[1]}"),
            ("memory of the vote", f"{fusion.memory_bytes / 1e6:.0f} MB", ""),
            ("load", f"{before} to {load()}", f"{options.threads} threads"),
        ],
    }


class _Numbered:
    """Gives points the rows of their voxels, and times the fusion; what it does itself is not in the time."""

    def __init__(self, fusion: Any, times: list[tuple[float, float]], threads: int) -> None:
        self.inner = _timed(fusion.weights, times, threads)
        self.rows: dict[tuple[int, ...], int] = {}
        self.points: list[int] = []

    def weights(self, samples: Any) -> Any:
        from dataclasses import replace

        import torch

        voxels = (samples.points / 0.04).floor().int().tolist()
        rows = [self.rows.setdefault(tuple(v), len(self.rows)) for v in voxels]
        self.points.append(len(rows))
        return self.inner(replace(samples, rows=torch.tensor(rows)))


def _timed(function: Callable[..., Any], times: list[tuple[float, float]], threads: int = 0) -> Callable[..., Any]:
    import torch

    def run(*arguments: Any) -> Any:
        if threads:
            torch.set_num_threads(threads)
        start, processor = time.perf_counter(), time.process_time()
        result = function(*arguments)
        times.append(((time.perf_counter() - start) * 1e3, (time.process_time() - processor) * 1e3))
        return result

    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.field", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--side", type=int, default=320, help="longer side of the encoder's image, pixels")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
