"""From ROS messages into the assembler: what the node's callbacks and a bag's reader both call."""

from __future__ import annotations

from typing import Any

from gnesf_model.config import InputConfig
from gnesf_model.data import messages
from gnesf_model.data.assembler import FrameAssembler
from gnesf_model.data.camera_info import decode_camera_info
from gnesf_model.data.camera_rig import CameraRig
from gnesf_model.frame import FrameDropped


class MessageFeed:
    """Decodes messages for a `FrameAssembler`; those that cannot be decoded are counted there.

    Args:
        assembler: where everything goes; a rig takes the messages that are about all of its cameras.
        config: unit of integer depth, and whether images are rectified.
        color_topic, depth_topic: names of the topics, which tell whether images are rectified.
    """

    def __init__(
        self,
        assembler: FrameAssembler | CameraRig,
        config: InputConfig | None = None,
        color_topic: str = "",
        depth_topic: str = "",
    ) -> None:
        config = config or InputConfig()
        self.assembler = assembler
        self._depth_unit_m = config.depth_unit_m
        self._color_rectified = is_rectified(config, color_topic)
        self._depth_rectified = is_rectified(config, depth_topic)

    def color(self, msg: Any) -> None:
        """A sensor_msgs/Image or sensor_msgs/CompressedImage."""
        try:
            decode = messages.decode_image if hasattr(msg, "encoding") else messages.decode_compressed
            rgb = decode(msg)
        except FrameDropped as error:
            self.assembler.drop(error)
        else:
            self.assembler.add_color(messages.stamp_ns(msg.header), msg.header.frame_id, rgb)

    def depth(self, msg: Any) -> None:
        """A sensor_msgs/Image or sensor_msgs/CompressedImage of depth."""
        try:
            decode = messages.decode_depth if hasattr(msg, "encoding") else messages.decode_depth_compressed
            depth = decode(msg, self._depth_unit_m)
        except FrameDropped as error:
            self.assembler.drop(error)
        else:
            stamp, frame_id = messages.stamp_ns(msg.header), msg.header.frame_id
            self.assembler.add_depth(stamp, frame_id, depth, self._depth_rectified)

    def camera_info(self, msg: Any) -> None:
        """The sensor_msgs/CameraInfo of the colour images."""
        try:
            rectifier = decode_camera_info(msg, self._color_rectified)
        except FrameDropped as error:
            self.assembler.drop(error)
        else:
            self.assembler.add_camera_info(rectifier, messages.stamp_ns(msg.header))

    def depth_info(self, msg: Any) -> None:
        """The sensor_msgs/CameraInfo of the depth images."""
        try:
            rectifier = decode_camera_info(msg, self._depth_rectified)
        except FrameDropped as error:
            self.assembler.drop(error)
        else:
            self.assembler.add_depth_info(rectifier, messages.stamp_ns(msg.header))

    def pose(self, msg: Any) -> None:
        """A PoseStamped, PoseWithCovarianceStamped, TransformStamped or Odometry."""
        try:
            self.assembler.add_pose(*messages.decode_pose(msg))
        except FrameDropped as error:
            self.assembler.drop(error)

    def tf(self, msg: Any, static: bool = False) -> None:
        """A tf2_msgs/TFMessage of /tf or, `static`, of /tf_static."""
        for item in msg.transforms:
            try:
                edge = messages.decode_transform(item)
            except FrameDropped as error:
                self.assembler.drop(error)
            else:
                self.assembler.add_transform(edge.parent, edge.child, edge.stamp_ns, edge.pose, static)


def is_rectified(config: InputConfig, topic: str) -> bool:
    """Whether the images of a topic come without distortion, as image_proc names its outputs."""
    return config.rectified == "always" or (config.rectified == "auto" and "image_rect" in topic)
