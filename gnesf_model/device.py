"""Where tensors live, and how many threads the CPU may use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

DEVICES = ("auto", "cpu", "cuda")


def torch_device(name: str) -> torch.device:
    """The torch device of `auto` (CUDA where there is one), `cpu` or `cuda`.

    Raises:
        ValueError: another name, or `cuda` without a usable GPU.
    """
    if name not in DEVICES:
        raise ValueError(f"device is {name!r}; expected one of {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError(
            "device is 'cuda', but this torch sees no CUDA GPU: install a CUDA build of torch and the driver, or use "
            "device: auto or cpu"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


_own_threads: tuple[int, int] | None = None
"""Threads of torch and of OpenCV before they were first limited here; None while they are not."""


def set_cpu_threads(count: int) -> None:
    """Limit torch and OpenCV to `count` threads in this process; 0 gives them back what they had before."""
    global _own_threads
    if not count and _own_threads is None:
        return
    if _own_threads is None:
        _own_threads = torch.get_num_threads(), cv2.getNumThreads()
    for_torch, for_opencv = (count, count) if count else _own_threads
    torch.set_num_threads(for_torch)
    cv2.setNumThreads(for_opencv)
    if not count:
        _own_threads = None


def release_memory() -> None:
    """Give memory that nothing uses any more back to the device; torch would keep it for this process."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch's CPU operations on one thread inside; also a decorator.

    For series of many small operations: a second thread gains little, and on busy cores its barriers cost many times
    the work (docs/performance.md). It also makes results independent of the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
