"""Looks at the map, from which clouds, meshes, grids and views are made: how long they take, and what keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class Looks:
    """Runs what makes an output from the map; belongs to the worker's thread.

    A GPU without memory for one output keeps neither the others nor the map waiting: it is said, and tried again when
    the output is due again.

    Args:
        no_memory: what to say of it: what cannot be done, and the allocator's error -> words.
    """

    def __init__(self, no_memory: Callable[[str, Exception], str]) -> None:
        self._no_memory = no_memory
        self._failed: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """Why outputs are missing; empty while none is."""
        return "; ".join(self._failed[name] for name in sorted(self._failed))

    def make(self, name: str, action: Callable[[], None]) -> dict[str, float]:
        """Milliseconds by name of output; nothing where it could not be made."""
        start = time.monotonic()
        try:
            action()
        except torch.cuda.OutOfMemoryError as error:
            self._failed[name] = self._no_memory(f"make the {name} from the map", error)
            return {}
        self._failed.pop(name, None)
        return {name: (time.monotonic() - start) * 1e3}
