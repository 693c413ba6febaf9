"""A subscriber that keeps what a mapper node says, and how long the node takes to say it."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from gnesf_msgs.msg import Legend, MapperStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from gnesf_model.commands.recording import Spread
from gnesf_model.evaluation.growth import Growth
from gnesf_model.labels import LabelClass, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_ros import qos

_PERIOD_S = 0.02
_DEPTH = 100
_SETTLED_S = 1.0


@dataclass
class Traffic:
    """How many messages came on a topic, and when the first and the last one did (steady time, s)."""

    count: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self) -> None:
        """One more, now."""
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s
        self.count += 1

    @property
    def rate_hz(self) -> float:
        """Messages per second; 0 while there are not two."""
        span = self.last_s - self.first_s
        return (self.count - 1) / span if span > 0 else 0.0


class OutputRecorder:
    """Listens in a thread of its own until `close`.

    Args:
        mapper: fully qualified name of the node.
        color_type, color_topic: its colour images, for the latency.
        images: quality of service that those are published with.
        on_status: called with each status, in the thread.

    Attributes:
        traffic: by topic.
        status, legend, cloud: the latest of each; None before the first.
        words: what the diagnostics said when not all was well; the latest text of each kind.
        values: the latest values of the diagnostics, by part (``input``, ``mapping``).
        growth: the map's size at every keyframe; points and memory as the node last told them.
    """

    def __init__(
        self,
        mapper: str,
        color_type: type,
        color_topic: str,
        images: QoSProfile,
        *,
        on_status: Callable[[MapperStatus], None] = lambda status: None,
    ) -> None:
        self.traffic: dict[str, Traffic] = {}
        self.status: MapperStatus | None = None
        self.legend: Legend | None = None
        self.cloud: PointCloud2 | None = None
        self.words: dict[str, str] = {}
        self.values: dict[str, dict[str, str]] = {}
        self.growth = Growth()
        self._overlays: Spread[Image] = Spread()
        self._name, self._on_each_status = mapper.lstrip("/"), on_status
        self._sent_s: dict[int, float] = {}
        self._done_s: list[tuple[int, float]] = []
        self._mapped: set[int] = set()
        self._node = rclpy.create_node("gnesf_recorder")
        many = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self._listen(MapperStatus, f"{mapper}/status", qos.latched(_DEPTH), self._on_status)
        self._listen(Legend, f"{mapper}/semantic/legend", qos.latched(), lambda msg: self._keep("legend", msg))
        self._listen(PointCloud2, f"{mapper}/semantic_cloud", qos.latched(), lambda msg: self._keep("cloud", msg))
        self._listen(Image, f"{mapper}/semantic_overlay/image_raw", many, self._on_overlay)
        for name in ("semantic/image_raw", "semantic/confidence"):
            self._listen(Image, f"{mapper}/{name}", many, lambda msg: None)
        self._listen(DiagnosticArray, "/diagnostics", many, self._on_diagnostics)
        # Not an output: kept out of `traffic`.
        self._node.create_subscription(color_type, color_topic, self._on_color, images)
        self._stopping = False
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="gnesf_recorder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stopping = True
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()

    def wait(self, condition: Callable[[], Any], check: Callable[[], None], timeout_s: float) -> bool:
        """Wait for a condition, calling `check` all the while; False when the time was over first."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            check()
            if time.monotonic() > end_s:
                return False
            time.sleep(_PERIOD_S)
        return True

    def call(self, kind: Any, name: str, request: Any, check: Callable[[], None], timeout_s: float) -> Any:
        """A service's answer, waited for as in `wait`; None when it did not come in time."""
        client = self._node.create_client(kind, name)
        end_s = time.monotonic() + timeout_s
        if not self.wait(client.service_is_ready, check, timeout_s):
            return None
        answer = client.call_async(request)
        return answer.result() if self.wait(answer.done, check, end_s - time.monotonic()) else None

    @property
    def active(self) -> bool:
        """Whether the node takes images and has found these subscriptions, of which that to diagnostics is the last."""
        taking = self.status is not None and self.status.state != MapperStatus.INACTIVE
        return taking and self.traffic["/diagnostics"].count > 0

    @property
    def settled(self) -> bool:
        """Whether the node has dealt with every image, and nothing changes any more."""
        status = self.status
        if status is None or status.frames_pending:
            return False
        return time.monotonic() - self._done_s[-1][1] > _SETTLED_S

    @property
    def cloud_is_final(self) -> bool:
        """Whether the latest cloud shows the newest frame in the map."""
        return self.cloud is not None and self.cloud.header.stamp == self.status.header.stamp

    @property
    def overlays(self) -> list[Image]:
        """Some 16 to 32 overlay images, spread over the run."""
        return self._overlays.kept

    def latencies_ms(self) -> np.ndarray:
        """(N,) for every mapped frame: from its image on the topic to the status that counts it in."""
        found, done = [], iter(sorted(self._done_s))
        stamp, at_s = next(done, (0, 0.0))
        for wanted, sent_s in sorted(self._sent_s.items()):
            while stamp < wanted:
                stamp, at_s = next(done, (2**63, 0.0))
            if wanted in self._mapped and stamp < 2**63:
                found.append((at_s - sent_s) * 1e3)
        return np.array(found)

    def _listen(self, kind: type, topic: str, profile: QoSProfile, take: Callable[[Any], None]) -> None:
        traffic = self.traffic[topic] = Traffic()

        def on_message(msg: Any) -> None:
            traffic.add()
            take(msg)

        self._node.create_subscription(kind, topic, on_message, profile)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not self._stopping and rclpy.ok():
                self._executor.spin_once(timeout_sec=0.1)

    def _keep(self, name: str, msg: Any) -> None:
        setattr(self, name, msg)

    def _on_color(self, msg: Any) -> None:
        self._sent_s[_stamp_ns(msg)] = time.monotonic()

    def _on_overlay(self, msg: Image) -> None:
        self._overlays.add(msg)
        self._mapped.add(_stamp_ns(msg))

    def _points(self) -> int | None:
        return None if self.cloud is None else self.cloud.width * self.cloud.height

    def _memory_mb(self) -> float | None:
        return megabytes(self.values.get("mapping", {}).get("map memory", ""))

    def _on_status(self, msg: MapperStatus) -> None:
        self._done_s.append((_stamp_ns(msg), time.monotonic()))
        if msg.keyframes and (self.status is None or msg.keyframes != self.status.keyframes):
            self.growth.add(_stamp_ns(msg), msg.frames_processed, self._points(), msg.surface_voxels, self._memory_mb())
        self.status = msg
        self._on_each_status(msg)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            name, _, part = status.name.partition(": ")
            if name != self._name:
                continue
            self.values[part] = {pair.key: pair.value for pair in status.values}
            if status.level != DiagnosticStatus.OK:
                self.words[re.sub(r"[\d.]+", "", status.message)] = status.message


