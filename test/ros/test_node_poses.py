"""Poses of a robot's base and a tilted camera give the map of the camera's own poses, and without the link none."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from gnesf_msgs.msg import MapperStatus
from ros_harness import NodeProcess, Peer, new_domain, play
from ros_recording import FRAMES, OPTICAL, REMAPS
from scipy.spatial import cKDTree
from sensor_msgs.msg import PointCloud2

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_ros import qos


def parameters(room: Path, source: str) -> dict:
    return {"segmenter.model": f"oracle:{room / 'labels'}", "node.queue": "all", "input.pose_source": source}


def words(messages: list[DiagnosticArray]) -> str:
    return " | ".join(s.message for d in messages for s in d.status if s.level == DiagnosticStatus.ERROR)


@pytest.mark.parametrize("source", ["odom", "tf"])
def test_base_link_and_a_tilted_camera_give_the_map_of_optical_poses(
    room_bag: Path, tmp_path: Path, source: str
) -> None:
    domain = new_domain()
    node, peer = NodeProcess(domain, parameters(room_bag, source), REMAPS, tmp_path / "log"), Peer(domain)
    try:
        clouds = peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        statuses = peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        play(room_bag / "bag", domain, "--rate", "0", "--wait-for", "/gnesf")
        peer.wait(lambda: statuses and statuses[-1].frames_processed == FRAMES, "all frames")
        stamp = statuses[-1].header.stamp
        peer.wait(lambda: clouds and clouds[-1].header.stamp == stamp, "the final cloud")
        assert f"poses come from {source}" in node.log
        live = np.frombuffer(clouds[-1].data, CLOUD_POINT)
        assert node.stop(signal.SIGTERM) == 0
    finally:
        peer.close()
        node.kill()
    config = Config.from_flat({**parameters(room_bag, "pose"), "device": "cpu"})
    mapper = build_mapper(config)
    for frame in BagSource(room_bag / "bag", config.input):
        mapper.integrate(frame)
    offline = mapper.surface()
    # Chains of transforms round differently, so single points on thresholds may come or go.
    assert abs(live.size - len(offline.points)) <= 0.002 * live.size
    distance, nearest = cKDTree(offline.points).query(np.stack([live["x"], live["y"], live["z"]], axis=1))
    assert np.quantile(distance, 0.995) < 1e-4
    assert np.mean(offline.labels[nearest] == live["label"]) > 0.995


def test_without_the_link_to_the_camera_nothing_is_mapped_and_the_edge_is_named(room_bag: Path, tmp_path: Path) -> None:
    domain = new_domain()
    node, peer = NodeProcess(domain, parameters(room_bag, "odom"), REMAPS, tmp_path / "log"), Peer(domain)
    try:
        statuses = peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
        clouds = peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        play(room_bag / "bag", domain, "--rate", "0", "--wait-for", "/gnesf", "--remap", "/tf_static:=/not_tf_static")
        edge = f"base_link -> {OPTICAL}"
        peer.wait(lambda: edge in words(diagnostics), f"diagnostics that name {edge}")
        peer.wait(lambda: statuses[-1].frames_pending == 0, "the end of waiting")
        dropped = dict(zip(statuses[-1].drop_reasons, statuses[-1].drop_counts))
        assert dropped == {"no_extrinsics": FRAMES}
        assert statuses[-1].frames_processed == 0
        assert statuses[-1].state == MapperStatus.WAITING
        assert not clouds
        node.wait_for_log(edge)
    finally:
        peer.close()
        node.kill()
