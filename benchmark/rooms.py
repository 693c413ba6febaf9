"""How fast procedural rooms are cast and rendered: `python -m benchmark.rooms [--device cuda] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.geometry import pixel_rays

VIEWS = 6
POINTS = 200_000


def main() -> None:
    """Print the figures; write them where --json says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5, 6], metavar="N")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("W", "H"))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rooms = [measure(seed, *arguments.size, device) for seed in arguments.seeds]
    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "clock": "wall" if device.type == "cuda" else "processor time of one thread",
        "torch": torch.__version__,
        "size": list(arguments.size),
        "views_per_room": VIEWS,
        "rooms": rooms,
        "mean": {k: float(np.mean([r[k] for r in rooms])) for k in rooms[0] if k not in ("name", "primitives")},
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(seed: int, width: int, height: int, device: torch.device) -> dict[str, float | str | int]:
    """Figures of one room; times are the better of two rounds."""
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

    On a CPU the work is one thread (`procrooms.threads`): its processor time does not depend on other work.
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


if __name__ == "__main__":
    main()
