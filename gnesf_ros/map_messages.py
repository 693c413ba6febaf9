"""Messages of what the map is: the grid, its frame, the voxel blocks, the classes for Nav2's semantic layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3
from gnesf_msgs.msg import VoxelBlocks as VoxelBlocksMessage
from nav_msgs.msg import MapMetaData, OccupancyGrid
from std_msgs.msg import Header

from gnesf_model.geometry import quaternion_from_pose
from gnesf_model.labels import LabelSpace
from gnesf_model.occupancy import OccupancyGrid as Grid
from gnesf_model.voxels import VoxelBlocks
from gnesf_ros.conversions import fill


def occupancy_message(grid: Grid, head: Header) -> OccupancyGrid:
    """nav_msgs/OccupancyGrid; its z is the floor's, its axes are those of the header's frame."""
    x, y, z = grid.level_T_grid[:3, 3].tolist()
    origin = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
    info = MapMetaData(map_load_time=head.stamp, origin=origin, **grid.layout)
    return OccupancyGrid(header=head, info=info, data=fill(grid.cells, "b"))


def occupancy_update_message(kind: Any, grid: Grid, box: tuple[int, int, int, int], head: Header) -> Any:
    """map_msgs/OccupancyGridUpdate, whose class is `kind`, of the cells in a box (x, y, width, height)."""
    x, y, width, height = box
    cells = grid.cells[y : y + height, x : x + width]
    return kind(header=head, x=x, y=y, width=width, height=height, data=fill(cells, "b"))


def level_transform(grid: Grid, head: Header, child: str) -> TransformStamped:
    """The levelled frame in the map's: a rotation about their common origin."""
    x, y, z, w = quaternion_from_pose(grid.world_T_level).tolist()
    return TransformStamped(
        header=head,
        child_frame_id=child,
        transform=Transform(translation=Vector3(), rotation=Quaternion(x=x, y=y, z=z, w=w)),
    )


def voxel_blocks_message(
    blocks: VoxelBlocks, voxel_size_m: float, truncation_m: float, reset: bool, sequence: int, head: Header
) -> VoxelBlocksMessage:
    """gnesf_msgs/VoxelBlocks."""
    return VoxelBlocksMessage(
        header=head,
        sequence=sequence & 0xFFFFFFFF,
        reset=reset,
        voxel_size=voxel_size_m,
        truncation=truncation_m,
        coords=fill(blocks.coords.astype(np.int32, copy=False), "i"),
        tsdf=fill(blocks.tsdf, "b"),
        label=fill(blocks.labels),
        confidence=fill(blocks.confidence),
    )


def label_info_message(kind: Any, entry: Any, labels: LabelSpace, head: Header) -> Any:
    """vision_msgs/LabelInfo, whose class is `kind`, of `entry`s (vision_msgs/VisionClass).

    Every class is there, 255 is none of them. Threshold 0: labels are given however unsure; the confidence image says.
    """
    classes = [entry(class_id=c.id, class_name=c.name) for c in labels.classes]
    return kind(header=head, class_map=classes, threshold=0.0)
