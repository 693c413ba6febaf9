"""Frames from separate streams of images, poses and transforms.

`FrameAssembler` is the one way in which messages, live or in a bag, become frames. It reads no clock: how
long a frame waits is measured in the stamps of the messages, so a replay gives the frames of the live run,
in the same order, however the topics interleave within the waiting time.
"""

from __future__ import annotations

import bisect
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.data.camera_info import CameraInfos
from gnesf_model.data.depth_buffer import DepthImage
from gnesf_model.data.depth_input import DepthInput, DepthUse
from gnesf_model.data.pose_chain import PoseChain
from gnesf_model.data.pose_jumps import PoseJumps
from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.trajectory import CLOCK_JUMP_NS, NotReady

_T = TypeVar("_T")
logger = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """A colour image that lacks something; `polled_ns` is the clock when it was first looked at."""

    stamp_ns: int
    frame_id: str
    rgb: np.ndarray
    polled_ns: int | None = None


class FrameAssembler:
    """Pairs one camera's colour with depth, interpolates the pose, and counts whatever cannot become a frame.

    Args:
        config: tolerances, waiting times, frames.
        depth: ``required`` (a frame without depth is dropped), ``optional`` (it is yielded without, and depth that does
            not fit is a notice), ``none`` (depth is not used).
        max_waiting_mb: images that wait may take this much; further ones are dropped (``queue_full``).
        source: the camera's name in its frames.

    Attributes:
        received: messages by kind: color, depth, camera_info, depth_info, pose, tf, tf_static.
        drops: frames and messages that were dropped, by reason.
        notices: what is no drop and yet worth a warning, by reason: pose_jumped; where depth is optional, why it was
            left out (depth_not_registered, depth_size).
        last_message: by reason, the text of its latest drop or notice.
    """

    def __init__(
        self, config: InputConfig, depth: DepthUse = "required", max_waiting_mb: float = 512.0, source: str = ""
    ) -> None:
        self.received: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self._source = source
        self._wait_ns = round(config.pose_wait_s * 1e9)
        self._max_waiting_bytes = max_waiting_mb * 1e6
        self._chain = PoseChain(config)
        self._jumps = PoseJumps(config.pose_jump_m)
        self._infos = CameraInfos()
        self._waiting: list[_Waiting] = []
        self._depths = DepthInput(config, depth)
        self._newest: dict[str, int] = {}
        self._decided_ns: int | None = None
        """Stamp of the latest colour image that became a frame or was dropped."""
        self._now_ns: int | None = None
        self._waiting_for = ""

    @property
    def pose_source(self) -> str | None:
        """One of `POSE_SOURCES`; None while it is not known."""
        return self._chain.source

    @property
    def waiting(self) -> int:
        """Colour images that are neither a frame nor dropped yet."""
        return len(self._waiting)

    def adjust(self, config: InputConfig) -> None:
        """Go on with other tolerances, waiting times and limits (those in `ADJUSTABLE`), for what waits as well.

        What was forgotten by the limits before does not come back.
        """
        self._wait_ns = round(config.pose_wait_s * 1e9)
        self._chain.adjust(config)
        self._jumps.adjust(config.pose_jump_m)
        self._depths.adjust(config)

    def use_pose_source(self, name: str) -> None:
        """Settle pose_source auto: take poses from one of `POSE_SOURCES`.

        Raises:
            ValueError: no such source, or it does not go with the configuration.
        """
        self._chain.use(name)

    def add_color(self, stamp_ns: int, frame_id: str, rgb: np.ndarray) -> None:
        """A colour image, (H, W, 3) uint8 red first, taken in the optical frame `frame_id`."""
        self._arrived("color", stamp_ns)
        if self._decided_ns is not None and stamp_ns < self._decided_ns:
            text = f"image is {(self._decided_ns - stamp_ns) * 1e-9:.3f} s older than one that came before"
            self.drop(FrameDropped("out_of_order", text))
            return
        at = bisect.bisect_left(self._waiting, stamp_ns, key=lambda item: item.stamp_ns)
        known = at < len(self._waiting) and self._waiting[at].stamp_ns == stamp_ns
        if known or stamp_ns == self._decided_ns:
            self.drop(FrameDropped("duplicate_stamp", f"a second image has the stamp {stamp_ns} ns"))
        elif self._has_room(rgb):
            self._waiting.insert(at, _Waiting(stamp_ns, frame_id, rgb))

    def add_depth(self, stamp_ns: int, frame_id: str, depth: np.ndarray, rectified: bool = False) -> None:
        """A depth image, (H, W) float32 metres with 0 = none, registered to the colour image."""
        self._arrived("depth", stamp_ns)
        if self._depths.use == "none":
            return
        self._forget_old_depth()
        if not self._has_room(depth):
            return
        try:
            self._depths.add(DepthImage(stamp_ns, frame_id, depth, rectified))
        except FrameDropped as error:
            self.drop(error)

    def add_camera_info(self, rectifier: Rectifier, stamp_ns: int = 0) -> None:
        """The colour camera's intrinsics and distortion, true from `stamp_ns` on; 0: from now on."""
        self.received["camera_info"] += 1
        self._infos.add(stamp_ns, rectifier)

    def add_depth_info(self, rectifier: Rectifier, stamp_ns: int = 0) -> None:
        """Those of the depth camera: where there are any, depth with others than colour is refused."""
        self.received["depth_info"] += 1
        self._depths.add_info(stamp_ns, rectifier)

    def rectifier(self, stamp_ns: int) -> Rectifier:
        """What removed the distortion of a frame that the latest `poll` gave."""
        return self._infos.at(stamp_ns, ended=True)

    def add_pose(self, stamp_ns: int, frame_id: str, child: str | None, pose: np.ndarray) -> None:
        """A pose message: `frame_T_child` (4, 4); `child` is None where the message names none."""
        self._arrived("pose", stamp_ns)
        try:
            self._chain.add(stamp_ns, frame_id, child, pose)
        except FrameDropped as error:
            self.drop(error)

    def add_transform(self, parent: str, child: str, stamp_ns: int, pose: np.ndarray, static: bool) -> None:
        """One edge of /tf or, `static`, of /tf_static: `parent_T_child` (4, 4)."""
        self.received["tf_static" if static else "tf"] += 1
        try:
            self._chain.tree.add(parent, child, stamp_ns, pose, static)
        except FrameDropped as error:
            self.drop(error)

    def drop(self, error: FrameDropped) -> None:
        """Count a frame or message that cannot be used."""
        self.drops[error.reason] += 1
        self.last_message[error.reason] = str(error)

    def poll(self, now_ns: int | None = None, flush: bool = False) -> list[Frame]:
        """Frames that are complete by now, in the order of their stamps.

        Args:
            now_ns: live, any clock in nanoseconds: waiting also ends when this clock has run for
                pose_wait_s, so that silence is reported. Left out, only stamps decide: replay.
            flush: nothing more will come, so nothing is waited for.
        """
        if now_ns is not None:
            if self._now_ns is not None and now_ns < self._now_ns - CLOCK_JUMP_NS:
                self._start_over("the clock", self._now_ns, now_ns)
            self._now_ns = now_ns
        if self._decided_ns is not None:
            self._infos.forget_before(self._decided_ns)
        frames = []
        while self._waiting:
            head = self._waiting[0]
            ended = flush or self._waited(head, now_ns)
            try:
                frames.append(self._assemble(head, ended))
            except NotReady as error:
                self._waiting_for = str(error)
                if error.may_come and not ended:
                    break
                self.drop(error)
            except FrameDropped as error:
                self.drop(error)
            except Exception as error:  # a fault of ours must not keep the images behind this one waiting
                self.drop(FrameDropped("internal_error", f"an image: {type(error).__name__}: {error}"))
                logger.exception("internal error, an image is lost")
            self._decided_ns = self._waiting.pop(0).stamp_ns
            self._infos.decided(self._decided_ns)
        if not self._waiting:
            self._waiting_for = ""
        return frames

    def missing(self) -> list[str]:
        """What is being waited for, in words; empty while everything flows."""
        lacking = []
        if not self.received["color"]:
            lacking.append("no colour image yet")
        if not self._infos:
            lacking.append("no usable camera info yet")
        if self._depths.use == "required" and not self.received["depth"]:
            lacking.append("no depth image yet")
        if self.pose_source is None:
            lacking.append("no pose, odom or tf message yet")
        elif not self.received["tf" if self.pose_source == "tf" else "pose"]:
            lacking.append(f"no {self.pose_source} message yet")
        if self._waiting_for and self._infos:
            lacking.append(self._waiting_for)
        return lacking

    def _assemble(self, image: _Waiting, ended: bool) -> Frame:
        """The frame of a waiting image; raises `NotReady` for what is missing."""
        stamp_ns, frame_id = image.stamp_ns, image.frame_id
        rectifier = self._infos.at(stamp_ns, ended)
        paired = self._or_without(lambda: self._depths.of(stamp_ns, frame_id, rectifier, self._chain.tree, ended))
        # Poses come last, so that nothing is computed for an image that still waits.
        pose = self._chain.at(stamp_ns, frame_id)
        apart = paired is not None and paired.stamp_ns != stamp_ns
        depth_pose = self._chain.at(paired.stamp_ns, frame_id) if apart else None
        rgb = rectifier.color(image.rgb)  # before depth: an image that does not fit its camera info is the one to name
        depth = None if paired is None else self._or_without(paired.rectified)
        apart &= depth is not None
        self._count_jump(stamp_ns, pose)
        return Frame(
            stamp_ns=stamp_ns,
            rgb=rgb,
            camera=rectifier.camera,
            world_T_cam=pose,
            depth=depth,
            depth_stamp_ns=paired.stamp_ns if apart else None,
            world_T_depth=depth_pose if apart else None,
            source=self._source,
            frame_id=frame_id,
            angular_rate_deg_s=self._chain.angular_rate(stamp_ns, frame_id, pose),
            pose_jumps=self._jumps.count,
        )

    def _or_without(self, depth: Callable[[], _T]) -> _T | None:
        """What `depth` gives; None where depth is optional and this one cannot be used."""
        try:
            return depth()
        except NotReady:
            raise
        except FrameDropped as error:
            if self._depths.use == "required":
                raise
            if error.reason != "no_depth":
                self.notices[error.reason] += 1
                self.last_message[error.reason] = str(error)
            return None

    def _count_jump(self, stamp_ns: int, pose: np.ndarray) -> None:
        if not self._jumps.jumped(stamp_ns, pose):
            return
        self.notices["pose_jumped"] += 1
        self.last_message["pose_jumped"] = (
            f"the camera jumped by {self._jumps.last_m:.2f} m from one image to the next (loop closure, "
            "relocalisation): the map does not deform, input.on_pose_jump says what becomes of it"
        )

    def _waited(self, image: _Waiting, now_ns: int | None) -> bool:
        """Whether `image` has waited long enough, by the newest stamp or by the caller's clock."""
        # TF may be stamped in the future (AMCL does), so it does not count as the present.
        newest = max(self._newest.get(kind, 0) for kind in ("color", "depth", "pose"))
        if newest - image.stamp_ns > self._wait_ns:
            return True
        if now_ns is None:
            return False
        if image.polled_ns is None:
            image.polled_ns = now_ns
        return now_ns - image.polled_ns > self._wait_ns

    def _arrived(self, kind: str, stamp_ns: int) -> None:
        """Count a message, and start over when its stream's stamps stepped back."""
        self.received[kind] += 1
        newest = self._newest.get(kind)
        if newest is not None and stamp_ns < newest - CLOCK_JUMP_NS:
            self._start_over(f"stamps of {kind}", newest, stamp_ns, stamp_ns)
            newest = None
        self._newest[kind] = stamp_ns if newest is None else max(newest, stamp_ns)

    def _start_over(self, what: str, from_ns: int, to_ns: int, now_ns: int | None = None) -> None:
        """Clear every buffer, as time stepped back to `now_ns`; camera info and static transforms stay true.

        A transform whose stamps step back starts over by itself.

        Args:
            what: stepped back, from and to which time.
        """
        text = f"{what} stepped back from {from_ns * 1e-9:.3f} to {to_ns * 1e-9:.3f} s: buffers were cleared"
        for _ in range(max(1, len(self._waiting))):
            self.drop(FrameDropped("clock_jump", text))
        self._waiting.clear()
        self._depths.reset()
        self._infos.reset()
        self._jumps.start_over()
        self._newest.clear()
        self._chain.reset(now_ns)
        self._decided_ns = self._now_ns = None

    def _forget_old_depth(self) -> None:
        """Drop depth that no image can be paired with any more, or that no image came for."""
        oldest = self._newest["depth"] - self._wait_ns - CLOCK_JUMP_NS
        self._depths.forget_before(max(oldest, self._decided_ns or 0))

    def _has_room(self, image: np.ndarray) -> bool:
        held = sum(item.rgb.nbytes for item in self._waiting) + self._depths.nbytes
        if held + image.nbytes <= self._max_waiting_bytes:
            return True
        text = f"images that wait fill {held / 1e6:.0f} MB: see what is missing, or lower input.pose_wait_s"
        self.drop(FrameDropped("queue_full", text))
        return False
