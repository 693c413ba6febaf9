"""What the learned votes add to a keyframe: image encoder, M(x), voting, and votes of neighbours.

usage: python -m benchmark.field [--frames 200] [--threads 2] [--side 160]

The mapper runs on RedKitchen (640x480; a procedural room where that is missing) with its defaults and a segmenter that
costs nothing. Times are those of `LearnedFusion.weights`, by part, over the keyframes after the first five: on the
clock, and of the processor, which other work on the machine does not lengthen (all threads together). Votes of
neighbours are timed as if somebody looked at the map after every keyframe; who looks less often pays less.
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

    from gnesf_model.build import build_field
    from gnesf_model.config import Config
    from gnesf_model.data.source import open_source
    from gnesf_model.device import single_thread
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

    config = Config.from_flat({"device": "cpu"})
    field = build_field(config)
    fusion = LearnedFusion(field, image_side_px=options.side)
    parts: dict[str, list[tuple[float, float]]] = {"encoder": [], "M(x)": [], "all": [], "neighbours": []}
    fusion._view = _timed(fusion._view, parts["encoder"])
    fusion.volume.add = _timed(fusion.volume.add, parts["M(x)"])
    points: list[int] = []
    weights = _timed(fusion.weights, parts["all"], options.threads)

    def counted(samples: Any) -> Any:
        points.append(len(samples.points))
        return weights(samples)

    fusion.weights = counted
    mapper = SemanticMapper(config, Constant(), fusion, field.spatial)
    row = torch.zeros(1, dtype=torch.int64)
    look = _timed(mapper.classes.labels, parts["neighbours"])
    source = open_source(REDKITCHEN if REDKITCHEN.is_dir() else "rooms:1")
    before = load()
    for number, frame in enumerate(source):
        if number == options.frames:
            break
        if mapper.integrate(frame).keyframe is not None:
            with torch.inference_mode(), single_thread():
                look(row)
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
    median, most = (int(np.percentile(points[_WARM_UP:], q)) for q in (50, 95))
    return {
        "benchmark": "field",
        **describe("torch", "numpy"),
        "source": source.name,
        "keyframes": len(times["all"]),
        "points": {"p50": median, "p95": most},
        "image_side_px": options.side,
        "threads": options.threads,
        "parameters": sum(p.numel() for p in field.parameters()),
        "memory_mb": fusion.memory_bytes / 1e6,
        "load": [before, load()],
        "stages": stages,
        "rows": [
            *(
                (
                    source.name,
                    name,
                    f"{stages[name]['p50_ms']:.0f} ms",
                    f"p95 {stages[name]['p95_ms']:.0f} ms; processor {stages[name]['processor_p50_ms']:.0f}, "
                    f"p95 {stages[name]['processor_p95_ms']:.0f} ms",
                )
                for name in ("encoder", "M(x)", "voting", "all", "neighbours")
            ),
            (source.name, "goal for all", f"{GOAL_MS:.0f} ms", ""),
            (source.name, "points of a keyframe", f"{median}", f"p95 {most}"),
            (source.name, "memory of the vote", f"{fusion.memory_bytes / 1e6:.0f} MB", ""),
            (source.name, "load", f"{before} to {load()}", f"{options.threads} threads"),
        ],
    }


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
    parser.add_argument("--side", type=int, default=160, help="longer side of the encoder's image, pixels")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
