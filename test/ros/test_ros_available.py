"""Says in every run whether the tests of the ROS 2 side were run."""

from __future__ import annotations

import importlib.util

import pytest

MISSING = [name for name in ("rclpy", "gnesf_msgs") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(
    bool(MISSING),
    reason=f"{' and '.join(MISSING)} cannot be imported, so no test of the node is run: use `make test`, or source a "
    "ROS 2 workspace",
)
def test_ros_is_there() -> None:
    import rclpy  # noqa: F401
    from gnesf_msgs.msg import MapperStatus  # noqa: F401
