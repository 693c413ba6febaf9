"""What the node says of its map, over DDS: as RViz, Nav2 and a planner hear it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from gnesf_msgs.msg import MapperStatus, VoxelBlocks
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.serialization import deserialize_message
from ros_harness import NodeProcess, Peer, new_domain, play
from ros_recording import HEIGHT, OPTICAL, REMAPS, WIDTH
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.camera_info import decode_camera_info
from gnesf_model.data.messages import decode_depth
from gnesf_model.frame import Camera
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.occupancy import OccupancyMapper
from gnesf_model.visualization.cloud import TSDF_POINT
from gnesf_model.voxels import voxel_blocks
from gnesf_ros import qos
from gnesf_ros.publishers import Publishers

SENSOR = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
"""As Nav2's obstacle and semantic layers subscribe (SensorDataQoS)."""
SETTINGS = {"input.pose_source": "pose", "occupancy.up": "auto"}
IMAGES = ("semantic/image_raw", "semantic/confidence", "semantic_map/image_raw", "semantic_map/confidence",
          "semantic_map_color/image_raw", "depth/image_rect")  # fmt: skip
INFOS = ("semantic", "semantic_color", "semantic_overlay", "semantic_map", "semantic_map_color", "depth")


@dataclass
class Run:
    """What came out of one run, the node still being there."""

    node: NodeProcess
    peer: Peer
    domain: int
    bag: Path
    record: Path
    heard: dict[str, list[Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def run(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    domain = new_domain()
    parameters = {
        "segmenter.model": f"oracle:{room_bag / 'labels'}",
        "node.queue": "all",
        "node.grid_period_s": 0.3,
        "node.mesh_period_s": 0.3,
        "node.voxels_period_s": 0.3,
        "node.render_period_s": 0.0,
        "node.render_stride": 2,
        "node.mesh_max_triangles": 5000,
        "node.tsdf_period_s": 0.3,
        "node.tsdf_max_points": 20000,
        "node.record": str(tmp_path_factory.mktemp("record") / "results"),
        "node.record_period_s": 1.0,
        "use_sim_time": True,
        **SETTINGS,
    }
    node = NodeProcess(domain, parameters, REMAPS, tmp_path_factory.mktemp("outputs") / "log.txt")
    peer = Peer(domain)
    try:
        result = Run(node, peer, domain, room_bag, Path(parameters["node.record"]))
        kinds = {**dict.fromkeys(IMAGES, Image), **{f"{name}/camera_info": CameraInfo for name in INFOS}}
        kinds |= dict.fromkeys(("points", "dynamic_cloud", "tsdf_cloud"), PointCloud2)
        result.heard = {topic: peer.listen(kind, f"/gnesf/{topic}") for topic, kind in kinds.items()}
        for topic, kind in (("occupancy_grid", OccupancyGrid), ("semantic_mesh", Marker)):
            result.heard[topic] = peer.listen(kind, f"/gnesf/{topic}", qos.latched())
        result.heard["semantic_voxels"] = peer.listen(VoxelBlocks, "/gnesf/semantic_voxels", qos.output())
        result.heard["tf_static"] = peer.listen(TFMessage, "/tf_static", qos.latched(100))
        statuses = peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        peer.found()
        play(room_bag / "bag", domain, "--rate", "0", "--wait-for", "/gnesf")
        peer.wait(lambda: statuses and statuses[-1].frames_pending == 0, "the last status", 60)
        last = statuses[-1].header.stamp
        for topic in ("occupancy_grid", "semantic_mesh", "semantic_voxels", "tsdf_cloud"):
            messages = result.heard[topic]
            peer.wait(lambda m=messages: m and m[-1].header.stamp == last, f"the final {topic}", 60)
        yield result
    finally:
        peer.close()
        node.kill()


@pytest.fixture(scope="module")
def offline(room_bag: Path) -> tuple[SemanticMapper, OccupancyMapper]:
    """The same map, made without ROS."""
    config = Config.from_flat({"segmenter.model": f"oracle:{room_bag / 'labels'}", "device": "cpu", **SETTINGS})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mapper = build_mapper(config)
        for frame in BagSource(room_bag / "bag", config.input):
            mapper.integrate(frame)
    finally:
        torch.set_num_threads(threads)
    return mapper, OccupancyMapper(mapper, config.occupancy)


def stamps_of(messages: list[Any]) -> list[int]:
    return [m.header.stamp.sec * 1_000_000_000 + m.header.stamp.nanosec for m in messages]


def test_every_image_has_the_camera_info_of_its_stamp_frame_and_size(run: Run) -> None:
    topics = ("semantic/image_raw", "semantic_map/image_raw", "semantic_map_color/image_raw", "depth/image_rect")
    for image in topics:
        name = image.split("/")[0]
        images, infos = run.heard[image], run.heard[f"{name}/camera_info"]
        assert images and stamps_of(images) == stamps_of(infos), image
        for one, info in zip(images, infos):
            assert (one.width, one.height, one.header.frame_id) == (info.width, info.height, OPTICAL)
            assert info.header == one.header
            assert not any(info.d)
    frame = next(iter(BagSource(run.bag / "bag")))
    assert decode_camera_info(run.heard["semantic/camera_info"][0]).camera == frame.camera
    assert decode_camera_info(run.heard["depth/camera_info"][0]).camera == frame.camera.strided(2, 0)


def test_points_and_labels_go_pixel_by_pixel(run: Run) -> None:
    """What Nav2's semantic segmentation layer takes: exactly equal stamps, as many points as pixels."""
    assert stamps_of(run.heard["points"]) == stamps_of(run.heard["semantic/image_raw"])
    frames = {frame.stamp_ns: frame for frame in BagSource(run.bag / "bag")}
    for cloud in run.heard["points"][::8]:
        assert (cloud.width, cloud.height, cloud.header.frame_id) == (WIDTH, HEIGHT, OPTICAL)
        z = np.frombuffer(cloud.data, "<f4").reshape(HEIGHT, WIDTH, -1)[..., 2]
        depth = frames[stamps_of([cloud])[0]].depth
        np.testing.assert_array_equal(z, np.where(depth > 0, depth, np.nan))


def test_the_map_is_seen_from_where_the_camera_is(run: Run, offline: tuple[SemanticMapper, OccupancyMapper]) -> None:
    mapper, _ = offline
    frames = list(BagSource(run.bag / "bag", mapper.config.input))
    last = frames[-1]
    view = mapper.render(last.camera.strided(2, 0), last.world_T_cam)
    by_stamp = {topic: dict(zip(stamps_of(run.heard[topic]), run.heard[topic])) for topic in IMAGES}
    depth = decode_depth(by_stamp["depth/image_rect"][last.stamp_ns])
    np.testing.assert_array_equal(depth, view.depth)
    labels = np.frombuffer(by_stamp["semantic_map/image_raw"][last.stamp_ns].data, np.uint8)
    np.testing.assert_array_equal(labels.reshape(view.labels.shape), view.labels)
    measured = last.depth[::2, ::2]
    both = (depth > 0) & (measured > 0)
    assert both.mean() > 0.5
    assert np.median(np.abs(depth - measured)[both]) < 0.02


def test_the_grid_is_that_of_the_map_in_a_levelled_frame(
    run: Run, offline: tuple[SemanticMapper, OccupancyMapper]
) -> None:
    grid, truth = run.heard["occupancy_grid"][-1], offline[1].grid()
    assert grid.header.frame_id == "odom_level"
    # The node followed the map and kept every cell it ever had; the common part is the same.
    x, y = np.rint((np.array(truth.origin_m) - [grid.info.origin.position.x, grid.info.origin.position.y])
                   / truth.resolution_m).astype(int)  # fmt: skip
    cells = np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)
    height, width = truth.cells.shape
    assert (cells == 0).sum() > 200 and (cells == 100).sum() > 50
    same = cells[y : y + height, x : x + width] == truth.cells
    assert same.mean() > 0.99
    tilt = [t for m in run.heard["tf_static"] for t in m.transforms if t.child_frame_id == "odom_level"]
    assert tilt and tilt[-1].header.frame_id == "odom"
    q = tilt[-1].transform.rotation
    assert np.hypot(q.x, q.y) < 0.02  # the room was level already


def test_voxel_blocks_add_up_to_the_map(run: Run, offline: tuple[SemanticMapper, OccupancyMapper]) -> None:
    mapper, _ = offline
    known = collect(run.heard["semantic_voxels"])
    assert sum(message.reset for message in run.heard["semantic_voxels"]) == 1
    truth = voxel_blocks(mapper, torch.arange(mapper.grid.count))
    assert set(known) == {tuple(c) for c in truth.coords.tolist()}
    for row, coords in enumerate(truth.coords.tolist()):
        tsdf, label, confidence = known[tuple(coords)]
        np.testing.assert_array_equal(tsdf, truth.tsdf[row])
        np.testing.assert_array_equal(label, truth.labels[row])
        np.testing.assert_array_equal(confidence, truth.confidence[row])


def collect(messages: list[VoxelBlocks]) -> dict[tuple, tuple]:
    """What somebody who follows the messages knows in the end."""
    known: dict[tuple, tuple] = {}
    for message in messages:
        if message.reset:
            known.clear()
        arrays = [np.array(a).reshape(-1, 512) for a in (message.tsdf, message.label, message.confidence)]
        coords = np.array(message.coords).reshape(-1, 3).tolist()
        known |= {tuple(c): (arrays[0][i], arrays[1][i], arrays[2][i]) for i, c in enumerate(coords)}
    return known


def test_the_mesh_is_bounded(run: Run) -> None:
    mesh = run.heard["semantic_mesh"][-1]
    assert mesh.type == Marker.TRIANGLE_LIST and mesh.header.frame_id == "odom"
    assert len(mesh.points) == len(mesh.colors) == 3 * 5000


def test_the_voxels_of_the_cloud_are_those_of_the_map(
    run: Run, offline: tuple[SemanticMapper, OccupancyMapper]
) -> None:
    mapper, _ = offline
    cloud = run.heard["tsdf_cloud"][-1]
    assert [(f.name, f.offset) for f in cloud.fields][-2:] == [("confidence", 20), ("tsdf", 24)]
    points = np.frombuffer(cloud.data, TSDF_POINT)
    assert 15_000 < len(points) <= 20_000
    voxel = np.floor(np.stack([points["x"], points["y"], points["z"]], 1) / mapper.grid.voxel_size_m).astype(np.int64)
    slot = mapper.grid.find(torch.from_numpy(voxel // 8))
    column = torch.from_numpy((voxel % 8) @ [64, 8, 1])
    truth = mapper.grid.voxels["tsdf"][slot, column] * mapper.truncation_m
    np.testing.assert_allclose(points["tsdf"], truth.numpy(), atol=1e-6)
    assert (np.abs(points["tsdf"][points["label"] != 255]) < mapper.truncation_m).all()


def test_nobody_moves_in_this_room(run: Run) -> None:
    assert stamps_of(run.heard["dynamic_cloud"]) == stamps_of(run.heard["points"])
    assert {cloud.width for cloud in run.heard["dynamic_cloud"]} == {0}


def test_who_comes_late_gets_grid_mesh_and_every_block(run: Run) -> None:
    late = Peer(run.domain)
    try:
        grids = late.listen(OccupancyGrid, "/gnesf/occupancy_grid", qos.latched(3))  # as Nav2's static layer
        meshes = late.listen(Marker, "/gnesf/semantic_mesh", qos.latched())
        tilts = late.listen(TFMessage, "/tf_static", qos.latched(100))
        voxels = late.listen(VoxelBlocks, "/gnesf/semantic_voxels", qos.output())
        late.wait(lambda: grids and meshes and tilts and voxels, "the map", 20)
        assert grids[-1] == run.heard["occupancy_grid"][-1]
        known = collect(run.heard["semantic_voxels"])
        late.wait(lambda: voxels[0].reset and len(collect(voxels)) == len(known), "every block", 20)
    finally:
        late.close()


def test_what_nobody_hears_is_not_made(room_bag: Path, tmp_path: Path) -> None:
    domain = new_domain()
    parameters = {"segmenter.model": f"oracle:{room_bag / 'labels'}", "node.queue": "all", "use_sim_time": True}
    node, peer = NodeProcess(domain, parameters, REMAPS, tmp_path / "log"), Peer(domain)
    try:
        statuses = peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
        play(room_bag / "bag", domain, "--rate", "0", "--wait-for", "/gnesf")
        peer.wait(lambda: statuses and statuses[-1].frames_pending == 0, "the last status", 60)
        count = len(diagnostics)
        peer.wait(lambda: len(diagnostics) > count + 1, "diagnostics after the end")
        values = {v.key for s in diagnostics[-1].status for v in s.values}
        assert "integrate p50" in values
        assert not {f"{name} p50" for name in ("cloud", "grid", "mesh", "voxels", "tsdf", "render")} & values
    finally:
        peer.close()
        node.kill()


class Untouched:
    """What nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("semantic/image_raw", Image),
        ("semantic/confidence", Image),
        ("semantic_color/image_raw", Image),
        ("semantic_overlay/image_raw", Image),
        ("points", PointCloud2),
        ("dynamic_cloud", PointCloud2),
    ],
)
def test_images_and_points_are_made_for_those_who_listen_alone(topic: str, kind: type) -> None:
    """Without a listener neither the segmentation nor the images of a frame are so much as looked at."""
    domain = new_domain()
    speaker, listener = Peer(domain), Peer(domain)
    camera = Camera(width=WIDTH, height=HEIGHT, fx=100.0, fy=100.0, cx=79.5, cy=59.5)
    frame = SimpleNamespace(stamp_ns=7, source="", camera=camera, rgb=Untouched(), depth=Untouched())
    try:
        publishers = Publishers(speaker.node, LabelSpace.load("scannet20"), "odom")
        publishers.frame(frame, Untouched(), OPTICAL)
        listener.listen(kind, f"/{speaker.node.get_name()}/{topic}")
        name = f"~/{topic}"
        heard = lambda: speaker.node.count_subscribers(speaker.node.resolve_topic_name(name))  # noqa: E731
        speaker.wait(heard, "the listener")

        def made() -> bool:
            try:
                publishers.frame(frame, Untouched(), OPTICAL)
            except (AssertionError, TypeError):  # NumPy cannot make anything of it
                return True
            return False

        speaker.wait(made, f"a look at the frame, once somebody listens to {topic}")
    finally:
        speaker.close()
        listener.close()


def test_best_effort_subscribers_hear_points_and_labels(run: Run) -> None:
    for topic, kind in (("points", PointCloud2), ("semantic/image_raw", Image), ("semantic/confidence", Image)):
        (endpoint,) = run.peer.node.get_publishers_info_by_topic(f"/gnesf/{topic}")
        assert qos_check_compatible(endpoint.qos_profile, SENSOR)[0] != QoSCompatibility.ERROR, kind


def test_the_node_records_what_it_says(run: Run) -> None:  # the last: the node is gone afterwards
    assert run.node.stop() == 0
    stamps = {topic: [] for topic in ("semantic/image_raw", "semantic_cloud", "occupancy_grid")}
    last = {}
    with Reader(run.record) as reader:
        for connection, _, data in reader.messages():
            topic = connection.topic.removeprefix("/gnesf/")
            if topic in stamps:
                kind = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/PointCloud2": PointCloud2}
                last[topic] = deserialize_message(data, kind.get(connection.msgtype, OccupancyGrid))
                stamps[topic] += stamps_of([last[topic]])
    assert stamps["semantic/image_raw"] == stamps_of(run.heard["semantic/image_raw"])
    assert last["semantic/image_raw"].header.frame_id == OPTICAL
    assert last["semantic/image_raw"].data == run.heard["semantic/image_raw"][-1].data
    assert stamps["semantic_cloud"][-1] == stamps["semantic/image_raw"][-1]
    assert last["semantic_cloud"].width > 1000
    np.testing.assert_array_equal(
        np.unique(last["occupancy_grid"].data), np.unique(run.heard["occupancy_grid"][-1].data)
    )
