"""A managed node (REP-2002's life cycle) that no request can bring down, and what its transitions make and unmake."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node

EXPECTED = (ValueError, OSError, RuntimeError, ImportError)
"""What a wrong parameter, network or file raises: told in one line. Anything else is a fault of ours."""
_KINDS = ("publisher", "subscription", "timer", "guard_condition")


class Transitions(Protocol):
    """What the transitions do; when one of the first two raises, its counterpart is called."""

    def configure(self) -> None:
        """Build everything that takes time or may be wrong."""

    def activate(self) -> None:
        """Begin to take input."""

    def deactivate(self) -> None:
        """Take no more input, keep what was made; also called where nothing was activated."""

    def cleanup(self) -> None:
        """Undo `configure`; also called where nothing was configured."""


class ManagedNode(LifecycleNode):
    """rclpy's managed node; a transition that fails is told in one line and leaves the state as it was.

    Args:
        name: of the node.
        transitions: what the transitions do.

    Attributes:
        failure: why the latest transition failed; None when it did not.
    """

    def __init__(self, name: str, transitions: Transitions) -> None:
        self._transitions = transitions
        self._starting = False
        self.failure: Exception | None = None
        super().__init__(name)
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                service.callback = self._guarded(service.callback)

    def start(self) -> None:
        """Configure and activate.

        Raises:
            ValueError, OSError, RuntimeError, ImportError: why that failed.
        """
        self._starting = True
        try:
            for trigger in (self.trigger_configure, self.trigger_activate):
                if trigger() != TransitionCallbackReturn.SUCCESS:
                    raise self.failure or RuntimeError("the node could not be started")
        finally:
            self._starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Build the mapper and the outputs."""
        return self._run("configure", self._transitions.configure, undo=self._transitions.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        return self._run("activate", self._transitions.activate, undo=self._transitions.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the map stays."""
        return self._run("deactivate", self._transitions.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the map."""
        return self._run("cleanup", self._transitions.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whichever state."""
        return self._run("shutdown", self._unmake)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a fault of ours: free everything, so that it can be configured anew."""
        return self._run("clean up after the error", self._unmake)

    def _unmake(self) -> None:
        try:
            self._transitions.deactivate()
        finally:
            self._transitions.cleanup()

    def _run(
        self, name: str, transition: Callable[[], None], undo: Callable[[], None] = lambda: None
    ) -> TransitionCallbackReturn:
        self.failure = None
        try:
            transition()
        except EXPECTED as error:
            self.failure = error
            undo()
            if not self._starting:  # then whoever starts it tells
                self.get_logger().error(f"{name} failed: {' '.join(str(error).split())}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.failure = RuntimeError(f"{name}: internal error, {type(error).__name__}: {error}")
            self.get_logger().error(f"internal error in {name}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _guarded(self, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """rclpy lets a request for a transition that the state does not have end the process."""

        def change_state(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except EXPECTED as error:  # RCLError is a RuntimeError
                wanted = request.transition.label or request.transition.id
                first_line = (str(error).splitlines() or [""])[0]
                self.get_logger().warning(f"the transition {wanted!r} was refused: {first_line}")
                response.success = False
                return response

        return change_state


class EntityScope:
    """What a transition created on a node, so that its counterpart can take all of it away again.

    Args:
        node: whose publishers, subscriptions, timers and guard conditions are meant.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._made: list[tuple[str, Any]] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Remember what is created inside; destroy it at once when an exception ends the block."""
        before = {id(entity) for _, entity in self._entities()}
        try:
            yield
        except BaseException:
            self._made += [(kind, e) for kind, e in self._entities() if id(e) not in before]
            self.destroy()
            raise
        self._made += [(kind, e) for kind, e in self._entities() if id(e) not in before]

    def destroy(self) -> None:
        """Take all of it away; the latest first."""
        while self._made:
            kind, entity = self._made.pop()
            getattr(self._node, f"destroy_{kind}")(entity)

    def _entities(self) -> list[tuple[str, Any]]:
        node = self._node
        groups = (node.publishers, node.subscriptions, node.timers, node.guards)
        return [(kind, entity) for kind, group in zip(_KINDS, groups) for entity in group]
