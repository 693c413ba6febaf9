"""From ROS messages into the assembler: what the node's callbacks and a bag's reader both call."""

from __future__ import annotations

from typing import Any

from gnesf_model.data import messages
from gnesf_model.data.assembler import FrameAssembler
from gnesf_model.frame import FrameDropped


class MessageFeed:
    """Decodes messages for a `FrameAssembler`; those that cannot be decoded are counted there.

    Args:
        assembler: where everything goes.
        depth_unit_m: metres per unit of an integer depth.
        rectified: the colour topic is an ``image_rect``, so its camera info's P counts.
    """

    def __init__(self, assembler: FrameAssembler, depth_unit_m: float = 0.001, rectified: bool = False) -> None:
        self.assembler = assembler
        self._depth_unit_m = depth_unit_m
        self._rectified = rectified

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
        """A sensor_msgs/Image of depth."""
        try:
            depth = messages.decode_depth(msg, self._depth_unit_m)
        except FrameDropped as error:
            self.assembler.drop(error)
        else:
            self.assembler.add_depth(messages.stamp_ns(msg.header), msg.header.frame_id, depth)

    def camera_info(self, msg: Any) -> None:
        """The sensor_msgs/CameraInfo of the colour images."""
        try:
            self.assembler.add_camera_info(messages.decode_camera_info(msg, self._rectified))
        except FrameDropped as error:
            self.assembler.drop(error)

    def pose(self, msg: Any) -> None:
        """A PoseStamped, PoseWithCovarianceStamped or Odometry."""
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
