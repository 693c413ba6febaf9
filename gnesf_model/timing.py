"""How long the stages of a step took, on the CPU or on a GPU, without a synchronisation inside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageTimer:
    """Times named stages; `read` waits for the device once, at the end of a step."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Forget what was timed and not read."""
        self._marks: list[tuple[str, object, object]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the block as `stage`; a stage that runs twice counts both times."""
        start = self._mark()
        try:
            yield
        finally:
            self._marks.append((stage, start, self._mark()))

    def read(self) -> dict[str, float]:
        """Milliseconds by stage since the last call."""
        marks = self._marks
        self.restart()
        stages: dict[str, float] = {}
        if self._cuda:
            torch.cuda.synchronize()
        for stage, start, end in marks:
            ms = start.elapsed_time(end) if self._cuda else (end - start) * 1e3
            stages[stage] = stages.get(stage, 0.0) + ms
        return stages

    def _mark(self) -> object:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
