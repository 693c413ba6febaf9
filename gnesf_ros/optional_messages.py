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


def absent() -> dict[str, str]:
    """Topics that are left out here, and why."""
    served = {"~/occupancy_grid_updates": ("map_msgs", "OccupancyGridUpdate")}
    served["~/semantic/label_info"] = ("vision_msgs", "LabelInfo")
    return {
        topic: f"not published, as {package} is not installed (ros-$ROS_DISTRO-{package.replace('_', '-')})"
        for topic, (package, message) in served.items()
        if optional(package, message) is None
    }
