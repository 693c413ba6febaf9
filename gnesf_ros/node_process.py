"""The mapper node in a process of its own, as a robot starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_END_S = 30.0
_TAIL_LINES = 15


class NodeProcess:
    """Runs ``python -m gnesf_ros.node`` until `stop`, or until the end of a ``with``.

    Args:
        ros_arguments: what follows ``--ros-args``.
        environment: variables added to those of this process.
        log: file for everything that the node prints.
    """

    def __init__(self, ros_arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log_path = log
        command = [sys.executable, "-m", "gnesf_ros.node", "--ros-args", *ros_arguments]
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def check(self) -> None:
        """Say why the node has ended, if it has.

        Raises:
            RuntimeError: it has; the text ends with its last lines.
        """
        status = self._process.poll()
        if status is None:
            return
        how = f"with status {status}" if status >= 0 else f"by signal {signal.Signals(-status).name}"
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        raise RuntimeError(f"the node ended {how}; the last lines of {self._log_path}:\n" + "\n".join(lines))

    def stop(self) -> int:
        """Interrupt it as Ctrl-C does, kill it when it does not end; its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
