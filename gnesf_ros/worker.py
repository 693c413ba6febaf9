"""One thread for the map: what callbacks submit is processed there, in order, one at a time."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from gnesf_model.frame import Frame, FrameDropped

T = TypeVar("T")

IDLE_PERIOD_S = 0.1
"""How often an idle worker looks whether something is left to publish."""

REFUSALS = {
    "paused": "the node is paused: call ~/resume",
    "inactive": "the node was deactivated before the frame was mapped",
}
"""Why no frames are taken, and the text of each frame that is dropped for it."""


class Mark(NamedTuple):
    """How far a worker is: frames that it was done with, one way or another, and its drops by reason."""

    done: int
    drops: Counter[str]


class Worker:
    """Processes frames in a thread of its own, so that inference never blocks a callback.

    With ``newest`` one frame of each camera waits and a newer one of the same camera takes its place (counted as
    ``superseded``), the camera whose frame waits longest being next; with ``all``
    up to `max_queue` wait and further ones are dropped (``queue_full``). A frame that fails is counted and the
    next one is taken: nothing that a frame does ends the thread. What else needs the map is run by `call`,
    between frames.

    Args:
        process: called with each frame, in the thread.
        idle: called in the thread after each frame, and every `IDLE_PERIOD_S` while none waits.
        finished: called in the thread after each frame, whatever became of it.
        logger: takes the traceback of an unexpected error.
        queue: ``newest`` or ``all``.
        max_queue: frames that wait at most with ``all``.
        alive: False once messages cannot be published any more, which is no error then.

    Attributes:
        submitted: frames so far.
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
        self._calls: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._busy, self._since_s = False, 0.0
        self._stopping = False
        self._refusal = ""
        self.submitted = 0
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
            calls, self._calls = self._calls, deque()
            self._changed.notify()
        for future, _ in calls:
            future.set_exception(RuntimeError("the node is being cleaned up"))
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, frame: Frame) -> None:
        """Queue a frame; never blocks."""
        with self._changed:
            self.submitted += 1
            if self._refusal:
                self._count(self._refusal, REFUSALS[self._refusal])
                return
            if self._newest_only and self._superseded(frame):
                return
            if not self._newest_only and len(self._waiting) >= self._capacity:
                text = f"{self._capacity} frames wait already: play slower, or raise node.max_queue"
                self._count("queue_full", text)
                return
            self._waiting.append(frame)
            self._changed.notify()

    def call(self, action: Callable[[], T]) -> Future[T]:
        """Run `action` in the worker's thread after the frame in work, before those that wait; never blocks.

        Returns:
            What becomes of it; a RuntimeError when the worker is stopped first.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._stopping:
                future.set_exception(RuntimeError("the node is being cleaned up"))
            else:
                self._calls.append((future, action))
                self._changed.notify()
        return future

    def refuse(self, reason: str) -> None:
        """Take no frames, and drop those that wait, as ``paused`` or ``inactive``; empty: take them again."""
        with self._changed:
            self._refusal = reason
            if reason:
                for _ in range(len(self._waiting)):
                    self._count(reason, REFUSALS[reason])
                self._waiting.clear()

    @property
    def refusal(self) -> str:
        """Why no frames are taken; empty while they are."""
        return self._refusal

    def mark(self) -> Mark:
        """How far the worker is."""
        with self._changed:
            return Mark(self.submitted - len(self._waiting) - self._busy, Counter(self._drops))

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
                if not self._waiting and not self._calls and not self._stopping:
                    self._changed.wait(IDLE_PERIOD_S)
                if self._stopping:
                    return
                call = self._calls.popleft() if self._calls else None
                frame = self._waiting.popleft() if self._waiting and not call else None
                self._busy, self._since_s = frame is not None, time.monotonic()
            if call is not None:
                _fulfil(*call)
                continue
            if frame is None:
                self._guarded(self._idle, lost="")
                continue
            self._guarded(self._process, frame)
            self._guarded(self._idle, lost="")  # a fault in there does not lose the frame, which is in the map
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


def _fulfil(future: Future, action: Callable[[], Any]) -> None:
    try:
        result = action()
    except Exception as error:  # whoever asked hears of it
        future.set_exception(error)
    else:
        future.set_result(result)
