"""Where mixed precision ends: coordinates and votes are computed as they are given, whatever the networks do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def full_precision(function: F) -> F:
    """A function whose products autocast leaves alone: 8 bits of a pixel's coordinate are worth nothing."""

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*arguments, **named)

    return run  # type: ignore[return-value]


def reduced_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """Autocast of what runs within: to float16 on a GPU, to bfloat16 on a CPU, or not at all where not `wanted`."""
    kind = torch.float16 if device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=wanted)
