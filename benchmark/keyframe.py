"""A keyframe of the mapper beside the pipeline that one would otherwise write, and a look at the labelled surface.

usage: python -m benchmark.keyframe [--rounds 3] [--frames 200] [--long-frames 540] [--warm-up 5] [--threads N]

Both get the same keyframes of the recording, and of the long walk (`benchmark.recordings`), with the same outputs of
the bundled segmenter, which runs once for each and is timed as a stage of its own. Ours is `SemanticMapper.integrate`
with its defaults, learned votes and all; `ours, averaged` counts every view the same and lets no neighbours vote, which
is what the peer does: `benchmark.peer`, Open3D's grid of voxels with probabilities averaged in it. Processes of their
own, turn about; a round's figure is the median over its keyframes, the result the median over the rounds. A look is
the whole labelled surface, after every tenth keyframe. Memory is what the process had at most beyond what it had with
its libraries loaded and before the first frame.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.machine import ROOT, describe, load
from benchmark.recordings import add_arguments, on_each
from gnesf_model.data.source import FrameSource
from gnesf_model.machine import cores, peak_memory_mb

SIDES = {
    "ours": {},
    "averaged": {"semantics.voting": "average", "semantics.neighbours": "none"},
    "open3d": {},
}
WORDS = {"ours": "ours", "averaged": "ours, votes averaged", "open3d": "Open3D and averaging"}
LOOK_EVERY = 10
FIGURES = ("keyframe_ms", "keyframe_p95_ms", "processor_ms", "look_ms", "look_processor_ms", "memory_mb")


def measure(arguments: list[str]) -> dict[str, Any]:
    """Run all rounds on each recording.

    Raises:
        RuntimeError: a process failed; Open3D is not installed.
    """
    options = _parser().parse_args(arguments)
    return {
        "benchmark": "keyframe",
        **describe("torch", "open3d", "numpy", "onnxruntime"),
        "threads": options.threads,
        "warm_up": options.warm_up,
        **on_each(options, _beside_averaging),
    }


def _beside_averaging(source: FrameSource, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds on one recording."""
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        segment_ms = write_keyframes(Path(folder), source, options.threads)
        for _ in range(options.rounds):
            round_: dict[str, Any] = {"load": load()}
            for side in SIDES:
                round_[side] = _in_process(side, Path(folder), options)
            rounds.append(round_)
    figures = {side: {f: float(np.median([r[side][f] for r in rounds])) for f in FIGURES} for side in SIDES}
    segmenter = float(np.median(segment_ms))
    ratios = {
        side: {
            "without_segmenter": _ratio(rounds, side, 0.0),
            "with_segmenter": _ratio(rounds, side, segmenter),
            "processor": float(np.median([r[side]["processor_ms"] / r["open3d"]["processor_ms"] for r in rounds])),
            "look": float(np.median([r[side]["look_ms"] / r["open3d"]["look_ms"] for r in rounds])),
            "memory": figures[side]["memory_mb"] / figures["open3d"]["memory_mb"],
        }
        for side in ("ours", "averaged")
    }
    counts = rounds[0]["ours"]["keyframes"], rounds[0]["ours"]["points"], rounds[0]["open3d"]["points"]
    return {
        "keyframes": counts[0],
        "surface_points": {"ours": counts[1], "open3d": counts[2]},
        "segmenter_ms": {"p50": segmenter, "p95": float(np.percentile(segment_ms, 95))},
        "rounds": rounds,
        "median": figures,
        "ratio": ratios,
        "rows": [
            ("segmenter, the same for all", f"{segmenter:.0f} ms", f"bundled, {options.threads} threads"),
            *(
                (
                    f"keyframe, {WORDS[side]}",
                    f"{f['keyframe_ms']:.0f} ms",
                    f"p95 {f['keyframe_p95_ms']:.0f} ms; processor {f['processor_ms']:.0f} ms; look "
                    f"{f['look_ms']:.0f} ms, processor {f['look_processor_ms']:.0f} ms; memory {f['memory_mb']:.0f} MB",
                )
                for side, f in figures.items()
            ),
            *(
                (
                    f"ratio, {WORDS[side]}",
                    f"{r['without_segmenter']:.2f}",
                    f"with the segmenter {r['with_segmenter']:.2f}; processor {r['processor']:.2f}, "
                    f"look {r['look']:.2f}, memory {r['memory']:.2f}",
                )
                for side, r in ratios.items()
            ),
            (
                "load during the rounds",
                f"{min(r['load'] for r in rounds)} to {max(r['load'] for r in rounds)}",
                f"{counts[0]} keyframes; surface points: ours {counts[1]}, Open3D {counts[2]}",
            ),
        ],
    }


def _ratio(rounds: list[dict[str, Any]], side: str, beside_ms: float) -> float:
    """Median over the rounds of a keyframe's time over the peer's, with something that both pay."""
    return float(
        np.median([(r[side]["keyframe_ms"] + beside_ms) / (r["open3d"]["keyframe_ms"] + beside_ms) for r in rounds])
    )


