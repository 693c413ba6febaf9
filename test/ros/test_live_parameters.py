"""Parameters that take effect at once, and the effect: one of each class, on a node that maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from ros_robot import Robot, usual_messages
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import Marker

from gnesf_ros import qos

OFTEN = {f"node.{name}_period_s": 0.05 for name in ("cloud", "grid", "mesh", "tsdf")} | {"node.render_period_s": 0.0}


class Tuned(Robot):
    """A robot whose node's parameters change while it maps."""

    def __init__(self, room: Path, log: Path) -> None:
        super().__init__(room, log, **OFTEN)
        self._client = AsyncParameterClient(self.peer.node, "/gnesf")
        assert self._client.wait_for_services(60)
        listen = self.peer.listen
        self.images = listen(Image, "/gnesf/semantic/image_raw")
        self.depths = listen(Image, "/gnesf/depth/image_rect")
        self.clouds = listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        self.voxels = listen(PointCloud2, "/gnesf/tsdf_cloud")
        self.meshes = listen(Marker, "/gnesf/semantic_mesh", qos.latched())
        self.grids = listen(OccupancyGrid, "/gnesf/occupancy_grid", qos.latched())
        self.peer.found()
        self._next = 0

    def set(self, **values: Any) -> None:
        """Names with two underscores for the point."""
        parameters = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        future = self._client.set_parameters(parameters)
        self.peer.wait(future.done, "the answer")
        assert all(result.successful for result in future.result().results), future.result().results

    def next_messages(self, aside_m: float = 0.0) -> dict[str, Any]:
        """Of the next frame, by role, as if the camera stood aside of where it did."""
        messages = usual_messages(self.frames[self._next])
        self._next += 1
        messages["pose"].pose.position.x += aside_m
        return messages

    def step(self, count: int = 1, aside_m: float = 0.0) -> int:
        """The next frames; gives the stamp of the last."""
        for _ in range(count):
            frame = self.frames[self._next]
            self.send(frame, **self.next_messages(aside_m))
        return frame.stamp_ns

    def shown(self, messages: list[Any], stamp_ns: int) -> Any:
        """The message of the map with the frame of that stamp in it."""
        self.peer.wait(lambda: messages and stamp(messages[-1]) == stamp_ns, "the map with the frame in it")
        return messages[-1]


def stamp(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


@pytest.fixture(scope="module")
def robot(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    robot = Tuned(room_bag, tmp_path_factory.mktemp("tuned") / "log")
    try:
        robot.step(3)
        yield robot
    finally:
        robot.close()


def test_keyframes(robot: Tuned) -> None:
    before = robot.status.keyframes
    robot.set(keyframes__min_translation_m=0.0, keyframes__min_rotation_deg=0.0)
    robot.step(2)
    assert robot.status.keyframes == before + 2, "every frame votes"
    robot.set(keyframes__min_translation_m=10.0, keyframes__min_rotation_deg=180.0)
    robot.step(2)
    assert robot.status.keyframes == before + 2, "none does"


def test_how_fast_the_camera_may_turn(robot: Tuned) -> None:
    robot.set(keyframes__min_translation_m=0.0, keyframes__max_angular_rate_deg_s=0.001)
    voted, mapped = robot.status.keyframes, robot.status.frames_processed
    robot.step(2)
    assert (robot.status.keyframes, robot.status.frames_processed) == (voted, mapped + 2), (
        "depth is mapped all the same"
    )
    robot.shows("turned too fast to vote", "2")
    robot.set(keyframes__max_angular_rate_deg_s=90.0)
    robot.step()
    assert robot.status.keyframes == voted + 1


def test_ranges_of_the_volume(robot: Tuned) -> None:
    dropped = robot.drops.get("no_depth", 0)
    robot.set(volume__max_depth_m=0.15)
    robot.step()
    assert robot.drops["no_depth"] == dropped + 1, "nothing is so near"
    robot.set(volume__max_depth_m=5.0)
    robot.step()
    assert robot.drops["no_depth"] == dropped + 1


def test_what_counts_as_surface(robot: Tuned) -> None:
    """Without a further frame: the same map has another surface."""
    at = robot.step()
    points = robot.shown(robot.clouds, at).width
    assert points > 1000
    robot.set(volume__min_weight=500.0)
    robot.peer.wait(lambda: robot.clouds[-1].width == 0, "no surface that was measured so often")
    robot.set(volume__min_weight=2.0)
    robot.peer.wait(lambda: robot.clouds[-1].width == points, "the surface again")


def test_sizes_of_outputs(robot: Tuned) -> None:
    robot.set(node__mesh_max_triangles=100, node__tsdf_max_points=1000, node__render_stride=4)
    at = robot.step()
    assert len(robot.shown(robot.meshes, at).points) == 300
    assert 400 < robot.shown(robot.voxels, at).width <= 1000
    depth, full = robot.shown(robot.depths, at), robot.frames[0].camera
    assert (depth.width, depth.height) == (full.width // 4, full.height // 4)


def test_heights_of_the_grid(robot: Tuned) -> None:
    before = np.array(robot.shown(robot.grids, robot.step()).data)
    count = len(robot.grids)
    robot.set(occupancy__max_height_m=0.3)
    robot.peer.wait(lambda: len(robot.grids) > count, "another grid of the same map")
    assert (np.array(robot.grids[-1].data) == 100).sum() < (before == 100).sum()


def test_periods(robot: Tuned) -> None:
    count = len(robot.images)
    robot.set(node__image_period_s=3600.0)
    at = robot.step(2)
    robot.shown(robot.clouds, at)  # what comes from the map still comes
    assert len(robot.images) <= count + 1, "one that was due at most"
    robot.set(node__image_period_s=0.0, node__cloud_period_s=3600.0)
    clouds = len(robot.clouds)
    at = robot.step(2)
    robot.shown(robot.grids, at)
    assert len(robot.clouds) == clouds


def test_pose_jumps(room_bag: Path, tmp_path: Path) -> None:
    robot = Tuned(room_bag, tmp_path / "log")
    try:
        robot.set(input__pose_jump_m=2.0, input__on_pose_jump="reset")
        robot.step()
        robot.step(aside_m=1.0)
        assert robot.status.frames_processed == 2, "so far is no jump"
        robot.set(input__on_pose_jump="warn")
        robot.step(aside_m=5.0)
        assert robot.status.frames_processed == 3, "it is one, and is mapped over"
        robot.set(input__pose_jump_m=0.5, input__on_pose_jump="reset")
        robot.step(aside_m=5.0)
        assert robot.status.frames_processed == 4
        for role, message in robot.next_messages(aside_m=6.0).items():
            robot.publishers[role].publish(message)
        robot.peer.wait(lambda: robot.status.frames_received == 1, "another map, counted from zero")
        robot.node.wait_for_log("the map was emptied, because the camera's pose jumped (input.on_pose_jump: reset)")
        robot.set(input__on_pose_jump="pause")
        robot.step(aside_m=4.0)
        assert robot.drops == {"paused": 1}
    finally:
        robot.close()
