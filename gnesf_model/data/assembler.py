"""Frames from separate streams of images, poses and transforms.

`FrameAssembler` is the one way in which messages, live or in a bag, become frames. It reads no clock: how
long a frame waits is measured in the stamps of the messages, so a replay gives the frames of the live run,
in the same order, however the topics interleave within the waiting time.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.data.depth_buffer import DepthBuffer
from gnesf_model.data.pose_chain import PoseChain
from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.trajectory import CLOCK_JUMP_NS, NotReady

DepthUse = Literal["required", "optional", "none"]


@dataclass
class _Waiting:
    """A colour image that lacks something; `polled_ns` is the clock when it was first looked at."""

    stamp_ns: int
    frame_id: str
    rgb: np.ndarray
    polled_ns: int | None = None


class FrameAssembler:
    """Pairs colour with depth, interpolates the pose, and counts whatever cannot become a frame.

    Args:
        config: tolerances, waiting times, frames.
        depth: ``required`` (a frame without depth is dropped), ``optional`` (it is yielded without), ``none``
            (depth is not used).
        max_waiting_mb: images that wait may take this much; further ones are dropped (``queue_full``).

    Attributes:
        received: messages by kind: color, depth, camera_info, pose, tf, tf_static.
        drops: frames and messages that were dropped, by reason.
        last_message: by reason, the text of its latest drop.
        clock_jumps: how often the clock or the stamps of colour, depth or pose stepped back and all buffers
            were cleared. A transform whose stamps step back starts over by itself.
        rectifier: the latest camera info; None before the first.
    """

    def __init__(self, config: InputConfig, depth: DepthUse = "required", max_waiting_mb: float = 512.0) -> None:
        self.received: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self.clock_jumps = 0
        self.rectifier: Rectifier | None = None
        self._depth_use = depth
        self._wait_ns = round(config.pose_wait_s * 1e9)
        self._max_waiting_bytes = max_waiting_mb * 1e6
        self._chain = PoseChain(config)
        self._waiting: list[_Waiting] = []
        self._depths = DepthBuffer(round(config.sync_tolerance_s * 1e9))
        self._newest: dict[str, int] = {}
        self._decided_ns: int | None = None
        """Stamp of the latest colour image that became a frame or was dropped."""
        self._now_ns: int | None = None
        self._waiting_for = ""

    @property
    def pose_source(self) -> str | None:
        """``pose``, ``odom`` or ``tf``; None while it is not known."""
        return self._chain.source

    @property
    def waiting(self) -> int:
        """Colour images that are neither a frame nor dropped yet."""
        return len(self._waiting)

    def use_pose_source(self, name: str) -> None:
        """Settle pose_source auto: take poses from ``pose``, ``odom`` or ``tf``.

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

    def add_depth(self, stamp_ns: int, frame_id: str, depth: np.ndarray) -> None:
        """A depth image, (H, W) float32 metres with 0 = none, registered to the colour image."""
        self._arrived("depth", stamp_ns)
        if self._depth_use == "none":
            return
        self._forget_old_depth()
        if not self._has_room(depth):
            return
        try:
            self._depths.add(stamp_ns, frame_id, depth)
        except FrameDropped as error:
            self.drop(error)

    def add_camera_info(self, rectifier: Rectifier) -> None:
        """The colour camera's intrinsics and distortion; the latest ones count."""
        self.received["camera_info"] += 1
        if rectifier != self.rectifier:  # an equal one would have to compute its maps again
            self.rectifier = rectifier

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
                self._start_over()
            self._now_ns = now_ns
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
            self._decided_ns = self._waiting.pop(0).stamp_ns
        if not self._waiting:
            self._waiting_for = ""
        return frames

    def missing(self) -> list[str]:
        """What is being waited for, in words; empty while everything flows."""
        lacking = []
        if not self.received["color"]:
            lacking.append("no colour image yet")
        if self.rectifier is None:
            lacking.append("no usable camera info yet")
        if self._depth_use == "required" and not self.received["depth"]:
            lacking.append("no depth image yet")
        if self.pose_source is None:
            lacking.append("no pose, odom or tf message yet")
        elif not self.received["tf" if self.pose_source == "tf" else "pose"]:
            lacking.append(f"no {self.pose_source} message yet")
        if self._waiting_for and self.rectifier is not None:
            lacking.append(self._waiting_for)
        return lacking

    def _assemble(self, image: _Waiting, ended: bool) -> Frame:
        """The frame of a waiting image; raises `NotReady` for what is missing."""
        if self.rectifier is None:
            raise NotReady("no_camera_info", "no usable camera info received yet")
        depth = self._depth_for(image, ended)
        return Frame(
            stamp_ns=image.stamp_ns,
            rgb=self.rectifier.color(image.rgb),
            camera=self.rectifier.camera,
            world_T_cam=self._chain.at(image.stamp_ns, image.frame_id),
            depth=None if depth is None else self.rectifier.depth(depth),
        )

    def _depth_for(self, image: _Waiting, ended: bool) -> np.ndarray | None:
        """Depth of a waiting image; None where it is not used, or optional and not there."""
        if self._depth_use == "none":
            return None
        try:
            frame_id, depth = self._depths.at(image.stamp_ns, ended)
        except NotReady:
            raise
        except FrameDropped:
            if self._depth_use == "optional":
                return None
            raise
        self._check_registered(image, frame_id)
        return depth

    def _check_registered(self, image: _Waiting, depth_frame: str) -> None:
        """Refuse depth of another optical frame: its pixels are not those of the colour image."""
        color_frame = image.frame_id
        if not depth_frame or depth_frame.lstrip("/") == color_frame.lstrip("/"):
            return
        try:
            offset = self._chain.tree.lookup(color_frame, depth_frame, image.stamp_ns)
        except NotReady:
            offset = None
        if offset is None or not np.allclose(offset, np.eye(4), atol=1e-6):
            raise FrameDropped(
                "depth_not_registered",
                f"depth is in the frame {depth_frame!r} and colour in {color_frame!r}: use depth registered to "
                "colour (e.g. align_depth.enable:=true, or depth_image_proc/register)",
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
            self._start_over(stamp_ns)
            newest = None
        self._newest[kind] = stamp_ns if newest is None else max(newest, stamp_ns)

    def _start_over(self, now_ns: int | None = None) -> None:
        """Clear every buffer, as time stepped back to `now_ns`; camera info and static transforms stay true."""
        self.clock_jumps += 1
        for _ in range(max(1, len(self._waiting))):
            self.drop(FrameDropped("clock_jump", "stamps stepped back: buffers were cleared"))
        self._waiting.clear()
        self._depths.reset()
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
