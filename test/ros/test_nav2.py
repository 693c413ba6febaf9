"""config/nav2_semantic.yaml against what the layers of Nav2 require and what the node publishes.

The requirements are those of nav2_costmap_2d (Jazzy: static_layer.cpp, obstacle_layer.cpp, observation_buffer.cpp) and
of semantic_segmentation_layer (rolling): docs/nav2.md lists them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from ros_harness import ROOT, NodeProcess, Peer, new_domain
from ros_recording import REMAPS
from ros_robot import Robot
from sensor_msgs.msg import Image, PointCloud2

from gnesf_model.labels import LabelSpace
from gnesf_ros import qos
from gnesf_ros.optional_messages import optional

SENSOR_DATA = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = qos.latched(3)
SPACE = LabelSpace.load("scannet20")


@pytest.fixture(scope="module")
def costmaps() -> dict[str, Any]:
    tree = yaml.safe_load((ROOT / "config" / "nav2_semantic.yaml").read_text(encoding="utf-8"))
    return {name: tree[name][name]["ros__parameters"] for name in ("global_costmap", "local_costmap")}


def subscriptions(costmaps: dict[str, Any]) -> dict[str, tuple[str, QoSProfile]]:
    """Topic -> type and QoS with which the layers subscribe to it."""
    static = costmaps["global_costmap"]["static_layer"]
    assert static["map_subscribe_transient_local"] is True
    found = {static["map_topic"]: ("nav_msgs/msg/OccupancyGrid", LATCHED)}
    semantic = costmaps["local_costmap"]["semantic_layer"]
    for voxel in (costmap["voxel_layer"] for costmap in costmaps.values()):
        for name in voxel["observation_sources"].split():
            assert voxel[name]["data_type"] == "PointCloud2"
            found[voxel[name]["topic"]] = ("sensor_msgs/msg/PointCloud2", SENSOR_DATA)
    camera = semantic[semantic["observation_sources"]]
    found[camera["pointcloud_topic"]] = ("sensor_msgs/msg/PointCloud2", SENSOR_DATA)
    found[camera["segmentation_topic"]] = ("sensor_msgs/msg/Image", SENSOR_DATA)
    found[camera["confidence_topic"]] = ("sensor_msgs/msg/Image", SENSOR_DATA)
    found[camera["labels_topic"]] = ("vision_msgs/msg/LabelInfo", qos.latched(5))
    return found


def test_every_topic_is_published_with_that_type_and_a_qos_that_is_heard(
    costmaps: dict[str, Any], room_bag: Path, tmp_path: Path
) -> None:
    domain = new_domain()
    node = NodeProcess(domain, {"segmenter.model": f"oracle:{room_bag / 'labels'}"}, REMAPS, tmp_path / "log")
    peer = Peer(domain)
    try:
        for topic, (kind, profile) in subscriptions(costmaps).items():
            if topic == "/gnesf/semantic/label_info" and optional("vision_msgs", "LabelInfo") is None:
                continue  # comes with vision_msgs only, as the layer itself does
            (endpoint,) = peer.wait(lambda t=topic: peer.node.get_publishers_info_by_topic(t), topic)
            assert endpoint.topic_type == kind
            compatible, why = qos_check_compatible(endpoint.qos_profile, profile)
            assert compatible != QoSCompatibility.ERROR, f"{topic}: {why}"
    finally:
        peer.close()
        node.kill()


def test_the_frames_are_those_that_the_node_publishes_in(
    costmaps: dict[str, Any], room_bag: Path, tmp_path: Path
) -> None:
    voxel, semantic = (costmaps["local_costmap"][name] for name in ("voxel_layer", "semantic_layer"))
    kinds = {"/gnesf/occupancy_grid": OccupancyGrid, "/gnesf/semantic/image_raw": Image}
    kinds |= {voxel[name]["topic"]: PointCloud2 for name in voxel["observation_sources"].split()}
    periods = {f"node.{name}_period_s": 0.05 for name in ("cloud", "grid")}
    robot = Robot(room_bag, tmp_path / "log", **periods)
    try:
        heard = {topic: robot.peer.listen(kind, topic) for topic, kind in kinds.items()}
        robot.peer.found()
        for frame in robot.frames[:6]:
            robot.send(frame)
        frames = {topic: robot.peer.wait(lambda m=m: m, topic)[-1].header.frame_id for topic, m in heard.items()}
    finally:
        robot.close()
    assert frames["/gnesf/occupancy_grid"] == costmaps["global_costmap"]["global_frame"]
    for name in voxel["observation_sources"].split():
        source = voxel[name]
        if "sensor_frame" in source:
            assert frames[source["topic"]] == costmaps["local_costmap"]["global_frame"], name
            assert source["sensor_frame"] == frames["/gnesf/points"] == frames["/gnesf/semantic/image_raw"]
        else:
            assert source["topic"] == semantic[semantic["observation_sources"]]["pointcloud_topic"] == "/gnesf/points"


def test_every_plugin_has_its_parameters(costmaps: dict[str, Any]) -> None:
    for costmap in costmaps.values():
        for name in costmap["plugins"]:
            assert "::" in costmap[name]["plugin"]
            for source in costmap[name].get("observation_sources", "").split():
                assert costmap[name][source]


def test_heights_are_given_for_the_layer_and_for_each_source(costmaps: dict[str, Any]) -> None:
    """A source's max_obstacle_height is 0 by default, with which it marks nothing; its heights leave out rays, too."""
    for costmap in costmaps.values():
        voxel = costmap["voxel_layer"]
        sources = [voxel[name] for name in voxel["observation_sources"].split()]
        for entry in (voxel, *(source for source in sources if source["marking"])):
            assert 0 < entry["min_obstacle_height"] < entry["max_obstacle_height"]
        for source in sources:
            if source["clearing"]:  # rays to the floor and to the ceiling clear
                assert source["min_obstacle_height"] < -1 and source["max_obstacle_height"] > 3
        assert voxel["z_voxels"] <= 16
        assert voxel["origin_z"] + voxel["z_voxels"] * voxel["z_resolution"] >= voxel["max_obstacle_height"]


def test_only_what_comes_from_the_camera_clears(costmaps: dict[str, Any]) -> None:
    for costmap in costmaps.values():
        voxel, clears = costmap["voxel_layer"], []
        for name in voxel["observation_sources"].split():
            source = voxel[name]
            in_camera = source["topic"] == "/gnesf/points"
            assert source["clearing"] is not source["marking"]  # Humble marks whatever passes the heights of a source
            assert in_camera or not source["clearing"]
            assert in_camera or source["sensor_frame"]  # else its range would count from the origin of the map
            clears.append(source["clearing"])
        assert sum(clears) == 1


def test_the_semantic_layer_knows_every_class_and_what_it_means(costmaps: dict[str, Any]) -> None:
    camera = costmaps["local_costmap"]["semantic_layer"]["camera"]
    kinds = {"drivable": {"floor"}, "obstacle": {"structure", "furniture"}, "other": {"other"}}
    assert camera["class_types"] == list(kinds)
    listed = [name for kind in kinds for name in camera[kind]["classes"]]
    assert sorted(listed) == sorted(SPACE.names)
    for kind, allowed in kinds.items():
        assert {SPACE.classes[SPACE.index(name)].kind for name in camera[kind]["classes"]} <= allowed
        assert 0 <= camera[kind]["base_cost"] <= camera[kind]["max_cost"] <= 254
    # A cell of which several classes are seen takes the costliest: a table, not the floor beneath it.
    assert camera["use_cost_selection"] is True
