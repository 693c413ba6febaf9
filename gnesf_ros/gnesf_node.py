"""The node: wires parameters, input, the worker, output and diagnostics together, as its life cycle has it."""

from __future__ import annotations

import concurrent.futures
import traceback
from collections import deque
from collections.abc import Iterable

from diagnostic_msgs.msg import DiagnosticArray
from gnesf_msgs.msg import MapperStatus
from rclpy.clock import Clock, ClockType

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.device import release_memory
from gnesf_model.mapper import SemanticMapper
from gnesf_model.recording import ResultBag, free_path
from gnesf_ros import diagnosis, log_bridge, qos
from gnesf_ros.diagnosis import Diagnosis
from gnesf_ros.inputs import FrameInput
from gnesf_ros.managed import EntityScope, ManagedNode
from gnesf_ros.map_outputs import MapOutputs
from gnesf_ros.mapping import Mapping
from gnesf_ros.outlet import Outlet
from gnesf_ros.parameters import declare_parameters, follow_changes
from gnesf_ros.parts import Active, Configured
from gnesf_ros.publishers import Publishers
from gnesf_ros.services import Services
from gnesf_ros.status import Tally
from gnesf_ros.worker import Mark, Worker

NAME = "gnesf"
"""Of the node, and so of its private topics, unless it is remapped."""
BAG_TOPICS = ("color_topic", "camera_info_topic", "depth_topic", "pose_topic")
"""Settings of the input that choose topics of a bag."""
_POLL_S = 0.1
"""What comes is looked at at once; this is for what does not come, and each look wakes the whole executor."""
_DIAGNOSTICS_S = 1.0
_FRAME_S = 20.0
"""So long a transition waits for the frame in work."""


def refuse_without_effect(config: Config) -> None:
    """Raise ValueError for settings that say something to `gnesf map`, but nothing to the node."""
    for name in BAG_TOPICS:
        if topic := getattr(config.input, name):
            raise ValueError(
                f"input.{name} is {topic!r}, which chooses a topic of a bag: for the node, remap its input or use the "
                f"launch argument {name}:={topic}"
            )
    if config.geometry == "depth" and not config.node.use_depth:
        raise ValueError("node.use_depth is false, but geometry: depth needs the depth image")


