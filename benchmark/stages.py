"""Where the time of a frame goes: `gnesf map`'s stages on a real kitchen with a real network.

usage: python -m benchmark.stages [--network FILE] [--frames 200] [--long-frames 540] [--threads N]

The recording, and the long walk (`benchmark.recordings`), with MOSAIC; with the bundled network where that is missing.
The share of a stage is that of all milliseconds of the run: a vote takes long, and happens on keyframes alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.machine import WEIGHTS, describe, load
from benchmark.recordings import add_arguments, on_each
from gnesf_model.data.source import FrameSource
from gnesf_model.machine import cores

ORDER = ("segment", "tsdf_prepare", "tsdf_allocate", "tsdf_integrate", "tsdf_clear", "vote")


def measure(arguments: list[str]) -> dict[str, Any]:
    """Map each recording once.

    Raises:
        FileNotFoundError: the network is not on this machine.
    """
    options = _parser().parse_args(arguments)
    if options.network != "bundled" and not Path(options.network).exists():
        raise FileNotFoundError(f"{options.network} is not on this machine")
    return {
        "benchmark": "stages",
        **describe("torch", "onnxruntime", "numpy"),
        "network": Path(options.network).name,
        "threads": options.threads,
        **on_each(options, _mapped),
    }


def _mapped(source: FrameSource, options: argparse.Namespace) -> dict[str, Any]:
    """Stages of one recording, from an empty map on."""
    from gnesf_model.build import build_mapper
    from gnesf_model.config import Config
    from gnesf_model.evaluation.mapping_run import run_mapping

    before = load()
    mapper = build_mapper(
        Config.from_flat({"segmenter.model": options.network, "device": "cpu", "cpu_threads": options.threads})
    )
    run = run_mapping(source, mapper)
    stages = run.stage_percentiles()
    total = sum(map(sum, run.stages.values()))
    for stage, spent in run.stages.items():
        stages[stage]["share"] = sum(spent) / total
    order = [*(stage for stage in ORDER if stage in stages), *(stage for stage in stages if stage not in ORDER)]
    return {
        "frames": run.frames,
        "keyframes": run.keyframes,
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
    add_arguments(parser, frames=200)
    parser.add_argument("--threads", type=int, default=cores())
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
