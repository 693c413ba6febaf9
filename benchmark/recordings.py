"""What benchmarks run on, side by side: a recording of a real kitchen, and a long walk through a flat of six rooms.

The recording is RedKitchen (640x480 at 6 Hz, 200 frames), a procedural room where that is missing. The long walk is
procedural everywhere, of the same size and rate: 90 s, 38 m, depth as of a structured-light sensor, so that the map is
several times as large and every machine can measure it. Rendering takes minutes and is no part of any figure: what is
procedural is rendered once, into benchmark/out/recordings, and read from there like any other folder.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmark.machine import REDKITCHEN
from gnesf_model.data import procrooms
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.rgbd_folder import RgbdFolder
from gnesf_model.data.source import FrameSource, open_source
from gnesf_model.frame import Frame

RENDERED = Path(__file__).resolve().parent / "out" / "recordings"
WIDTH, HEIGHT, STRIDE = 640, 480, 5
"""RedKitchen's size, and its rate: every fifth tick of 30 Hz."""
SEED, ROOMS, LONG_FRAMES = 1, 6, 540


class FirstFrames:
    """The first frames of another source, under a name; a `FrameSource` without ground truth."""

    label_space = None

    def __init__(self, source: FrameSource, count: int, name: str | None = None) -> None:
        self._source, self._count = source, min(count, len(source))
        self.name = name or source.name
        self.drops, self.last_message = source.drops, source.last_message

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        return itertools.islice(iter(self._source), self._count)


def add_arguments(parser: argparse.ArgumentParser, frames: int) -> None:
    """Options for how much of each; `frames` is how many of the recording by default."""
    parser.add_argument("--frames", type=int, default=frames, help=f"of the recording (default {frames})")
    text = f"of the long procedural walk (default {LONG_FRAMES}); 0 leaves it out"
    parser.add_argument("--long-frames", type=int, default=LONG_FRAMES, help=text)


def recordings(options: argparse.Namespace) -> list[FirstFrames]:
    """The recording and the long walk, as `add_arguments` was answered; whatever is procedural is rendered by now."""
    found = [redkitchen(options.frames)]
    if options.long_frames:
        found.append(rendered(options.long_frames, ROOMS))
    return found


def redkitchen(frames: int) -> FirstFrames:
    """The first frames of RedKitchen; of a procedural room where that is missing."""
    return FirstFrames(open_source(REDKITCHEN), frames) if REDKITCHEN.is_dir() else rendered(frames, 1)


def rendered(frames: int, rooms: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> FirstFrames:
    """A walk through so many procedural rooms from files, which are made if they are not there.

    Args:
        frames: how many.
        rooms: several make a flat.
        size: width and height in pixels.

    Raises:
        ValueError: as `RoomSource`.
        OSError: it cannot be written.
    """
    name = f"{rooms} room{'s' * (rooms > 1)}, seed {SEED}"
    # With the code that makes rooms in the name, what an older one made is never measured.
    folder = RENDERED / f"{SEED}-{rooms}-{frames}-{size[0]}x{size[1]}-{_code()}"
    if not folder.is_dir():
        walk = RoomSource(SEED, frames, *size, stride=STRIDE, rooms=rooms, depth_noise=True, shading=False)
        RENDERED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RENDERED) as made:
            part = Path(made) / "part"
            # Standard output is the result's.
            with tqdm(total=frames, desc=f"rendering {name}, once", unit="frame", file=sys.stderr) as bar:
                write_folder(walk, part, progress=bar.update)
            shutil.rmtree(part / "label")  # nothing is scored, and reading it takes time
            part.replace(folder)
    return FirstFrames(RgbdFolder(folder), frames, name)


def on_each(
    options: argparse.Namespace, measured: Callable[[FrameSource, argparse.Namespace], dict[str, Any]]
) -> dict[str, Any]:
    """Under "recordings" what is measured on each, by name; under "rows" theirs, with the name in front."""
    results = {source.name: measured(source, options) for source in recordings(options)}
    rows = [(name, *row) for name, result in results.items() for row in result.pop("rows")]
    return {"rows": rows, "recordings": results}


def _code() -> str:
    """Digest of the code that makes rooms."""
    files = sorted(Path(procrooms.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