class GnesfNode:
    """Maps what a camera sees.

    One thread runs the callbacks, which only decode; the worker's thread has the map. Parameters are checked when
    the node is made, the network and the label space when it is configured: everything that could be wrong is found
    before anything is subscribed to.

    Attributes:
        node: the ROS node. It is owned, not inherited from: rclpy's Node has dozens of private names.
        config: the settings; those that take effect later are in there already.

    Raises:
        ValueError: a parameter is wrong.
    """

    def __init__(self) -> None:
        self.node = ManagedNode(NAME, self)
        self.config = declare_parameters(self.node)
        refuse_without_effect(self.config)
        qos.check_overrides(self.node)
        self._log_bridge = log_bridge.install(self.node.get_logger())
        self.node.get_logger().debug(f"settings other than the defaults: {_changed(self.config) or 'none'}")
        self._configured: Configured | None = None
        self._active: Active | None = None
        self._outputs, self._inputs = EntityScope(self.node), EntityScope(self.node)
        self._last_status: MapperStatus | None = None
        self._restarts: deque[tuple[int, Mark]] = deque()
        """Maps that pose jumps began, noted by the worker's thread."""
        self._services = Services(self)
        # In every state: a node that waits for its life-cycle manager, or that could not be configured, says so.
        self._diagnostics = Outlet(self.node, DiagnosticArray, "/diagnostics", qos.output())
        self.node.create_timer(_DIAGNOSTICS_S, self._on_diagnostics, clock=_steady())
        follow_changes(self.node, lambda: self.config, self._phase, self._take_config)

    def configure(self) -> None:
        """Load the network, make an empty map, and start the worker and the outputs.

        Raises:
            ValueError, OSError, RuntimeError, ImportError: the network, its labels or a setting are wrong.
        """
        mapper = build_mapper(self.config)
        with self._outputs.recording():
            self._configured = self._with_outputs(mapper)
        self._last_status = None
        self._restarts.clear()
        self._warn_of_overrides("publisher", (p.topic_name for p in self.node.publishers))
        self._configured.worker.start()
        self._configured.publishers.legend()
        self._publish_status()
        self.node.get_logger().info(f"configured: {self._words()}")

    def activate(self) -> None:
        """Subscribe.

        Raises:
            ValueError: settings of the input contradict each other.
        """
        self._configured.worker.call(self._configured.mapper.jumps.forget)
        with self._inputs.recording():
            self._active = self._with_inputs(self._configured)
        self._warn_of_overrides("subscription", (s.topic_name for s in self.node.subscriptions))
        self._configured.mapping.active = True
        self._configured.worker.refuse("paused" if self._configured.mapping.paused else "")
        self._publish_status()
        self.node.get_logger().info(f"ready: {self._words()}")

    def deactivate(self) -> None:
        """Unsubscribe and let the frame in work end; the map stays."""
        if self._active is None:
            return
        self._configured.worker.refuse("inactive")
        try:
            self._configured.worker.call(lambda: None).result(_FRAME_S)
        except concurrent.futures.TimeoutError:  # the built-in one from Python 3.11 on
            self.node.get_logger().warning(f"the mapper did not finish its frame within {_FRAME_S:.0f} s")
        self._configured.mapping.active = False
        self._inputs.destroy()
        self._configured.tally.close(self._active.inputs)
        self._active = None
        self._publish_status()
        self.node.get_logger().info("deactivated: the map is kept")

    def cleanup(self) -> None:
        """Stop the worker and free the map, the network and the outputs."""
        if self._configured is None:
            return
        try:
            self._stop_worker(self._configured)
        finally:
            self._outputs.destroy()
            self._configured = None
            release_memory()

    def configured(self) -> Configured:
        """The map and what is around it.

        Raises:
            RuntimeError: there is none.
        """
        if self._configured is None:
            name = self.node.get_fully_qualified_name()
            raise RuntimeError(f"the node has no map: configure it first (ros2 lifecycle set {name} configure)")
        return self._configured

    def map_changed(self, generation: int, mark: Mark) -> None:
        """The map was emptied or replaced: count from then, which `mark` of the worker tells."""
        # What happened last in the worker's thread may be heard of first.
        if self._configured is not None and generation > self._configured.tally.generation:
            self._configured.tally.restart(generation, mark, self._active.inputs if self._active else None)
            self._publish_status()

    def set_paused(self, paused: bool) -> None:
        """Refuse frames, or take them again; an inactive node does so once it is activated."""
        self._configured.mapping.paused = paused
        if self._active is not None:
            self._configured.worker.refuse("paused" if paused else "")
        self._publish_status()

    def close(self) -> None:
        """End everything, then the node."""
        if self._configured is not None:
            self._stop_worker(self._configured)
        log_bridge.remove(self._log_bridge)
        self.node.destroy_node()

    def _stop_worker(self, parts: Configured) -> None:
        if parts.worker.stop():
            parts.mapping.close()
        else:  # the recorded bag stays unfinished: the map is still the worker's
            self.node.get_logger().warning("the mapper did not finish its frame in time")

    def _with_outputs(self, mapper: SemanticMapper) -> Configured:
        """Everything around a map but its input."""
        node, config = self.node, self.config
        publishers = Publishers(node, mapper.labels, config.input.global_frame, config.node.image_period_s)
        outputs = MapOutputs(node, mapper, config)
        record = None
        if config.node.record:
            # The bag of an earlier configuration, or of an earlier run, stays as it is.
            record = ResultBag(free_path(config.node.record), mapper, config, node.get_fully_qualified_name())
            node.get_logger().info(f"results are recorded in {record.path.absolute()}")
        mapping = Mapping(
            mapper, publishers, self._color_frame, outputs, record,
            restarted=lambda generation: self._restarts.append((generation, worker.mark())),
        )  # fmt: skip
        # A guard condition brings the status from the worker's thread to the executor's.
        frame_done = node.create_guard_condition(self._publish_status)
        worker = Worker(
            mapping.process,
            mapping.idle,
            frame_done.trigger,
            node.get_logger(),
            queue=config.node.queue,
            max_queue=config.node.max_queue,
            alive=node.context.ok,
        )
        return Configured(mapper, publishers, mapping, worker, Tally(worker))

    def _with_inputs(self, parts: Configured) -> Active:
        """The subscriptions, and what watches them."""
        worker = parts.worker
        inputs = FrameInput(self.node, self.config, worker.submit, lambda: not worker.pending)
        self.node.create_timer(_POLL_S, self._on_poll, clock=_steady())
        return Active(inputs, Diagnosis(self.node, inputs, worker, parts.mapper, parts.tally))

    def _warn_of_overrides(self, end: str, topics: Iterable[str]) -> None:
        for words in qos.without_effect(self.node, end, topics):
            self.node.get_logger().warning(words)

    def _color_frame(self) -> str:
        return self._active.inputs.color_frame if self._active else ""

    def _phase(self) -> str:
        if self._configured is None:
            return "unconfigured"
        return "inactive" if self._active is None else "active"

    def _take_config(self, config: Config) -> None:
        """Go on with other settings; those that are read later wait for that.

        Raises:
            ValueError: they say nothing to the node.
        """
        refuse_without_effect(config)
        self.config = config
        if self._configured is None:
            return
        if self._active is not None:
            self._active.inputs.adjust(config)
        mapping, logger = self._configured.mapping, self.node.get_logger()

        def adjust() -> None:
            try:
                mapping.adjust(config)
            except Exception:  # they were checked, so this is a fault of ours, and nobody waits for the outcome
                logger.error(f"internal error, a parameter has no effect:\n{traceback.format_exc()}")

        self._configured.worker.call(adjust)

    def _words(self) -> str:
        config, mapper = self.config, self._configured.mapper
        return (
            f"{config.segmenter.model} on {mapper.device}, {len(mapper.labels)} classes of '{mapper.labels.name}', "
            f"voxels of {config.volume.voxel_size_m * 100:g} cm in {config.input.global_frame}"
        )

    def _on_poll(self) -> None:
        self._active.inputs.poll()
        self._publish_status()

    def _on_diagnostics(self) -> None:
        parts, active = self._configured, self._active
        if active is not None:
            message = active.diagnosis.look(parts.mapping.state)
        else:
            message = diagnosis.idle(self.node, self._phase(), self.node.failure)
        self._diagnostics.publish(message)

    def _publish_status(self) -> None:
        """Tell how far the map is, when something has changed."""
        while self._restarts:
            self.node.get_logger().warning(
                "the map was emptied, because the camera's pose jumped (input.on_pose_jump: reset)"
            )
            self.map_changed(*self._restarts.popleft())
        parts = self._configured
        if parts is None or parts.mapping.state.generation != parts.tally.generation:
            return  # the map has just been changed, and `map_changed` is about to be called
        inputs = self._active.inputs if self._active else None
        status = parts.tally.message(parts.mapping, inputs, self.config.input.global_frame)
        if status != self._last_status:
            self._last_status = status
            parts.publishers.status(status)


def _changed(config: Config) -> str:
    """The settings that are not the defaults, with their values."""
    defaults = Config().to_flat()
    return ", ".join(f"{name}: {value!r}" for name, value in config.to_flat().items() if value != defaults[name])


def _steady() -> Clock:
    """Simulated time may stand still."""
    return Clock(clock_type=ClockType.STEADY_TIME)
