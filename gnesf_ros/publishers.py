"""Everything that the node says; work that nobody subscribes to is not done."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from gnesf_msgs.msg import Legend, MapperStatus
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2

from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.segment.segmenter import Segmentation
from gnesf_ros import conversions, qos, stamps


class Publishers:
    """The node's topics. `frame` and `cloud` are called by the worker's thread, the rest by the executor's.

    Args:
        node: whose topics they are.
        labels: label space of the map.
        global_frame: frame of the cloud.
    """

    def __init__(self, node: Node, labels: LabelSpace, global_frame: str) -> None:
        self._node, self._labels, self._global_frame = node, labels, global_frame
        self._semantic = self._create(Image, "~/semantic/image_raw", qos.output())
        self._confidence = self._create(Image, "~/semantic/confidence", qos.output())
        self._color = self._create(Image, "~/semantic_color/image_raw", qos.output())
        self._overlay = self._create(Image, "~/semantic_overlay/image_raw", qos.output())
        self._cloud = self._create(PointCloud2, "~/semantic_cloud", qos.latched())
        self._legend = self._create(Legend, "~/semantic/legend", qos.latched())
        self._status = self._create(MapperStatus, "~/status", qos.latched())
        self._diagnostics = self._create(DiagnosticArray, "/diagnostics", qos.output())

    def legend(self) -> None:
        """What the label values mean; kept for late subscribers."""
        now = self._node.get_clock().now().nanoseconds
        self._legend.publish(conversions.legend_message(self._labels, stamps.header(now, "")))

    def frame(self, frame: Frame, segmentation: Segmentation, frame_id: str) -> None:
        """Semantic images of one frame, with the colour image's stamp, frame and size."""
        makers = {
            self._semantic: lambda images: images.labels,
            self._confidence: lambda images: images.confidence(),
            self._color: lambda images: images.color(),
            self._overlay: lambda images: images.overlay(frame.rgb),
        }
        wanted = [publisher for publisher in makers if publisher.get_subscription_count()]
        if not wanted:
            return
        head = stamps.header(frame.stamp_ns, frame_id)
        images = conversions.SemanticImages(segmentation, frame.camera)
        for publisher in wanted:
            publisher.publish(conversions.image_message(makers[publisher](images), head))

    @property
    def cloud_wanted(self) -> bool:
        """Whether somebody subscribes to the cloud."""
        return self._cloud.get_subscription_count() > 0

    def cloud(self, surface: LabelledPoints, stamp_ns: int) -> None:
        """The labelled surface, with the stamp of the newest frame in it."""
        head = stamps.header(stamp_ns, self._global_frame)
        self._cloud.publish(conversions.cloud_message(surface, self._labels, head))

    def status(self, message: MapperStatus) -> None:
        """Counters; the last ones are kept for late subscribers."""
        self._status.publish(message)

    def diagnostics(self, message: DiagnosticArray) -> None:
        """The state of the node in words."""
        self._diagnostics.publish(message)

    def _create(self, kind: type, topic: str, profile: QoSProfile) -> Publisher:
        options = QoSOverridingOptions.with_default_policies()
        return self._node.create_publisher(kind, topic, profile, qos_overriding_options=options)
