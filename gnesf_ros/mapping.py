"""What the worker's thread does with each frame: into the map, then out as messages."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gnesf_model.config import Config
from gnesf_model.frame import Camera, Frame, FrameDropped
from gnesf_model.map_file import load_map, save_map
from gnesf_model.mapper import MapUpdate, RenderedView, SemanticMapper
from gnesf_model.recording import ResultBag
from gnesf_ros.map_outputs import MapOutputs
from gnesf_ros.publishers import Publishers

_WINDOW = 60
"""Frames over which times and rates are taken."""


@dataclass(frozen=True)
class MapState:
    """How the map stands after a frame; a new one each time, so other threads just read the latest.

    Attributes:
        generation: counts how often the map was emptied or replaced as a whole.
        stamp_ns: of the newest frame that went into it since then, 0 before the first.
        processed, keyframes: frames that went into it since then, and those that voted.
        too_fast: frames that turned too fast to vote; their depth is in the map.
        paused: why nothing is mapped until somebody resumes, after a pose jump; empty otherwise.
        trouble: why an output could not be made from the map; empty while all can.
        lacking: why an output that is asked for is not there, by its name.
        resting_s: seconds between two of an output that takes so long that its period is not kept, by its name.
        voxels: voxels that hold votes.
        blocks: voxel blocks.
        memory_mb: memory of voxels and votes.
        stages_ms: median milliseconds by stage.
        finished_s: steady time at which the frame was done, 0 before the first.
        rate_hz: frames per second over the last frames.
    """

    generation: int = 0
    stamp_ns: int = 0
    processed: int = 0
    keyframes: int = 0
    too_fast: int = 0
    paused: str = ""
    trouble: str = ""
    voxels: int = 0
    blocks: int = 0
    memory_mb: float = 0.0
    lacking: dict[str, str] = field(default_factory=dict)
    resting_s: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)
    finished_s: float = 0.0
    rate_hz: float = 0.0


class Mapping:
    """Feeds the mapper and publishes what comes of it; all but `state` belongs to the worker's thread.

    Args:
        mapper: the map.
        publishers: where results go.
        color_frame: gives the frame_id of the colour images.
        outputs: what is made from the map.
        record: takes the results, too.
        restarted: called in the worker's thread with the new generation when a pose jump has emptied the map.

    Attributes:
        state: how the map stands.
        active: whether anything may be published.
        paused: whether frames are refused until somebody resumes.
    """

    def __init__(
        self,
        mapper: SemanticMapper,
        publishers: Publishers,
        color_frame: Callable[[], str],
        outputs: MapOutputs,
        record: ResultBag | None = None,
        restarted: Callable[[int], None] = lambda generation: None,
    ) -> None:
        self._outputs, self._record, self._restarted = outputs, record, restarted
        self.state = MapState(memory_mb=mapper.memory_bytes / 1e6)
        self.active = self.paused = False
        self._mapper, self._publishers, self._color_frame = mapper, publishers, color_frame
        self._stages: dict[str, deque[float]] = {}
        self._finished_s: deque[float] = deque(maxlen=_WINDOW)

    def process(self, frame: Frame) -> None:
        """Integrate a frame and publish its images.

        Raises:
            FrameDropped: the frame could not be used.
        """
        start = time.monotonic()
        generation = self._mapper.grid.generation
        try:
            update = self._mapper.integrate(frame)
        except FrameDropped as drop:
            self._notice_restart(generation)
            if drop.blocks is not None:  # its geometry fitted, its votes did not
                self._outputs.changed(drop.blocks)
                if self._record is not None:
                    self._record.changed(drop.blocks)
            # A frame that cannot be mapped still shows what its segmenter sees.
            if drop.segmentation is not None:
                self._publishers.frame(frame, drop.segmentation, frame.frame_id or self._color_frame())
            if self._mapper.jumps.paused != self.state.paused:
                self.state = replace(self.state, paused=self._mapper.jumps.paused)
            raise
        self._notice_restart(generation)
        self._outputs.changed(update.blocks)
        frame = update.frame  # with the depth that was predicted for it
        integrated = time.monotonic()
        self._publishers.frame(frame, update.segmentation, frame.frame_id or self._color_frame())
        stages = {
            **update.stages,
            "integrate": (integrated - start) * 1e3,
            "publish_images": (time.monotonic() - integrated) * 1e3,
            **self._outputs.frame(frame, frame.frame_id or self._color_frame()),
        }
        if self._record is not None:
            began = time.monotonic()
            self._record.frame(frame, update.segmentation, update.blocks, frame.frame_id or self._color_frame())
            stages["record"] = (time.monotonic() - began) * 1e3
        self.state = self._state_after(update, stages)

    def idle(self) -> None:
        """Publish what is made from the map when it has changed, its period is over and somebody listens."""
        if not self.active:
            return
        spent = self._outputs.publish(self.state.stamp_ns)
        self._remember(spent)
        said = self._outputs_say()
        if spent or any(getattr(self.state, name) != value for name, value in said.items()):
            self.state = replace(self.state, stages_ms=self._medians(), **said)

    def reset(self) -> int:
        """Empty the map; gives the generation of the new one."""
        self._mapper.reset()
        return self._begin_anew()

    def resume(self) -> None:
        """Map again after a pose jump has paused it."""
        self._mapper.jumps.resume()
        self.state = replace(self.state, paused="")

    def save(self, path: Path) -> int:
        """Write the map as a file; gives its size in bytes.

        Raises:
            MapFileError, OSError: as `save_map`.
        """
        return save_map(path, self._mapper)

    def load(self, path: Path) -> tuple[dict[str, Any], int]:
        """Replace the map by a file's; gives what the file says of it, and the generation of the map.

        Raises:
            MapFileError, OSError: as `load_map`; the map is as it was.
        """
        return load_map(path, self._mapper), self._begin_anew()

    def render(self, camera: Camera, world_T_cam: np.ndarray, max_depth_m: float | None) -> RenderedView:
        """The map as a camera would see it."""
        return self._mapper.render(camera, world_T_cam, max_depth_m)

    def adjust(self, config: Config) -> None:
        """Go on with other settings, of those that can change while mapping."""
        self._mapper.adjust(config)
        self._outputs.adjust(config)
        if self._record is not None:
            self._record.adjust(config)
        self._publishers.image_period_s = config.node.image_period_s

    def close(self) -> None:
        """Finish the recording of results; the worker must have ended."""
        if self._record is not None:
            self._record.close()

    def _notice_restart(self, generation: int) -> None:
        """Begin anew where the grid's generation is another one than before a frame."""
        if self._mapper.grid.generation != generation:
            self._restarted(self._begin_anew())

    def _begin_anew(self) -> int:
        """Count from zero for another map, which is shown at once."""
        self._finished_s.clear()
        self._outputs.restarted()
        self.state = MapState(
            generation=self.state.generation + 1,
            voxels=self._mapper.votes.count,
            blocks=self._mapper.grid.count,
            memory_mb=self._mapper.memory_bytes / 1e6,
            stages_ms=self._medians(),
        )
        return self.state.generation

    def _state_after(self, update: MapUpdate, stages: dict[str, float]) -> MapState:
        self._remember(stages)
        self._finished_s.append(time.monotonic())
        span = self._finished_s[-1] - self._finished_s[0]
        return MapState(
            generation=self.state.generation,
            stamp_ns=update.stamp_ns,
            processed=self.state.processed + 1,
            keyframes=self.state.keyframes + (update.keyframe is not None),
            too_fast=self._mapper.keyframes.too_fast,
            **self._outputs_say(),
            voxels=self._mapper.votes.count,
            blocks=self._mapper.grid.count,
            memory_mb=self._mapper.memory_bytes / 1e6,
            stages_ms=self._medians(),
            finished_s=self._finished_s[-1],
            rate_hz=(len(self._finished_s) - 1) / span if span > 0 else 0.0,
        )

    def _outputs_say(self) -> dict[str, Any]:
        """What a state says of the outputs."""
        lacking = dict(self._outputs.lacking)
        if self._record is not None and self._record.ended:
            lacking["record"] = f"nothing more is written to {self._record.path}: {self._record.ended}"
        return {"trouble": self._outputs.looks.trouble, "lacking": lacking, "resting_s": self._outputs.resting_s}

    def _remember(self, stages: dict[str, float]) -> None:
        for name, ms in stages.items():
            self._stages.setdefault(name, deque(maxlen=_WINDOW)).append(ms)

    def _medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self._stages.items()}
