"""A folder of label images whose reading takes as long as a test wishes: a segmenter that hangs, or a slow machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path


class HeldLabels:
    """Label images for `oracle:DIR`, some of which are pipes at first: whoever opens one waits until it is let go.

    Args:
        labels: folder of label images that is copied.
        folder: where to.
        held: stamps, ns, of those whose reading waits.
        hold_s: how long it waits; None: until `release`.

    Attributes:
        opened: stamp -> monotonic time at which it was asked for.
    """

    def __init__(self, labels: Path, folder: Path, held: Iterable[int], hold_s: float | None = None) -> None:
        self.folder, self.opened = Path(shutil.copytree(labels, folder)), {}
        self._hold_s, self._released, self._ended = hold_s, threading.Event(), threading.Event()
        self._pipes: dict[int, tuple[Path, Path]] = {}
        for stamp in held:
            path = next(p for p in self.folder.glob("*.png") if int(p.stem) == stamp)
            image = path.rename(path.with_suffix(".image"))
            os.mkfifo(path)
            self._pipes[stamp] = path, image
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let go of what waits, and of what is opened from now on."""
        self._released.set()

    def close(self) -> None:
        """Wait for nobody any more."""
        self._released.set()
        self._ended.set()
        self._thread.join(10)

    def _serve(self) -> None:
        while self._pipes and not self._ended.is_set():
            for stamp, (path, image) in list(self._pipes.items()):
                try:
                    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:  # nobody reads it yet
                    continue
                self.opened[stamp] = time.monotonic()
                self._released.wait(self._hold_s)
                data = image.read_bytes()
                image.replace(path)  # a decoder may open it more than once: from now on it is a plain file
                with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "wb") as stream:
                    stream.write(data)
                del self._pipes[stamp]
            time.sleep(0.005)
