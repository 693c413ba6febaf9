"""The cameras of a robot: frames of each, with the same poses for all."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.data.assembler import FrameAssembler
from gnesf_model.data.depth_input import DepthUse
from gnesf_model.frame import Frame, FrameDropped

_SHARED_KINDS = ("pose", "tf", "tf_static")
"""Messages that every camera is told of: they count once."""
_SHARED_DROPS = ("bad_tf", "pose_frames_changed")


class CameraRig:
    """An assembler for each camera; what is said of one camera is said to that.

    Each camera's frames come in the order of their stamps. Between cameras the order is that in which frames
    became complete.

    Args:
        config: names of the cameras (none: one camera without a name), tolerances, frames.
        depth: as `FrameAssembler`.
        max_waiting_mb: for the images that wait, of all cameras together.

    Attributes:
        cameras: assembler by the camera's name.

    Raises:
        ValueError: settings that only one camera can have.
    """

    def __init__(self, config: InputConfig, depth: DepthUse = "required", max_waiting_mb: float = 512.0) -> None:
        names = config.cameras or [""]
        if len(names) > 1 and config.body_T_camera:
            raise ValueError(
                f"input.cameras names {len(names)} cameras and input.body_T_camera is set, which is that of one: "
                "publish where the cameras sit on /tf_static"
            )
        share = max_waiting_mb / len(names)
        self.cameras = {name: FrameAssembler(config, depth, share, name) for name in names}
        self._own_drops: Counter[str] = Counter()
        self._own_messages: dict[str, str] = {}

    @property
    def pose_source(self) -> str | None:
        """One of `POSE_SOURCES`; None while it is not known."""
        return self._first.pose_source

    @property
    def waiting(self) -> int:
        """Colour images that are neither a frame nor dropped yet."""
        return sum(camera.waiting for camera in self.cameras.values())

    @property
    def received(self) -> Counter[str]:
        """Messages by kind."""
        return self._sum([camera.received for camera in self.cameras.values()], _SHARED_KINDS)

    @property
    def drops(self) -> Counter[str]:
        """Frames and messages that were dropped, by reason."""
        return self._sum([camera.drops for camera in self.cameras.values()], _SHARED_DROPS) + self._own_drops

    @property
    def notices(self) -> Counter[str]:
        """What is no drop and yet worth a warning, by reason."""
        return self._sum([camera.notices for camera in self.cameras.values()], ())

    @property
    def last_message(self) -> dict[str, str]:
        """By reason, the text of the latest drop or notice; with several cameras it begins with the camera's name."""
        messages = dict(self._own_messages)
        for name, camera in self.cameras.items():
            for reason, text in camera.last_message.items():
                messages[reason] = f"{name}: {text}" if len(self.cameras) > 1 else text
        return messages

    def adjust(self, config: InputConfig) -> None:
        """As `FrameAssembler.adjust`, for all cameras."""
        for camera in self.cameras.values():
            camera.adjust(config)

    def use_pose_source(self, name: str) -> None:
        """As `FrameAssembler.use_pose_source`, for all cameras."""
        for camera in self.cameras.values():
            camera.use_pose_source(name)

    def add_pose(self, stamp_ns: int, frame_id: str, child: str | None, pose: np.ndarray) -> None:
        """As `FrameAssembler.add_pose`, for all cameras."""
        for camera in self.cameras.values():
            camera.add_pose(stamp_ns, frame_id, child, pose)

    def add_transform(self, parent: str, child: str, stamp_ns: int, pose: np.ndarray, static: bool) -> None:
        """As `FrameAssembler.add_transform`, for all cameras."""
        for camera in self.cameras.values():
            camera.add_transform(parent, child, stamp_ns, pose, static)

    def drop(self, error: FrameDropped) -> None:
        """Count a message that is about all cameras and cannot be used."""
        self._own_drops[error.reason] += 1
        self._own_messages[error.reason] = str(error)

    def poll(self, now_ns: int | None = None, flush: bool = False) -> list[Frame]:
        """Frames that are complete by now; as `FrameAssembler.poll`."""
        return [frame for camera in self.cameras.values() for frame in camera.poll(now_ns, flush)]

    def missing(self) -> list[str]:
        """What is being waited for, in words; empty while everything flows."""
        if len(self.cameras) == 1:
            return self._first.missing()
        return [f"{name}: {text}" for name, camera in self.cameras.items() for text in camera.missing()]

    @property
    def _first(self) -> FrameAssembler:
        return next(iter(self.cameras.values()))

    def _sum(self, counters: list[Counter[str]], shared: tuple[str, ...]) -> Counter[str]:
        total: Counter[str] = Counter()
        for counter in counters:
            total.update(counter)
        total.update({kind: counters[0][kind] - total[kind] for kind in shared if kind in total})
        return total
