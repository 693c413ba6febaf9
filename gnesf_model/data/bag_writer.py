"""Standard ROS 2 bags from any source of frames, without ROS."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from gnesf_model.data.bag_file import jazzy_types
from gnesf_model.data.bag_target import MCAP_SUFFIX, BagTarget
from gnesf_model.data.pose_chain import LINK_T_OPTICAL
from gnesf_model.data.source import FrameSource
from gnesf_model.data.topic_writer import LATCHED, OPTICAL, RELIABLE, TopicWriter
from gnesf_model.frame import Frame, check_pose
from gnesf_model.geometry import invert
from gnesf_model.segment.oracle import CLASSES_FILE

logger = logging.getLogger(__name__)

WORLD, BODY, LINK = "odom", "base_link", "camera_link"
MM = np.float32(0.001)
_POSE_COV = "geometry_msgs/msg/PoseWithCovariance"
_TWIST_COV = "geometry_msgs/msg/TwistWithCovariance"

TOPICS = {
    "/tf_static": ("tf2_msgs/msg/TFMessage", LATCHED),
    "/tf": ("tf2_msgs/msg/TFMessage", RELIABLE),
    "/odom": ("nav_msgs/msg/Odometry", RELIABLE),
    "/pose": ("geometry_msgs/msg/PoseStamped", RELIABLE),
    "/camera/color/camera_info": ("sensor_msgs/msg/CameraInfo", RELIABLE),
    "/camera/depth/image_raw": ("sensor_msgs/msg/Image", RELIABLE),
    "/camera/color/image_raw": ("sensor_msgs/msg/Image", RELIABLE),
}
"""What is written, in this order at each stamp: whatever an image needs comes before it."""


def write_bag(
    source: FrameSource,
    out: str | Path,
    *,
    storage: Literal["mcap", "sqlite3"] = "mcap",
    depth_encoding: Literal["auto", "16UC1", "32FC1"] = "auto",
    body_T_camera: np.ndarray | None = None,
    labels_dir: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the frames of `source` as a bag whose three kinds of pose describe the same camera.

    ``/pose`` is the optical frame in ``odom``; ``/odom`` and ``/tf`` are ``base_link`` in ``odom``, and
    ``/tf_static`` leads on to ``camera_link`` and ``camera_color_optical_frame``.

    Args:
        out: folder of the bag, or, if the name ends in .mcap, the one file; must not exist. A file is there when
            it is whole, or not at all.
        storage: file format.
        depth_encoding: 32FC1 keeps every depth; 16UC1 rounds to millimetres and loses what lies beyond
            65.535 m; auto takes 16UC1 for the images that it keeps exactly, as those of a sensor.
        body_T_camera: (4, 4) pose of the optical frame in ``base_link``, e.g. of a tilted camera; by default
            ``base_link`` and ``camera_link`` coincide.
        labels_dir: where ground truth is written as ``<stamp_ns>.png`` with classes.yaml, for the oracle.
        progress: called with 1 after each frame.

    Returns:
        How many frames were written.

    Raises:
        FileExistsError: `out` is there already.
        ValueError: a name that ends in .mcap for another format; or the source gave no frame, or several cameras, or
            labels are asked for and it has none.
    """
    target = BagTarget(out)
    if storage != "mcap" and target.path.suffix == MCAP_SUFFIX:
        raise ValueError(
            f"{target.path} ends in {MCAP_SUFFIX}, and the storage is {storage}: name a folder, or use mcap"
        )
    if labels_dir is not None and source.label_space is None:
        raise ValueError(f"{source.name} has no labels to write to {labels_dir}")
    body_T_camera = LINK_T_OPTICAL if body_T_camera is None else np.asarray(body_T_camera, np.float64)
    check_pose(body_T_camera)
    frames = iter(source)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{source.name} gave no frame; dropped: {dict(source.drops)}")
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    labels = _LabelWriter(Path(labels_dir).expanduser(), source.label_space) if labels_dir else None
    count = 0
    try:
        with Writer(target.folder, version=Writer.VERSION_LATEST, storage_plugin=plugin) as writer:
            bag = _BagWriter(writer, depth_encoding, body_T_camera)
            bag.write_static(first.stamp_ns)
            for frame in chain([first], frames):
                if frame.source != first.source:
                    raise ValueError(
                        f"{source.name} has the cameras {first.source!r} and {frame.source!r}, a bag that is written "
                        "has one: leave one in input.cameras"
                    )
                bag.write_frame(frame)
                if labels and frame.labels is not None:
                    labels.write(frame)
                count += 1
                if progress:
                    progress(1)
        target.finish()
    except BaseException:  # an interrupt as well: what is left of it would stand in the way of the next run
        target.discard()
        raise
    logger.info("wrote %d frames to %s", count, target.path)
    return count


