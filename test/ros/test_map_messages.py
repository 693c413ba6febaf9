"""Grid, mesh and voxel blocks as their readers find them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from gnesf_msgs.msg import VoxelBlocks as VoxelBlocksMessage
from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker

from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.occupancy import FREE, OCCUPIED, UNKNOWN_CELL
from gnesf_model.occupancy import OccupancyGrid as Grid
from gnesf_model.voxels import VoxelBlocks
from gnesf_ros import map_messages, mesh_message, stamps
from gnesf_ros.map_outputs import nearest_triangles
from gnesf_ros.optional_messages import optional

SPACE = LabelSpace.load("scannet20")
HEAD = stamps.header(1_700_000_000_123_456_789, "odom")


def make_mesh(triangles: int, seed: int = 0) -> LabelledPoints:
    rng = np.random.default_rng(seed)
    vertices = max(3, triangles // 2)
    labels = rng.integers(0, 20, vertices).astype(np.uint8)
    labels[::5] = UNKNOWN
    return LabelledPoints(
        points=rng.normal(size=(vertices, 3)).astype(np.float32),
        labels=labels,
        confidence=np.ones(vertices, np.float32),
        colors=None,
        faces=rng.integers(0, vertices, (triangles, 3)).astype(np.int32),
    )


@pytest.mark.parametrize("frame", ["", "m", "map", "odom_level", "rather/long/frame"])  # each pads differently
@pytest.mark.parametrize("triangles", [0, 1, 7])
def test_a_mesh_is_a_triangle_list_in_the_colours_of_the_legend(frame: str, triangles: int) -> None:
    mesh = make_mesh(triangles)
    head = stamps.header(7, frame)
    marker = deserialize_message(mesh_message.mesh_message(mesh, SPACE, head), Marker)
    assert (marker.header, marker.type, marker.ns, marker.id) == (head, Marker.TRIANGLE_LIST, "gnesf", 0)
    assert marker.action == (Marker.ADD if triangles else Marker.DELETE)
    assert (marker.pose.orientation.w, marker.scale.x, marker.scale.y, marker.scale.z) == (1.0, 1.0, 1.0, 1.0)
    assert marker.color.a == 1.0
    corners = mesh.faces.reshape(-1)
    found = np.array([(p.x, p.y, p.z) for p in marker.points]).reshape(-1, 3)
    np.testing.assert_array_equal(found, mesh.points[corners].astype(np.float64))
    assert len(marker.colors) == len(corners)
    for color, label in zip(marker.colors, mesh.labels[corners]):
        wanted = (127.5,) * 3 if label == UNKNOWN else SPACE.classes[label].color
        np.testing.assert_allclose((color.r, color.g, color.b), np.array(wanted) / 255, atol=1e-6)
        assert color.a == 1.0
    # What comes after the colours in the stream is whole, and there is nothing beyond it.
    assert (marker.texture_resource, marker.text, marker.mesh_resource) == ("", "", "")
    assert not len(marker.uv_coordinates) and not marker.mesh_use_embedded_materials
    assert len(serialize_message(marker)) == len(mesh_message.mesh_message(mesh, SPACE, head))


def test_a_large_mesh_takes_no_time() -> None:
    mesh = make_mesh(100_000)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        mesh_message.mesh_message(mesh, SPACE, HEAD)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.25  # 0.02 s alone; 300 000 Python objects would take over a second


def test_of_a_mesh_that_is_too_large_the_nearest_part_stays() -> None:
    mesh = make_mesh(500)
    eye = np.array([1.0, 0.0, 0.0])
    kept = nearest_triangles(mesh, eye, 100)
    assert len(kept.faces) == 100
    distance = np.linalg.norm(mesh.points[mesh.faces[:, 0]] - eye, axis=1)
    nearest = {tuple(face) for face in mesh.faces[np.argsort(distance)[:100]].tolist()}
    assert {tuple(face) for face in kept.faces.tolist()} == nearest
    assert nearest_triangles(mesh, eye, 500) is mesh


def make_grid() -> Grid:
    cells = np.full((3, 4), UNKNOWN_CELL, np.int8)
    cells[0, 1], cells[2, 3] = FREE, OCCUPIED
    resolution = float(np.float32(0.05))
    return Grid(cells, resolution, (-64 * resolution, 128 * resolution), -0.125, np.eye(4))


def test_a_grid_is_row_major_from_its_origin() -> None:
    grid = deserialize_message(serialize_message(map_messages.occupancy_message(make_grid(), HEAD)), OccupancyGrid)
    info = grid.info
    assert (grid.header, info.map_load_time) == (HEAD, HEAD.stamp)
    assert (info.width, info.height) == (4, 3)
    assert list(grid.data) == [-1, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, 100]
    origin = info.origin
    assert origin.position.z == -0.125
    # Nav2's static layer reads neither the tilt of a grid nor origins off its raster.
    assert (origin.orientation.x, origin.orientation.y, origin.orientation.z, origin.orientation.w) == (0, 0, 0, 1)
    assert np.fmod(origin.position.x, info.resolution) == np.fmod(origin.position.y, info.resolution) == 0.0


def test_an_update_is_the_part_of_the_grid_that_changed() -> None:
    kind = optional("map_msgs", "OccupancyGridUpdate")
    if kind is None:
        pytest.skip("map_msgs is not installed")
    update = map_messages.occupancy_update_message(kind, make_grid(), (1, 0, 3, 3), HEAD)
    assert (update.x, update.y, update.width, update.height) == (1, 0, 3, 3)
    assert list(update.data) == [0, -1, -1, -1, -1, -1, -1, -1, 100]


def test_label_info_names_every_class() -> None:
    kind, entry = optional("vision_msgs", "LabelInfo"), optional("vision_msgs", "VisionClass")
    if kind is None:
        pytest.skip("vision_msgs is not installed, or older than 4.0")
    info = map_messages.label_info_message(kind, entry, SPACE, HEAD)
    assert [(c.class_id, c.class_name) for c in info.class_map] == [(c.id, c.name) for c in SPACE.classes]


def test_voxel_blocks_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    blocks = VoxelBlocks(
        coords=rng.integers(-5, 5, (3, 3)).astype(np.int32),
        tsdf=rng.integers(-128, 128, (3, 512)).astype(np.int8),
        labels=rng.integers(0, 256, (3, 512)).astype(np.uint8),
        confidence=rng.integers(0, 256, (3, 512)).astype(np.uint8),
    )
    message = map_messages.voxel_blocks_message(blocks, 0.04, 0.16, True, 7, HEAD)
    again = deserialize_message(serialize_message(message), VoxelBlocksMessage)
    assert again.reset and (again.voxel_size, again.truncation) == pytest.approx((0.04, 0.16))
    for name, field in (("coords", again.coords), ("tsdf", again.tsdf), ("labels", again.label)):
        np.testing.assert_array_equal(np.array(field).reshape(3, -1), getattr(blocks, name))
    np.testing.assert_array_equal(np.array(again.confidence).reshape(3, -1), blocks.confidence)