def megabytes(text: str) -> float | None:
    """The number in a value of the diagnostics such as ``12.5 MB``; None where there is none."""
    found = re.fullmatch(r"([\d.]+) MB", text)
    return float(found[1]) if found else None


def points_of(cloud: PointCloud2) -> LabelledPoints:
    """The points of a semantic cloud; it does not tell the colours of the images.

    Raises:
        ValueError: a cloud with other fields.
    """
    if cloud.point_step != CLOUD_POINT.itemsize or [f.name for f in cloud.fields] != list(CLOUD_POINT.names):
        raise ValueError(f"the cloud has the fields {[f.name for f in cloud.fields]}, expected {CLOUD_POINT.names}")
    found = np.frombuffer(cloud.data, CLOUD_POINT)
    return LabelledPoints(
        points=np.stack([found["x"], found["y"], found["z"]], axis=1),
        labels=found["label"].astype(np.uint8),
        confidence=found["confidence"].copy(),
        colors=None,
    )


def label_space_of(legend: Legend) -> LabelSpace:
    """The label space that a legend describes."""
    classes = [LabelClass(c.id, c.name, tuple(int(v) for v in c.color), c.kind) for c in legend.classes]
    return LabelSpace(legend.label_space, tuple(classes))


def _stamp_ns(msg: Any) -> int:
    return msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
