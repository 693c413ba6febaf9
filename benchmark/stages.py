"""Where the time of a frame goes: `gnesf map`'s stages on a real kitchen with a real network.

usage: python -m benchmark.stages [--network FILE] [--frames N] [--threads N]

RedKitchen with MOSAIC; a procedural room, and the bundled network, where those are missing. The share of a stage is
that of all milliseconds of the run: a vote takes long, and happens on keyframes alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.end_to_end import FirstFrames
from benchmark.machine import REDKITCHEN, WEIGHTS, describe, load
from gnesf_model.machine import cores


def measure(arguments: list[str]) -> dict[str, Any]:
    """Map all frames once.

    Raises:
        FileNotFoundError: the network is not on this machine.
    """
    options = _parser().parse_args(arguments)
    if options.network != "bundled" and not Path(options.network).exists():
        raise FileNotFoundError(f"{options.network} is not on this machine")
    from gnesf_model.build import build_mapper
    from gnesf_model.config import Config
    from gnesf_model.data.source import open_source
    from gnesf_model.evaluation.mapping_run import run_mapping

    before = load()
    mapper = build_mapper(
        Config.from_flat({"segmenter.model": options.network, "device": "cpu", "cpu_threads": options.threads})
    )
    source = open_source(REDKITCHEN if REDKITCHEN.is_dir() else "rooms:1")
    if options.frames:
        source = FirstFrames(source, options.frames)
    run = run_mapping(source, mapper)
    stages = run.stage_percentiles()
    total = sum(map(sum, run.stages.values()))
    for stage, spent in run.stages.items():
        stages[stage]["share"] = sum(spent) / total
    order = [
        stage
        for stage in ("segment", "tsdf_prepare", "tsdf_allocate", "tsdf_integrate", "tsdf_clear", "vote")
        if stage in stages
    ]
    order += [stage for stage in stages if stage not in order]
    return {
        "benchmark": "stages",
        **describe("torch", "onnxruntime", "numpy"),
        "source": source.name,
        "network": Path(options.network).name,
        "frames": run.frames,
        "keyframes": run.keyframes,
        "threads": options.threads,
        "load": [before, load()],
        "stages": stages,
        "rows": [
            (
                f"{stage} ({len(run.stages[stage])} x)",
                f"{stages[stage]['p50_ms']:.1f} ms",
                f"p95 {stages[stage]['p95_ms']:.1f} ms, {stages[stage]['share']:.0%} of all",
            )
            for stage in order
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.stages", description=__doc__.splitlines()[0])
    mosaic = WEIGHTS / "mosaic_ade32.onnx"
    parser.add_argument("--network", default=str(mosaic) if mosaic.exists() else "bundled", help="segmenter.model")
    parser.add_argument("--frames", type=int, help="of the recording; all of them by default")
    parser.add_argument("--threads", type=int, default=cores())
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
