"""Keyframes per second on a GPU, and how near that is to what the GPU can do: bytes and operations against ceilings.

usage: python -m benchmark.gpu [--frames 100] [--device cuda]

At 4 cm with defaults on RedKitchen (640x480; a procedural room where that is missing), every frame a keyframe: with
measured depth and with depth predicted from colour (`geometry: rgb`), each once with the bundled segmenter and once
with one that costs nothing. NeuralRecon's 33 keyframes a second (RTX 2080 Ti) are what `geometry: rgb` without a
segmenter is to be held against. The ceilings are measured in the same run: copying a large tensor for bytes a second,
and for operations a second a large product of matrices in each precision that a GPU computes in here: fp32, TF32
(convolutions of float32 under cuDNN) and fp16 (the bundled segmenter, by autocast). What a keyframe needs is counted
operation by operation: all bytes of the tensors that go in and come out, as if nothing stayed in a cache, and the
floating point operations of products and convolutions (`torch.utils.flop_counter`), those of each precision against its
own ceiling. The shares say whether time goes into memory, into arithmetic, or, where both are small, into starting
kernels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from benchmark.machine import REDKITCHEN, describe, load
from gnesf_model.frame import FrameDropped

_WARM_UP = 10
_RUNS = {
    "no segmenter": ("depth", False),
    "bundled": ("depth", True),
    "geometry: rgb, no segmenter": ("rgb", False),
    "geometry: rgb, bundled": ("rgb", True),
}
"""Name -> geometry, and whether images are segmented."""
_COPY_BYTES, _MATRIX = 1 << 28, 4096
_SPARE_SHARE = 10
"""A tenth of the frames is kept for counting, which needs one that is mapped."""
PRECISIONS = ("fp32", "TF32", "fp16")
_HALF = (torch.float16, torch.bfloat16)


class ByteCounter(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """One operation."""
        result = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            moved = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in moved)
        return result


class FlopsByPrecision(TorchDispatchMode):
    """Counts floating point operations by the precision in which a device carries them out.

    To be put around a `FlopCounterMode`, which takes operations apart into those that are counted.

    Args:
        device: float32 is TF32 there as far as torch allows it, on CUDA alone: in convolutions by default.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.flops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """One operation."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
            self.flops[self._precision(packet, tensors)] += flop_registry[packet](*args, **kwargs, out_val=result)
        return result

    def _precision(self, packet: Any, tensors: Sequence[torch.Tensor]) -> str:
        if tensors[0].dtype in _HALF:
            return "fp16"
        convolution = "conv" in str(packet)
        allowed = torch.backends.cudnn.allow_tf32 if convolution else torch.get_float32_matmul_precision() != "highest"
        return "TF32" if allowed and self.device.type == "cuda" and tensors[0].dtype == torch.float32 else "fp32"


@dataclass(frozen=True)
class Counts:
    """What a keyframe needs.

    Attributes:
        bytes: read and written.
        flops: floating point operations by precision.
    """

    bytes: int
    flops: dict[str, int]


def measure(arguments: list[str]) -> dict[str, Any]:
    """Ceilings, counts and rates.

    Raises:
        FileNotFoundError: there is no such device here.
    """
    options = _parser().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise FileNotFoundError("no CUDA GPU is on this machine, or torch is built without CUDA")
    device, before = torch.device(options.device), load()
    source, frames = _frames(options)
    products = {precision: product(precision, device, options.ceiling) for precision in PRECISIONS}
    ceilings = {"bytes_per_s": _copy(device, options.ceiling), "flops_per_s": products}
    runs = {name: _run(frames, geometry, segmented, device) for name, (geometry, segmented) in _RUNS.items()}
    for run in runs.values():
        run["bytes_share"] = run["bytes"] / run["p50_ms"] * 1e3 / ceilings["bytes_per_s"]
        run["flops_share"] = flops_share(run["flops_by_precision"], run["p50_ms"], products)
    return {
        "benchmark": "gpu",
        **describe("torch", "numpy"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else options.device,
        "frames": len(frames),
        "load": [before, load()],
        "ceilings": ceilings,
        "runs": runs,
        "rows": [
            ("", "copying", f"{ceilings['bytes_per_s'] / 1e9:.0f} GB/s", "bytes read and written"),
            *(
                ("", f"product of matrices, {precision}", f"{most / 1e12:.1f} TFLOP/s", "")
                for precision, most in products.items()
            ),
            *(
                (
                    source,
                    f"keyframes, {name}",
                    f"{1e3 / run['p50_ms']:.1f} a second",
                    f"p50 {run['p50_ms']:.1f} ms, p95 {run['p95_ms']:.1f} ms; {run['bytes'] / 1e6:.0f} MB "
                    f"({run['bytes_share']:.1%} of the ceiling), {run['flops'] / 1e9:.1f} GFLOP "
                    f"({run['flops_share']:.1%} of the ceilings: {_amounts(run['flops_by_precision'])})",
                )
                for name, run in runs.items()
            ),
        ],
    }


def _frames(options: argparse.Namespace) -> tuple[str, list[Any]]:
    from gnesf_model.data.procrooms import RoomSource
    from gnesf_model.data.source import open_source

    if REDKITCHEN.is_dir() and not options.room:
        source: Any = open_source(REDKITCHEN)
    else:
        source = RoomSource(1, frames=options.frames, width=640, height=480, stride=6, shading=False)
    return source.name, [frame for frame, _ in zip(source, range(options.frames))]


def flops_share(flops: dict[str, int], milliseconds: float, ceilings: dict[str, float]) -> float:
    """Share of a time that operations would take, each precision at its own ceiling (operations a second)."""
    return sum(number / ceilings[precision] for precision, number in flops.items()) / milliseconds * 1e3


def _amounts(flops: dict[str, int]) -> str:
    """Which ceilings a run is held against, and with how much."""
    return ", ".join(f"{number / 1e9:.1f} {precision}" for precision, number in flops.items()) or "none"


def _run(frames: list[Any], geometry: str, segmented: bool, device: torch.device) -> dict[str, Any]:
    """Times of keyframes, and what one of them counts."""
    from gnesf_model.build import build_mapper
    from gnesf_model.config import Config
    from gnesf_model.labels import LabelSpace
    from gnesf_model.segment import Segmentation
    from gnesf_model.segment.segmenter import grid_size

    labels = LabelSpace.load("scannet20")
    shape = grid_size(*frames[0].rgb.shape[:2])
    told = torch.rand(len(labels), *shape, generator=torch.Generator().manual_seed(0)).to(device)
    constant = Segmentation(told / told.sum(0), torch.zeros(shape, device=device), labels)

    class Constant:
        """The same for every image."""

        def __init__(self) -> None:
            self.labels = labels

        def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
            return constant

    every = {"keyframes.min_translation_m": 0.0, "keyframes.max_angular_rate_deg_s": 0.0}
    config = Config.from_flat({"device": device.type, "geometry": geometry, **every})
    mapper = build_mapper(config, None if segmented else Constant())
    spare = max(1, len(frames) // _SPARE_SHARE)
    times = timed(mapper, frames[:-spare])
    counts = counted(mapper, frames[-spare:], device)
    p50, p95 = np.percentile(times[min(_WARM_UP, len(times) // 2) :], (50, 95)).tolist()
    flops = {"flops": sum(counts.flops.values()), "flops_by_precision": counts.flops}
    return {"p50_ms": p50, "p95_ms": p95, "bytes": counts.bytes, **flops}


def timed(mapper: Any, frames: Sequence[Any]) -> list[float]:
    """Milliseconds of each frame that was mapped.

    Raises:
        RuntimeError: none was; says why.
    """
    times, message = [], "there is none"
    for frame in frames:
        start = time.perf_counter()
        try:
            mapper.integrate(frame)  # ends with the device's work: it reads the stages' times
        except FrameDropped as drop:  # the first one, which has nothing before it to tell depth by, and the like
            message = str(drop)
            continue
        times.append((time.perf_counter() - start) * 1e3)
    if not times:
        raise RuntimeError(f"none of {len(frames)} frames was mapped ({message}): try more, with --frames")
    return times


def counted(mapper: Any, frames: Sequence[Any], device: torch.device) -> Counts:
    """What the first of some frames that is mapped needs; one that is dropped says nothing of a keyframe.

    Raises:
        RuntimeError: none was; says why.
    """
    message = "there is none"
    for frame in frames:
        moved, flops = ByteCounter(), FlopsByPrecision(device)
        try:
            with flops, FlopCounterMode(display=False), moved:
                mapper.integrate(frame)
        except FrameDropped as drop:
            message = str(drop)
            continue
        return Counts(moved.bytes, {each: flops.flops[each] for each in PRECISIONS if flops.flops[each]})
    raise RuntimeError(f"none of {len(frames)} frames to count was mapped ({message}): try more, with --frames")


def _copy(device: torch.device, share: float) -> float:
    source = torch.ones(int(_COPY_BYTES * share), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best_s(lambda: target.copy_(source), device)


def product(precision: str, device: torch.device, share: float = 1.0) -> float:
    """Operations a second of a large product of matrices; on a device that knows no TF32, that is fp32.

    Args:
        precision: one of `PRECISIONS`.
        share: size of the matrices, 1: 4096 rows.
    """
    side = int(_MATRIX * share**0.5)
    dtype = torch.float16 if precision == "fp16" else torch.float32
    matrix = torch.rand(side, side, device=device, dtype=dtype)
    with _matmul_precision("high" if precision == "TF32" else "highest"):
        return 2 * side**3 / _best_s(lambda: matrix @ matrix, device)


@contextmanager
def _matmul_precision(name: str) -> Iterator[None]:
    """In which float32 matrices are multiplied, in torch's words; afterwards as it was."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _best_s(action: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    """Seconds of the fastest of some."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(times):
        wait()
        start = time.perf_counter()
        action()
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try it out")
    parser.add_argument("--room", action="store_true", help="the procedural room, even where RedKitchen is")
    parser.add_argument("--ceiling", type=float, default=1.0, help="size of what the ceilings are measured with")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
