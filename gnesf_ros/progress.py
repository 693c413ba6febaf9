"""How far a running mapper node is with the frames that were sent to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gnesf_msgs.msg import MapperStatus
from rclpy.node import Node

from gnesf_ros import qos

logger = logging.getLogger(__name__)

LOST_AFTER_S = 5.0
"""A message that the node has not reported so long after it was sent, while nothing waits, is lost."""


class NodeProgress:
    """Follows the status of a node and counts what was sent to it.

    Args:
        node: for the subscription.
        mapper: fully qualified name of the mapper node, e.g. ``/gnesf``.

    Attributes:
        sent: colour images sent so far.
        lost: those of them that never arrived.
    """

    def __init__(self, node: Node, mapper: str) -> None:
        self.name = "/" + mapper.strip("/")
        self.sent = 0
        self.lost = 0
        self._node = node
        self._status: MapperStatus | None = None
        self._base = 0
        self._changed_s = time.monotonic()
        self._subscription = node.create_subscription(
            MapperStatus, f"{self.name}/status", self._on_status, qos.latched()
        )

    @property
    def ready(self) -> bool:
        """Whether the node has said that it takes images."""
        return self._status is not None and self._status.state != MapperStatus.INACTIVE

    @property
    def alive(self) -> bool:
        """Whether the node is still there."""
        return self._node.count_publishers(f"{self.name}/status") > 0

    @property
    def in_flight(self) -> int:
        """Images on the way or waiting for the mapper; those that wait for a pose do not count."""
        return self._missing + (self._status.queue_length if self._status else 0)

    @property
    def done(self) -> bool:
        """Whether everything that was sent has been dealt with."""
        return self._missing == 0 and self._status is not None and self._status.frames_pending == 0

    def start(self) -> None:
        """Count from here."""
        self._base = self._status.frames_received if self._status else 0
        self.sent = self.lost = 0

    def topics(self) -> set[str]:
        """Topics that the node subscribes to."""
        namespace, _, name = self.name.rpartition("/")
        try:
            found = self._node.get_subscriber_names_and_types_by_node(name, namespace or "/")
        except RuntimeError:  # rclpy's NodeNameNonExistentError: not discovered yet
            return set()
        return {topic for topic, _ in found}

    def wait(self, until: Callable[[], bool], pause: Callable[[], None]) -> None:
        """Call `pause` until the condition holds; what got lost on the way is written off.

        Raises:
            RuntimeError: the node is gone.
        """
        while not until():
            pause()
            silent_s = time.monotonic() - self._changed_s
            if silent_s < LOST_AFTER_S:
                continue
            if not self.alive:
                raise RuntimeError(f"the node {self.name} is gone: {self._words()}")
            if self._missing and self._status and not self._status.queue_length:
                logger.warning("%d images did not reach %s: is its queue 'all'?", self._missing, self.name)
                self.lost += self._missing
            self._changed_s = time.monotonic()

    def _on_status(self, status: MapperStatus) -> None:
        if self._status and status.frames_received < self._status.frames_received:
            self._base = status.frames_received - (self.sent - self.lost)  # its counters were reset
        self._status = status
        self._changed_s = time.monotonic()

    @property
    def _missing(self) -> int:
        """Images that were sent and not received yet."""
        received = self._status.frames_received - self._base if self._status else 0
        return max(self.sent - self.lost - received, 0)

    def _words(self) -> str:
        status = self._status
        return f"{status.frames_processed if status else 0} frames were in its map after {self.sent} images"
