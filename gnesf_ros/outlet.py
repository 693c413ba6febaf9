"""One topic that the node publishes: whether anybody listens, who is new, and when it is due again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from gnesf_ros import qos

try:  # Humble calls the module otherwise, and has no event for a new subscriber
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:
    from rclpy.qos_event import PublisherEventCallbacks


class Outlet:
    """A publisher that knows its audience.

    Each event that a publisher watches for costs the executor time whenever anything happens in the node: rclpy's
    defaults took more of it than all messages of a frame (docs/performance.md). So none is watched for that is not
    needed; a subscriber whose quality of service does not match is told so on its own side.

    Args:
        node: whose topic it is.
        kind: message type.
        topic: name.
        profile: quality of service; `qos_overrides` may change it.
        greets: whether `newcomers` is asked for.
    """

    def __init__(self, node: Node, kind: type, topic: str, profile: QoSProfile, greets: bool = False) -> None:
        self._joined, self._seen = 0, 0
        events = PublisherEventCallbacks(use_default_callbacks=False)
        self._counts_joins = greets and hasattr(events, "matched")
        if self._counts_joins:
            events.matched = self._on_matched
        self._publisher = node.create_publisher(
            kind,
            topic,
            profile,
            qos_overriding_options=qos.overridden(node, node.resolve_topic_name(topic), "publisher"),
            event_callbacks=events,
        )

    @property
    def wanted(self) -> bool:
        """Whether somebody subscribes."""
        return self._publisher.get_subscription_count() > 0

    def newcomers(self) -> bool:
        """Whether somebody subscribed since this was last asked."""
        joined = self._joined if self._counts_joins else self._publisher.get_subscription_count()
        before, self._seen = self._seen, joined
        return joined > before

    def publish(self, message: Any) -> None:
        """Send a message, or one that is serialised already."""
        self._publisher.publish(message)

    def _on_matched(self, event: Any) -> None:
        self._joined = event.total_count


class Pace:
    """When something that is made from the map is made again: after a while, and only if the map changed.

    What takes long rests long: of a map that grows without end a whole cloud takes ever longer, and must not take the
    worker's time from the frames.

    Args:
        period_s: gives the shortest time between two, s.
        share: gives the part of the worker's time that making it may take, in 0..1; 1: however much it takes.
        shown: what need not be shown first.
    """

    def __init__(
        self, period_s: Callable[[], float], share: Callable[[], float] = lambda: 1.0, shown: Any = None
    ) -> None:
        self._period_s, self._share = period_s, share
        self._since_s = float("-inf")
        self._took_s = 0.0
        self._shown = shown

    @property
    def rest_s(self) -> float:
        """Time between the end of one and the beginning of the next, s."""
        return max(self._period_s(), self._took_s * (1.0 / self._share() - 1.0))

    def due(self, version: Any) -> bool:
        """Whether `version` of the map is to be shown now."""
        return self._shown != version and time.monotonic() >= self._since_s + self.rest_s

    def again(self) -> None:
        """Let it be due at once, whatever was shown."""
        self._since_s, self._shown = float("-inf"), None

    def begin(self) -> None:
        """It is about to be made; what fails is tried again after the period, not at once."""
        self._since_s, self._took_s = time.monotonic(), 0.0

    def done(self, version: Any) -> None:
        """It shows `version`."""
        now = time.monotonic()
        self._since_s, self._took_s = now, now - self._since_s
        self._shown = version
