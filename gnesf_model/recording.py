"""Results as a bag that RViz and Foxglove open: what the node would have said while the map grew.

Topics have the names of the node's (docs/outputs.md); the map's come every few seconds of the recording and once more
at its end. The overlay is JPEG, which is a tenth of the bag that it would be else; the file is compressed (zstd).
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from gnesf_model.config import Config
from gnesf_model.data.bag_target import MCAP_SUFFIX, BagTarget, part_of
from gnesf_model.data.topic_writer import LATCHED, OPTICAL, RELIABLE, TopicWriter
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.occupancy import OccupancyMapper, grid_frame
from gnesf_model.segment.pixels import pixel_segmentation
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.visualization.cloud import CLOUD_POINT, packed_cloud
from gnesf_model.visualization.images import overlay

LEGEND_TYPES = {
    "gnesf_msgs/msg/LegendClass": """
string FLOOR=floor
string STRUCTURE=structure
string FURNITURE=furniture
string DYNAMIC=dynamic
string OTHER=other
uint16 id
string name
uint8[3] color
string kind
""",
    "gnesf_msgs/msg/Legend": """
std_msgs/Header header
string label_space
LegendClass[] classes
""",
}
"""As in msg/, which an installation without ROS does not have."""

logger = logging.getLogger(__name__)

_IMAGE, _INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
_TRANSFORMS = {
    "/tf_static": ("tf2_msgs/msg/TFMessage", LATCHED),
    "/tf": ("tf2_msgs/msg/TFMessage", RELIABLE),
}
_TOPICS = {
    "semantic/legend": ("gnesf_msgs/msg/Legend", LATCHED),
    "semantic/camera_info": (_INFO, RELIABLE),
    "semantic/image_raw": (_IMAGE, RELIABLE),
    "semantic/confidence": (_IMAGE, RELIABLE),
    "semantic_color/camera_info": (_INFO, RELIABLE),
    "semantic_color/image_raw": (_IMAGE, RELIABLE),
    "semantic_overlay/image_raw/compressed": ("sensor_msgs/msg/CompressedImage", RELIABLE),
    "semantic_cloud": ("sensor_msgs/msg/PointCloud2", LATCHED),
    "occupancy_grid": ("nav_msgs/msg/OccupancyGrid", LATCHED),
}
"""Below the node's name."""
NODE = "/gnesf"
"""The node's name, unless it is launched under another or in a namespace."""
_FLOAT32, _UINT32 = 7, 6
_JPEG_QUALITY = 85


def free_path(path: str | Path) -> Path:
    """`path`, or where it is taken the first of path_2, path_3, ... that is not: for each run its own bag.

    An ending .mcap stays at the end. What a killed process left of a file takes its name as well.
    """
    wanted = Path(path).expanduser()
    stem, suffix = (wanted.stem, MCAP_SUFFIX) if wanted.suffix == MCAP_SUFFIX else (wanted.name, "")
    names = (wanted.with_name(f"{stem}_{n}{suffix}") if n > 1 else wanted for n in itertools.count(1))
    return next(name for name in names if not name.exists() and not part_of(name).exists())


