"""What the node adds to the mapper: from a message's arrival to the mapper, and from there to the wire.

usage: python -m benchmark.node [--frames 60] [--network bundled] [--points]

The node runs in this process as it is, on DDS. A process of its own sends views of a procedural room, 640x480, each
when the one before is done, and listens as RViz does: to every image of the segmentation, the cloud and the status.
Whatever the node's two threads do beside the mapper counts. Processor time is what a busy machine does not falsify.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.machine import describe, load

WIDTH, HEIGHT = 640, 480
RECORDING = "room, seed 1"
"""What the player shows: `benchmark.node_player`."""
WARM_UP = 5
"""Frames that do not count: tensors, hash table and message memory grow to their sizes there."""


@dataclass
class Clocks:
    """What the node's two threads have spent, and when.

    Attributes:
        events: messages that were taken and statuses that were published so far.
        executor_s: processor time of the executor's thread so far, in the rounds in which there was such an event.
        standing_s: the same of all other rounds: timers that find nothing to do, diagnostics.
        arrived: steady time at which the callback of an image began, by role and stamp.
        frames: of each frame its stamp, and the steady time when the mapper began, when it ended, and when the images
            were out.
        mapper_s: processor time of the mapper so far.
        marks: at the beginning of each frame: steady time, and the processor time of the executor's thread with events
            and without, of the worker's, of the mapper and of the process.
    """

    events: int = 0
    executor_s: float = 0.0
    standing_s: float = 0.0
    arrived: dict[tuple[str, int], float] = field(default_factory=dict)
    frames: list[list[float]] = field(default_factory=list)
    mapper_s: float = 0.0
    marks: list[np.ndarray] = field(default_factory=list)

    def mark(self) -> None:
        """Note how far all clocks are; called in the worker's thread."""
        executor = (self.executor_s, self.standing_s)
        self.marks.append(
            np.array([time.monotonic(), *executor, time.thread_time(), self.mapper_s, time.process_time()])
        )

    def spin(self, executor: Any) -> None:
        """One round of the executor."""
        events, start = self.events, time.thread_time()
        executor.spin_once(timeout_sec=0.1)
        spent = time.thread_time() - start
        if self.events > events:
            self.executor_s += spent
        else:
            self.standing_s += spent

    def spent_ms(self) -> dict[str, float]:
        """Milliseconds of processor time by part, after the warm-up: a frame, and for what only stands, a second."""
        count = len(self.marks) - 1 - WARM_UP
        wall, executor, standing, worker, mapper, process = (self.marks[-1] - self.marks[WARM_UP]) / count * 1e3
        return {
            "mapper": mapper,
            "executor": executor,
            "worker": worker - mapper,
            "middleware": process - executor - standing - worker,
            "standing_per_second": standing / wall * 1e3,
        }

    def latencies_ms(self) -> dict[str, dict[str, float]]:
        """Milliseconds on the clock: from the later of a frame's images to the mapper, in it, and to the wire."""
        spans = []
        for stamp, began, ended, out in self.frames[WARM_UP:]:
            arrived = max(self.arrived[role, stamp] for role in ("color", "depth"))
            spans.append([began - arrived, ended - began, out - ended])
        values = np.percentile(np.array(spans) * 1e3, (10, 50, 95), axis=0).T
        names = ("arrival", "mapper", "wire")
        return {name: dict(zip(("p10", "p50", "p95"), row.tolist())) for name, row in zip(names, values)}


