"""The worker's thread: what it does with frames that come too fast, and with those that fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from gnesf_model.frame import Camera, Frame, FrameDropped
from gnesf_ros.worker import Worker


class Log:
    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, text: str) -> None:
        self.errors.append(text)


class Bench:
    """A worker whose processing can be held up."""

    def __init__(self, queue: str, max_queue: int = 3) -> None:
        self.done: list[int] = []
        self.idles = self.finished = 0
        self.gate = threading.Event()
        self.log = Log()
        self.fail: dict[int, Exception] = {}
        self.idle_fails = False
        self.worker = Worker(self._process, self._idle, self._finish, self.log, queue=queue, max_queue=max_queue)
        self.worker.start()

    def _process(self, frame: Frame) -> None:
        self.gate.wait(10)
        if frame.stamp_ns in self.fail:
            raise self.fail[frame.stamp_ns]
        self.done.append(frame.stamp_ns)

    def _idle(self) -> None:
        self.idles += 1
        if self.idle_fails:
            raise ZeroDivisionError("a bug")

    def _finish(self) -> None:
        self.finished += 1

    def hold(self) -> None:
        """Submit frame 0 and wait until it is in work."""
        self.worker.submit(frame(0))
        until(lambda: self.worker.queue_length == 0)


def frame(stamp_ns: int) -> Frame:
    return Frame(stamp_ns, np.zeros((2, 2, 3), np.uint8), Camera(2, 2, 1.0, 1.0, 0.5, 0.5), np.eye(4))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def newest() -> Iterator[Bench]:
    bench = Bench("newest")
    yield bench
    bench.gate.set()
    assert bench.worker.stop()


@pytest.fixture
def every() -> Iterator[Bench]:
    bench = Bench("all")
    yield bench
    bench.gate.set()
    assert bench.worker.stop()


def test_the_newest_frame_wins(newest: Bench) -> None:
    newest.hold()
    for stamp in (1, 2, 3):
        newest.worker.submit(frame(stamp))
    assert newest.worker.pending == 2
    newest.gate.set()
    until(lambda: newest.worker.pending == 0)
    assert newest.done == [0, 3]
    assert newest.worker.drops()[0] == {"superseded": 2}


def test_a_fast_camera_does_not_starve_and_is_not_starved(newest: Bench) -> None:
    """Each camera has a place of its own, and keeps its turn however often its frame is replaced."""
    newest.hold()
    for stamp, camera in ((1, "slow"), (2, "fast"), (3, "fast"), (4, "slow"), (5, "fast")):
        newest.worker.submit(replace(frame(stamp), source=camera))
    assert newest.worker.queue_length == 2
    newest.gate.set()
    until(lambda: newest.worker.pending == 0)
    assert newest.done == [0, 4, 5]
    assert newest.worker.drops()[0] == {"superseded": 3}


def test_all_frames_are_done_in_order_up_to_the_limit(every: Bench) -> None:
    every.hold()
    for stamp in (1, 2, 3, 4, 5):
        every.worker.submit(frame(stamp))
    every.gate.set()
    until(lambda: every.worker.pending == 0)
    assert every.done == [0, 1, 2, 3]
    counts, messages = every.worker.drops()
    assert counts == {"queue_full": 2}
    assert "node.max_queue" in messages["queue_full"]


def test_a_frame_that_fails_is_counted_and_the_next_is_taken(every: Bench) -> None:
    every.fail = {1: FrameDropped("map_full", "no room"), 2: ZeroDivisionError("a bug")}
    every.gate.set()
    for stamp in (0, 1, 2):
        every.worker.submit(frame(stamp))
    until(lambda: every.worker.pending == 0)
    every.worker.submit(frame(3))
    until(lambda: every.finished == 4)
    assert every.done == [0, 3]
    assert every.worker.drops()[0] == {"map_full": 1, "internal_error": 1}
    assert "ZeroDivisionError" in every.log.errors[0]


def test_an_idle_worker_looks_for_things_to_publish(newest: Bench) -> None:
    until(lambda: newest.idles >= 2)


def test_what_fails_after_a_frame_does_not_count_it_as_lost(every: Bench) -> None:
    """It is in the map: a frame is either processed or dropped, never both."""
    every.idle_fails = True
    every.gate.set()
    every.worker.submit(frame(0))
    until(lambda: every.finished == 1)
    assert every.done == [0]
    assert every.worker.drops()[0] == {}
    assert every.log.errors and "the frame is lost" not in every.log.errors[0]


def test_stopping_leaves_waiting_frames(every: Bench) -> None:
    every.hold()
    every.worker.submit(frame(1))
    threading.Timer(0.05, every.gate.set).start()
    assert every.worker.stop()
    assert every.done == [0]


def test_calls_come_after_the_frame_in_work_and_before_those_that_wait(every: Bench) -> None:
    every.hold()
    every.worker.submit(frame(1))
    seen = every.worker.call(lambda: list(every.done))
    failed = every.worker.call(lambda: 1 / 0)
    assert not seen.done()
    every.gate.set()
    assert seen.result(5) == [0]
    with pytest.raises(ZeroDivisionError):
        failed.result(5)
    until(lambda: every.done == [0, 1])
    assert not every.worker.drops()[0], "a call that fails is not a frame that is lost"


def test_who_waits_for_a_worker_that_stops_is_told(every: Bench) -> None:
    every.hold()
    waiting = every.worker.call(lambda: None)
    threading.Timer(0.05, every.gate.set).start()
    assert every.worker.stop()
    for call in (waiting, every.worker.call(lambda: None)):
        with pytest.raises(RuntimeError, match="being cleaned up"):
            call.result(5)


def test_refused_frames_are_counted_with_those_that_waited(every: Bench) -> None:
    every.hold()
    every.worker.submit(frame(1))
    every.worker.refuse("paused")
    every.worker.submit(frame(2))
    assert every.worker.drops()[0] == {"paused": 2}
    assert every.worker.mark() == (2, {"paused": 2})  # all but the frame in work
    every.worker.refuse("")
    every.worker.submit(frame(3))
    every.gate.set()
    until(lambda: every.done == [0, 3])
