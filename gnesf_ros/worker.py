"""One thread for the map: what callbacks submit is processed there, in order, one at a time."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from gnesf_model.frame import Frame, FrameDropped

IDLE_PERIOD_S = 0.1
"""How often an idle worker looks whether something is left to publish."""


class Worker:
    """Processes frames in a thread of its own, so that inference never blocks a callback.

    With ``newest`` one frame of each camera waits and a newer one of the same camera takes its place (counted as
    ``superseded``), the camera whose frame waits longest being next; with ``all``
    up to `max_queue` wait and further ones are dropped (``queue_full``). A frame that fails is counted and the
    next one is taken: nothing that a frame does ends the thread.

    Args:
        process: called with each frame, in the thread.
        idle: called in the thread every `IDLE_PERIOD_S` while no frame waits.
        finished: called in the thread after each frame, whatever became of it.
        logger: takes the traceback of an unexpected error.
        queue: ``newest`` or ``all``.
        max_queue: frames that wait at most with ``all``.
        alive: False once messages cannot be published any more, which is no error then.
    """

    def __init__(
        self,
        process: Callable[[Frame], None],
        idle: Callable[[], None],
        finished: Callable[[], None],
        logger: Any,
        *,
        queue: str,
        max_queue: int,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._alive = alive
        self._process, self._idle, self._finished, self._logger = process, idle, finished, logger
        self._newest_only = queue == "newest"
        self._capacity = max_queue
        self._waiting: deque[Frame] = deque()
        self._busy, self._since_s = False, 0.0
        self._stopping = False
        self._drops: Counter[str] = Counter()
        self._last_message: dict[str, str] = {}
        self._changed = threading.Condition()
        # A daemon: a segmenter that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="gnesf_worker", daemon=True)

    def start(self) -> None:
        """Start taking frames."""
        self._thread.start()

    def stop(self, timeout_s: float = 20.0) -> bool:
        """Let the frame in work end, forget those that wait; False when it did not end in time."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, frame: Frame) -> None:
        """Queue a frame; never blocks."""
        with self._changed:
            if self._newest_only and self._superseded(frame):
                return
            if not self._newest_only and len(self._waiting) >= self._capacity:
                text = f"{self._capacity} frames wait already: play slower, or raise node.max_queue"
                self._count("queue_full", text)
                return
            self._waiting.append(frame)
            self._changed.notify()

    @property
    def queue_length(self) -> int:
        """Frames that wait."""
        return len(self._waiting)

    @property
    def pending(self) -> int:
        """Frames that wait or are in work."""
        with self._changed:
            return len(self._waiting) + self._busy

    @property
    def busy_s(self) -> float:
        """How long the frame in work has been there, s; 0 when there is none."""
        with self._changed:
            return time.monotonic() - self._since_s if self._busy else 0.0

    def drops(self) -> tuple[Counter[str], dict[str, str]]:
        """Frames that never got into the map, by reason, and the latest message of each reason."""
        with self._changed:
            return Counter(self._drops), dict(self._last_message)

    def _superseded(self, frame: Frame) -> bool:
        """Whether a frame of this camera waited; the newer one took its place, and its turn."""
        for i, waiting in enumerate(self._waiting):
            if waiting.source == frame.source:
                self._waiting[i] = frame
                self._count("superseded", "a newer frame came while the mapper was busy")
                return True
        return False

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._stopping:
                    self._changed.wait(IDLE_PERIOD_S)
                if self._stopping:
                    return
                frame = self._waiting.popleft() if self._waiting else None
                self._busy, self._since_s = frame is not None, time.monotonic()
            if frame is None:
                self._guarded(self._idle, lost="")
                continue
            self._guarded(self._process, frame)
            with self._changed:
                self._busy = False
            self._guarded(self._finished, lost="")

    def _guarded(self, action: Callable[..., None], *arguments: Any, lost: str = ", the frame is lost") -> None:
        """Run a part of the loop, counting what goes wrong in it; `lost` is empty where no frame is at stake."""
        try:
            action(*arguments)
        except FrameDropped as error:
            with self._changed:
                self._count(error.reason, str(error))
        except Exception as error:  # the node stays alive whatever a frame or a model does
            if self._stopping or not self._alive():
                return
            if lost:
                with self._changed:
                    self._count("internal_error", f"{type(error).__name__}: {error}")
            self._logger.error(f"internal error{lost}:\n{traceback.format_exc()}")

    def _count(self, reason: str, message: str) -> None:
        self._drops[reason] += 1
        self._last_message[reason] = message
