"""Plays a bag: every message as it was recorded, byte by byte, with /clock."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, QosDurability, QosReliability
from rosgraph_msgs.msg import Clock

from gnesf_model.data.bag_file import BagFile
from gnesf_model.frame import FrameDropped
from gnesf_ros import stamps
from gnesf_ros.progress import NodeProgress

logger = logging.getLogger(__name__)

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_CLOCK_PERIOD_S = 0.01
_SETTLED_S = 0.5
"""Subscribers that did not change for so long are all that there are."""
_STRANGE_S = 5.0
"""So long after a mapper is there and takes nothing of the bag, it is not waited for without a word."""
_DEPTH = 100


@dataclass(frozen=True)
class PlayOptions:
    """How to play: see `gnesf_ros.bag_player.add_arguments`."""

    rate: float = 1.0
    loop: bool = False
    start_s: float = 0.0
    duration_s: float = float("inf")
    remaps: dict[str, str] | None = None
    wait_for: str = ""
    outstanding: int = 8
    subscribers_s: float = 10.0
    clock: bool = True


class BagPlayer:
    """Publishes the messages of a bag as they were recorded, byte by byte.

    Args:
        node: publishes.
        bag: what is played.
        options: how.

    Raises:
        ValueError: an option is out of range, a topic to remap is not in the bag, or nothing can be played.
    """

    def __init__(self, node: Node, bag: BagFile, options: PlayOptions) -> None:
        self._check(options, bag)
        self._node, self._bag, self._options = node, bag, options
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._clock = node.create_publisher(Clock, "/clock", 1) if options.clock else None
        self._clock_sent_s = 0.0
        self._progress = NodeProgress(node, options.wait_for) if options.wait_for else None
        self._publishers: dict[str, Publisher] = {}
        self._images: set[str] = set()
        for connection in bag.connections:
            self._advertise(connection)
        if not self._publishers:
            raise ValueError(f"{bag.path} holds nothing that can be played")

    def play(self) -> None:
        """Play once, or until interrupted with `loop`; with `wait_for` until all is mapped.

        Raises:
            RuntimeError: the node that was waited for is not there, or ends.
        """
        self._wait_for_subscribers()
        while rclpy.ok():
            count = self._play_once()
            if not self._options.loop or not rclpy.ok():
                break
        if rclpy.ok() and self._progress:
            self._progress.wait(lambda: self._progress.done or not rclpy.ok(), self._pause)
            logger.info("%s has dealt with all %d images", self._progress.name, self._progress.sent)
        elif rclpy.ok():
            for publisher in self._publishers.values():  # what is on the way arrives before the publishers go
                publisher.wait_for_all_acked(Duration(seconds=2))
        logger.info("played %d messages of %s", count, self._bag.path)

    def _play_once(self) -> int:
        """Play from start to end; how many messages that were."""
        rate, count = self._options.rate, 0
        began_s, began_ns = time.monotonic(), None
        for connection, stamp_ns, raw in self._messages():
            if began_ns is None:
                began_ns = stamp_ns
            if connection.topic in self._images:
                began_s += self._wait_for_room()
            due_s = began_s + (stamp_ns - began_ns) * 1e-9 / rate if rate else time.monotonic()
            while (left_s := due_s - time.monotonic()) > 0:
                self._tick(stamp_ns - int(left_s * rate * 1e9))
                self._executor.spin_once(timeout_sec=min(left_s, _CLOCK_PERIOD_S))
            self._tick(stamp_ns)
            self._publishers[connection.topic].publish(bytes(raw))
            count += 1
            if self._progress:
                self._progress.sent += connection.topic in self._images
                self._executor.spin_once(timeout_sec=0)
            if not rclpy.ok():
                break
        if not count:
            raise ValueError(f"{self._bag.path} has no message between --start and --start + --duration")
        return count

    def _messages(self) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages within the time to play; static transforms from before it come first."""
        first_ns = None
        try:
            for connection, stamp_ns, raw in self._bag.raw(set(self._publishers)):
                first_ns = stamp_ns if first_ns is None else first_ns
                at_s = (stamp_ns - first_ns) * 1e-9
                if at_s > self._options.start_s + self._options.duration_s:
                    return
                if at_s >= self._options.start_s:
                    yield connection, stamp_ns, raw
                elif connection.topic.endswith("tf_static"):
                    self._publishers[connection.topic].publish(bytes(raw))
        except FrameDropped as error:
            logger.warning("%s", error)

    def _wait_for_room(self) -> float:
        """Wait until another image may be sent; how many seconds that took."""
        if self._progress is None or self._progress.in_flight < self._options.outstanding:
            return 0.0
        start_s = time.monotonic()
        self._progress.wait(
            lambda: self._progress.in_flight < self._options.outstanding or not rclpy.ok(),
            self._pause,
        )
        return time.monotonic() - start_s

    def _wait_for_subscribers(self) -> None:
        """Wait until the subscribers are there and do not change any more."""
        wanted, began_s = self._progress, time.monotonic()
        counts, changed_s, told = {}, began_s, False
        while rclpy.ok():
            self._executor.spin_once(timeout_sec=0.05)
            now = time.monotonic()
            found = {topic: p.get_subscription_count() for topic, p in self._publishers.items()}
            if found != counts:
                counts, changed_s = found, now
            needed = {p.topic_name for p in self._publishers.values()} & (wanted.topics() if wanted else set())
            heard = {p.topic_name for p in self._publishers.values() if p.get_subscription_count()}
            ready = heard and (wanted is None or (wanted.ready and needed and needed <= heard))
            if ready and now - changed_s > _SETTLED_S:
                break
            if wanted and wanted.ready and not needed and not told and now - changed_s > _STRANGE_S:
                told = True
                self._warn_of_names(wanted)
            if now - began_s < self._options.subscribers_s:
                continue
            if wanted is None:
                logger.warning("nobody subscribes to %s: playing all the same", ", ".join(sorted(found)))
                break
            names = ", ".join(sorted(p.topic_name for p in self._publishers.values()))
            missing = ", ".join(sorted(needed - heard or needed)) or "none of the topics"
            raise RuntimeError(
                f"{wanted.name} is {'active' if wanted.ready else 'not there or not active'} after "
                f"{now - began_s:.0f} s and subscribes to {missing} of {names}: start it first, remap topics, and let "
                "its QoS match"
            )
        if wanted:
            mapped = wanted.topics()
            taken = {topic for topic in self._images if self._publishers[topic].topic_name in mapped}
            if self._images and not taken and not told:
                self._warn_of_names(wanted)
            self._images = taken
            wanted.start()

    def _warn_of_names(self, mapper: NodeProgress) -> None:
        images = ", ".join(sorted(self._publishers[topic].topic_name for topic in self._images)) or "no colour images"
        logger.warning(
            "%s takes none of the bag's colour images (%s): give its inputs the bag's names, e.g. color_topic:=, "
            "camera_info_topic:=, depth_topic:= and odom_topic:= of replay.launch.py; `ros2 bag info` lists them",
            mapper.name,
            images,
        )

    def _advertise(self, connection: Connection) -> None:
        if connection.topic in self._publishers or connection.topic == "/clock":
            return
        kind = _message_type(connection.msgtype)
        if kind is None:
            logger.warning("%s is left out: its type %s is not installed", connection.topic, connection.msgtype)
            return
        name = (self._options.remaps or {}).get(connection.topic, connection.topic)
        profile = play_profile(connection, reliable=self._progress is not None)
        self._publishers[connection.topic] = self._node.create_publisher(kind, name, profile)
        if self._progress and connection.msgtype in IMAGES and self._is_color(connection):
            self._images.add(connection.topic)

    def _is_color(self, connection: Connection) -> bool:
        # torch comes with these: only where they are needed
        from gnesf_model.data.bag_topics import is_depth_format
        from gnesf_model.data.messages import DEPTH_ENCODINGS

        first = self._bag.first(connection)
        described = getattr(first, "encoding", getattr(first, "format", ""))
        return described not in DEPTH_ENCODINGS and not is_depth_format(described)

    def _tick(self, now_ns: int) -> None:
        """Publish /clock, at most every 10 ms, where time moves."""
        now_s = time.monotonic()
        if self._clock is not None and now_s - self._clock_sent_s >= _CLOCK_PERIOD_S:
            self._clock.publish(Clock(clock=stamps.time_message(now_ns)))
            self._clock_sent_s = now_s

    def _pause(self) -> None:
        self._executor.spin_once(timeout_sec=_CLOCK_PERIOD_S)

    @staticmethod
    def _check(options: PlayOptions, bag: BagFile) -> None:
        for name, value, low in (
            ("--rate", options.rate, 0.0),
            ("--start", options.start_s, 0.0),
            ("--duration", options.duration_s, 0.0),
            ("--outstanding", options.outstanding, 1),
        ):
            if not value >= low:
                raise ValueError(f"{name} is {value}, expected at least {low:g}")
        there = [c.topic for c in bag.connections]
        for topic in options.remaps or {}:
            if topic not in there:
                raise ValueError(f"--remap names {topic}, which is not in the bag; it holds {', '.join(there)}")


def play_profile(connection: Connection, reliable: bool) -> QoSProfile:
    """QoS to publish a recorded topic with: as recorded, reliable where that is unknown or asked for."""
    recorded = list(getattr(connection.ext, "offered_qos_profiles", []) or [])
    best_effort = recorded and all(q.reliability == QosReliability.BEST_EFFORT for q in recorded)
    latched = connection.topic.endswith("tf_static") or (
        recorded and all(q.durability == QosDurability.TRANSIENT_LOCAL for q in recorded)
    )
    depths = [q.depth for q in recorded if q.depth < 10 * _DEPTH]
    if latched and depths and not connection.topic.endswith("tf_static"):
        depth = max(1, *depths)  # late subscribers get as many as they did then
    else:
        depth = max(_DEPTH, *depths, 1)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort and not reliable else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _message_type(name: str) -> Any:
    """The class of ``package/msg/Type``; None where the package is not installed."""
    package, _, kind = name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind, None)
    except ImportError:
        return None
