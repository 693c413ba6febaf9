"""The whole way: a bag, played onto topics, through the node's process, to what arrives on every topic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from gnesf_msgs.msg import Legend, MapperStatus
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from ros_harness import NodeProcess, Peer, new_domain, play
from ros_recording import FRAMES, HEIGHT, OPTICAL, REMAPS, WIDTH
from sensor_msgs.msg import Image, PointCloud2, PointField

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_ros import qos

IMAGES = ("semantic/image_raw", "semantic/confidence", "semantic_color/image_raw", "semantic_overlay/image_raw")


@dataclass
class Run:
    """What came out of one run, the node still being there."""

    node: NodeProcess
    peer: Peer
    domain: int
    labels_dir: Path
    stamps: list[int]
    images: dict[str, list[Image]] = field(default_factory=dict)
    clouds: list[PointCloud2] = field(default_factory=list)
    legends: list[Legend] = field(default_factory=list)
    statuses: list[MapperStatus] = field(default_factory=list)
    diagnostics: list[DiagnosticArray] = field(default_factory=list)


@pytest.fixture(scope="module")
def run(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    domain = new_domain()
    parameters = {
        "segmenter.model": f"oracle:{room_bag / 'labels'}",
        "node.queue": "all",
        "node.cloud_period_s": 0.3,
        "use_sim_time": True,
    }
    log = tmp_path_factory.mktemp("node") / "log.txt"
    node, peer = NodeProcess(domain, parameters, REMAPS, log), Peer(domain)
    try:
        stamps = sorted(int(path.stem) for path in (room_bag / "labels").glob("*.png"))
        result = Run(node, peer, domain, room_bag / "labels", stamps)
        for topic in IMAGES:
            result.images[topic] = peer.listen(Image, f"/gnesf/{topic}")
        result.clouds = peer.listen(PointCloud2, "/gnesf/semantic_cloud")
        result.legends = peer.listen(Legend, "/gnesf/semantic/legend", qos.latched())
        result.statuses = peer.listen(MapperStatus, "/gnesf/status")
        result.diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
        peer.found()
        play(room_bag / "bag", domain, "--rate", "0", "--wait-for", "/gnesf")
        peer.wait(lambda: result.statuses and result.statuses[-1].frames_pending == 0, "the last status")
        last = result.statuses[-1].header.stamp
        peer.wait(lambda: result.clouds and result.clouds[-1].header.stamp == last, "the final cloud")
        count = len(result.diagnostics)
        peer.wait(lambda: len(result.diagnostics) > count, "diagnostics after the end")
        yield result
    finally:
        peer.close()
        node.kill()


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def pixels(message: Image) -> np.ndarray:
    channels = {"mono8": 1, "rgb8": 3}[message.encoding]
    assert message.step == message.width * channels
    array = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, channels)
    return array[..., 0] if channels == 1 else array


def test_every_image_arrives_for_every_frame(run: Run) -> None:
    for topic in IMAGES:
        messages = run.images[topic]
        assert [stamp_ns(m) for m in messages] == run.stamps, topic
        assert {m.header.frame_id for m in messages} == {OPTICAL}
        assert {(m.width, m.height) for m in messages} == {(WIDTH, HEIGHT)}
        assert {m.encoding for m in messages} == {"mono8" if topic.startswith("semantic/") else "rgb8"}


def test_semantic_images_say_what_the_segmenter_said(run: Run, room_bag: Path) -> None:
    space = LabelSpace.load("scannet20")
    photographs = {frame.stamp_ns: frame.rgb for frame in BagSource(room_bag / "bag")}
    for index in (0, FRAMES // 2, FRAMES - 1):
        truth = cv2.imread(str(run.labels_dir / f"{run.stamps[index]}.png"), cv2.IMREAD_UNCHANGED)
        labels = pixels(run.images["semantic/image_raw"][index])
        confidence = pixels(run.images["semantic/confidence"][index])
        color = pixels(run.images["semantic_color/image_raw"][index])
        overlay = pixels(run.images["semantic_overlay/image_raw"][index])
        # Between blocks of 4x4 pixels of one class it is certain; only on edges between classes may it differ.
        sure = confidence == 255
        assert sure.mean() > 0.4
        assert (labels == truth).mean() > 0.95
        np.testing.assert_array_equal(labels[sure], truth[sure])
        assert not confidence[labels == UNKNOWN].any()
        np.testing.assert_array_equal(color, space.colors[labels])
        photograph = photographs[run.stamps[index]]
        blend = np.where((labels == UNKNOWN)[..., None], photograph, (photograph / 2 + color / 2))
        assert np.abs(overlay - blend).max() <= 0.5  # of rounding


def test_cloud_has_the_fields_that_rviz_pcl_and_nav2_read(run: Run) -> None:
    cloud = run.clouds[-1]
    fields = [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields]
    float32, uint32 = PointField.FLOAT32, PointField.UINT32
    assert fields == [
        ("x", 0, float32, 1),
        ("y", 4, float32, 1),
        ("z", 8, float32, 1),
        ("rgb", 12, float32, 1),
        ("label", 16, uint32, 1),
        ("confidence", 20, float32, 1),
    ]
    assert (cloud.point_step, cloud.row_step, cloud.height) == (24, 24 * cloud.width, 1)
    assert cloud.header.frame_id == "odom"
    assert cloud.width > 1000
    assert len(cloud.data) == cloud.row_step


def test_cloud_speaks_the_language_of_the_legend(run: Run) -> None:
    assert len(run.legends) == 1
    legend = run.legends[0]
    space = LabelSpace.load("scannet20")
    assert legend.label_space == "scannet20"
    assert [(c.id, c.name, c.kind) for c in legend.classes] == [(c.id, c.name, c.kind) for c in space.classes]
    points = np.frombuffer(run.clouds[-1].data, CLOUD_POINT)
    known = points[points["label"] != UNKNOWN]
    assert len(known) > 0.5 * len(points)  # the room has a ceiling, which ScanNet-20 cannot name
    palette = {c.id: int.from_bytes(bytes(c.color.tolist()), "big") for c in legend.classes}
    assert set(np.unique(known["label"]).tolist()) <= set(palette)
    np.testing.assert_array_equal(known["rgb"], [palette[i] for i in known["label"].tolist()])
    assert known["confidence"].min() > 0
    assert points["confidence"].max() <= 1


def test_node_and_offline_give_the_same_map_bit_by_bit(run: Run, room_bag: Path) -> None:
    config = Config.from_flat(
        {"segmenter.model": f"oracle:{room_bag / 'labels'}", "device": "cpu", "input.pose_source": "pose"}
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mapper = build_mapper(config)
        for frame in BagSource(room_bag / "bag", config.input):
            mapper.integrate(frame)
        offline = mapper.surface()
    finally:
        torch.set_num_threads(threads)
    live = np.frombuffer(run.clouds[-1].data, CLOUD_POINT)
    assert live.size == len(offline.points)
    np.testing.assert_array_equal(np.stack([live["x"], live["y"], live["z"]], 1), offline.points)
    np.testing.assert_array_equal(live["label"], offline.labels)
    np.testing.assert_array_equal(live["confidence"], np.minimum(offline.confidence, 1.0))


def test_status_counts_every_frame(run: Run) -> None:
    status = run.statuses[-1]
    assert (status.frames_received, status.frames_processed) == (FRAMES, FRAMES)
    assert stamp_ns(status) == run.stamps[-1]
    assert status.state == MapperStatus.MAPPING
    assert 0 < status.keyframes <= FRAMES
    assert status.surface_voxels > 1000
    assert not list(status.drop_reasons)
    processed = [s.frames_processed for s in run.statuses]
    assert processed == sorted(processed)


def test_diagnostics_say_that_it_maps_and_how_fast(run: Run) -> None:
    by_name = {status.name: status for status in run.diagnostics[-1].status}
    assert set(by_name) == {"gnesf: input", "gnesf: segmenter", "gnesf: mapping", "gnesf: outputs"}
    assert by_name["gnesf: outputs"].level == DiagnosticStatus.OK
    assert by_name["gnesf: segmenter"].level == DiagnosticStatus.OK
    assert str(run.labels_dir) in by_name["gnesf: segmenter"].message
    busy = [s for d in run.diagnostics for s in d.status if s.name == "gnesf: input" and s.level == DiagnosticStatus.OK]
    assert any("poses from pose" in status.message for status in busy)
    values = {v.key: v.value for v in by_name["gnesf: mapping"].values}
    assert values["frames"] == str(FRAMES)
    assert {"integrate p50", "publish_images p50", "segment p50", "cloud p50", "map memory"} <= set(values)
    inputs = {v.key: v.value for v in by_name["gnesf: input"].values}
    assert inputs["pose source"] == "pose"
    assert inputs["color /camera/color/image_raw"].startswith(f"{FRAMES} messages")


@pytest.mark.parametrize(
    ("topic", "durability"),
    [
        *[(topic, DurabilityPolicy.VOLATILE) for topic in IMAGES],
        ("semantic_cloud", DurabilityPolicy.TRANSIENT_LOCAL),
        ("semantic/legend", DurabilityPolicy.TRANSIENT_LOCAL),
        ("status", DurabilityPolicy.TRANSIENT_LOCAL),
    ],
)
def test_outputs_are_reliable_and_the_map_is_latched(run: Run, topic: str, durability: DurabilityPolicy) -> None:
    (endpoint,) = run.peer.node.get_publishers_info_by_topic(f"/gnesf/{topic}")
    assert endpoint.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert endpoint.qos_profile.durability == durability


def test_best_effort_subscribers_are_served_too(run: Run) -> None:
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    (endpoint,) = run.peer.node.get_publishers_info_by_topic("/gnesf/semantic/image_raw")
    assert qos_check_compatible(endpoint.qos_profile, best_effort)[0] != QoSCompatibility.ERROR


def test_who_comes_late_gets_legend_cloud_and_status(run: Run) -> None:
    late = Peer(run.domain)
    try:
        legends = late.listen(Legend, "/gnesf/semantic/legend", qos.latched())
        clouds = late.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        statuses = late.listen(MapperStatus, "/gnesf/status", qos.latched())
        late.wait(lambda: legends and clouds and statuses, "latched messages", 10)
        assert clouds[0] == run.clouds[-1]
        assert legends[0] == run.legends[0]
        assert statuses[0].frames_processed == FRAMES
    finally:
        late.close()


def test_interrupt_ends_it_cleanly(run: Run) -> None:  # the last: the node is gone afterwards
    assert run.node.stop() == 0
    assert "Traceback" not in run.node.log
    assert "XMLPARSER" not in run.node.log  # Fast DDS's complaint about a profile
