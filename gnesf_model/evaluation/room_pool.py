"""Rooms scored one after the other, or side by side in processes that have networks of their own."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import TypeVar

from gnesf_model.build import build_field, build_view_depth
from gnesf_model.config import Config
from gnesf_model.device import set_cpu_threads
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.segment import Segmenter, build_segmenter

Work = TypeVar("Work")
Scores = TypeVar("Scores")


@dataclass(frozen=True)
class Networks:
    """What scores a room, made where it is first asked for: sessions and weights do not travel between processes.

    Attributes:
        config: of the mapper; names the weights of the field and of what predicts depth.
        model: of the segmenter, a file or an id.
        input_size: (H, W) at which it runs; None: its own.
        cpu_threads: of the segmenter; None: as many as it likes.
    """

    config: Config
    model: str
    input_size: tuple[int, int] | None = None
    cpu_threads: int | None = None

    @cached_property
    def segmenter(self) -> Segmenter:
        """See `build_segmenter`."""
        return build_segmenter(
            self.model, device=self.config.device, input_size=self.input_size, cpu_threads=self.cpu_threads
        )

    @cached_property
    def field(self) -> NeuralSemanticField:
        """See `build_field`."""
        return build_field(self.config)

    def view_depth(self) -> ViewDepth:
        """What predicts depth, with nothing seen yet."""
        return build_view_depth(replace(self.config, geometry="rgb"))


class RoomPool:
    """Scores rooms; to be used as a context.

    Args:
        networks: that score.
        workers: processes, of one thread each; 1: this one, with the threads it has.

    Raises:
        ValueError: no worker.
    """

    def __init__(self, networks: Networks, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}, expected at least 1")
        self.networks, self.workers = networks, workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> RoomPool:
        if self.workers > 1:
            _ = self.networks.segmenter  # a wrong name is told once, and before processes start
            # Not fork: the threads of torch do not survive it. A copy: what is made stays here.
            alone = replace(self.networks, cpu_threads=1)
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=(alone,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        if kind is not None:
            # Some rooms have begun and more are on their way to a process, and nobody will read what they come to.
            for process in list((self._pool._processes or {}).values()):
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def each(self, score: Callable[[Networks, Work], Scores], work: Sequence[Work]) -> Iterator[Scores]:
        """`score` of each piece of work, in the order of the work: sums of them are the same however many workers.

        Args:
            score: a function of a module, or a `functools.partial` of one: it is pickled.

        Raises:
            RuntimeError: a process died, or an error came out of `score` that cannot be told in another process.
        """
        if self._pool is None:
            for piece in work:
                yield score(self.networks, piece)
            return
        try:
            yield from self._pool.map(_score, [(score, piece) for piece in work])
        except BrokenProcessPool as error:
            if error.__cause__ is not None:  # something that could not be read came back: no process died
                raise RuntimeError(f"the scores of a room could not be read: {error.__cause__}") from error
            raise RuntimeError(
                f"one of {self.workers} processes died while it scored a room, most likely of too little memory: "
                "fewer of them (--workers) need less"
            ) from error


def merged(scores: Iterable[Scores]) -> Scores:
    """The sum of the scores of at least one room."""
    whole, *others = scores
    for other in others:
        whole.merge(other)
    return whole


def _start(networks: Networks) -> None:
    global _networks
    # Ctrl-C reaches all processes, and one that takes it for the error of a room goes on with the next.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_cpu_threads(1)
    logging.getLogger("gnesf_model").setLevel(logging.ERROR)  # its warnings have been told
    _networks = networks


def _score(job: tuple[Callable[[Networks, Work], Scores], Work]) -> Scores:
    score, piece = job
    try:
        return score(_networks, piece)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for work for good."""
    multiprocessing.parent_process().join()
    os._exit(1)


_networks: Networks
"""Of this process, where it is one of a pool."""
