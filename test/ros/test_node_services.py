"""The services of the running node, and the map files that they write and read."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from geometry_msgs.msg import PoseStamped
from gnesf_msgs.msg import MapperStatus
from gnesf_msgs.srv import LoadMap, RenderView, SaveMap
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_harness import ROOT, NodeProcess, Peer, new_domain, play
from ros_recording import FRAMES, REMAPS
from ros_robot import Robot as FedRobot
from ros_robot import usual_messages
from safetensors.numpy import load_file
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.messages import decode_pose
from gnesf_model.geometry import quaternion_from_pose
from gnesf_model.map_file import load_map, save_map
from gnesf_model.mapper import SemanticMapper
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_model.volume import map_disk
from gnesf_ros import qos
from gnesf_ros.conversions import camera_info_message
from gnesf_ros.stamps import header


@pytest.fixture(scope="module")
def config(room_bag: Path) -> Config:
    """As the nodes below have it."""
    return Config.from_flat(
        {
            "segmenter.model": f"oracle:{room_bag / 'labels'}",
            "input.pose_source": "pose",
            "device": "cpu",
            "cpu_threads": 1,
            "node.queue": "all",
            "node.cloud_period_s": 0.05,
        }
    )


@pytest.fixture(scope="module")
def offline(room_bag: Path, config: Config) -> SemanticMapper:
    """The recording, mapped once without a node."""
    threads = torch.get_num_threads()
    mapper = build_mapper(config)
    try:
        for frame in BagSource(room_bag / "bag", config.input):
            mapper.integrate(frame)
    finally:
        torch.set_num_threads(threads)
    return mapper


class Robot:
    """A mapping node, and somebody who asks it for things."""

    def __init__(self, config: Config, log: Path) -> None:
        self.domain = new_domain()
        given = {name: value for name, value in config.to_flat().items() if value not in ("", [])}
        self.node = NodeProcess(self.domain, {**given, "use_sim_time": True}, REMAPS, log)
        self.peer = Peer(self.domain)
        self.statuses = self.peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        self.clouds = self.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())

    def ask(self, kind: type, name: str, **request: Any) -> Any:
        return self.peer.call(kind, f"/gnesf/{name}", kind.Request(**request))

    def map(self, bag: Path, frames: int = FRAMES) -> None:
        """Map the recording once, or once more."""
        before = self.statuses[-1].frames_processed if self.statuses else 0
        play(bag, self.domain, "--rate", "0", "--wait-for", "/gnesf")
        self.status(frames_processed=before + frames, frames_pending=0)

    def status(self, **values: Any) -> MapperStatus:
        def there() -> bool:
            return bool(self.statuses) and all(getattr(self.statuses[-1], n) == v for n, v in values.items())

        self.peer.wait(there, f"a status with {values}")
        return self.statuses[-1]

    def transition(self, number: int) -> None:
        request = ChangeState.Request(transition=Transition(id=number))
        assert self.peer.call(ChangeState, "/gnesf/change_state", request).success

    def close(self) -> None:
        self.peer.close()
        self.node.kill()


@pytest.fixture(scope="module")
def shared(config: Config, room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    robot = Robot(config, tmp_path_factory.mktemp("robot") / "log")
    try:
        robot.map(room_bag / "bag")
        yield robot
    finally:
        robot.close()


@pytest.fixture
def robot(shared: Robot, offline: SemanticMapper, tmp_path: Path) -> Robot:
    """The node with the whole recording in its map, whatever the test before did to it."""
    save_map(tmp_path / "whole.map", offline)
    assert shared.ask(Trigger, "resume").success
    assert shared.ask(LoadMap, "load_map", path=str(tmp_path / "whole.map")).success
    return shared


def assert_equal(one: SemanticMapper, other: SemanticMapper) -> None:
    """Bit by bit, and in the same order."""
    a, b = one.contents(), other.contents()
    assert (a.frames, a.keyframes) == (b.frames, b.keyframes)
    np.testing.assert_equal(a.last_poses, b.last_poses)
    for mine, theirs in ((a.blocks, b.blocks), (a.votes, b.votes)):
        for name in mine:
            assert torch.equal(mine[name], theirs[name]), name


def loaded_from(path: Path, config: Config) -> SemanticMapper:
    mapper = build_mapper(config)
    load_map(path, mapper)
    return mapper


def test_the_map_that_the_node_saves_is_the_one_that_it_has(
    shared: Robot, config: Config, room_bag: Path, offline: SemanticMapper, tmp_path: Path
) -> None:
    """Saved, read by the library bit by bit, and mapped on from the file as if nothing had happened in between.

    But for the weights of later votes: what the field remembers of views is not in the file.
    """
    once, twice, again = (tmp_path / name for name in ("once.map", "twice.map", "again.map"))
    saved = shared.ask(SaveMap, "save_map", path=str(once))
    assert saved.success, saved.message
    assert saved.bytes == once.stat().st_size
    assert_equal(loaded_from(once, config), offline)
    shared.map(room_bag / "bag")
    assert shared.ask(SaveMap, "save_map", path=str(twice)).success

    assert shared.ask(Trigger, "reset").success
    answer = shared.ask(LoadMap, "load_map", path=str(once))
    assert answer.success, answer.message
    assert f"from {FRAMES} frames" in answer.message
    shared.status(frames_processed=0, surface_voxels=offline.votes.count)
    shared.map(room_bag / "bag")
    assert shared.ask(SaveMap, "save_map", path=str(again)).success
    resumed, straight = loaded_from(again, config), loaded_from(twice, config)
    for name, tensor in straight.contents().blocks.items():
        assert torch.equal(resumed.contents().blocks[name], tensor), name
    one, two = resumed.surface(), straight.surface()
    assert float((one.labels == two.labels).mean()) > 0.99
    assert float(np.abs(one.confidence - two.confidence).mean()) < 0.01


def test_a_loaded_map_is_published(robot: Robot, offline: SemanticMapper) -> None:
    wanted = offline.surface().points

    def shown() -> bool:
        if not robot.clouds or robot.clouds[-1].width != len(wanted):
            return False
        points = np.frombuffer(robot.clouds[-1].data, CLOUD_POINT)
        return np.array_equal(np.stack([points["x"], points["y"], points["z"]], 1), wanted)

    robot.peer.wait(shown, "the cloud of the loaded map")
    assert robot.status(surface_voxels=offline.votes.count).frames_processed == 0


def test_a_saved_map_is_exported_as_the_cloud_that_is_published(robot: Robot, tmp_path: Path) -> None:
    file, cloud = str(tmp_path / "room.map"), str(tmp_path / "room.ply")
    assert robot.ask(SaveMap, "save_map", path=file).success
    command = [sys.executable, "-m", "gnesf_model.cli", "export", "ply", file, "--out", cloud]
    command += ["--set", "device=cpu", "--set", "cpu_threads=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    exported = trimesh.load(cloud, process=False).metadata["_ply_raw"]["vertex"]["data"]

    def shown() -> bool:
        published = np.frombuffer(robot.clouds[-1].data if robot.clouds else b"", CLOUD_POINT)
        return len(published) == len(exported) and all(
            np.array_equal(exported[name], published[name]) for name in ("x", "y", "z", "label", "confidence")
        )

    robot.peer.wait(shown, "the cloud with the exported points")


def test_reset_empties_the_map_and_the_counters(robot: Robot, room_bag: Path) -> None:
    answer = robot.ask(Trigger, "reset")
    assert (answer.success, answer.message) == (True, "the map is empty")
    status = robot.status(surface_voxels=0)
    assert (status.frames_received, status.frames_processed, status.keyframes, sum(status.drop_counts)) == (0, 0, 0, 0)
    robot.peer.wait(lambda: robot.clouds and robot.clouds[-1].width == 0, "an empty cloud")
    robot.map(room_bag / "bag")
    assert robot.status(frames_processed=FRAMES).frames_received == FRAMES


def test_while_paused_nothing_is_mapped_and_every_image_is_counted(robot: Robot, room_bag: Path) -> None:
    assert robot.ask(Trigger, "pause").success
    assert "already" in robot.ask(Trigger, "pause").message
    before = robot.status(state=MapperStatus.PAUSED)
    play(room_bag / "bag", robot.domain, "--rate", "0", "--wait-for", "/gnesf")
    after = robot.status(frames_received=before.frames_received + FRAMES, frames_pending=0)
    assert (after.frames_processed, after.surface_voxels) == (before.frames_processed, before.surface_voxels)
    assert dict(zip(after.drop_reasons, after.drop_counts))["paused"] == FRAMES
    assert robot.ask(Trigger, "resume").success
    assert "not paused" in robot.ask(Trigger, "resume").message
    robot.map(room_bag / "bag")


def test_what_cannot_be_saved_or_loaded_is_refused_in_words(
    robot: Robot, config: Config, offline: SemanticMapper, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a map")
    whole = (tmp_path / "whole.map").read_bytes()
    (tmp_path / "cut.map").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    (tmp_path / "flipped.map").write_bytes(flipped)
    before = robot.statuses[-1]
    for kind, name, path, words in (
        (SaveMap, "save_map", "room.map", "expected an absolute path"),
        (SaveMap, "save_map", "", "expected an absolute path"),
        (SaveMap, "save_map", str(tmp_path / "nowhere" / "room.map"), "No such file or directory"),
        (SaveMap, "save_map", str(notes), "not a map, so it is not overwritten"),
        (SaveMap, "save_map", "/proc/room.map", "cannot be saved as /proc/room.map"),
        (LoadMap, "load_map", str(tmp_path / "nowhere"), "No such file or directory"),
        (LoadMap, "load_map", str(notes), "not a map"),
        (LoadMap, "load_map", str(tmp_path / "cut.map"), "not written to its end"),
        (LoadMap, "load_map", str(tmp_path / "flipped.map"), "does not give the checksum"),
    ):
        answer = robot.ask(kind, name, path=path)
        assert not answer.success
        assert words in answer.message, answer.message
    assert notes.read_text() == "not a map"
    assert robot.statuses[-1].surface_voxels == before.surface_voxels
    assert robot.ask(SaveMap, "save_map", path=str(tmp_path / "after.map")).success
    assert_equal(loaded_from(tmp_path / "after.map", config), offline)


def view_request(frame: Any, frame_id: str = "odom", **changed: Any) -> dict[str, Any]:
    pose = PoseStamped(header=header(frame.stamp_ns, frame_id))
    p, q = pose.pose.position, pose.pose.orientation
    p.x, p.y, p.z = frame.world_T_cam[:3, 3].tolist()
    q.x, q.y, q.z, q.w = quaternion_from_pose(frame.world_T_cam).tolist()
    info = camera_info_message(frame.camera, header(0, "virtual_camera"))
    return {"pose": pose, "camera_info": info, **changed}


def pixels(message: Image) -> np.ndarray:
    dtype, channels = {"mono8": (np.uint8, 1), "rgb8": (np.uint8, 3), "32FC1": (np.float32, 1)}[message.encoding]
    array = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return array[..., 0] if channels == 1 else array


def test_a_view_is_rendered_from_any_pose(robot: Robot, room_bag: Path, offline: SemanticMapper) -> None:
    frame = list(BagSource(room_bag / "bag"))[FRAMES // 2]
    answer = robot.ask(RenderView, "render_view", **view_request(frame))
    assert answer.success, answer.message
    # Rotations go through a quaternion, so a pixel on an edge may fall on the other side.
    expected = offline.render(frame.camera, frame.world_T_cam)
    assert (pixels(answer.labels) == expected.labels).mean() > 0.999
    assert np.median(np.abs(pixels(answer.depth) - expected.depth)) < 1e-5
    assert (pixels(answer.color) == expected.colors).mean() > 0.995
    confidence = pixels(answer.confidence)
    assert not confidence[pixels(answer.labels) == 255].any()
    assert confidence.max() > 200
    for image in (answer.labels, answer.confidence, answer.depth, answer.color):
        assert image.header.frame_id == "virtual_camera"
        assert image.header.stamp == header(frame.stamp_ns, "").stamp
    measured = frame.depth > 0
    both = measured & (pixels(answer.depth) > 0)
    assert both.sum() > 0.5 * measured.sum()
    assert np.median(np.abs(pixels(answer.depth)[both] - frame.depth[both])) < 0.02
    # Nothing is seen closer than half a metre.
    near = robot.ask(RenderView, "render_view", **view_request(frame, max_depth_m=0.5))
    assert near.success
    assert pixels(near.depth).max() <= 0.6


def test_views_that_cannot_be_rendered_are_refused_in_words(robot: Robot, room_bag: Path) -> None:
    frame = next(iter(BagSource(room_bag / "bag")))
    unit = view_request(frame)["pose"]
    unit.pose.orientation.w += 1.0
    nowhere = view_request(frame)["pose"]
    nowhere.pose.position.x = float("nan")
    far = view_request(frame)["pose"]
    far.pose.position.x = 1e30
    huge = view_request(frame)["camera_info"]
    huge.width = huge.height = 16000
    for changed, words in (
        ({"frame_id": "base_link"}, "'base_link', expected that of the map, 'odom'"),
        ({"pose": unit}, "quaternion"),
        ({"pose": nowhere}, "finite"),
        ({"pose": far}, "of the origin"),
        ({"camera_info": CameraInfo(width=64, height=48)}, "camera"),
        ({"camera_info": huge}, "expected at most"),
        ({"max_depth_m": -1.0}, "max_depth_m is -1"),
        ({"max_depth_m": float("inf")}, "max_depth_m is inf"),
    ):
        answer = robot.ask(RenderView, "render_view", **view_request(frame, **changed))
        assert not answer.success
        assert words in answer.message, answer.message
        assert not answer.labels.data
    away = view_request(frame)["pose"]
    away.pose.position.x = 1e5
    answer = robot.ask(RenderView, "render_view", **view_request(frame, pose=away))
    assert (answer.success, answer.message) == (True, "0.0% of the view shows a surface")


def test_the_map_of_an_inactive_node_can_be_saved_and_without_a_map_services_say_so(
    robot: Robot, config: Config, offline: SemanticMapper, tmp_path: Path
) -> None:  # the last but one: the node is configured anew
    robot.transition(Transition.TRANSITION_DEACTIVATE)
    robot.status(state=MapperStatus.INACTIVE)
    assert robot.ask(SaveMap, "save_map", path=str(tmp_path / "inactive.map")).success
    robot.transition(Transition.TRANSITION_CLEANUP)
    for kind, name, request in (
        (Trigger, "reset", {}),
        (Trigger, "pause", {}),
        (SaveMap, "save_map", {"path": str(tmp_path / "none.map")}),
    ):
        answer = robot.ask(kind, name, **request)
        assert not answer.success
        assert "ros2 lifecycle set /gnesf configure" in answer.message
    robot.transition(Transition.TRANSITION_CONFIGURE)
    robot.transition(Transition.TRANSITION_ACTIVATE)
    assert robot.ask(LoadMap, "load_map", path=str(tmp_path / "inactive.map")).success
    assert_equal(loaded_from(tmp_path / "inactive.map", config), offline)


def test_ended_while_it_saves_the_node_leaves_a_whole_map(robot: Robot, config: Config, tmp_path: Path) -> None:
    """The last: the node is gone afterwards."""
    path = tmp_path / "whole.map"
    client = robot.peer.node.create_client(SaveMap, "/gnesf/save_map")
    robot.peer.wait(client.service_is_ready, "the service")
    # As many as the service's queue holds, one after the other: the signal comes in the middle of one of them.
    answers = [client.call_async(SaveMap.Request(path=str(path))) for _ in range(10)]
    robot.peer.wait(lambda: any(answer.done() for answer in answers), "the first answer")
    assert robot.node.stop(signal.SIGTERM) == 0
    loaded_from(path, config)
    assert "Traceback" not in robot.node.log


def test_a_map_that_goes_on_to_a_disk_is_the_same(room_bag: Path, tmp_path: Path) -> None:
    """volume.disk_dir and a memory that the room does not fit into, on the node: nothing is dropped."""
    if map_disk._file_system(tmp_path) in map_disk._IN_MEMORY:
        pytest.skip(f"{tmp_path} lies in memory, not on a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    fine = {"volume.voxel_size_m": 0.015, "volume.min_weight": 0.5, "device": "cpu"}
    bound = {"volume.max_map_memory_mb": 16.0, "volume.disk_dir": str(disk)}
    robot = FedRobot(room_bag, tmp_path / "log", **fine, **bound)
    frames = robot.frames[::4]
    try:
        for frame in frames:
            robot.send(frame)
        assert (robot.status.frames_processed, robot.drops) == (len(frames), {})
        request = SaveMap.Request(path=str(tmp_path / "disk.map"))
        saved = robot.peer.call(SaveMap, "/gnesf/save_map", request)
        assert saved.success and saved.bytes > 20e6, saved.message
    finally:
        robot.close()
    assert not list(disk.iterdir()), "nothing stays behind"
    config = {"segmenter.model": f"oracle:{room_bag / 'labels'}", **fine}
    in_memory = build_mapper(Config.from_flat(config))
    for frame in frames:  # with poses that went through a message once more
        in_memory.integrate(replace(frame, world_T_cam=decode_pose(usual_messages(frame)["pose"]).pose))
    save_map(tmp_path / "memory.map", in_memory)
    one, other = (load_file(tmp_path / name) for name in ("memory.map", "disk.map"))
    assert one.keys() == other.keys()
    for array in one:
        np.testing.assert_array_equal(one[array], other[array], array)
