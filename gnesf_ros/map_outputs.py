"""What the node says of its map: cloud, grid, mesh, voxel blocks, and the view from where the camera is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gnesf_msgs.msg import VoxelBlocks
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from gnesf_model.config import Config
from gnesf_model.frame import Frame
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import LabelledPoints, SemanticMapper
from gnesf_model.occupancy import UNKNOWN_CELL, OccupancyMapper, grid_frame
from gnesf_model.occupancy import OccupancyGrid as Grid
from gnesf_model.visualization.cloud import packed_cloud, packed_voxels
from gnesf_model.volume.changes import BlockChanges
from gnesf_model.voxels import voxel_blocks, voxel_points
from gnesf_ros import conversions, map_messages, qos, stamps
from gnesf_ros.looks import Looks
from gnesf_ros.mesh_message import mesh_message
from gnesf_ros.optional_messages import optional
from gnesf_ros.outlet import Outlet, Pace

_BLOCKS_PER_MESSAGE = 4096
"""6 MB."""
_MESSAGES_AT_ONCE = 2
"""Of those, between two frames."""
_GRID = "~/occupancy_grid"
_RENDERED = ("semantic_map", "semantic_map_color", "depth")


class MapOutputs:
    """Topics that are made from the map now and then; all of it belongs to the worker's thread.

    Nothing is made that nobody subscribes to, and nothing twice from the same map.

    Args:
        node: whose topics they are.
        mapper: the map.
        config: periods, sizes, and what the grid counts as what.

    Attributes:
        looks: makes outputs from the map, here and elsewhere.
        lacking: why an output that is asked for is not there, or not all of it, by its topic.
    """

    def __init__(self, node: Node, mapper: SemanticMapper, config: Config) -> None:
        self._config = config
        self.lacking: dict[str, str] = {}
        self.looks = Looks(mapper.no_memory)
        self._node, self._mapper = node, mapper
        self._global_frame = config.input.global_frame
        self._grid_frame = grid_frame(config)
        levelled = self._grid_frame != self._global_frame
        self._cloud = Outlet(node, PointCloud2, "~/semantic_cloud", qos.latched())
        self._grid = Outlet(node, OccupancyGrid, _GRID, qos.latched())
        self._update_type = optional("map_msgs", "OccupancyGridUpdate")
        self._updates = self._create(self._update_type, "~/occupancy_grid_updates", qos.output())
        self._level = self._create(optional("tf2_msgs", "TFMessage") if levelled else None, "/tf_static", qos.latched())
        if levelled and self._level is None:
            node.get_logger().warning(
                f"the frame {self._grid_frame} of the occupancy grid cannot be published: install "
                "ros-$ROS_DISTRO-tf2-msgs, or set occupancy.up to z"
            )
        self._mesh = Outlet(node, Marker, "~/semantic_mesh", qos.latched())
        self._voxels = Outlet(node, VoxelBlocks, "~/semantic_voxels", qos.output(), greets=True)
        self._tsdf = Outlet(node, PointCloud2, "~/tsdf_cloud", qos.output(), greets=True)
        topics = (
            "semantic_map/image_raw",
            "semantic_map/confidence",
            "semantic_map_color/image_raw",
            "depth/image_rect",
        )
        self._views = {topic: Outlet(node, Image, f"~/{topic}", qos.output()) for topic in topics}
        self._infos = [Outlet(node, CameraInfo, f"~/{name}/camera_info", qos.output()) for name in _RENDERED]
        self._occupancy = OccupancyMapper(mapper, config.occupancy)
        self._changes = BlockChanges(lambda: mapper.grid)
        self._sequence, self._voxels_left = 0, False
        self._shown_grid: Grid | None = None
        self._began = False
        self._eye = np.zeros(3)
        self._paces = {
            name: Pace(
                lambda name=name: getattr(self._config.node, f"{name}_period_s"), lambda: self._config.node.output_share
            )
            for name in ("cloud", "grid", "mesh", "voxels", "tsdf")
        }
        self._views_due: dict[str, Pace] = {}
        """By camera: each shows its own view."""

    def adjust(self, config: Config) -> None:
        """Go on with other periods, sizes and heights; what needs other topics or cells needs another node."""
        before, self._config = self._config, config
        self._occupancy.adjust(config.occupancy)
        self._paces["grid"].again()
        if before.volume.min_weight != config.volume.min_weight:  # the same map has another surface
            self._changes.all()
            for pace in (*self._paces.values(), *self._views_due.values()):
                pace.again()

    def restarted(self) -> None:
        """The map was emptied, or is another one: it is shown at once."""
        for pace in (*self._paces.values(), *self._views_due.values()):
            pace.again()

    @property
    def resting_s(self) -> dict[str, float]:
        """Seconds between two of each output that is asked for less often than its period says, as it takes long."""
        periods = {name: getattr(self._config.node, f"{name}_period_s") for name in self._paces}
        return {name: pace.rest_s for name, pace in self._paces.items() if pace.rest_s > periods[name]}

    def changed(self, blocks: torch.Tensor) -> None:
        """Take note of rows (N,) of blocks that changed."""
        self._occupancy.changes.add(blocks)
        self._changes.add(blocks)

    def frame(self, frame: Frame, frame_id: str) -> dict[str, float]:
        """Show the map from where a frame that is in it was taken; gives milliseconds by stage.

        Args:
            frame: it.
            frame_id: of the colour images.
        """
        self._eye = frame.world_T_cam[:3, 3]
        wanted = any(outlet.wanted for outlet in (*self._views.values(), *self._infos))
        pace = self._views_due.setdefault(frame.source, Pace(lambda: self._config.node.render_period_s))
        if not wanted or not pace.due(frame.stamp_ns):
            return {}
        head = stamps.header(frame.stamp_ns, frame_id)
        return self._made("render", pace, frame.stamp_ns, lambda: self._render(frame, head))

    def publish(self, stamp_ns: int) -> dict[str, float]:
        """Publish what is due, with the stamp of the newest frame in the map; gives milliseconds by stage."""
        grid, spent = self._mapper.grid, {}
        self._began |= self._mapper.frames > 0
        if not self._began:
            return spent
        # After a reset, and after a map was loaded, no frame is in it yet.
        stamp_ns = stamp_ns or self._node.get_clock().now().nanoseconds
        version = (grid, grid.generation, self._mapper.frames)
        if self._cloud.wanted and self._paces["cloud"].due(version):
            spent |= self._due("cloud", version, lambda: self._publish_cloud(self._head(stamp_ns)))
        updates_wanted = self._updates is not None and self._updates.wanted
        if (self._grid.wanted or updates_wanted) and self._paces["grid"].due(version):
            spent |= self._due("grid", version, lambda: self._publish_grid(stamp_ns))
        if self._mesh.wanted and self._paces["mesh"].due(version):
            spent |= self._due("mesh", version, lambda: self._publish_mesh(self._head(stamp_ns)))
        # These two are not latched: whoever is new is served at once.
        if self._voxels.newcomers():
            self._changes.all()
            self._paces["voxels"].again()
        if self._voxels.wanted and self._paces["voxels"].due(version):
            spent |= self._due("voxels", version, lambda: self._publish_voxels(self._head(stamp_ns)))
            if self._voxels_left:
                self._paces["voxels"].again()
        if self._tsdf.newcomers():
            self._paces["tsdf"].again()
        if self._tsdf.wanted and self._paces["tsdf"].due(version):
            spent |= self._due("tsdf", version, lambda: self._publish_tsdf(self._head(stamp_ns)))
        return spent

    def _due(self, name: str, version: Any, action: Callable[[], None]) -> dict[str, float]:
        return self._made(name, self._paces[name], version, action)

    def _made(self, name: str, pace: Pace, version: Any, action: Callable[[], None]) -> dict[str, float]:
        """Make an output, let its pace know, and give milliseconds by name."""
        pace.begin()
        if spent := self.looks.make(name, action):
            pace.done(version)
        return spent

    def _head(self, stamp_ns: int) -> Header:
        return stamps.header(stamp_ns, self._global_frame)

    def _publish_cloud(self, head: Header) -> None:
        points = packed_cloud(self._mapper.surface(), self._mapper.labels)
        self._cloud.publish(conversions.cloud_message(points, head))

    def _publish_grid(self, stamp_ns: int) -> None:
        grid = self._occupancy.grid()
        self._say(grid)
        if grid is None and self._shown_grid is None:
            return
        if grid is None:  # the map was emptied: so is the grid that planners hold
            grid = replace(self._shown_grid, cells=np.full_like(self._shown_grid.cells, UNKNOWN_CELL))
        before, self._shown_grid = self._shown_grid, grid
        box = grid.changed(before)
        head = stamps.header(stamp_ns, self._grid_frame)
        if self._level is not None and (before is None or not np.array_equal(before.world_T_level, grid.world_T_level)):
            transform = map_messages.level_transform(grid, self._head(stamp_ns), self._grid_frame)
            self._level.publish(optional("tf2_msgs", "TFMessage")(transforms=[transform]))
        if box == (0, 0, 0, 0):
            return
        if self._updates is not None and box is not None:
            self._updates.publish(map_messages.occupancy_update_message(self._update_type, grid, box, head))
        self._grid.publish(map_messages.occupancy_message(grid, head))

    def _say(self, grid: Grid | None) -> None:
        """Warn when there is no grid, or not all of it, once for each reason."""
        why = "" if grid is not None else f"no occupancy grid: {self._occupancy.why}"
        if self._occupancy.left_out:
            size = self._config.occupancy.max_size_m
            why = (
                f"the occupancy grid leaves out surface beyond occupancy.max_size_m ({size:g} m): check the poses, or "
                "raise it"
            )
        if why and why != self.lacking.get(_GRID):
            self._node.get_logger().warning(why)
        self.lacking = {_GRID: why} if why else {}

    def _publish_mesh(self, head: Header) -> None:
        mesh = nearest_triangles(self._mapper.mesh(), self._eye, self._config.node.mesh_max_triangles)
        self._mesh.publish(mesh_message(mesh, self._mapper.labels, head))

    def _publish_voxels(self, head: Header) -> None:
        size, truncation_m = self._mapper.grid.voxel_size_m, self._mapper.truncation_m
        with self._changes.taken() as (slots, reset):
            parts = slots.split(_BLOCKS_PER_MESSAGE) if len(slots) else [slots]
            for part in parts[:_MESSAGES_AT_ONCE]:
                blocks = voxel_blocks(self._mapper, part)
                message = map_messages.voxel_blocks_message(blocks, size, truncation_m, reset, self._sequence, head)
                self._voxels.publish(message)
                self._sequence += 1
                reset = False
            for part in parts[_MESSAGES_AT_ONCE:]:
                self._changes.add(part)
        # A subscriber's queue holds ten: who gets all of a large map gets it bit by bit.
        self._voxels_left = len(parts) > _MESSAGES_AT_ONCE

    def _publish_tsdf(self, head: Header) -> None:
        voxels = voxel_points(self._mapper, self._eye, self._config.node.tsdf_max_points)
        self._tsdf.publish(conversions.cloud_message(packed_voxels(voxels, self._mapper.labels), head))

    def _render(self, frame: Frame, head: Header) -> None:
        stride = self._config.node.render_stride
        camera = frame.camera.strided(stride, 0) if stride > 1 else frame.camera
        if wanted := [outlet for outlet in self._infos if outlet.wanted]:
            info = conversions.camera_info_message(camera, head)
            for outlet in wanted:
                outlet.publish(info)
        if not any(outlet.wanted for outlet in self._views.values()):
            return
        view = self._mapper.render(camera, frame.world_T_cam)
        confidence = np.rint(view.confidence * 255.0).astype(np.uint8)
        confidence[view.labels == UNKNOWN] = 0
        makers = {
            "semantic_map/image_raw": lambda: view.labels,
            "semantic_map/confidence": lambda: confidence,
            "semantic_map_color/image_raw": lambda: conversions.color_image(view.labels, self._mapper.labels),
            "depth/image_rect": lambda: view.depth,
        }
        for topic, outlet in self._views.items():
            if outlet.wanted:
                outlet.publish(conversions.image_message(makers[topic](), head))

    def _create(self, kind: Any, topic: str, profile: Any) -> Outlet | None:
        return None if kind is None else Outlet(self._node, kind, topic, profile)


def nearest_triangles(mesh: LabelledPoints, eye: np.ndarray, limit: int) -> LabelledPoints:
    """The mesh, or its `limit` triangles nearest to a point (3,)."""
    if len(mesh.faces) <= limit:
        return mesh
    distance = np.square(mesh.points[mesh.faces[:, 0]] - eye.astype(np.float32)).sum(axis=1)
    kept = mesh.faces[np.sort(np.argpartition(distance, limit)[:limit])]
    return LabelledPoints(mesh.points, mesh.labels, mesh.confidence, mesh.colors, kept)
