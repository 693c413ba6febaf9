"""Settings of the DDS middleware that large images need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gnesf_model.resources import config_dir

_FASTDDS = "rmw_fastrtps"
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Fast DDS 3 (Kilted on) reads the first and warns of the second; 2.x (Humble, Jazzy) reads the second only."""
_TRANSPORTS_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"
"""Chooses transports without a profile, which a profile of ours would undo."""
_FASTDDS_2 = ("", "humble", "iron", "jazzy")


def shared_memory_profile() -> Path:
    """The Fast DDS profile whose shared-memory segment holds several images."""
    return config_dir() / "fastdds_shm.xml"


def environment(current: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables to add to a process that sends or receives images.

    Without them a VGA image does not fit Fast DDS's default segment of 0.5 MB and is sent in pieces over
    UDP, of which best effort loses many. Empty where another middleware is chosen, or where the user has a
    profile or has chosen transports.

    Args:
        current: the environment of the process; that of this one by default.
    """
    current = os.environ if current is None else current
    chosen = current.get("RMW_IMPLEMENTATION", "")
    if chosen and not chosen.startswith(_FASTDDS):
        return {}
    if any(current.get(name) for name in (*_PROFILE_VARIABLES, _TRANSPORTS_VARIABLE)):
        return {}
    name = _PROFILE_VARIABLES[current.get("ROS_DISTRO", "") in _FASTDDS_2]
    return {name: str(shared_memory_profile())}
