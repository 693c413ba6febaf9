"""The command `gnesf`: map a recording offline, write and play bags, run the demonstration."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

COMMANDS = {
    "map": ("gnesf_model.commands.map_recording", "map a recording offline, with scores"),
    "bag": ("gnesf_model.commands.bag", "write a ROS 2 bag (MCAP) from any recording"),
    "synth": ("gnesf_model.commands.synth", "write a procedural room as an RGB-D folder or a bag"),
    "train": ("gnesf_model.commands.train", "train the bundled networks on procedural rooms"),
    "eval": (
        "gnesf_model.commands.evaluate",
        "score a recording or a data set, or the segmenter on rooms or photographs",
    ),
    "compare": ("gnesf_model.commands.compare", "two runs side by side; status 1 on a regression beyond given limits"),
    "export": ("gnesf_model.commands.export", "write networks as ONNX files, a saved map as PLY files"),
    "play": ("gnesf_ros.bag_player", "play a bag onto real topics, with /clock (needs ROS 2)"),
    "demo": ("gnesf_ros.demo", "a recording through the real node, with pictures (needs ROS 2)"),
}
"""Name -> module, imported only when chosen, and what it does."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        its exit status; 2: the input is at fault, said in one line; 130 and 143: ended by SIGINT, by SIGTERM.
    """
    try:
        with _terminable():
            return _run(arguments)
    except KeyboardInterrupt as stop:
        return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: files that it made for itself and processes that it began go with it."""
    if threading.current_thread() is not threading.main_thread():  # to which signals go
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logger = logging.getLogger("gnesf")
    parser = argparse.ArgumentParser(prog="gnesf", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    try:
        for name, (module_name, text) in COMMANDS.items():
            sub = commands.add_parser(name, help=text, description=text)
            if name in arguments[:1]:
                module = importlib.import_module(module_name)
                module.add_arguments(sub)
                sub.set_defaults(run=module.run)
        parsed = parser.parse_args(arguments)
        return parsed.run(parsed)
    except ModuleNotFoundError as error:
        logger.error("gnesf %s needs %s: %s", arguments[0], error.name or error, _remedy(error))
        return 2
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        logger.error("%s", error)
        return 2


def _remedy(error: ModuleNotFoundError) -> str:
    if _is_ros(error):
        return "source a ROS 2 installation, or run `make setup`"
    if any(library in (error.name or str(error)) for library in ("lightning", "torchmetrics", "tensorboard")):
        return "pip install 'gnesf_ros[train]', or '.[train]' in the checkout"
    return "pip install it"


def _is_ros(error: ModuleNotFoundError) -> bool:
    name = (error.name or "").split(".")[0]
    return name in ("rclpy", "gnesf_msgs", "tf2_msgs") or name.endswith(("_msgs", "_interfaces"))


if __name__ == "__main__":
    sys.exit(main())
