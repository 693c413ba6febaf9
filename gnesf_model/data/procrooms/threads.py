"""One thread for many small operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch's CPU operations on one thread inside; also a decorator.

    Casting rays is thousands of operations of some 50 microseconds: a second thread gains nothing, and on
    busy cores its barriers cost 5 to 10 times the work (0.22 s per frame against 1.8 s, measured on two
    cores with five runnable processes). It also makes results independent of the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
