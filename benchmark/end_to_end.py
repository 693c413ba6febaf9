"""The node from end to end: a recording on real topics, from an image's arrival to the map that holds it.

usage: python -m benchmark.end_to_end [--frames 200] [--long-frames 540] [--network bundled] [--threads 0]

The node runs in a process of its own on DDS, as `gnesf eval recording --through-node` runs it, and this process plays
the recording and the long walk (`benchmark.recordings`) and listens as RViz does: to the images of the segmentation,
the cloud, the status and the diagnostics. Each twice: as fast as it was recorded with `node.queue: newest`, as on a
robot, where what comes while the node is busy is dropped; and every frame (`all`), each played when the node is ready
for it, which tells how many it manages. Latency is from the image on its topic to the status that counts it in; stages
are medians of the last 60 frames, as the node's diagnostics tell them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmark.machine import describe, load
from benchmark.recordings import add_arguments, on_each
from gnesf_model.data.source import FrameSource

RUNS = {"newest": 1.0, "all": 0.0}
"""node.queue -> rate at which the recording is played; 0: as fast as the node maps."""


def measure(arguments: list[str]) -> dict[str, Any]:
    """Play each recording through the node twice.

    Raises:
        FileNotFoundError: there is no ROS 2 here.
        RuntimeError: the node failed.
    """
    options = _parser().parse_args(arguments)
    try:
        import gnesf_ros.replay  # noqa: F401  rather now than after the rendering
    except ImportError as error:
        raise FileNotFoundError(f"ROS 2 is not on this machine ({error})") from error
    return {
        "benchmark": "end_to_end",
        **describe("torch", "numpy", "rclpy", "onnxruntime"),
        "network": options.network,
        "threads": options.threads,
        **on_each(options, _through_node),
    }


def _through_node(source: FrameSource, options: argparse.Namespace) -> dict[str, Any]:
    """Both runs of one recording."""
    from gnesf_model.config import Config
    from gnesf_ros.replay import as_bag, for_bag

    given = {"segmenter.model": options.network, "cpu_threads": options.threads, "device": "cpu"}
    config = Config.from_flat(given)
    runs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bag, _ = as_bag(source, None, config, Path(folder) / "recording")
        for queue, rate in RUNS.items():
            out = Path(folder) / queue
            out.mkdir()
            runs[queue] = _run(bag, for_bag(config, bag.topics, None, queue), rate, out)
    return {"runs": runs, "rows": [row for queue, run in runs.items() for row in _rows(queue, run)]}


def _run(bag: Any, config: Any, rate: float, out: Path) -> dict[str, Any]:
    from gnesf_model.evaluation.mapping_run import percentiles
    from gnesf_ros.recorder import megabytes
    from gnesf_ros.replay import replay

    before = load()
    heard = replay(bag, config, rate, out).heard
    status, told = heard.status, heard.values.get("mapping", {})
    first_s, last_s = min(heard._sent_s.values()), max(at_s for _, at_s in heard._done_s)
    stages = {key.removesuffix(" p50"): float(v.split()[0]) for key, v in told.items() if key.endswith(" p50")}
    return {
        "load": [before, load()],
        "images": bag.topics.images,
        "frames": status.frames_processed,
        "keyframes": status.keyframes,
        "dropped": dict(zip(status.drop_reasons, status.drop_counts)),
        "seconds": last_s - first_s,
        "rate_hz": status.frames_processed / (last_s - first_s),
        "latency": percentiles(heard.latencies_ms().tolist()),
        "stages_p50_ms": stages,
        "peak_memory_mb": megabytes(told.get("peak memory of the process", "")),
        "map_memory_mb": megabytes(told.get("map memory", "")),
    }


def _rows(queue: str, run: dict[str, Any]) -> list[tuple[str, str, str]]:
    latency, dropped = run["latency"], sum(run["dropped"].values())
    stages = {name: ms for name, ms in run["stages_p50_ms"].items() if name != "integrate"}  # which is a sum of others
    slowest = sorted(stages.items(), key=lambda stage: -stage[1])[:5]
    # With every frame some wait in the queue, as long as the player lets them.
    waited = [
        (
            f"queue: {queue}, latency p50",
            f"{latency['p50_ms']:.0f} ms",
            f"p95 {latency['p95_ms']:.0f} ms, p99 {latency['p99_ms']:.0f} ms",
        )
    ] * (queue == "newest")
    return [
        (
            f"queue: {queue}, frames in the map",
            f"{run['rate_hz']:.2f} Hz",
            f"{run['frames']} of {run['images']} images, {dropped} dropped",
        ),
        *waited,
        (
            f"queue: {queue}, memory at most",
            f"{run['peak_memory_mb']:.0f} MB",
            f"the map {run['map_memory_mb']:.0f} MB; load {run['load'][0]} to {run['load'][1]}",
        ),
        (
            f"queue: {queue}, longest stages",
            f"{slowest[0][1]:.0f} ms",
            ", ".join(f"{name} {ms:.0f} ms" for name, ms in slowest),
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.end_to_end", description=__doc__.splitlines()[0])
    add_arguments(parser, frames=200)
    parser.add_argument("--network", default="bundled", help="segmenter.model")
    parser.add_argument("--threads", type=int, default=0, help="of the node, cpu_threads; 0: its own choice")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
