"""What live systems do: best-effort and compressed cameras, mismatched QoS, clocks that jump back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from gnesf_msgs.msg import MapperStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import NodeProcess, Peer, new_domain, play
from ros_recording import OPTICAL, REMAPS
from ros_robot import Robot
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.pose_chain import POSE_SOURCES
from gnesf_model.geometry import quaternion_from_pose
from gnesf_model.segment import FOR_DEMONSTRATION
from gnesf_ros import inputs, qos
from gnesf_ros.conversions import camera_info_message, image_message
from gnesf_ros.stamps import header
from gnesf_ros.subscriptions import renaming

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def send_all(room: Path, peer: Peer, going: Callable[[], bool]) -> None:
    """The recording as a camera driver with sensor QoS sends it, at 20 Hz."""
    kinds: list[tuple[type, str]] = [
        (CameraInfo, "/camera/color/camera_info"),
        (PoseStamped, "/pose"),
        (Image, "/camera/depth/image_raw"),
        (Image, "/camera/color/image_raw"),
    ]
    publishers = [peer.node.create_publisher(kind, topic, BEST_EFFORT) for kind, topic in kinds]
    time.sleep(1.0)
    for frame in BagSource(room / "bag"):
        head = header(frame.stamp_ns, OPTICAL)
        pose = PoseStamped(header=header(frame.stamp_ns, "odom"))
        p, q = pose.pose.position, pose.pose.orientation
        p.x, p.y, p.z = frame.world_T_cam[:3, 3].tolist()
        q.x, q.y, q.z, q.w = quaternion_from_pose(frame.world_T_cam).tolist()
        images = image_message(frame.depth, head), image_message(frame.rgb, head)
        messages = (camera_info_message(frame.camera, head), pose, *images)
        for publisher, message in zip(publishers, messages):
            publisher.publish(message)
        time.sleep(0.05)
        if not going():
            return


def started(room: Path, log: Path, **parameters: Any) -> tuple[NodeProcess, Peer, list, list]:
    domain = new_domain()
    node = NodeProcess(domain, {"segmenter.model": f"oracle:{room / 'labels'}", **parameters}, REMAPS, log)
    peer = Peer(domain)
    statuses = peer.listen(MapperStatus, "/gnesf/status", qos.latched())
    diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
    peer.wait(lambda: statuses, "the node's first status")
    return node, peer, statuses, diagnostics


def test_a_publisher_whose_qos_does_not_match_is_named(room_bag: Path, tmp_path: Path) -> None:
    """queue: all subscribes reliably; a best-effort camera cannot serve that."""
    node, peer, statuses, diagnostics = started(room_bag, tmp_path / "log", **{"node.queue": "all"})
    try:
        send_all(room_bag, peer, lambda: "is not heard" not in node.log)
        node.wait_for_log("/camera/color/image_raw is not heard: its reliability does not match")
        wanted = "/camera/color/image_raw: the reliability of its publisher and of this node do not match"
        peer.wait(
            lambda: any(
                wanted in s.message for d in diagnostics for s in d.status if s.level == DiagnosticStatus.ERROR
            ),
            "the diagnostics to say so",
        )
        assert statuses[-1].frames_received == 0
    finally:
        peer.close()
        node.kill()


def test_a_bag_that_loops_is_mapped_again(room_bag: Path, tmp_path: Path) -> None:
    node, peer, statuses, _ = started(room_bag, tmp_path / "log", use_sim_time=True)
    try:
        play(room_bag / "bag", node.domain, "--rate", "2")
        first = peer.wait(lambda: statuses[-1].frames_pending == 0 and statuses[-1], "the first round")
        assert first.frames_processed >= 5
        play(room_bag / "bag", node.domain, "--rate", "2")
        # On a busy machine frames are superseded, so how many is left open.
        peer.wait(lambda: statuses[-1].frames_processed >= first.frames_processed + 5, "the second round")
        assert "out_of_order" not in statuses[-1].drop_reasons
    finally:
        peer.close()
        node.kill()


def test_the_bundled_network_is_warned_of_for_as_long_as_it_maps(room_bag: Path, tmp_path: Path) -> None:
    bundled = {"segmenter.model": "bundled", "segmenter.input_size": "[96, 128]"}
    robot = Robot(room_bag, tmp_path / "log", **bundled)

    def verdicts() -> list[DiagnosticStatus]:
        return [s for array in robot.diagnostics for s in array.status if s.name == "gnesf: segmenter"]

    try:
        (line,) = (line for line in robot.node.log.splitlines() if FOR_DEMONSTRATION in line)
        assert "[WARN]" in line
        for frame in robot.frames[:2]:
            robot.send(frame)
        assert robot.status.frames_processed == 2
        robot.says("mapping at", DiagnosticStatus.OK)
        heard = len(verdicts())
        robot.peer.wait(lambda: len(verdicts()) > heard + 1, "diagnostics after frames were mapped")
        assert {(s.level, s.message) for s in verdicts()} == {(DiagnosticStatus.WARN, FOR_DEMONSTRATION)}
    finally:
        robot.close()


def test_without_a_clock_the_diagnostics_say_so(room_bag: Path, tmp_path: Path) -> None:
    node, peer, _, diagnostics = started(room_bag, tmp_path / "log", use_sim_time=True)
    try:
        wanted = "use_sim_time is true, but nothing comes on /clock"
        peer.wait(lambda: any(wanted in s.message for d in diagnostics for s in d.status), "the diagnostics to say so")
        topic = (
            "no message on /camera/color/image_raw: nobody publishes it (start its publisher, or launch with "
            "color_topic:=NAME, or remap color/image_raw)"
        )
        assert any(topic in s.message for d in diagnostics for s in d.status)
        # A publisher of another type is there, and never heard.
        peer.node.create_publisher(CompressedImage, "/camera/color/image_raw", 10)
        wanted = "its publisher sends sensor_msgs/msg/CompressedImage, sensor_msgs/msg/Image is expected"
        peer.wait(lambda: any(wanted in s.message for d in diagnostics for s in d.status), "the diagnostics to say so")
    finally:
        peer.close()
        node.kill()


def test_a_camera_that_falls_silent_is_in_the_log_once(room_bag: Path, tmp_path: Path) -> None:
    robot = Robot(room_bag, tmp_path / "log")
    try:
        for frame in robot.frames[:2]:
            robot.send(frame)
        words = "no message on /camera/color/image_raw for 5 s: is the camera still on?"
        robot.node.wait_for_log(words)
        time.sleep(2.5)
        assert robot.node.log.count(words) == 1
        robot.send(robot.frames[2])
        time.sleep(1.5)
        assert robot.node.log.count(words) == 1, "it is back"
    finally:
        robot.close()


@pytest.mark.parametrize(
    ("transports", "remaps", "published", "words"),
    [
        (
            {},
            {},
            {
                "/camera/color/image_raw/compressed": CompressedImage,
                "/camera/depth/image_raw/compressedDepth": CompressedImage,
            },
            (
                "no message on /camera/color/image_raw, but /camera/color/image_raw/compressed is published: launch "
                "with image_transport:=compressed, or set node.image_transport",
                "no message on /camera/depth/image_raw, but /camera/depth/image_raw/compressedDepth is published: "
                "launch with depth_transport:=compressedDepth, or set node.depth_transport",
            ),
        ),
        (
            {"node.image_transport": "compressed", "node.depth_transport": "compressedDepth"},
            {},
            {"/camera/color/image_raw": Image, "/camera/depth/image_raw/compressed": CompressedImage},
            (
                "but /camera/color/image_raw is published: launch with image_transport:=raw, or",
                "but /camera/depth/image_raw/compressed is published: launch with depth_transport:=compressed, or",
            ),
        ),
        (
            {"node.depth_transport": "compressedDepth"},
            {"color/image_raw": "/cam/rgb/compressed", "depth/image_raw": "/cam/depth/compressedDepth"},
            {"/cam/rgb/compressed": CompressedImage, "/cam/depth/compressedDepth": CompressedImage},
            (
                "no message on /cam/rgb/compressed, but /cam/rgb/compressed is published, whose name is given without "
                "/compressed, /cam/rgb (launch with color_topic:=NAME, or remap color/image_raw); and launch with "
                "image_transport:=compressed, or set node.image_transport",
                "no message on /cam/depth/compressedDepth/compressedDepth, but /cam/depth/compressedDepth is published",
            ),
        ),
    ],
    ids=["raw was asked for", "another was asked for", "the name has it"],
)  # fmt: skip
def test_images_of_another_transport_are_found_and_the_remedy_is_named(
    room_bag: Path, tmp_path: Path, transports: dict, remaps: dict, published: dict, words: tuple
) -> None:
    domain = new_domain()
    node = NodeProcess(
        domain, {"segmenter.model": f"oracle:{room_bag / 'labels'}", **transports}, {**REMAPS, **remaps}, tmp_path / "l"
    )
    peer = Peer(domain)
    try:
        diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
        for topic, kind in published.items():
            peer.node.create_publisher(kind, topic, 10)
        for wanted in words:
            said = lambda: any(wanted in s.message for d in diagnostics for s in d.status)  # noqa: B023, E731
            peer.wait(said, f"the diagnostics to say {wanted!r}")
    finally:
        peer.close()
        node.kill()


def test_every_input_that_can_be_missed_has_a_way_to_be_renamed() -> None:
    peer = Peer(new_domain())
    try:
        for source in POSE_SOURCES:
            given = Config.from_flat({"input.pose_source": source})
            found = inputs.FrameInput(peer.node, given, lambda frame: None, lambda: True)
            for topic in found.required:
                words = renaming(topic.role)
                assert words.startswith(f"launch with {topic.role}_topic:=NAME, or remap ")
                assert peer.node.resolve_topic_name(words.split()[-1]) == topic.name
        two = inputs.FrameInput(
            peer.node, Config.from_flat({"input.cameras": ["front", "rear"]}), lambda frame: None, lambda: True
        )
        assert renaming(two.required[0].role) == "remap front/color/image_raw", "no argument is there for it"
        assert [peer.node.resolve_topic_name(renaming(t.role).split()[-1]) for t in two.required] == [
            t.name for t in two.required
        ]
    finally:
        peer.close()


def test_without_the_type_of_tf_its_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "TFMessage", None)
    peer = Peer(new_domain())
    try:
        config = Config.from_flat({"input.pose_source": "tf"})
        with pytest.raises(ValueError, match="tf2_msgs is not installed"):
            inputs.FrameInput(peer.node, config, lambda frame: None, lambda: True)
        config = Config.from_flat({"input.pose_source": "odom"})
        assert "tf" not in inputs.FrameInput(peer.node, config, lambda frame: None, lambda: True).topics
    finally:
        peer.close()
