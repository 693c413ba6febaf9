"""Folders of rendered rooms: which settings they were made with, and the rooms that they still lack."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from gnesf_model.device import set_cpu_threads


def claim_folder(path: Path, settings: dict, what: str) -> None:
    """Make the folder of the settings file `path`, or go on in it with no more than another number of rooms.

    Args:
        path: the file; other processes may be reading it.
        settings: of what is to be rendered.
        what: is in the folder, for the message.

    Raises:
        ValueError: the folder holds something that was made with other settings.
    """
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        other = {key: value for key, value in settings.items() if found.get(key) != value and key != "rooms"}
        if other:
            raise ValueError(
                f"{path.parent} holds {what} with {', '.join(f'{key} {found.get(key)}' for key in other)}; expected "
                f"{', '.join(f'{key} {value}' for key, value in other.items())}: name another folder or remove it"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_settings(path, settings)


def write_settings(path: Path, settings: dict) -> None:
    """Write settings as JSON, whole or not at all, unless they are there: other processes may be reading."""
    text = json.dumps(settings, indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def render_missing(render: Callable[[int], None], missing: Sequence[int], rooms: int, workers: int) -> None:
    """Call `render` for each of the rooms that are missing, with a progress bar.

    Args:
        render: makes the files of a room; picklable where there are several workers.
        missing: its arguments.
        rooms: how many there are in all.
        workers: processes, of one thread each; 1 or 0: this one.
    """
    with tqdm(total=rooms, initial=rooms - len(missing), desc="rendering", unit="room") as bar:
        if workers <= 1:
            for room in missing:
                render(room)
                bar.update()
        elif missing:
            # Not fork: the threads of torch do not survive it.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, context, initializer=set_cpu_threads, initargs=(1,)) as pool:
                for done in as_completed([pool.submit(render, room) for room in missing]):
                    done.result()
                    bar.update()
