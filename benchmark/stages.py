"""Where the time of a frame goes: `gnesf map`'s stages on a real kitchen with a real network.

usage: python -m benchmark.stages [--network mosaic_ade32.onnx] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmark.machine import REDKITCHEN, WEIGHTS, describe, load
from gnesf_model.machine import cores


def measure(arguments: list[str]) -> dict[str, Any]:
    """Map all frames once.

    Raises:
        FileNotFoundError: the recording or the network is not on this machine.
    """
    options = _parser().parse_args(arguments)
    network = WEIGHTS / options.network
    for path in (REDKITCHEN, network):
        if not path.exists():
            raise FileNotFoundError(f"{path} is not on this machine")
    from gnesf_model.build import build_mapper
    from gnesf_model.config import Config
    from gnesf_model.data.source import open_source
    from gnesf_model.evaluation.mapping_run import run_mapping

    before = load()
    mapper = build_mapper(
        Config.from_flat({"segmenter.model": str(network), "device": "cpu", "cpu_threads": options.threads})
    )
    run = run_mapping(open_source(REDKITCHEN), mapper)
    stages = run.stage_percentiles()
    order = [
        stage
        for stage in ("segment", "tsdf_prepare", "tsdf_allocate", "tsdf_integrate", "tsdf_clear", "vote")
        if stage in stages
    ]
    order += [stage for stage in stages if stage not in order]
    return {
        "benchmark": "stages",
        **describe("torch", "onnxruntime", "numpy"),
        "network": options.network,
        "frames": run.frames,
        "keyframes": run.keyframes,
        "threads": options.threads,
        "load": [before, load()],
        "stages": stages,
        "rows": [
            (
                f"{stage} ({len(run.stages[stage])} x)",
                f"{stages[stage]['p50_ms']:.1f} ms",
                f"p95 {stages[stage]['p95_ms']:.1f} ms",
            )
            for stage in order
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.stages", description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mosaic_ade32.onnx", help="file in the folder of weights")
    parser.add_argument("--threads", type=int, default=cores())
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
