"""Services and events that the executor looks at seldom while messages come."""

from __future__ import annotations

from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node


class Gate:
    """Whether what is seldom takes part; `shut` it when a message comes, `open` it now and then."""

    def __init__(self) -> None:
        self.is_open = True

    def open(self) -> None:
        """From the next round of the executor on."""
        self.is_open = True

    def shut(self) -> None:
        """After a last round."""
        self.is_open = False


class SeldomGroup(MutuallyExclusiveCallbackGroup):
    """A group that the executor leaves out of its rounds while a gate is shut.

    For each wait rclpy asks for everything that could happen, in Python, and every message is two such rounds. Two
    thirds of what the node would be asked for are services and events of quality of service, which come once in an hour
    (docs/performance.md). A request waits for the gate, no longer.

    Args:
        gate: tells when.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate
        self._admitted: set[Any] = set()

    def can_execute(self, entity: Any) -> bool:
        """Asked before a wait, and after it of what is ready: whoever was let into the wait gets through."""
        if not super().can_execute(entity):
            return False
        if entity in self._admitted:
            self._admitted.discard(entity)
            return True
        if self._gate.is_open:
            self._admitted.add(entity)
        return self._gate.is_open

    def take_in(self, node: Node) -> None:
        """Everything of a node that is seldom and in no group of its own yet."""
        for entity in (*node.services, *node.waitables):
            if entity.callback_group is node.default_callback_group:
                entity.callback_group = self
                self.add_entity(entity)
