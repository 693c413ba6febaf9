"""Faults of poses, images and networks, at the running node: counted by reason, the map unharmed, and on it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from gnesf_msgs.srv import SaveMap
from held_labels import HeldLabels
from rclpy.parameter_client import AsyncParameterClient
from ros_robot import Robot, usual_messages
from safetensors import safe_open
from sensor_msgs.msg import Image

from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_ros.conversions import image_message

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
pytest.importorskip("onnx", reason="needs the extra 'dev', which writes the network")
WAIT_S = 60.0
"""An image waits for longer than any machine takes here: what ends the waiting is a newer pose, not a clock."""


class Faulty(Robot):
    """A node whose network fails on some images, and a camera that sends one frame after the other."""

    def __init__(self, room: Path, folder: Path) -> None:
        import faulty_network

        network = faulty_network.write(folder / "faulty.onnx")
        settings = {"segmenter.model": network, "input.pose_wait_s": WAIT_S, "volume.min_weight": 0.5}
        super().__init__(room, folder / "log", **settings)
        self._next, self._later_ns, self._map = 0, 0, folder / "map"

    def next(self) -> Frame:
        """The next frame of the recording, which goes on for ever."""
        lap, index = divmod(self._next, len(self.frames))
        self._next += 1
        frame = self.frames[index]
        lap_ns = self.frames[-1].stamp_ns - self.frames[0].stamp_ns + 100_000_000
        return replace(frame, stamp_ns=frame.stamp_ns + lap * lap_ns + self._later_ns)

    def pose_after_a_gap(self, frame: Frame) -> PoseStamped:
        """One that is too far from the frame to interpolate; the frames that follow are later still.

        Between the two, an image that arrives before its pose would be given up at once.
        """
        self._later_ns += 800_000_000
        return usual_messages(replace(frame, stamp_ns=frame.stamp_ns + 800_000_000))["pose"]

    def digest(self) -> str:
        """Tells one map from another, to the last bit."""
        answer = self.peer.call(SaveMap, "/gnesf/save_map", SaveMap.Request(path=str(self._map)))
        assert answer.success, answer.message
        with safe_open(str(self._map), "np") as file:
            return file.metadata()["sha256"]

    def dropped(self, reason: str, **messages: Callable[[Frame], Any]) -> None:
        """Send a frame, some messages made otherwise, that must be dropped for `reason` and leave the map as it was."""
        before, drops, frame = self.digest(), self.drops, self.next()
        self.send(frame, **{role: made(frame) for role, made in messages.items()})
        assert self.drops == {**drops, reason: drops.get(reason, 0) + 1}
        assert self.digest() == before

    def mapped(self, frame: Frame | None = None, **messages: Image | None) -> None:
        """Send a frame that must become part of the map."""
        before = self.status
        self.send(frame or self.next(), **messages)
        assert self.status.frames_processed == before.frames_processed + 1, self.drops
        assert sum(self.status.drop_counts) == sum(before.drop_counts)


@pytest.fixture(scope="module")
def robot(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    robot = Faulty(room_bag, tmp_path_factory.mktemp("faults"))
    try:
        yield robot
        assert robot.node.stop(timeout_s=120) == 0
    finally:
        robot.close()


def test_a_camera_info_that_comes_last_is_waited_for(robot: Faulty) -> None:  # the first: later there is one
    frame = robot.next()
    messages = usual_messages(frame)
    for role in ("color", "depth", "pose"):
        robot.publishers[role].publish(messages[role])
    robot.peer.wait(lambda: robot.status.frames_pending == 1, "the image to wait")
    robot.publishers["info"].publish(messages["info"])
    robot.peer.wait(lambda: robot.status.frames_processed == 1, "the image in the map")
    assert robot.drops == {}


def test_poses_that_are_late_twice_or_in_another_order_serve_all_the_same(robot: Faulty) -> None:
    robot.mapped()
    frames = [robot.next() for _ in range(4)]
    poses = [usual_messages(frame)["pose"] for frame in frames]
    processed = robot.status.frames_processed
    for index in (1, 0, 0, 1):  # the later one first, and each twice
        robot.publishers["pose"].publish(poses[index])
    for frame in frames[:2]:
        robot.mapped(frame, pose=None)
    # Late: the image is there, and waits for its pose.
    for role in ("info", "depth", "color"):
        robot.publishers[role].publish(usual_messages(frames[2])[role])
    robot.peer.wait(lambda: robot.status.frames_pending == 1, "the image to wait")
    robot.publishers["pose"].publish(poses[2])
    robot.peer.wait(lambda: robot.status.frames_processed == processed + 3, "the image in the map")
    robot.mapped(frames[3])


def test_one_missing_pose_is_interpolated_and_a_gap_is_not(robot: Faulty) -> None:
    robot.mapped()
    missing, after = robot.next(), robot.next()
    robot.publishers["pose"].publish(usual_messages(after)["pose"])
    robot.mapped(missing, pose=None)
    robot.mapped(after)
    # The next pose is 0.8 s later, and nothing is interpolated over more than half a second.
    robot.dropped("no_pose", pose=robot.pose_after_a_gap)
    robot.says("has a gap of")
    robot.mapped()


def test_a_pose_that_comes_after_its_image_was_given_up_harms_nothing(robot: Faulty) -> None:
    frame, drops = robot.next(), robot.drops.get("no_pose", 0)
    robot.send(frame, pose=robot.pose_after_a_gap(frame))
    assert robot.drops["no_pose"] == drops + 1
    before = robot.digest()
    robot.publishers["pose"].publish(usual_messages(frame)["pose"])
    robot.mapped()
    assert robot.digest() != before


def black(frame: Frame) -> Image:
    return image_message(np.zeros_like(frame.rgb), usual_messages(frame)["color"].header)


def red(frame: Frame) -> Image:
    return image_message(np.zeros_like(frame.rgb) + np.uint8([255, 0, 0]), usual_messages(frame)["color"].header)


def no_depth(frame: Frame) -> Image:
    return image_message(np.full_like(frame.depth, np.nan), usual_messages(frame)["depth"].header)


def test_a_network_that_gives_nan_or_raises_never_votes(robot: Faulty) -> None:
    robot.mapped()
    robot.dropped("segmenter", color=black)
    robot.says("gave NaN or infinite values")
    robot.dropped("segmenter", color=red)
    robot.says("failed on an input of 120 x 160")
    robot.mapped()


def test_depth_of_nan_is_no_measurement(robot: Faulty) -> None:
    robot.mapped()
    robot.dropped("no_depth", depth=no_depth)
    robot.says("0 pixels are measured")
    frame = robot.next()
    half = frame.depth.copy()
    half[::2] = np.nan
    robot.mapped(frame, depth=image_message(half, usual_messages(frame)["depth"].header))


def test_the_resolution_may_change_while_mapping(robot: Faulty) -> None:
    robot.mapped()
    # Images that their camera info does not describe are refused, ...
    robot.dropped("image_size", **{role: partial(halved, role=role) for role in ("color", "depth")})
    # ... those of a new size with their own camera info are mapped, and again those of the old one.
    frame = robot.next()
    robot.mapped(frame, **{role: halved(frame, role) for role in ("info", "color", "depth")})
    robot.mapped()


def halved(frame: Frame, role: str) -> Any:
    """A message of the frame at half the size."""
    camera, rgb, depth = frame.camera.strided(2, 0.0), frame.rgb[::2, ::2].copy(), frame.depth[::2, ::2].copy()
    return usual_messages(replace(frame, camera=camera, rgb=rgb, depth=depth))[role]


def test_stamps_that_step_back_start_over_and_the_map_stays(robot: Faulty) -> None:
    robot.mapped()
    voxels, jumps = robot.status.surface_voxels, robot.drops.get("clock_jump", 0)
    processed = robot.status.frames_processed
    for frame in robot.frames[:2]:
        old = replace(frame, stamp_ns=frame.stamp_ns - 10_000_000_000)
        robot.send(old)
    robot.peer.wait(lambda: robot.status.frames_processed >= processed + 1, "images of the new time in the map")
    assert robot.drops["clock_jump"] > jumps
    assert robot.status.surface_voxels >= voxels


def test_a_segmenter_that_hangs_stops_neither_the_node_nor_the_map(room_bag: Path, tmp_path: Path) -> None:
    stamps = sorted(int(path.stem) for path in (room_bag / "labels").glob("*.png"))
    labels = HeldLabels(room_bag / "labels", tmp_path / "labels", [stamps[3]])
    robot = Robot(room_bag, tmp_path / "log", **{"segmenter.model": f"oracle:{labels.folder}"})
    try:
        for frame in robot.frames[:3]:
            robot.send(frame)
        for frame in robot.frames[3:8]:
            for role, message in usual_messages(frame).items():
                robot.publishers[role].publish(message)
            robot.peer.wait(lambda: labels.opened, "the segmenter to hang")
        words = "mapping one frame since"  # after five seconds
        robot.peer.wait(
            lambda: any(words in s.message for array in robot.diagnostics for s in array.status), "the diagnostics", 120
        )
        asked = AsyncParameterClient(robot.peer.node, "/gnesf").get_parameters(["device"])
        robot.peer.wait(asked.done, "parameters to be answered meanwhile")
        labels.release()
        robot.peer.wait(lambda: robot.status.frames_pending == 0, "the images to be dealt with", 120)
        # Of those that waited the newest is mapped; best effort may have lost one on the way.
        assert robot.drops["superseded"] >= 1, robot.drops
        status = robot.status
        assert status.frames_processed + sum(status.drop_counts) == status.frames_received
        robot.send(robot.frames[8])
        assert robot.status.frames_processed == status.frames_processed + 1, robot.drops
    finally:
        labels.close()
        robot.close()


def test_at_20_hz_a_machine_that_manages_3_hz_maps_the_newest(tmp_path: Path) -> None:
    """The age of what comes out stays that of one frame in work and one that waited, however long it goes on."""
    room = tmp_path / "room"
    write_bag(RoomSource(2, frames=50, width=32, height=24, shading=False), room / "bag", labels_dir=room / "labels")
    stamps = sorted(int(path.stem) for path in (room / "labels").glob("*.png"))
    labels = HeldLabels(room / "labels", tmp_path / "labels", stamps, hold_s=1 / 3)
    robot = Robot(room, tmp_path / "log", **{"segmenter.model": f"oracle:{labels.folder}"})
    sent: dict[int, float] = {}
    try:
        for frame in robot.frames:
            for role, message in usual_messages(frame).items():
                robot.publishers[role].publish(message)
            sent[frame.stamp_ns] = time.monotonic()
            time.sleep(0.05)
        newest = list(sent)[-10]  # the last ones may be lost on the way, by a best-effort subscription
        robot.peer.wait(lambda: max(labels.opened, default=0) >= newest, "the newest images to be asked for", 120)
        robot.peer.wait(lambda: robot.status.frames_pending == 0, "the images to be dealt with")
        taken, status = sorted(labels.opened), robot.status
        assert robot.drops["superseded"] > 0
        assert status.frames_processed + sum(status.drop_counts) == status.frames_received
        assert len(taken) < len(stamps) / 2
        # How long each waited, beside how long the one before it was in work.
        waited = np.array([labels.opened[stamp] - sent[stamp] for stamp in taken])
        worked = np.diff([labels.opened[stamp] for stamp in taken])
        assert (waited[1:] < worked + 2.0).all(), (waited.round(2).tolist(), worked.round(2).tolist())
        # Each image in a queue would add a third of a second.
        assert np.median(waited[1:] - worked) < 0.3, (waited.round(2).tolist(), worked.round(2).tolist())
    finally:
        labels.close()
        robot.close()
