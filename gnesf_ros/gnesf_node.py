"""The node: wires parameters, input, the worker, output and diagnostics together."""

from __future__ import annotations

import rclpy
from gnesf_msgs.msg import MapperStatus
from rclpy.clock import Clock, ClockType

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_ros import log_bridge, stamps
from gnesf_ros.diagnosis import Diagnosis
from gnesf_ros.inputs import FrameInput
from gnesf_ros.mapping import Mapping
from gnesf_ros.parameters import declare_parameters
from gnesf_ros.publishers import Publishers
from gnesf_ros.worker import Worker

NAME = "gnesf"
"""Of the node, and so of its private topics, unless it is remapped."""
_POLL_S = 0.05
_DIAGNOSTICS_S = 1.0


def refuse_without_effect(config: Config) -> None:
    """Raise ValueError for settings that say something to `gnesf map`, but nothing to the node."""
    for name in ("color_topic", "camera_info_topic", "depth_topic", "pose_topic"):
        if topic := getattr(config.input, name):
            raise ValueError(
                f"input.{name} is {topic!r}, which chooses a topic of a bag: for the node, remap its input or use the "
                f"launch argument {name}:={topic}"
            )
    if config.geometry == "depth" and not config.node.use_depth:
        raise ValueError("node.use_depth is false, but geometry: depth needs the depth image")


class GnesfNode:
    """Maps what a camera sees.

    One thread runs the callbacks, which only decode; the worker's thread has the map. Everything that could
    be wrong is found before anything is subscribed to.

    Attributes:
        node: the ROS node. It is owned, not inherited from: rclpy's Node has dozens of private names.

    Raises:
        ValueError, OSError, RuntimeError, ImportError: a parameter, the segmenter or its labels are wrong.
    """

    def __init__(self) -> None:
        self.node = node = rclpy.create_node(NAME)
        config = declare_parameters(node)
        refuse_without_effect(config)
        logger = node.get_logger()
        self._log_bridge = log_bridge.install(logger)
        mapper = build_mapper(config)
        self._global_frame = config.input.global_frame
        self._publishers = Publishers(node, mapper.labels, self._global_frame)
        self._mapping = Mapping(mapper, self._publishers, config.node.cloud_period_s, lambda: self._input.color_frame)
        # A guard condition brings the status from the worker's thread to the executor's.
        self._frame_done = node.create_guard_condition(self._publish_status)
        self._worker = Worker(
            self._mapping.process,
            self._mapping.idle,
            self._frame_done.trigger,
            logger,
            queue=config.node.queue,
            max_queue=config.node.max_queue,
            alive=node.context.ok,
        )
        self._input = FrameInput(node, config, self._worker.submit, lambda: not self._worker.pending)
        self._diagnosis = Diagnosis(node, self._input, self._worker, mapper)
        self._last_status: MapperStatus | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        node.create_timer(_POLL_S, self._on_poll, clock=steady)
        node.create_timer(_DIAGNOSTICS_S, self._on_diagnostics, clock=steady)
        self._publishers.legend()
        self._publish_status()
        self._worker.start()
        logger.info(
            f"ready: {config.segmenter.model} on {mapper.device}, {len(mapper.labels)} classes of "
            f"'{mapper.labels.name}', voxels of {config.volume.voxel_size_m * 100:g} cm in {config.input.global_frame}"
        )

    def close(self) -> None:
        """Stop the worker, then the node."""
        if not self._worker.stop():
            self.node.get_logger().warning("the mapper did not finish its frame in time")
        log_bridge.remove(self._log_bridge)
        self.node.destroy_node()

    def _on_poll(self) -> None:
        self._input.poll()
        self._publish_status()

    def _on_diagnostics(self) -> None:
        self._publishers.diagnostics(self._diagnosis.look(self._mapping.state))

    def _publish_status(self) -> None:
        """Tell how far the map is, when something has changed."""
        # What waits is read before the map's state: a frame may be counted twice for a moment, never missed.
        waiting, pending = self._worker.queue_length, self._worker.pending + self._input.assembler.waiting
        state = self._mapping.state
        drops, _ = self._diagnosis.drops()
        reasons = sorted(drops)
        status = MapperStatus(
            header=stamps.header(state.stamp_ns, self._global_frame),
            state=MapperStatus.MAPPING if state.processed else MapperStatus.WAITING,
            frames_received=self._input.images_received,
            frames_processed=state.processed,
            keyframes=state.keyframes,
            drop_reasons=reasons,
            drop_counts=[drops[reason] for reason in reasons],
            queue_length=waiting,
            frames_pending=pending,
            surface_voxels=state.voxels,
        )
        if status != self._last_status:
            self._last_status = status
            self._publishers.status(status)
