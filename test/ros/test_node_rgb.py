"""A camera without depth, played onto topics, through the node's process: `geometry: rgb`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gnesf_msgs.msg import MapperStatus
from ros_harness import NodeProcess, Peer, new_domain, play
from ros_recording import HEIGHT, REMAPS, WIDTH, tilted_camera
from sensor_msgs.msg import PointCloud2

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import FrameDropped
from gnesf_model.visualization.cloud import CLOUD_POINT

FRAMES = 24
GEOMETRY = {"geometry": "rgb", "volume.min_weight": 1.0, "predicted_depth.min_confidence": 0.3}


class ColourOnly:
    """A walk through a room, its depth left out."""

    label_space = "scannet20"

    def __init__(self) -> None:
        self._room = RoomSource(1, frames=FRAMES, width=WIDTH, height=HEIGHT, stride=4, shading=False)
        self.name, self.drops, self.last_message = self._room.name, Counter(), {}

    def __len__(self) -> int:
        return FRAMES

    def __iter__(self):
        return (replace(frame, depth=None) for frame in self._room)


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
        with pytest.raises(FrameDropped, match="keyframes before"):
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
    assert dict(zip(status.drop_reasons, status.drop_counts)) == {"no_parallax": 1}
