"""How fast procedural rooms are cast and rendered; training and tests wait for them.

usage: python -m benchmark.rooms [--seeds 0 1 ...] [--size W H] [--device cuda]

On a CPU times are processor times of one thread, which do not depend on other work; on a GPU they are wall times. Each
is the better of two runs, then the mean over the rooms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmark.machine import describe, load
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.device import single_thread
from gnesf_model.geometry import pixel_rays

VIEWS = 6
POINTS = 200_000


def measure(arguments: list[str]) -> dict[str, Any]:
    """Cast and render views of every room.

    Raises:
        FileNotFoundError: a CUDA device is asked for and there is none.
    """
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FileNotFoundError(f"--device is {options.device}, and torch sees no CUDA device")
    before = load()
    with single_thread():
        rooms = [figures(seed, *options.size, device) for seed in options.seeds]
    mean = {name: float(np.mean([room[name] for room in rooms])) for name in rooms[0] if name != "name"}
    views = f"{options.size[0]}x{options.size[1]}, mean of {len(rooms)} rooms"
    name = f"rooms, seeds {', '.join(map(str, options.seeds))}"
    clock = "wall" if device.type == "cuda" else "processor"
    return {
        "benchmark": "rooms",
        **describe("torch", "numpy"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "clock": "wall" if device.type == "cuda" else "processor time of one thread",
        "size": list(options.size),
        "views_per_room": VIEWS,
        "load": [before, load()],
        "rooms": rooms,
        "mean": mean,
        "rows": [
            (name, "rays cast", f"{mean['rays_per_s'] / 1e6:.2f} M a second", views),
            (name, "frame, no shading", f"{mean['frame_unshaded_s'] * 1e3:.1f} ms", f"{clock} time"),
            (name, "frame, with shading", f"{mean['frame_shaded_s'] * 1e3:.1f} ms", f"{clock} time"),
            (name, "distances to the surface", f"{mean['distances_per_s'] / 1e6:.2f} M a second", f"{POINTS} points"),
            (
                name,
                "room and walk made",
                f"{mean['room_and_walk_s'] * 1e3:.0f} ms",
                f"{mean['primitives']:.0f} primitives",
            ),
        ],
    }


def figures(seed: int, width: int, height: int, device: torch.device) -> dict[str, float | str | int]:
    """Those of one room."""
    start = time.process_time()
    source = RoomSource(seed, frames=VIEWS, stride=45, width=width, height=height, device=device)
    made = time.process_time() - start
    views = []
    for pose in source.poses:
        turned = torch.as_tensor(pose, dtype=torch.float32, device=device)
        views.append((turned[:3, 3], pixel_rays(source.camera, device) @ turned[:3, :3].T))
    size = np.asarray(source.scene.room_size)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (POINTS, 3)) * size + (0, 0, size[2] / 2)
    cloud = torch.as_tensor(points, dtype=torch.float32, device=device)
    cast = best(lambda: [source.scene.cast(*view) for view in views], device) / VIEWS
    bare = RoomSource(seed, frames=VIEWS, stride=45, width=width, height=height, device=device, shading=False)
    plain = best(lambda: [bare.images(k) for k in range(VIEWS)], device) / VIEWS
    shaded = best(lambda: [source.images(k) for k in range(VIEWS)], device) / VIEWS
    distance = best(lambda: source.scene.sdf(cloud), device)
    return {
        "name": source.scene.name,
        "primitives": len(source.scene.primitives),
        "room_and_walk_s": made,
        "rays_per_s": width * height / cast,
        "frame_unshaded_s": plain,
        "frame_shaded_s": shaded,
        "distances_per_s": POINTS / distance,
    }


def best(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the faster of two runs, after one that warms up.

    On a GPU by the clock on the wall; else by this process's processor time.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds = []
    for _ in range(3):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - start)
    return min(seconds[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.rooms", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5, 6], metavar="N")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("W", "H"))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
