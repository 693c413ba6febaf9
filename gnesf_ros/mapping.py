"""What the worker's thread does with each frame: into the map, then out as messages."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.mapper import MapUpdate, SemanticMapper
from gnesf_ros.publishers import Publishers

_WINDOW = 60
"""Frames over which times and rates are taken."""


@dataclass(frozen=True)
class MapState:
    """How the map stands after a frame; a new one each time, so other threads just read the latest.

    Attributes:
        stamp_ns: of the newest frame in the map, 0 before the first.
        processed, keyframes: frames in the map, and those that voted.
        too_fast: frames that turned too fast to vote; their depth is in the map.
        voxels: voxels that hold votes.
        blocks: voxel blocks.
        memory_mb: memory of voxels and votes.
        stages_ms: median milliseconds by stage.
        finished_s: steady time at which the frame was done, 0 before the first.
        rate_hz: frames per second over the last frames.
    """

    stamp_ns: int = 0
    processed: int = 0
    keyframes: int = 0
    too_fast: int = 0
    voxels: int = 0
    blocks: int = 0
    memory_mb: float = 0.0
    stages_ms: dict[str, float] = field(default_factory=dict)
    finished_s: float = 0.0
    rate_hz: float = 0.0


class Mapping:
    """Feeds the mapper and publishes what comes of it; all but `state` belongs to the worker's thread.

    Args:
        mapper: the map.
        publishers: where results go.
        cloud_period_s: shortest time between two clouds, s.
        color_frame: gives the frame_id of the colour images.
    """

    def __init__(
        self,
        mapper: SemanticMapper,
        publishers: Publishers,
        cloud_period_s: float,
        color_frame: Callable[[], str],
    ) -> None:
        self.state = MapState(memory_mb=mapper.memory_bytes / 1e6)
        self._mapper, self._publishers, self._color_frame = mapper, publishers, color_frame
        self._cloud_period_s = cloud_period_s
        self._cloud_due_s = 0.0
        self._cloud_processed = 0
        self._stages: dict[str, deque[float]] = {}
        self._finished_s: deque[float] = deque(maxlen=_WINDOW)

    def process(self, frame: Frame) -> None:
        """Integrate a frame and publish its images, and the cloud when it is due.

        Raises:
            FrameDropped: the frame could not be used.
        """
        start = time.monotonic()
        try:
            update = self._mapper.integrate(frame)
        except FrameDropped as drop:
            # A frame that cannot be mapped still shows what its segmenter sees.
            if drop.segmentation is not None:
                self._publishers.frame(frame, drop.segmentation, frame.frame_id or self._color_frame())
            raise
        integrated = time.monotonic()
        self._publishers.frame(frame, update.segmentation, frame.frame_id or self._color_frame())
        stages = {
            **update.stages,
            "integrate": (integrated - start) * 1e3,
            "publish_images": (time.monotonic() - integrated) * 1e3,
        }
        self.state = self._state_after(update, stages)
        self.idle()

    def idle(self) -> None:
        """Publish the cloud when the map has changed, the period is over and somebody listens."""
        now = time.monotonic()
        state = self.state
        if state.processed == self._cloud_processed or now < self._cloud_due_s or not self._publishers.cloud_wanted:
            return
        # Set first: a cloud that fails is tried again after the period, not at once.
        self._cloud_due_s = now + self._cloud_period_s
        self._publishers.cloud(self._mapper.surface(), state.stamp_ns)
        self._cloud_processed = state.processed
        done = time.monotonic()
        self._cloud_due_s = done + self._cloud_period_s
        self._remember({"cloud": (done - now) * 1e3})
        self.state = replace(state, stages_ms=self._medians())

    def _state_after(self, update: MapUpdate, stages: dict[str, float]) -> MapState:
        self._remember(stages)
        self._finished_s.append(time.monotonic())
        span = self._finished_s[-1] - self._finished_s[0]
        return MapState(
            stamp_ns=update.stamp_ns,
            processed=self.state.processed + 1,
            keyframes=self.state.keyframes + (update.keyframe is not None),
            too_fast=self._mapper.keyframes.too_fast,
            voxels=self._mapper.votes.count,
            blocks=self._mapper.grid.count,
            memory_mb=self._mapper.memory_bytes / 1e6,
            stages_ms=self._medians(),
            finished_s=self._finished_s[-1],
            rate_hz=(len(self._finished_s) - 1) / span if span > 0 else 0.0,
        )

    def _remember(self, stages: dict[str, float]) -> None:
        for name, ms in stages.items():
            self._stages.setdefault(name, deque(maxlen=_WINDOW)).append(ms)

    def _medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self._stages.items()}
