"""Every test below runs real nodes over DDS, on domains of its own on this machine only."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from gnesf_ros import middleware

os.environ.update(middleware.environment())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

MISSING = [name for name in ("rclpy", "gnesf_msgs") if importlib.util.find_spec(name) is None]
WHY = f"{' and '.join(MISSING)} cannot be imported: run `make setup` and use `make test`, or source a ROS 2 workspace"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Nothing here can be imported without ROS; one test says so."""
    return True if MISSING and collection_path.name != "test_ros_available.py" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is marked ros."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.ros)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def room_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `bag` (a room, camera looking down by 20 degrees from base_link) and `labels` for the oracle."""
    import ros_recording

    return ros_recording.make(tmp_path_factory.mktemp("room"))