def write_keyframes(folder: Path, source: FrameSource, threads: int) -> list[float]:
    """Write what both sides read of the keyframes of a recording; the segmenter's milliseconds for each.

    frames.npz has rgb (N, H, W, 3), depth (N, H, W) uint16 mm, poses, K and stamps; N.npy the probabilities of frame N.
    """
    import torch

    from gnesf_model.config import Config
    from gnesf_model.keyframes import KeyframeSelector
    from gnesf_model.segment import build_segmenter

    torch.set_num_threads(threads)
    config = Config()
    segmenter = build_segmenter(
        config.segmenter.model, labels=config.semantics.labels, device="cpu", cpu_threads=threads
    )
    window, kept, times = KeyframeSelector(config.keyframes), [], []
    for frame in source:
        if not window.accepts(frame):
            continue
        if not kept:
            segmenter(frame.rgb)  # the first call makes room
        start = time.perf_counter()
        found = segmenter(frame.rgb, frame.stamp_ns)
        times.append((time.perf_counter() - start) * 1e3)
        np.save(folder / f"{len(kept)}.npy", found.probabilities.numpy())
        kept.append(window.push(frame).frame)
    np.savez(
        folder / "frames.npz",
        rgb=np.stack([f.rgb for f in kept]),
        depth=np.stack([np.round(f.depth * 1000).astype(np.uint16) for f in kept]),
        poses=np.stack([f.world_T_cam for f in kept]),
        stamps=np.array([f.stamp_ns for f in kept]),
        K=kept[0].camera.K,
    )
    return times


def ours(folder: Path, frames: dict[str, np.ndarray], settings: dict[str, Any]) -> tuple[Callable, Callable]:
    """How the mapper takes keyframe i, and how somebody looks: points (N, 3) and classes (N,)."""
    import torch

    from gnesf_model.build import build_mapper
    from gnesf_model.config import Config
    from gnesf_model.frame import Camera, Frame, clean_depth
    from gnesf_model.labels import LabelSpace
    from gnesf_model.segment import Segmentation

    labels, stamps = LabelSpace.load(Config().semantics.labels), frames["stamps"].tolist()

    class Told:
        """The segmentation that was written."""

        def __init__(self) -> None:
            self.labels = labels

        def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
            p = torch.from_numpy(_probabilities(folder, stamps.index(stamp_ns)))
            return Segmentation(p, torch.zeros(p.shape[1:]), labels)

    mapper = build_mapper(Config.from_flat({"device": "cpu", **settings}), Told())
    height, width = frames["depth"].shape[1:]
    camera = Camera.from_matrix(frames["K"], width, height)

    def step(i: int) -> None:
        depth = clean_depth(frames["depth"][i], 0.001)
        update = mapper.integrate(Frame(stamps[i], frames["rgb"][i], camera, frames["poses"][i], depth))
        if update.keyframe is None:
            raise RuntimeError(f"frame {i} did not vote")

    def look() -> tuple[np.ndarray, np.ndarray]:
        surface = mapper.surface()
        return surface.points, surface.labels

    return step, look


def open3d(folder: Path, frames: dict[str, np.ndarray], settings: dict[str, Any]) -> tuple[Callable, Callable]:
    """The same with `AveragingPipeline`."""
    import torch

    from benchmark.peer import AveragingPipeline
    from gnesf_model.config import Config
    from gnesf_model.labels import LabelSpace

    config = Config()
    pipeline = AveragingPipeline(
        frames["K"],
        frames["depth"].shape[1:],
        len(LabelSpace.load(config.semantics.labels)),
        voxel_m=config.volume.voxel_size_m,
        truncation_vox=config.volume.truncation_vox,
        max_depth_m=config.volume.max_depth_m,
        max_blocks=16_384,
    )

    def step(i: int) -> None:
        probabilities = torch.from_numpy(_probabilities(folder, i))
        pipeline.integrate(frames["rgb"][i], frames["depth"][i], frames["poses"][i], probabilities)

    def look() -> tuple[np.ndarray, np.ndarray]:
        return pipeline.look(config.volume.min_weight)

    return step, look


def _probabilities(folder: Path, number: int) -> np.ndarray:
    return np.load(folder / f"{number}.npy", allow_pickle=False)


def _time(side: str, folder: Path, warm_up: int, threads: int) -> dict[str, Any]:
    """Figures of one pass over the keyframes in this process."""
    import torch

    torch.set_num_threads(threads)
    with np.load(folder / "frames.npz", allow_pickle=False) as archive:
        frames = {name: archive[name] for name in archive.files}
    step, look = (open3d if side == "open3d" else ours)(folder, frames, SIDES[side])
    before, times, looks, points = peak_memory_mb(), [], [], 0
    for i in range(len(frames["poses"])):
        start, processor = time.perf_counter(), time.process_time()
        step(i)
        times.append((time.perf_counter() - start, time.process_time() - processor))
        if i % LOOK_EVERY == LOOK_EVERY - 1 or i == len(frames["poses"]) - 1:
            start, processor = time.perf_counter(), time.process_time()
            points = len(look()[0])
            looks.append((time.perf_counter() - start, time.process_time() - processor))
    wall, processor = np.array(times[warm_up:]).T * 1e3
    look_wall, look_processor = np.median(looks, axis=0) * 1e3
    return {
        "keyframes": len(wall),
        "points": points,
        "keyframe_ms": float(np.median(wall)),
        "keyframe_p95_ms": float(np.percentile(wall, 95)),
        "processor_ms": float(np.median(processor)),
        "look_ms": float(look_wall),
        "look_processor_ms": float(look_processor),
        "memory_mb": peak_memory_mb() - before,
    }


def _in_process(side: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmark.keyframe", "--side", side, "--folder", str(folder)]
    command += ["--warm-up", str(options.warm_up), "--threads", str(options.threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process for {side} ended with status {result.returncode}: {last}")
    return json.loads(result.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.keyframe", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    add_arguments(parser, frames=200)
    parser.add_argument("--warm-up", type=int, default=5, help="keyframes of each pass that are not timed")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    chosen = _parser().parse_args()
    if chosen.side:
        print(json.dumps(_time(chosen.side, chosen.folder, chosen.warm_up, chosen.threads)))
    else:
        print(json.dumps(measure(sys.argv[1:]), indent=2))