class ResultBag:
    """A bag of results that is being written; close it, or use it in a `with`.

    Args:
        path: folder of the bag, or, if the name ends in .mcap, the one file, which has its name from `close` on; must
            not exist.
        mapper: the map.
        config: its frame, the grid and the period.
        node: full name of the node whose topics these are; the camera's pose is in its namespace.

    Attributes:
        path: of the bag.
        ended: why nothing more is written to it; empty while all is.

    Raises:
        FileExistsError: `path` is there already.
        OSError: it cannot be made.
    """

    def __init__(self, path: str | Path, mapper: SemanticMapper, config: Config, node: str = NODE) -> None:
        self._target = BagTarget(path)
        self.path = self._target.path
        types = get_typestore(Stores.ROS2_JAZZY)
        for name, definition in LEGEND_TYPES.items():
            types.register(get_types_from_msg(definition, name))
        self._mapper = mapper
        self.ended = ""
        self._global_frame, self._period_ns = config.input.global_frame, round(config.node.record_period_s * 1e9)
        self._grid_frame = grid_frame(config)
        self._occupancy = OccupancyMapper(mapper, config.occupancy)
        self._due_ns: int | None = None
        self._last_ns = 0
        self._tilt: np.ndarray | None = None
        self._writer = Writer(self._target.folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._node, self._pose_topic = node, f"{node.rpartition('/')[0]}/pose"
        topics = {f"{node}/{name}": kind for name, kind in _TOPICS.items()}
        pose = {self._pose_topic: ("geometry_msgs/msg/PoseStamped", RELIABLE)}
        self._out = TopicWriter(self._writer, {**_TRANSFORMS, **pose, **topics}, types)

    def __enter__(self) -> ResultBag:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def frame(self, frame: Frame, segmentation: Segmentation, blocks: torch.Tensor, frame_id: str = OPTICAL) -> None:
        """Write a frame that is in the map, and the map when it is due.

        What cannot be written (a full disk) ends the recording with an error in the log, not the mapping.

        Args:
            frame, segmentation: the image, and what it shows.
            blocks: (N,) rows of the blocks that it changed.
            frame_id: of the image.
        """
        if self._writer is None:
            return
        try:
            self._write_frame(frame, segmentation, blocks, frame_id)
        except OSError as error:
            logger.error("the recording of results ends here, %s: free some space, or record elsewhere", error)
            self.ended = str(error)
            self._finish()

    def changed(self, blocks: torch.Tensor) -> None:
        """Take note of rows (N,) of blocks that a frame changed which is not written."""
        self._occupancy.changes.add(blocks)

    def adjust(self, config: Config) -> None:
        """Go on with another period, and other heights and sizes of the grid, as `OccupancyMapper.adjust`."""
        period_ns = round(config.node.record_period_s * 1e9)
        if self._due_ns is not None:
            self._due_ns += period_ns - self._period_ns
        self._period_ns = period_ns
        self._occupancy.adjust(config.occupancy)

    def close(self) -> None:
        """Write the map as it is in the end, and finish the file; what cannot be written is an error in the log."""
        if self._writer is None:
            return
        try:
            if self._due_ns is not None:
                self._write_map(self._last_ns)
        except OSError as error:
            logger.error("the recording of results has no final map, %s: free some space, or record elsewhere", error)
        finally:
            self._finish()

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        try:
            try:
                writer.close()
            finally:  # what there is of a file has its name in any case
                self._target.finish()
        except OSError as error:
            logger.error("the recording of results is incomplete, %s: free some space, or record elsewhere", error)

    def _write_frame(self, frame: Frame, segmentation: Segmentation, blocks: torch.Tensor, frame_id: str) -> None:
        self._occupancy.changes.add(blocks)
        t, out = frame.stamp_ns, self._out
        out.frame_id = frame_id
        if self._due_ns is None:
            self._write_legend(t, self._mapper.labels)
        pose, world = out.pose(frame.world_T_cam), self._global_frame
        out.write("/tf", t, transforms=[out.transform(t, world, frame_id, frame.world_T_cam)])
        out.write(self._pose_topic, t, header=out.header(t, world), pose=pose)
        labels, confidence = pixel_segmentation(segmentation, frame.camera.height, frame.camera.width)
        info = out.camera_info(t, frame.camera)
        for name in ("semantic", "semantic_color"):
            out.write(f"{self._node}/{name}/camera_info", t, **info)
        out.write_image(f"{self._node}/semantic/image_raw", t, "mono8", labels)
        out.write_image(f"{self._node}/semantic/confidence", t, "mono8", confidence)
        out.write_image(f"{self._node}/semantic_color/image_raw", t, "rgb8", self._mapper.labels.colors[labels])
        blended = overlay(frame.rgb, labels, self._mapper.labels, opacity=0.5)
        _, jpeg = cv2.imencode(".jpg", blended[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        topic = f"{self._node}/semantic_overlay/image_raw/compressed"
        out.write(topic, t, header=out.header(t, frame_id), format="rgb8; jpeg compressed bgr8", data=jpeg.reshape(-1))
        self._last_ns = max(t, self._last_ns)
        if self._due_ns is None or not 0 <= self._due_ns - t <= self._period_ns:  # or the stamps went back
            self._write_map(t)
            self._due_ns = t + self._period_ns

    def _write_legend(self, t: int, labels: LabelSpace) -> None:
        out = self._out
        classes = [
            out.make("gnesf_msgs/msg/LegendClass", id=c.id, name=c.name, color=np.array(c.color, np.uint8), kind=c.kind)
            for c in labels.classes
        ]
        out.write(
            f"{self._node}/semantic/legend", t, header=out.header(t, ""), label_space=labels.name, classes=classes
        )

    def _write_map(self, t: int) -> None:
        out = self._out
        cloud = packed_cloud(self._mapper.surface(), self._mapper.labels)
        out.write(
            f"{self._node}/semantic_cloud",
            t,
            header=out.header(t, self._global_frame),
            height=1,
            width=len(cloud),
            fields=self._fields(),
            is_bigendian=False,
            point_step=cloud.itemsize,
            row_step=cloud.nbytes,
            data=cloud.view(np.uint8),
            is_dense=True,
        )
        grid = self._occupancy.grid()
        if grid is None:
            return
        if self._grid_frame != self._global_frame and not np.array_equal(self._tilt, grid.world_T_level):
            self._tilt = grid.world_T_level
            edge = out.transform(t, self._global_frame, self._grid_frame, grid.world_T_level)
            out.write("/tf_static", t, transforms=[edge])
        head = out.header(t, self._grid_frame)
        info = out.make(
            "nav_msgs/msg/MapMetaData",
            map_load_time=head.stamp,
            origin=out.pose(grid.level_T_grid),
            **grid.layout,
        )
        out.write(f"{self._node}/occupancy_grid", t, header=head, info=info, data=grid.cells.reshape(-1))

    def _fields(self) -> list[Any]:
        return [
            self._out.make(
                "sensor_msgs/msg/PointField",
                name=name,
                offset=offset,
                datatype=_UINT32 if name == "label" else _FLOAT32,
                count=1,
            )
            for name, (_, offset) in CLOUD_POINT.fields.items()
        ]
