"""A camera without depth, played onto topics, through the node's process: `geometry: rgb`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gnesf_msgs.msg import MapperStatus
from ros_harness import ROOT, NodeProcess, Peer, new_domain, play
from ros_recording import FRAMES, HEIGHT, REMAPS, WIDTH, ColourOnly, tilted_camera
from sensor_msgs.msg import PointCloud2

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.evaluation.metrics import load_metrics
from gnesf_model.frame import FrameDropped
from gnesf_model.visualization.cloud import CLOUD_POINT

GEOMETRY = {"geometry": "rgb", "volume.min_weight": 1.0, "predicted_depth.min_confidence": 0.3}


def test_a_camera_alone_is_mapped_as_it_is_offline(tmp_path: Path) -> None:
    write_bag(ColourOnly(), tmp_path / "bag", body_T_camera=tilted_camera(), labels_dir=tmp_path / "labels")
    domain = new_domain()
    oracle = f"oracle:{tmp_path / 'labels'}"
    parameters = {"segmenter.model": oracle, "node.queue": "all", "node.cloud_period_s": 0.3, "use_sim_time": True}
    node = NodeProcess(domain, {**parameters, **GEOMETRY}, REMAPS, tmp_path / "log.txt")
    peer = Peer(domain)
    try:
        clouds = peer.listen(PointCloud2, "/gnesf/semantic_cloud")
        points = peer.listen(PointCloud2, "/gnesf/points")
        statuses = peer.listen(MapperStatus, "/gnesf/status")
        peer.found()
        play(tmp_path / "bag", domain, "--rate", "0", "--wait-for", "/gnesf")
        peer.wait(lambda: statuses and statuses[-1].frames_processed == FRAMES - 1, "the last frame")
        last = statuses[-1].header.stamp
        peer.wait(lambda: clouds and clouds[-1].header.stamp == last, "the final cloud")
    finally:
        peer.close()
        node.kill()
    config = Config.from_flat({**GEOMETRY, "segmenter.model": oracle, "device": "cpu", "input.pose_source": "pose"})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mapper = build_mapper(config)
        first, *rest = BagSource(tmp_path / "bag", config.input)
        with pytest.raises(FrameDropped, match="it is the first keyframe"):
            mapper.integrate(first)
        updates = [mapper.integrate(frame) for frame in rest]
        offline = mapper.surface()
    finally:
        torch.set_num_threads(threads)
    live = np.frombuffer(clouds[-1].data, CLOUD_POINT)
    assert live.size == len(offline.points) > 100
    np.testing.assert_array_equal(np.stack([live["x"], live["y"], live["z"]], 1), offline.points)
    np.testing.assert_array_equal(live["label"], offline.labels)
    voted = [update for update in updates if update.keyframe is not None]
    assert len(points) == len(voted) > 2, "the points of keyframes, whose depth was predicted"
    assert [(m.width, m.height) for m in points] == [(WIDTH, HEIGHT)] * len(voted)
    status = statuses[-1]
    assert status.keyframes == len(voted)
    assert dict(zip(status.drop_reasons, status.drop_counts)) == {"first_view": 1}


def test_it_is_evaluated_through_the_node(tmp_path: Path) -> None:
    """`gnesf eval recording --through-node --geometry rgb`: the map that is scored is that of the same run offline."""
    write_bag(ColourOnly(), tmp_path / "bag", body_T_camera=tilted_camera(), labels_dir=tmp_path / "labels")
    found = {}
    for name, more in (("offline", ()), ("node", ("--through-node", "--rate", "0", "--set", "node.queue=all"))):
        command = [sys.executable, "-m", "gnesf_model.cli", "eval", "recording", str(tmp_path / "bag"), "--out"]
        command += [str(tmp_path / name), "--labels", str(tmp_path / "labels"), "--segmenter", "oracle"]
        settings = {"cpu_threads": 1, "device": "cpu", **GEOMETRY}
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
        found[name] = load_metrics(tmp_path / name)
    node, offline = found["node"], found["offline"]
    assert (node["through"], node["frames"]) == ("node", FRAMES - 1)
    assert node["dropped"] == offline["dropped"] == {"first_view": 1}
    assert node["scores"] == offline["scores"]
    assert node["map"]["surface_points"] == offline["map"]["surface_points"] > 100
