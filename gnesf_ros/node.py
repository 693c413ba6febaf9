"""The process of the node: how it starts, and how it ends."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.utilities import remove_ros_args

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 0 after a clean end, 1 when it could not start."""
    arguments = sys.argv if args is None else ["gnesf_node", *args]
    parser = argparse.ArgumentParser(prog="gnesf_node", description="Parameters: config/gnesf.yaml.")
    parser.parse_args(remove_ros_args(arguments)[1:])
    signals: list[int] = []

    def on_signal(number: int, frame: Any) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        _run(arguments)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if signals:
            return 0  # it came while something was being loaded or published
        get_logger("gnesf").fatal(" ".join(str(error).split()))
        return 1
    return 0


def _run(arguments: Sequence[str]) -> None:
    # Loading torch takes seconds in which a signal ends the process as cleanly as later.
    from gnesf_ros.gnesf_node import GnesfNode

    gnesf = None
    rclpy.init(args=arguments)
    try:
        gnesf = GnesfNode()
        executor = SingleThreadedExecutor()
        executor.add_node(gnesf.node)
        if gnesf.config.node.autostart:
            gnesf.node.start()
        else:
            name = gnesf.node.get_fully_qualified_name()
            gnesf.node.get_logger().info(
                f"waiting for a life-cycle manager (node.autostart is false): ros2 lifecycle set {name} configure"
            )
        executor.spin()
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the end itself is not to be interrupted
        if gnesf is not None:
            gnesf.close()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
