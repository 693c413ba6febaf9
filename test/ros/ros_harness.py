"""A node in a process of its own, and a listener on its topics."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

ROOT = Path(__file__).resolve().parents[2]
_DOMAINS = itertools.cycle(range(2, 100))

_NUMBERS = itertools.count()


def new_domain() -> int:
    """A domain that no other test of this run listens on."""
    return (os.getpid() + next(_DOMAINS)) % 99 + 1


class NodeProcess:
    """The mapper node, started as users start it, until `stop`.

    Args:
        domain: ROS_DOMAIN_ID.
        parameters: by name.
        remaps: input topics.
        log: file for its output.
        ready: wait until it says so.
        extra: further ROS arguments.
    """

    def __init__(
        self,
        domain: int,
        parameters: dict[str, Any],
        remaps: dict[str, str],
        log: Path,
        ready: bool = True,
        extra: tuple[str, ...] = (),
    ) -> None:
        arguments = [sys.executable, "-m", "gnesf_ros.node", "--ros-args", *extra]
        for name, value in {"cpu_threads": 1, **parameters}.items():
            arguments += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        for old, new in remaps.items():
            arguments += ["-r", f"{old}:={new}"]
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        self._log_path, self.domain = log, domain
        with open(log, "wb") as out:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
        if ready:
            self.wait_for_log("ready:", 150)

    @property
    def log(self) -> str:
        """Everything it printed."""
        return self._log_path.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout_s: float = 20.0) -> None:
        """Wait for a line with `text`."""
        end = time.monotonic() + timeout_s
        while text not in self.log:
            assert self.process.poll() is None, f"the node ended with {self.process.poll()}:\n{self.log}"
            assert time.monotonic() < end, f"no {text!r} within {timeout_s} s:\n{self.log}"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT, timeout_s: float = 30.0) -> int:
        """Send a signal and give the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the node did not end after {how.name}:\n{self.log}") from None

    def kill(self, timeout_s: float = 20.0) -> None:
        """End it if it still runs, whatever happened; gently at first, or its shared memory stays behind for good."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def play(bag: Path, domain: int, *arguments: str) -> None:
    """`gnesf play`, in a process, to the end."""
    command = [sys.executable, "-m", "gnesf_model.cli", "play", str(bag), *arguments]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


class Peer:
    """A node in this process, spinning in a thread, that listens and publishes."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node: Node = rclpy.create_node(f"peer_{next(_NUMBERS)}", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.received: dict[str, list[Any]] = {}
        self._clients: dict[str, Any] = {}

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while self.context.ok():
                self._executor.spin_once(timeout_sec=0.05)

    def listen(self, kind: type, topic: str, qos: QoSProfile | int = 200) -> list[Any]:
        """A list that fills with the topic's messages."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        self._executor.wake()
        return messages

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
        """Wait until the condition gives something true, and return that."""
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {timeout_s} s in vain for {what}"
            time.sleep(0.02)
        return found

    def call(self, kind: type, name: str, request: Any = None, timeout_s: float = 60.0) -> Any:
        """A service's answer."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        self.wait(client.service_is_ready, f"the service {name}", timeout_s)
        future = client.call_async(request or kind.Request())
        self.wait(future.done, f"an answer of {name}", timeout_s)
        return future.result()

    def found(self) -> None:
        """Wait until the node has found all subscriptions made so far: what nobody subscribes to is not made.

        They are announced in the order in which they were made, and the one that is made here gets diagnostics.
        """
        heard = self.listen(DiagnosticArray, "/diagnostics")
        self.wait(lambda: heard, "diagnostics")

    def matched(self, *publishers: Any) -> None:
        """Wait until publishers have subscribers and the node `/gnesf` has found them: images it hears best effort.

        Publishers are announced in the order in which they were made. A client has one, too, and it is made last.
        """
        for publisher in publishers:
            self.wait(publisher.get_subscription_count, f"a subscriber of {publisher.topic_name}")
        self._clients.pop("/gnesf/get_state", None)
        self.call(GetState, "/gnesf/get_state")

    def close(self) -> None:
        """Stop spinning and leave."""
        self.context.try_shutdown()
        self._thread.join(5)
