"""Camera poses from pose messages, TF and the configuration.

The pose of an image is a chain of up to three links, each at the image's own stamp::

    global_T_camera = global_T_frame (TF)  @  frame_T_body (message)  @  body_T_camera (TF or parameter)
"""

from __future__ import annotations

import math

import numpy as np

from gnesf_model.config import InputConfig
from gnesf_model.frame import FrameDropped
from gnesf_model.geometry import motion, pose_from_quaternion
from gnesf_model.trajectory import NotReady, PoseBuffer
from gnesf_model.transforms import TransformTree, clean_frame_id

LINK_T_OPTICAL = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""From an optical frame (z forward) to body axes (x forward, z up) at the same place (REP-103)."""

POSE_SOURCES = ("pose", "pose_with_covariance", "transform", "odom", "tf")
"""In the order in which ``auto`` looks for them."""

_TURN_NS = 20_000_000
"""The rate of turning is taken over so long: exposures are no longer, and the noise of 400 Hz poses evens out."""


class PoseChain:
    """Where the camera was, from whatever was received.

    Args:
        config: frames, body_T_camera and the largest gap between poses.

    Attributes:
        source: one of `POSE_SOURCES`; None until `use` is called when the configuration says auto.
    """

    def __init__(self, config: InputConfig) -> None:
        self.source: str | None = None
        limits = _limits(config)
        self.tree, self._poses = TransformTree(**limits), PoseBuffer(**limits)
        self._frames: tuple[str, str | None] | None = None
        """Frame and child frame of the poses in the buffer."""
        self._global = clean_frame_id(config.global_frame)
        self._pose_frame = clean_frame_id(config.pose_frame)
        self._body_T_camera: np.ndarray | None = None
        if config.body_T_camera:
            values = config.body_T_camera
            try:
                self._body_T_camera = pose_from_quaternion(values[:3], values[3:])
            except FrameDropped as error:
                raise ValueError(f"input.body_T_camera is {values}: {error}") from error
        if config.pose_source != "auto":
            self.use(config.pose_source)

    def adjust(self, config: InputConfig) -> None:
        """Go on with other gaps, waiting times and jumps; of the rest `config` says what it did before."""
        limits = _limits(config)
        self.tree.adjust(**limits)
        self._poses.adjust(**limits)

    def use(self, source: str) -> None:
        """Take poses from one of `POSE_SOURCES` from now on.

        Raises:
            ValueError: no such source, or body_T_camera is set without the frame that it starts from.
        """
        if source not in POSE_SOURCES:
            raise ValueError(f"pose source is {source!r}, expected one of {', '.join(POSE_SOURCES)}")
        if source == "tf" and self._body_T_camera is not None and self._tf_body() is None:
            raise ValueError(
                "input.body_T_camera is set and poses come from TF, but input.pose_frame is "
                f"{self._pose_frame!r}: set it to the TF frame that body_T_camera starts from, e.g. base_link"
            )
        self.source = source

    def reset(self, now_ns: int | None = None) -> None:
        """Forget everything that depends on time before it stepped back to `now_ns`; static transforms stay."""
        self._poses.reset()
        self.tree.reset(now_ns)

    def add(self, stamp_ns: int, frame: str, child: str | None, pose: np.ndarray) -> None:
        """Remember a pose message: `frame_T_child` (4, 4); `child` is None where the message names none.

        Raises:
            FrameDropped: (``pose_frames_changed``) this message starts over with other frames.
        """
        before, self._frames = self._frames, (frame, child)
        if before not in (None, self._frames):
            self._poses.reset()
        self._poses.add(stamp_ns, pose)
        if before not in (None, self._frames):
            raise FrameDropped(
                "pose_frames_changed",
                f"poses changed from frames {before} to {self._frames}: check that only one node publishes them",
            )

    def at(self, stamp_ns: int, image_frame: str) -> np.ndarray:
        """`global_T_camera` (4, 4) of the optical frame `image_frame` at a stamp.

        Raises:
            NotReady: ``no_pose`` (nothing around the stamp), ``pose_jump`` (the poses around it are too far apart
                in space), ``no_extrinsics`` (nothing leads from the pose's
                frame to the image's) or ``wrong_world_frame`` (nothing leads to the global frame).
        """
        image_frame = clean_frame_id(image_frame)
        if self.source is None:
            raise NotReady("no_pose", f"no pose source yet: expected one of {', '.join(POSE_SOURCES)}")
        if self.source == "tf":
            return self._from_tf(stamp_ns, image_frame)
        if self._frames is None:
            raise NotReady("no_pose", f"no {self._poses.name} received yet")
        frame, child = self._frames
        # Links that were never seen are reported before stamps, so the status names what must be set up.
        global_T_frame = self._world(stamp_ns, frame)
        body_T_camera = self._extrinsics(stamp_ns, child, image_frame)
        return global_T_frame @ self._poses.at(stamp_ns) @ body_T_camera

    def angular_rate(self, stamp_ns: int, image_frame: str, pose: np.ndarray) -> float | None:
        """Degrees per second that the camera turned just before it was at `pose`; None where that is not known."""
        try:
            before = self.at(stamp_ns - _TURN_NS, image_frame)
        except NotReady:
            return None
        return motion(before, pose)[1] / (_TURN_NS * 1e-9)

    def _from_tf(self, stamp_ns: int, image_frame: str) -> np.ndarray:
        if self._body_T_camera is None:
            return self.tree.lookup(self._global, image_frame, stamp_ns)
        return self.tree.lookup(self._global, self._tf_body(), stamp_ns) @ self._body_T_camera

    def _tf_body(self) -> str | None:
        return None if self._pose_frame in ("camera_optical", "camera_link") else self._pose_frame

    def _world(self, stamp_ns: int, frame: str) -> np.ndarray:
        try:
            return self.tree.lookup(self._global, frame, stamp_ns)
        except NotReady as error:
            if error.why != "unconnected":
                raise
            remedy = f"set input.global_frame:={frame}, or publish TF {self._global} -> {frame}"
            if not frame:
                remedy = "let its publisher fill in header.frame_id"
            raise NotReady(
                "wrong_world_frame",
                f"poses are in the frame {frame!r} and the map in {self._global!r}: {remedy}",
                error.why,
            ) from error

    def _extrinsics(self, stamp_ns: int, child: str | None, image_frame: str) -> np.ndarray:
        """`body_T_camera`: from the image's optical frame to the frame whose pose the message gives."""
        body = self._pose_frame if child is None else child
        if body == image_frame:
            return np.eye(4)
        if self._body_T_camera is not None:
            return self._body_T_camera
        if child is None and body == "camera_optical":
            return np.eye(4)
        if child is None and body == "camera_link":
            return LINK_T_OPTICAL
        try:
            return self.tree.lookup(body, image_frame, stamp_ns)
        except NotReady as error:
            if error.why != "unconnected":
                raise
            raise NotReady(
                "no_extrinsics",
                f"poses are those of {body!r}, images of {image_frame!r}, and TF lacks {body} -> {image_frame}: "
                "publish it on /tf_static or set input.body_T_camera",
                error.why,
            ) from error


def _limits(config: InputConfig) -> dict[str, float]:
    """What bounds poses and transforms: both are as long remembered as an image may wait for them."""
    return {
        "max_gap_s": config.max_pose_gap_s,
        "max_age_s": 5.0 + 2.0 * (config.pose_wait_s + config.max_pose_gap_s),
        "max_jump_m": config.pose_jump_m or math.inf,
    }
