"""Quality of service of every topic."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

_POSE_DEPTH = 1000
"""2.5 s of poses or transforms at 400 Hz."""


def images(queue: str, max_queue: int) -> QoSProfile:
    """Colour, depth and camera info: as sensor data, or, with ``queue: all``, reliable and deep."""
    return _reliable(max_queue) if queue == "all" else _best_effort(5)


def poses(queue: str, max_queue: int) -> QoSProfile:
    """Poses, odometry and /tf: deep, because many come between two images."""
    return _reliable(max(_POSE_DEPTH, 10 * max_queue)) if queue == "all" else _best_effort(_POSE_DEPTH)


def static_transforms() -> QoSProfile:
    """/tf_static, as tf2's listener has it: what was published before the node started still arrives."""
    return latched(100)


def output() -> QoSProfile:
    """Images and status: reliable, which suits best-effort subscribers as well."""
    return _reliable(10)


def latched(depth: int = 1) -> QoSProfile:
    """Who subscribes late still gets the last message(s); volatile subscribers are served, too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE)


def _best_effort(depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
