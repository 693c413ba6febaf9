"""What a broken driver sends is counted by reason; the node lives on and the map stays as it was."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from gnesf_msgs.msg import MapperStatus
from rclpy.parameter_client import AsyncParameterClient
from ros_harness import NodeProcess, Peer, new_domain
from ros_recording import OPTICAL, REMAPS
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from gnesf_model.data.bag import BagSource
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.geometry import quaternion_from_pose
from gnesf_ros import qos
from gnesf_ros.conversions import camera_info_message, image_message
from gnesf_ros.stamps import header, time_message


class Camera:
    """Publishes the frames of a recording as a driver does, on request with one thing wrong."""

    def __init__(self, peer: Peer, frames: list[Frame]) -> None:
        create = peer.node.create_publisher
        self._info = create(CameraInfo, "/camera/color/camera_info", 10)
        self._depth = create(Image, "/camera/depth/image_raw", 10)
        self._color = create(Image, "/camera/color/image_raw", 10)
        self._pose = create(PoseStamped, "/pose", 10)
        self.frames, self.next = frames, 0
        peer.matched(self._info, self._depth, self._color, self._pose)

    def send(self, without: str = "", **changed: Any) -> None:
        """The next frame; `without` leaves a message out, others are given as (attribute, value) by kind."""
        frame = self.frames[self.next]
        self.next += 1
        head = header(frame.stamp_ns, OPTICAL)
        pose = PoseStamped(header=header(frame.stamp_ns, "odom"))
        position, orientation = pose.pose.position, pose.pose.orientation
        position.x, position.y, position.z = frame.world_T_cam[:3, 3].tolist()
        quaternion = quaternion_from_pose(frame.world_T_cam).tolist()
        orientation.x, orientation.y, orientation.z, orientation.w = quaternion
        messages = {
            "info": (self._info, camera_info_message(frame.camera, head)),
            "pose": (self._pose, pose),
            "depth": (self._depth, image_message(frame.depth, head)),
            "color": (self._color, image_message(frame.rgb, head)),
        }
        for kind, (publisher, message) in messages.items():
            if kind in changed:
                message = changed[kind](copy.deepcopy(message))
            if kind != without:
                publisher.publish(message)


class Bench:
    """A mapping node with a few good frames in its map."""

    def __init__(self, room: Path, log: Path) -> None:
        domain = new_domain()
        parameters = {
            "segmenter.model": f"oracle:{room / 'labels'}",
            "input.pose_wait_s": 0.3,
            "node.cloud_period_s": 0.05,
        }
        self.node, self.peer = NodeProcess(domain, parameters, REMAPS, log), Peer(domain)
        self.statuses = self.peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        self.clouds = self.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        self.diagnostics = self.peer.listen(DiagnosticArray, "/diagnostics")
        self.peer.wait(lambda: self.statuses, "the node's first status")
        self.camera = Camera(self.peer, list(BagSource(room / "bag")))

    def drops(self) -> dict[str, int]:
        status = self.statuses[-1]
        return dict(zip(status.drop_reasons, status.drop_counts))

    def settled(self, received: int) -> MapperStatus:
        """The status once so many images were received and dealt with."""
        self.peer.wait(
            lambda: self.statuses[-1].frames_received >= received and self.statuses[-1].frames_pending == 0,
            f"{received} images to be dealt with",
        )
        return self.statuses[-1]

    def good_frame(self) -> None:
        """Send a good frame, which must become part of the map."""
        before = self.statuses[-1]
        self.camera.send()
        after = self.settled(before.frames_received + 1)
        assert after.frames_processed == before.frames_processed + 1, self.node.log
        self.peer.wait(lambda: self.clouds and self.clouds[-1].header.stamp == after.header.stamp, "its cloud")


@pytest.fixture(scope="module")
def bench(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(room_bag, tmp_path_factory.mktemp("bad") / "log")
    try:
        yield bench
    finally:
        bench.peer.close()
        bench.node.kill()


def test_an_image_before_any_camera_info_is_counted(bench: Bench) -> None:  # the first: later there is one
    bench.camera.send(without="info")
    bench.peer.wait(lambda: bench.drops() == {"no_camera_info": 1}, "the drop")
    bench.good_frame()


def test_diagnostics_name_what_is_missing(bench: Bench) -> None:
    def named() -> bool:
        messages = [s.message for d in bench.diagnostics for s in d.status if s.level != DiagnosticStatus.OK]
        return any("camera info" in message for message in messages)

    bench.peer.wait(named, "diagnostics that name the camera info")


def zero_k(message: CameraInfo) -> CameraInfo:
    message.k = np.zeros(9)
    return message


def nan_position(message: PoseStamped) -> PoseStamped:
    message.pose.position.x = float("nan")
    return message


def long_quaternion(message: PoseStamped) -> PoseStamped:
    message.pose.orientation.w += 2.0
    return message


def half_size(message: Image) -> Image:
    full = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
    return image_message(full[::2, ::2], message.header)


def encoded_as(encoding: str) -> Any:
    def change(message: Image) -> Image:
        message.encoding = encoding
        return message

    return change


def short_data(message: Image) -> Image:
    message.data = message.data[: len(message.data) // 2]
    return message


@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("bad_camera_info", {"info": zero_k}),
        ("bad_pose", {"pose": nan_position}),
        ("bad_pose", {"pose": long_quaternion}),
        ("depth_size", {"depth": half_size}),
        ("encoding", {"color": encoded_as("nv21")}),
        ("encoding", {"depth": encoded_as("8UC1")}),
        ("bad_image", {"color": short_data}),
    ],
)
def test_bad_input_is_counted_and_the_map_is_unharmed(bench: Bench, reason: str, changed: dict) -> None:
    before, count, map_before = bench.statuses[-1], bench.drops().get(reason, 0), bench.clouds[-1]
    bench.camera.send(**changed)
    bench.peer.wait(lambda: bench.drops().get(reason, 0) == count + 1, f"a drop for {reason}")
    after = bench.settled(before.frames_received + 1)
    # A bad camera info does not replace the good one, so its image is fine.
    mapped = 1 if "info" in changed else 0
    assert after.frames_processed == before.frames_processed + mapped
    assert bench.node.process.poll() is None
    if not mapped:
        assert bench.clouds[-1] == map_before
    bench.good_frame()


def test_encodings_that_are_accepted_are_listed_in_the_log(bench: Bench) -> None:
    bench.node.wait_for_log("accepted are 16UC1, mono16, 32FC1")


def test_the_remedy_for_depth_of_another_size_is_in_the_log(bench: Bench) -> None:
    bench.node.wait_for_log("register depth to colour")


def test_parameters_describe_themselves(bench: Bench) -> None:
    client = AsyncParameterClient(bench.peer.node, "/gnesf")
    future = client.describe_parameters(["volume.voxel_size_m", "input.pose_source", "keyframes.window"])
    bench.peer.wait(future.done, "the descriptions")
    voxel, source, window = future.result().descriptors
    assert "voxel" in voxel.description
    assert (voxel.floating_point_range[0].from_value, voxel.floating_point_range[0].to_value) == (0.005, 1.0)
    assert "auto, pose, pose_with_covariance, transform, odom, tf" in source.additional_constraints
    assert (window.integer_range[0].from_value, window.integer_range[0].to_value) == (1, 64)


def test_under_overload_the_newest_frame_wins(tmp_path: Path) -> None:
    """Frames come faster than they can be mapped: some are superseded and counted, the last one is in the map."""
    import ros_recording

    room = tmp_path / "room"
    room.mkdir()
    recording = RoomSource(2, frames=30, width=320, height=240, shading=False)
    ros_recording.write_bag(recording, room / "bag", labels_dir=room / "labels")
    bench = Bench(room, tmp_path / "log")
    try:
        for _ in bench.camera.frames:
            bench.camera.send()
            time.sleep(0.01)
        last = time_message(bench.camera.frames[-1].stamp_ns)
        bench.peer.wait(lambda: bench.statuses[-1].header.stamp == last, "the last frame in the map")
        status = bench.settled(1)
        assert bench.drops()["superseded"] > 0
        assert status.frames_processed + sum(status.drop_counts) == status.frames_received
    finally:
        bench.peer.close()
        bench.node.kill()
