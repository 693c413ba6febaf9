"""The TSDF step beside Open3D's VoxelBlockGrid: the same frames, turn about, each in a process of its own.

usage: python -m benchmark.tsdf [--rounds 5] [--frames 100] [--long-frames 540] [--warm-up 20] [--threads N]

Ours is what the mapper's stages tsdf_prepare, tsdf_allocate and tsdf_integrate do: conversion of 16-bit depth to metres
within range, allocation of blocks, integration. Theirs is compute_unique_block_coordinates and integrate, without
colour; their conversion of depth to an image is not timed. Blocks of 8 voxels of 4 cm, truncation at 4 voxels, depth to
5 m, all on both sides. A round's figure is the median over its frames, the result the median over the rounds; so for
the recording and for the long walk (`benchmark.recordings`).
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
from gnesf_model.machine import cores

VOXEL_M, TRUNCATION_VOX, MAX_DEPTH_M = 0.04, 4.0, 5.0
GOAL, LIMIT = 1.0, 1.5
SIDES = ("ours", "open3d")


def measure(arguments: list[str]) -> dict[str, Any]:
    """Run all rounds on each recording.

    Raises:
        RuntimeError: a process failed; Open3D is not installed.
    """
    options = _parser().parse_args(arguments)
    return {
        "benchmark": "tsdf",
        **describe("torch", "open3d", "numpy"),
        "threads": options.threads,
        "warm_up": options.warm_up,
        **on_each(options, _beside_open3d),
    }


def _beside_open3d(source: FrameSource, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds on one recording."""
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "frames.npz"
        write_frames(recording, source)
        for _ in range(options.rounds):
            round_: dict[str, Any] = {"load": load()}
            for side in SIDES:
                round_[side] = _in_process(side, recording, options)
            round_["ratio"] = round_["ours"]["median_ms"] / round_["open3d"]["median_ms"]
            rounds.append(round_)
    medians = {side: float(np.median([r[side]["median_ms"] for r in rounds])) for side in SIDES}
    ratio = float(np.median([r["ratio"] for r in rounds]))
    return {
        "timed_frames": len(source) - options.warm_up,
        "rounds": rounds,
        "median_ms": medians,
        "ratio": ratio,
        "rows": [
            ("TSDF step, ours", f"{medians['ours']:.2f} ms", ""),
            ("TSDF step, Open3D", f"{medians['open3d']:.2f} ms", ""),
            ("ratio", f"{ratio:.2f}", f"goal {GOAL:.1f}, at most {LIMIT:.1f}"),
            ("load during the rounds", f"{min(r['load'] for r in rounds)} to {max(r['load'] for r in rounds)}", ""),
        ],
    }


def write_frames(path: Path, source: FrameSource) -> None:
    """Write depth (N, H, W) uint16 mm, poses and intrinsics of a recording with one camera."""
    frames = list(source)
    np.savez(
        path,
        depth=np.stack([np.round(frame.depth * 1000).astype(np.uint16) for frame in frames]),
        poses=np.stack([frame.world_T_cam for frame in frames]),
        K=frames[0].camera.K,
    )


def ours(recording: Any, threads: int) -> Callable[[int], int]:
    """A function that maps frame i, as the mapper does, and returns the number of blocks it touched."""
    import torch

    from gnesf_model.config import VolumeConfig
    from gnesf_model.device import single_thread
    from gnesf_model.frame import Camera, clean_depth
    from gnesf_model.volume.block_grid import BlockGrid
    from gnesf_model.volume.tsdf import DepthView, TsdfVolume, in_range

    torch.set_num_threads(threads)
    config = VolumeConfig(voxel_size_m=VOXEL_M, truncation_vox=TRUNCATION_VOX, max_depth_m=MAX_DEPTH_M)
    attributes = {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0), "row": (torch.int32, -1.0)}
    grid = BlockGrid(VOXEL_M, attributes, max_blocks=100_000)
    volume = TsdfVolume(
        grid, truncation_m=TRUNCATION_VOX * VOXEL_M, max_depth_m=MAX_DEPTH_M, max_weight=config.max_weight
    )
    depth, poses = recording["depth"], recording["poses"]
    camera = Camera.from_matrix(recording["K"], depth.shape[2], depth.shape[1])

    @single_thread()  # as the mapper does
    @torch.inference_mode()
    def step(i: int) -> int:
        metres = torch.from_numpy(clean_depth(depth[i], 0.001))
        view = DepthView(in_range(metres, config.min_depth_m, config.max_depth_m), camera, poses[i])
        band = volume.allocate(view)
        volume.integrate(view, band)
        return len(band.slots)

    return step


def open3d(recording: Any, threads: int) -> Callable[[int], int]:
    """The same with Open3D; it takes its threads from OMP_NUM_THREADS."""
    import open3d as o3d
    import open3d.core as o3c

    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"), (o3c.float32, o3c.float32), ((1), (1)), VOXEL_M, 8, 20_000, o3c.Device("CPU:0")
    )
    K = o3c.Tensor(recording["K"])
    images = [o3d.t.geometry.Image(o3c.Tensor(depth)) for depth in recording["depth"]]
    extrinsics = [o3c.Tensor(np.linalg.inv(pose)) for pose in recording["poses"]]

    def step(i: int) -> int:
        scale = 1000.0
        blocks = grid.compute_unique_block_coordinates(images[i], K, extrinsics[i], scale, MAX_DEPTH_M, TRUNCATION_VOX)
        grid.integrate(blocks, images[i], K, extrinsics[i], scale, MAX_DEPTH_M, TRUNCATION_VOX)
        return len(blocks)

    return step


def _in_process(side: str, recording: Path, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmark.tsdf", "--side", side, "--recording", str(recording)]
    command += ["--warm-up", str(options.warm_up), "--threads", str(options.threads)]
    threads = {"OMP_NUM_THREADS": str(options.threads)}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **threads}
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process for {side} ended with status {result.returncode}: {last}")
    return json.loads(result.stdout.splitlines()[-1])


def _time(side: str, path: Path, warm_up: int, threads: int) -> dict[str, float]:
    """Milliseconds and blocks of one pass over the recording in this process."""
    with np.load(path, allow_pickle=False) as archive:
        recording = {name: archive[name] for name in archive.files}
    step = {"ours": ours, "open3d": open3d}[side](recording, threads)
    times, blocks = [], []
    for i in range(len(recording["poses"])):
        start = time.perf_counter()
        blocks.append(step(i))
        times.append((time.perf_counter() - start) * 1e3)
    timed = times[warm_up:]
    return {
        "median_ms": float(np.median(timed)),
        "p95_ms": float(np.percentile(timed, 95)),
        "blocks": float(np.median(blocks[warm_up:])),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.tsdf", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    add_arguments(parser, frames=100)
    parser.add_argument("--warm-up", type=int, default=20, help="frames of each pass that are not timed")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--recording", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    chosen = _parser().parse_args()
    if chosen.side:
        print(json.dumps(_time(chosen.side, chosen.recording, chosen.warm_up, chosen.threads)))
    else:
        print(json.dumps(measure(sys.argv[1:]), indent=2))
