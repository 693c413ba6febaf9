"""Quality of service of every topic."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

_PREFIX = "qos_overrides."
_ENDS = ("publisher", "subscription")
_KINDS = ("history", "depth", "reliability", "durability")
_NOT_TAKEN = (
    "deadline",
    "lifespan",
    "liveliness",
    "liveliness_lease_duration",
    "avoid_ros_namespace_conventions",
)
"""Policies that other nodes may take."""
_VALUES = {
    "history": ("keep_last", "keep_all", "system_default"),
    "reliability": ("reliable", "best_effort", "system_default"),
    "durability": ("volatile", "transient_local", "system_default"),
}
_MOST = 100_000
"""Messages of a queue: what is set aside for them is memory."""
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


def overridden(node: Node, topic: str, end: str) -> QoSOverridingOptions:
    """The policies of a topic that the user overrides.

    Of the others rclpy would declare parameters, too, which keep the first activation's values for good.

    Args:
        node: which was given them.
        topic: the resolved name.
        end: ``publisher`` or ``subscription``.
    """
    given = node._parameter_overrides  # rclpy has no public way to names that were given and not declared
    return QoSOverridingOptions(
        [QoSPolicyKind[kind.upper()] for kind in _KINDS if f"{_PREFIX}{topic}.{end}.{kind}" in given]
    )


def check_overrides(node: Node) -> None:
    """Raise ValueError where ``qos_overrides`` names no policy, or a value that the policy has not."""
    for name, value in _given(node):
        _, end, kind = _split(name)
        if end not in _ENDS or kind not in (*_KINDS, *_NOT_TAKEN):
            raise ValueError(
                f"{name} is no quality of service, expected qos_overrides.TOPIC.publisher or .subscription and one of "
                f"{', '.join(_KINDS)}{_nearest(kind, _KINDS)}"
            )
        if kind == "depth":
            if type(value) is not int or not 1 <= value <= _MOST:
                raise ValueError(f"{name} is {value!r}, expected a whole number from 1 to {_MOST}")
        elif kind in _VALUES and value not in _VALUES[kind]:
            raise ValueError(f"{name} is {value!r}, expected {', '.join(_VALUES[kind])}")


def without_effect(node: Node, end: str, topics: Iterable[str]) -> list[str]:
    """What ``qos_overrides`` says to no topic of the node, in words; it may be meant for another one.

    Args:
        node: which was given them.
        end: ``publisher`` or ``subscription``.
        topics: resolved names of those that it has.
    """
    known, found = sorted(topics), []
    for name, _ in _given(node):
        topic, its_end, kind = _split(name)
        if its_end == end and topic not in known:
            found.append(f"{name} has no effect: this node has no {end} of {topic}{_nearest(topic, known)}")
        elif its_end == end and kind not in _KINDS:
            found.append(f"{name} has no effect: of this node's topics only {', '.join(_KINDS)} can be overridden")
    return found


def _given(node: Node) -> list[tuple[str, object]]:
    overrides = node._parameter_overrides
    return [(name, parameter.value) for name, parameter in overrides.items() if name.startswith(_PREFIX)]


def _split(name: str) -> tuple[str, str, str]:
    """Topic, end and policy that a parameter names; topics may have dots in them."""
    topic, end, kind = (["", "", *name.removeprefix(_PREFIX).rsplit(".", 2)])[-3:]
    return topic, end, kind


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (nearest: {near[0]})" if near else ""
