"""Processes that read training data."""

from __future__ import annotations

from gnesf_model.device import set_cpu_threads


def reading_processes(workers: int) -> dict:
    """Arguments of a `DataLoader` with so many processes, of one thread each; none: it reads by itself."""
    if workers == 0:
        return {}
    # Not fork: the threads of OpenCV and of torch do not survive it.
    return {"num_workers": workers, "multiprocessing_context": "spawn", "worker_init_fn": _single_thread}


def _single_thread(worker: int) -> None:
    set_cpu_threads(1)
