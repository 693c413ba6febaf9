"""Everything that the node says of single images and of its progress; work that nobody subscribes to is not done."""

from __future__ import annotations

import time
from collections.abc import Callable

from gnesf_msgs.msg import Legend, MapperStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.visualization.cloud import moving_points, organised_cloud, packed_cloud
from gnesf_ros import conversions, qos, stamps
from gnesf_ros.map_messages import label_info_message
from gnesf_ros.optional_messages import optional
from gnesf_ros.outlet import Outlet


class Publishers:
    """The node's topics but those of `MapOutputs`. `frame` belongs to the worker's thread, the rest to the executor's.

    Args:
        node: whose topics they are.
        labels: label space of the map.
        global_frame: frame of the clouds.
        image_period_s: shortest time between two frames of a camera that are published, s.
    """

    def __init__(self, node: Node, labels: LabelSpace, global_frame: str, image_period_s: float = 0.0) -> None:
        self.image_period_s = image_period_s
        self._image_due_s: dict[str, float] = {}
        """By camera."""
        self._node, self._labels, self._global_frame = node, labels, global_frame
        self._images: dict[Outlet, Callable[[conversions.SemanticImages, Frame], object]] = {
            Outlet(node, Image, "~/semantic/image_raw", qos.output()): lambda made, frame: made.labels,
            Outlet(node, Image, "~/semantic/confidence", qos.output()): lambda made, frame: made.confidence,
            Outlet(node, Image, "~/semantic_color/image_raw", qos.output()): lambda made, frame: made.color,
            Outlet(node, Image, "~/semantic_overlay/image_raw", qos.output()): lambda made, frame: made.overlay(
                frame.rgb
            ),
        }
        names = ("semantic", "semantic_color", "semantic_overlay")
        self._infos = [Outlet(node, CameraInfo, f"~/{name}/camera_info", qos.output()) for name in names]
        self._points = Outlet(node, PointCloud2, "~/points", qos.output())
        self._moving = Outlet(node, PointCloud2, "~/dynamic_cloud", qos.output())
        self._legend = Outlet(node, Legend, "~/semantic/legend", qos.latched())
        self._label_info = self._create_label_info()
        self._status = Outlet(node, MapperStatus, "~/status", qos.latched())

    def legend(self) -> None:
        """What the label values mean; kept for late subscribers."""
        head = stamps.header(self._node.get_clock().now().nanoseconds, "")
        self._legend.publish(conversions.legend_message(self._labels, head))
        if self._label_info is not None:
            kind, entry = optional("vision_msgs", "LabelInfo"), optional("vision_msgs", "VisionClass")
            self._label_info.publish(label_info_message(kind, entry, self._labels, head))

    def frame(self, frame: Frame, segmentation: Segmentation, frame_id: str) -> None:
        """Images and clouds of one frame, with the colour image's stamp, frame and size."""
        now = time.monotonic()
        if now < self._image_due_s.get(frame.source, 0.0):
            return
        self._image_due_s[frame.source] = now + self.image_period_s
        head = stamps.header(frame.stamp_ns, frame_id)
        images = conversions.SemanticImages(segmentation, frame.camera)
        for outlet, pixels in self._images.items():
            if outlet.wanted:
                outlet.publish(conversions.image_message(pixels(images, frame), head))
        if wanted := [outlet for outlet in self._infos if outlet.wanted]:
            info = conversions.camera_info_message(frame.camera, head)
            for outlet in wanted:
                outlet.publish(info)
        if frame.depth is None:
            return
        if self._points.wanted:
            self._points.publish(conversions.cloud_message(organised_cloud(frame), head))
        if self._moving.wanted:
            # Empty, too: who listens learns that nobody is there any more.
            moving = packed_cloud(moving_points(frame, segmentation), self._labels)
            in_map = stamps.header(frame.stamp_ns, self._global_frame)
            self._moving.publish(conversions.cloud_message(moving, in_map))

    def status(self, message: MapperStatus) -> None:
        """Counters; the last ones are kept for late subscribers."""
        self._status.publish(message)

    def _create_label_info(self) -> Outlet | None:
        kind = optional("vision_msgs", "LabelInfo")  # Humble's vision_msgs 4.0 has it, older ones do not
        return None if kind is None else Outlet(self._node, kind, "~/semantic/label_info", qos.latched())