def measure(arguments: list[str]) -> dict[str, Any]:
    """Map a room through the node once.

    Raises:
        FileNotFoundError: there is no ROS 2 here.
        RuntimeError: the player failed.
    """
    options = _parser().parse_args(arguments)
    try:
        from gnesf_ros import middleware
    except ImportError as error:
        raise FileNotFoundError(f"ROS 2 is not on this machine ({error})") from error
    # Nothing of it leaves this machine; both processes get the settings that the launch files give to the node.
    domain = str(random.randrange(1, 100))
    os.environ.update({"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
    os.environ.update(middleware.environment())
    before = load()
    clocks = _map(options)
    spent, latencies = clocks.spent_ms(), clocks.latencies_ms()
    overhead = spent["executor"] + spent["worker"]
    share = overhead / spent["mapper"]
    words = {"arrival": "arrival to mapper", "wire": "mapper to wire", "mapper": "mapper"}
    rows = [
        (RECORDING, f"{text}, on the clock", f"{p['p50']:.2f} ms", f"p10 {p['p10']:.2f} ms, p95 {p['p95']:.2f} ms")
        for text, p in ((words[name], latencies[name]) for name in words)
    ]
    rows += [
        (
            RECORDING,
            "executor's thread, processor time",
            f"{spent['executor']:.2f} ms",
            "receive, decode, pair, status",
        ),
        (RECORDING, "worker's thread, processor time", f"{spent['worker']:.2f} ms", "images, clouds, publish"),
        (
            RECORDING,
            "both threads beside the mapper",
            f"{overhead:.2f} ms",
            f"{overhead / spent['mapper']:.1%} of the mapper's",
        ),
        (RECORDING, "mapper, processor time", f"{spent['mapper']:.2f} ms", options.network),
        (RECORDING, "Fast DDS's threads, processor time", f"{spent['middleware']:.2f} ms", "not the node's"),
        (
            RECORDING,
            "executor's thread, standing",
            f"{spent['standing_per_second']:.1f} ms",
            "a second: timers, diagnostics",
        ),
    ]
    return {
        "benchmark": "node",
        **describe("torch", "numpy", "rclpy"),
        "frames": len(clocks.frames) - WARM_UP,
        "network": options.network,
        "points": options.points,
        "load": [before, load()],
        "processor_ms": {**spent, "overhead": overhead, "overhead_share": share},
        "clock_ms": latencies,
        "rows": rows,
    }


def _map(options: argparse.Namespace) -> Clocks:
    """Run the node until the player has ended."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from gnesf_ros.gnesf_node import GnesfNode

    given = {"segmenter.model": options.network, "input.pose_source": "pose", "node.queue": "all", "cpu_threads": 1}
    rclpy.init(args=["node", "--ros-args", *(w for name, v in given.items() for w in ("-p", f"{name}:={v}"))])
    gnesf = player = None
    try:
        gnesf = GnesfNode()
        clocks = Clocks()
        gnesf.node.trigger_configure()
        _watch_mapper(gnesf, clocks)
        _watch_arrivals(clocks)
        gnesf.node.trigger_activate()
        executor = SingleThreadedExecutor()
        executor.add_node(gnesf.node)
        player = subprocess.Popen([sys.executable, "-m", "benchmark.node_player", *_player_arguments(options)])
        while player.poll() is None:
            clocks.spin(executor)
    finally:
        if player is not None and player.poll() is None:
            player.terminate()
            player.wait()
        if gnesf is not None:
            gnesf.close()
        rclpy.try_shutdown()
    if player.returncode or len(clocks.frames) < WARM_UP + 2:
        raise RuntimeError(f"the player ended with {player.returncode}, {len(clocks.frames)} frames were mapped")
    return clocks


def _player_arguments(options: argparse.Namespace) -> list[str]:
    return [str(options.frames), *(["points"] * options.points)]


def _watch_mapper(gnesf: Any, clocks: Clocks) -> None:
    """Let the worker's thread tell what of its time is the mapper's, and when images are out."""
    parts = gnesf._configured
    integrate, surface, publish = parts.mapper.integrate, parts.mapper.surface, parts.publishers.frame

    def timed(action: Any, *arguments: Any) -> Any:
        start = time.thread_time()
        result = action(*arguments)
        clocks.mapper_s += time.thread_time() - start
        return result

    def on_frame(frame: Any) -> Any:
        clocks.mark()
        clocks.frames.append([frame.stamp_ns, time.monotonic()])
        update = timed(integrate, frame)
        clocks.frames[-1].append(time.monotonic())
        return update

    def on_publish(*arguments: Any) -> None:
        publish(*arguments)
        clocks.frames[-1].append(time.monotonic())

    def on_status(message: Any) -> None:
        clocks.events += 1
        status(message)

    status, parts.publishers.status = parts.publishers.status, on_status
    parts.mapper.integrate, parts.publishers.frame = on_frame, on_publish
    parts.mapper.surface = lambda *arguments: timed(surface, *arguments)  # what a cloud shows is the map's work


def _watch_arrivals(clocks: Clocks) -> None:
    """Count messages, and note when the callback of each colour and depth image begins."""
    from gnesf_model.data.messages import stamp_ns
    from gnesf_ros.inputs import FrameInput

    take = FrameInput._on_message

    def on_message(self: FrameInput, topic: Any, taker: Any, message: Any) -> None:
        clocks.events += 1
        if topic.role in ("color", "depth"):
            clocks.arrived[topic.role, stamp_ns(message.header)] = time.monotonic()
        take(self, topic, taker, message)

    FrameInput._on_message = on_message


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.node", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--network", default="bundled", help="segmenter.model")
    parser.add_argument("--points", action="store_true", help="subscribe to ~/points, too, as Nav2's layers do")
    return parser


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
