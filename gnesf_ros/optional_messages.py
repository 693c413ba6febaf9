"""Message packages that not every installation has; what they serve is left out without them."""

from __future__ import annotations

import importlib
from typing import Any


def optional(package: str, message: str) -> Any:
    """The class of a message, or None where its package is not installed."""
    try:
        return getattr(importlib.import_module(f"{package}.msg"), message, None)
    except ImportError:
        return None
