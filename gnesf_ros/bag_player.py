"""`gnesf play`: a bag onto real topics, with /clock."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException

from gnesf_model.data.bag_file import BagFile
from gnesf_ros import middleware
from gnesf_ros.playback import BagPlayer, PlayOptions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="folder with metadata.yaml, or an .mcap or .db3 file")
    parser.add_argument("--rate", type=float, default=1.0, help="1: as recorded; 0: as fast as possible (default 1)")
    parser.add_argument("--loop", action="store_true", help="start again at the end")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds to leave out at the start")
    parser.add_argument("--duration", type=float, default=float("inf"), metavar="S", help="seconds to play")
    parser.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO", help="publish a topic under another name"
    )
    parser.add_argument(
        "--wait-for",
        default="",
        metavar="NODE",
        help="mapper node, e.g. /gnesf, that all frames must reach: play when it is ready, never more than "
        "--outstanding images ahead of it, everything reliable, and end when all is mapped (its parameter "
        "node.queue should be 'all')",
    )
    parser.add_argument("--outstanding", type=int, default=8, metavar="N", help="see --wait-for (default 8)")
    parser.add_argument(
        "--wait-s", type=float, default=10.0, metavar="S", help="how long to wait for subscribers (default 10)"
    )
    parser.add_argument("--no-clock", action="store_true", help="do not publish /clock")


def run(arguments: argparse.Namespace) -> int:
    """Play the bag; 0 when it was played to the end or interrupted."""
    options = PlayOptions(
        rate=arguments.rate,
        loop=arguments.loop,
        start_s=arguments.start,
        duration_s=arguments.duration,
        remaps=parse_remaps(arguments.remap),
        wait_for=arguments.wait_for,
        outstanding=arguments.outstanding,
        subscribers_s=arguments.wait_s,
        clock=not arguments.no_clock,
    )
    bag = BagFile(arguments.bag)
    os.environ.update(middleware.environment())  # who sends images needs it, not only who takes them
    rclpy.init(args=[])
    node = None
    try:
        node = rclpy.create_node("gnesf_player")
        BagPlayer(node, bag, options).play()
    except (KeyboardInterrupt, ExternalShutdownException):
        logger.info("interrupted")
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def parse_remaps(items: list[str]) -> dict[str, str]:
    """``from:=to`` strings as a mapping of topic names.

    Raises:
        ValueError: another form.
    """
    remaps = {}
    for item in items:
        old, sign, new = item.partition(":=")
        if not sign or not old.startswith("/") or not new.startswith("/"):
            raise ValueError(f"remapping is {item!r}, expected /from:=/to")
        remaps[old] = new
    return remaps