class _LabelWriter:
    def __init__(self, folder: Path, label_space: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CLASSES_FILE).write_text(f"labels: {label_space}\n", encoding="utf-8")
        self._folder = folder

    def write(self, frame: Frame) -> None:
        path = self._folder / f"{frame.stamp_ns}.png"
        if not cv2.imwrite(str(path), frame.labels):
            raise OSError(f"cannot write {path}")


class _BagWriter(TopicWriter):
    """Messages of one open bag."""

    def __init__(self, writer: Writer, depth_encoding: str, body_T_camera: np.ndarray) -> None:
        super().__init__(writer, TOPICS, jazzy_types())
        self._depth_encoding = depth_encoding
        self._body_T_camera = body_T_camera
        self._depth_ns: int | None = None
        """Stamp of the latest depth image."""

    def write_static(self, stamp_ns: int) -> None:
        body_T_link = self._body_T_camera @ invert(LINK_T_OPTICAL)
        edges = [
            self.transform(stamp_ns, BODY, LINK, body_T_link),
            self.transform(stamp_ns, LINK, OPTICAL, LINK_T_OPTICAL),
        ]
        self.write("/tf_static", stamp_ns, transforms=edges)

    def write_frame(self, frame: Frame) -> None:
        t = frame.stamp_ns
        poses = {t: frame.world_T_cam}
        if frame.world_T_depth is not None:
            poses[frame.depth_stamp_ns] = frame.world_T_depth
        for stamp_ns, pose in sorted(poses.items()):
            self._write_pose(stamp_ns, pose)
        self.write("/camera/color/camera_info", t, **self.camera_info(t, frame.camera))
        depth_ns = t if frame.depth_stamp_ns is None else frame.depth_stamp_ns
        if frame.depth is not None and depth_ns != self._depth_ns:  # one depth may serve two colour images
            self.write_image("/camera/depth/image_raw", depth_ns, *self._encoded(frame.depth))
            self._depth_ns = depth_ns
        self.write_image("/camera/color/image_raw", t, "rgb8", frame.rgb)

    def _write_pose(self, t: int, world_T_cam: np.ndarray) -> None:
        world_T_body = world_T_cam @ invert(self._body_T_camera)
        self.write("/tf", t, transforms=[self.transform(t, WORLD, BODY, world_T_body)])
        self.write(
            "/odom",
            t,
            header=self.header(t, WORLD),
            child_frame_id=BODY,
            pose=self.make(_POSE_COV, pose=self.pose(world_T_body), covariance=np.zeros(36)),
            twist=self.make(_TWIST_COV, twist=self._no_twist(), covariance=np.zeros(36)),
        )
        self.write("/pose", t, header=self.header(t, WORLD), pose=self.pose(world_T_cam))

    def _encoded(self, depth: np.ndarray) -> tuple[str, np.ndarray]:
        if self._depth_encoding != "32FC1":
            mm = np.rint(depth.astype(np.float64) * 1000.0)
            mm = np.where(mm <= np.iinfo(np.uint16).max, mm, 0.0).astype(np.uint16)
            exact = self._depth_encoding == "16UC1" or np.array_equal(mm.astype(np.float32) * MM, depth)
            if exact:
                return "16UC1", mm
        return "32FC1", depth

    def _no_twist(self) -> Any:
        zero = self.vector(0.0, 0.0, 0.0)
        return self.make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
