"""Says how the node is doing, and above all why nothing comes out."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter, deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from gnesf_model.data.pose_chain import POSE_SOURCES
from gnesf_model.machine import peak_memory_mb
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment import BUNDLED, FOR_DEMONSTRATION
from gnesf_ros import stamps
from gnesf_ros.inputs import FrameInput
from gnesf_ros.mapping import MapState
from gnesf_ros.optional_messages import absent
from gnesf_ros.status import Tally
from gnesf_ros.subscriptions import Topic, renaming
from gnesf_ros.worker import Worker

PATIENCE_S = 5.0
"""So long nothing may come out before it is an error."""
_REPEAT_S, _REMIND_S = 5.0, 30.0
"""Shortest time between two warnings of new drops of one kind, and between two that say the same."""
_RECURRING = 3
"""In so many of the last seconds stamps must have stepped back to be a fault."""
_SHARED = ("tf", "tf_static")
"""Topics that have many publishers."""
_OTHER_TRANSPORT = "choose node.image_transport or node.depth_transport"
_NO_FAULT = ("superseded", "clock_jump", "paused", "inactive", "first_view")
"""Drops that are how the node is meant to work."""


class Diagnosis:
    """Looks at every part once a second; belongs to the executor's thread.

    Args:
        node: for its logger, clock and name.
        inputs, worker, mapper: what is looked at.
        tally: counts the drops, for the status as for the diagnostics.
    """

    def __init__(self, node: Node, inputs: FrameInput, worker: Worker, mapper: SemanticMapper, tally: Tally) -> None:
        self._node, self._inputs, self._worker, self._tally = node, inputs, worker, tally
        self._device = str(mapper.device)
        self._segmenter = mapper.config.segmenter.model
        self._started_s = time.monotonic()
        # Begins here, so that what happens before the first look is news to it too, and earlier activations are not.
        before = tally.drops(inputs)
        start = (self._started_s, Counter(), before, Counter())
        self._history: deque[tuple[float, Counter, Counter, Counter]] = deque([start], maxlen=int(PATIENCE_S) + 1)
        self._lost: deque[int] = deque([0], maxlen=int(PATIENCE_S) + 1)
        """Colour images that never arrived, as of the same looks."""
        self._warned: dict[str, tuple[int, float]] = {reason: (n, -_REPEAT_S) for reason, n in before.items()}
        self._generation = tally.generation
        self._said = ("", -_REMIND_S)
        self._paused = self._trouble = ""
        self._silent: set[str] = set()
        """Colour topics on which nothing comes any more."""

    def look(self, state: MapState) -> DiagnosticArray:
        """The diagnostics of this second; also warns in the log about what is new."""
        drops, messages = self._tally.drops(self._inputs), self._tally.words(self._inputs)
        self._notice_restart()
        received = Counter({role: topic.received for role, topic in self._inputs.topics.items()})
        self._history.append((time.monotonic(), received, drops, self._inputs.assembler.notices))
        self._lost.append(sum(topic.lost for topic in self._inputs.colors))
        level, text = self._verdict(state, drops, messages)
        self._log(level, text, drops, messages)
        if state.paused and not self._paused:
            self._node.get_logger().warning(state.paused)
        if state.trouble and not self._trouble:
            self._node.get_logger().warning(state.trouble)
        self._paused, self._trouble = state.paused, state.trouble
        self._log_silence()
        name = self._node.get_fully_qualified_name().lstrip("/")
        return DiagnosticArray(
            header=stamps.header(self._node.get_clock().now().nanoseconds, ""),
            status=[
                _status(f"{name}: input", level, text, self._input_values(drops)),
                _status(f"{name}: segmenter", *self._segmenter_words(), {"model": self._segmenter}),
                _status(f"{name}: mapping", *self._mapping_words(state), self._mapping_values(state)),
                _status(f"{name}: outputs", *_output_words(state), _output_values(state)),
            ],
        )

    def _notice_restart(self) -> None:
        """Drops are counted from zero for another map: what was dropped before it is no news, and no measure."""
        if self._tally.generation == self._generation:
            return
        self._generation = self._tally.generation
        counts = [(at_s, received, Counter(), notices) for at_s, received, _, notices in self._history]
        self._history = deque(counts, maxlen=self._history.maxlen)
        noticed = self._inputs.assembler.notices
        self._warned = {reason: known for reason, known in self._warned.items() if reason in noticed}

    def _verdict(self, state: MapState, drops: Counter, messages: dict[str, str]) -> tuple[bytes, str]:
        if self._worker.refusal == "paused":
            return DiagnosticStatus.WARN, "paused: images are not mapped until ~/resume is called"
        now = time.monotonic()
        fresh = drops - self._history[0][2]
        faults = [f"{n} dropped ({reason}): {messages[reason]}" for reason, n in _faults(fresh)]
        if lost := self._lost[-1] - self._lost[0]:
            faults.append(
                f"{lost} colour images were lost on the way: what is large and sent as best effort needs shared memory "
                "(docs/install.md)"
            )
        if clock := self._clocks_at_odds(messages):
            faults.append(clock)
        noticed = self._history[-1][3] - self._history[0][3]
        faults += [f"{n} noticed ({reason}): {messages[reason]}" for reason, n in _faults(noticed)]
        if state.paused:
            return DiagnosticStatus.WARN, "; ".join([state.paused, *faults])
        if state.finished_s > now - PATIENCE_S:
            faults = self._silent_cameras(now) + faults
            if faults:
                return DiagnosticStatus.WARN, "; ".join(faults)
            source = self._inputs.assembler.pose_source
            return DiagnosticStatus.OK, f"mapping at {state.rate_hz:.1f} Hz, poses from {source}"
        if busy_s := self._worker.busy_s:
            slow = DiagnosticStatus.WARN if busy_s > PATIENCE_S else DiagnosticStatus.OK
            return slow, f"mapping one frame since {busy_s:.1f} s"
        problems = self._problems() + faults
        if now - self._started_s < PATIENCE_S:
            return DiagnosticStatus.WARN, "waiting for input: " + ("; ".join(problems) or "nothing came yet")
        color = max(self._inputs.colors, key=lambda topic: topic.last_s)
        silent_s = now - color.last_s
        if color.received and silent_s > PATIENCE_S:
            problems = [f"no message on {color.name} for {silent_s:.0f} s", *problems]
            level = DiagnosticStatus.WARN if state.processed else DiagnosticStatus.ERROR
            return level, "; ".join(problems)
        return DiagnosticStatus.ERROR, "nothing is mapped: " + ("; ".join(problems) or "no reason is known")

    def _clocks_at_odds(self, messages: dict[str, str]) -> str:
        """What to say where stamps step back again and again: a bag that loops does so once in a while."""
        counts = [drops["clock_jump"] for _, _, drops, _ in self._history]
        if sum(b > a for a, b in itertools.pairwise(counts)) < _RECURRING:
            return ""
        several = [topic for topic in self._inputs.topics.values() if self._inputs.publishers(topic.role) > 1]
        whose = "; ".join(
            f"{t.name} has {self._inputs.publishers(t.role)} publishers" for t in several if t.role not in _SHARED
        )
        return f"stamps step back again and again, so nothing can be paired: {messages['clock_jump']}" + (
            f" ({whose}: do their clocks agree?)" if whose else ""
        )

    def _silent_cameras(self, now: float) -> list[str]:
        """Cameras that are missing while others go on."""
        if now - self._started_s < PATIENCE_S:
            return []
        colors = self._inputs.colors
        silent = [topic for topic in colors if now - topic.last_s > PATIENCE_S]
        if len(silent) == len(colors):  # a recording has ended, and what waits is still being mapped
            return []
        return [
            f"no message on {topic.name} for {now - topic.last_s:.0f} s" if topic.received else self._why_silent(topic)
            for topic in silent
        ]

    def _problems(self) -> list[str]:
        """What keeps frames from being made at this moment."""
        problems = []
        if self._node.get_parameter("use_sim_time").value and self._node.get_clock().now().nanoseconds == 0:
            problems.append("use_sim_time is true, but nothing comes on /clock")
        if self._inputs.trouble:
            problems.append(self._inputs.trouble)
        silent = [topic for topic in self._inputs.required if not topic.received]
        if not silent:
            return problems + self._inputs.assembler.missing()
        return problems + [self._why_silent(topic) for topic in silent]

    def _why_silent(self, topic: Topic) -> str:
        publishers, types = self._inputs.publishers(topic.role), self._inputs.types(topic.name)
        if topic.kind not in types and (elsewhere := self._inputs.elsewhere(topic)):
            return f"no message on {topic.name}, but {elsewhere}"
        if not publishers:
            return f"no message on {topic.name}: nobody publishes it (start its publisher, or {renaming(topic.role)})"
        if policy := self._inputs.unheard(topic):
            return (
                f"no message on {topic.name}: the {policy} of its publisher and of this node do not "
                f"match (qos_overrides.{topic.name}.subscription.{policy})"
            )
        if others := sorted(types - {topic.kind}):
            other = "choose another input.pose_source" if topic.role in POSE_SOURCES else _OTHER_TRANSPORT
            return (
                f"no message on {topic.name}: its publisher sends {', '.join(others)}, {topic.kind} is expected ("
                f"{renaming(topic.role)}, or {other})"
            )
        if self._inputs.keeps_for_late(topic):
            override = f"qos_overrides.{topic.name}.subscription"
            return (
                f"no message on {topic.name}: what its publisher sent before this node came is kept for those who "
                f"ask for it: set {override}.durability to transient_local and {override}.reliability to reliable"
            )
        return (
            f"no message on {topic.name}: it has {publishers} publisher(s), from which nothing arrived: nothing was "
            "sent yet, or all was lost on the way, as large images are (docs/install.md)"
        )

    def _log(self, level: bytes, text: str, drops: Counter, messages: dict[str, str]) -> None:
        """Warn of new drops and of errors, each at most once in a while."""
        now, logger = time.monotonic(), self._node.get_logger()
        for verb, counts in (("dropped", drops), ("noticed", self._history[-1][3])):
            for reason, total in _faults(counts):
                count, when = self._warned.get(reason, (0, -_REPEAT_S))
                if total == count or now - when < _REPEAT_S:
                    continue
                logger.warning(
                    f"{total - count} {verb} ({reason}; {total} in all), the last because: {messages[reason]}"
                )
                self._warned[reason] = (total, now)
        if level != DiagnosticStatus.ERROR:
            self._said = ("", -_REMIND_S)
            return
        said, when = self._said
        gist = re.sub(r"[\d.]+", "", text)
        if now - when > _REMIND_S or (gist != said and now - when > _REPEAT_S):
            logger.warning(text)
            self._said = (gist, now)

    def _log_silence(self) -> None:
        """Warn once of a camera that sends nothing any more; with simulated time it is a bag that has ended."""
        now = time.monotonic()
        silent = {t.name for t in self._inputs.colors if t.received and now - t.last_s > PATIENCE_S}
        if not self._node.get_parameter("use_sim_time").value:
            for name in sorted(silent - self._silent):
                self._node.get_logger().warning(f"no message on {name} for {PATIENCE_S:.0f} s: is the camera still on?")
        self._silent = silent

    def _input_values(self, drops: Counter) -> dict[str, Any]:
        first_s, first_counts, _, _ = self._history[0]
        span = max(self._history[-1][0] - first_s, 1e-3)
        values: dict[str, Any] = {"pose source": self._inputs.assembler.pose_source or "not settled yet"}
        for role, topic in self._inputs.topics.items():
            rate = (topic.received - first_counts[role]) / span
            words = f"{topic.received} messages, {rate:.1f} Hz, {self._inputs.publishers(role)} publisher(s)"
            policy = self._inputs.unheard(topic)
            words += f", {topic.lost} lost on the way" * bool(topic.lost)
            values[f"{role} {topic.name}"] = words + (f", incompatible {policy}" * bool(policy))
        values["images waiting"] = self._inputs.assembler.waiting
        values |= {f"dropped: {reason}": drops[reason] for reason in sorted(drops)}
        values |= {f"noticed: {reason}": count for reason, count in sorted(self._history[-1][3].items())}
        return values

    def _segmenter_words(self) -> tuple[bytes, str]:
        if self._segmenter == BUNDLED:
            return DiagnosticStatus.WARN, FOR_DEMONSTRATION
        return DiagnosticStatus.OK, f"segmenting with {self._segmenter}"

    def _mapping_words(self, state: MapState) -> tuple[bytes, str]:
        if state.trouble:
            return DiagnosticStatus.WARN, state.trouble
        if not state.blocks:
            return DiagnosticStatus.OK, "the map is empty"
        return DiagnosticStatus.OK, f"{state.processed} frames, {state.keyframes} keyframes, {state.voxels} voxels"

    def _mapping_values(self, state: MapState) -> dict[str, Any]:
        values: dict[str, Any] = {
            "frames": state.processed,
            "keyframes": state.keyframes,
            "turned too fast to vote": state.too_fast,
            "rate": f"{state.rate_hz:.2f} Hz",
            "queue": self._worker.queue_length,
            "surface voxels": state.voxels,
            "blocks": state.blocks,
            "map memory": f"{state.memory_mb:.1f} MB",
            "peak memory of the process": f"{peak_memory_mb():.0f} MB",
            "device": self._device,
        }
        return values | {f"{stage} p50": f"{ms:.2f} ms" for stage, ms in state.stages_ms.items()}


def idle(node: Node, phase: str, failure: Exception | None) -> DiagnosticArray:
    """The diagnostics of a node that is not active.

    Args:
        node: it.
        phase: ``inactive``, which is configured, or ``unconfigured``.
        failure: why its latest transition failed; None when it did not.
    """
    name = node.get_fully_qualified_name()
    verb = "activate" if phase == "inactive" else "configure"
    text = f"{phase}: nothing is mapped until the node is {verb}d (ros2 lifecycle set {name} {verb})"
    level = DiagnosticStatus.WARN
    if failure is not None:
        text, level = f"{text}; the latest attempt failed: {' '.join(str(failure).split())}", DiagnosticStatus.ERROR
    return DiagnosticArray(
        header=stamps.header(node.get_clock().now().nanoseconds, ""),
        status=[_status(f"{name.lstrip('/')}: input", level, text, {})],
    )


def _output_words(state: MapState) -> tuple[bytes, str]:
    if state.lacking:
        return DiagnosticStatus.WARN, "; ".join(f"{name}: {why}" for name, why in state.lacking.items())
    return DiagnosticStatus.OK, "what somebody subscribes to is published"


def _output_values(state: MapState) -> dict[str, Any]:
    """Why an output is missing, or comes less often than its period says."""
    slow = {
        f"{name} waits": f"{rest_s:.1f} s after each, for it takes long (node.output_share)"
        for name, rest_s in state.resting_s.items()
    }
    return {**state.lacking, **absent(), **slow}


def _faults(drops: Counter) -> list[tuple[str, int]]:
    return [(reason, count) for reason, count in sorted(drops.items()) if reason not in _NO_FAULT and count > 0]


def _status(name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=message, values=pairs)
