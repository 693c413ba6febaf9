"""Parameters that change while the node runs, and every way in which a change is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import ReliabilityPolicy
from ros_harness import NodeProcess, Peer, new_domain
from ros_recording import REMAPS


class Tuner:
    """A node, and somebody who changes its parameters."""

    def __init__(self, room: Path, log: Path) -> None:
        domain = new_domain()
        parameters = {"segmenter.model": f"oracle:{room / 'labels'}", "node.cloud_period_s": 2.0}
        self.node, self.peer = NodeProcess(domain, parameters, REMAPS, log), Peer(domain)
        self._client = AsyncParameterClient(self.peer.node, "/gnesf")
        assert self._client.wait_for_services(30)

    def set(self, name: str, value: Any) -> str:
        """Why the change was refused; empty when it was not."""
        future = self._client.set_parameters([Parameter(name, value=value)])
        self.peer.wait(future.done, "the answer")
        (result,) = future.result().results
        assert result.successful == (not result.reason)
        return result.reason

    def get(self, name: str) -> Any:
        future = self._client.get_parameters([name])
        self.peer.wait(future.done, "the answer")
        return Parameter.from_parameter_msg(
            Parameter(name).to_parameter_msg().__class__(name=name, value=future.result().values[0])
        ).value

    def transition(self, number: int) -> None:
        request = ChangeState.Request(transition=Transition(id=number))
        assert self.peer.call(ChangeState, "/gnesf/change_state", request).success


@pytest.fixture(scope="module")
def tuner(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuner]:
    tuner = Tuner(room_bag, tmp_path_factory.mktemp("tuner") / "log")
    try:
        yield tuner
    finally:
        tuner.peer.close()
        tuner.node.kill()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node.cloud_period_s", 0.5),
        ("node.record_period_s", 1.0),
        ("node.output_share", 0.5),
        ("keyframes.min_rotation_deg", 30.0),
        ("keyframes.max_angular_rate_deg_s", 45.0),
        ("volume.max_depth_m", 3.0),
        ("predicted_depth.min_confidence", 0.7),
        ("input.on_pose_jump", "reset"),
        ("input.pose_jump_m", 0.2),
        ("input.pose_wait_s", 1.0),
        ("input.max_pose_gap_s", 0.2),
        ("input.sync_tolerance_s", 0.01),
    ],
)
def test_what_can_change_at_once_does(tuner: Tuner, name: str, value: Any) -> None:
    assert tuner.set(name, value) == ""
    assert tuner.get(name) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("keyframes.min_translation_m", 50.0, ["keyframes.min_translation_m", "range"]),
        ("keyframes.min_translation_m", float("nan"), ["keyframes.min_translation_m", "range"]),
        ("keyframes.min_translation_m", "far", ["Wrong parameter type"]),
        (
            "keyframes.min_translation_mm",
            0.1,
            ["keyframes.min_translation_mm", "nearest: keyframes.min_translation_m)"],
        ),
        ("volume.min_depth_m", 4.0, ["min_depth_m is 4.0 and max_depth_m 3.0"]),
        ("node.queue", "oldest", ["queue is 'oldest'", "newest"]),
        ("node.queue", "all", ["while the node is active", "read when the node is configured"]),
        ("volume.voxel_size_m", 0.1, ["while the node is active", "read when the node is configured"]),
        ("volume.max_map_memory_mb", 100.0, ["while the node is active", "read when the node is configured"]),
        ("keyframes.window", 5, ["while the node is active", "read when the node is configured"]),
        ("input.depth_unit_m", 0.0002, ["while the node is active", "read when the node is activated"]),
        ("input.on_pose_jump", "restart", ["on_pose_jump is 'restart'", "warn, pause, reset"]),
        ("input.color_topic", "/camera", ["while the node is active"]),
        ("input.body_T_camera", [1.0, 2.0], ["body_T_camera has 2 numbers, expected 0 or 7"]),
        ("node.autostart", False, ["read-only"]),
    ],
    ids=str,
)
def test_what_cannot_change_is_refused_with_the_reason(tuner: Tuner, name: str, value: Any, words: list[str]) -> None:
    tuner.set("volume.max_depth_m", 3.0)
    reason = tuner.set(name, value)
    for word in words:
        assert word in reason
    assert tuner.set("volume.max_depth_m", 3.0) == "", "what is as it was already may be set at any time"


def test_what_is_read_later_can_change_before_that(tuner: Tuner) -> None:  # the last: the node is configured anew
    tuner.transition(Transition.TRANSITION_DEACTIVATE)
    assert tuner.set("input.depth_unit_m", 0.0002) == ""
    assert "while the node is inactive" in tuner.set("volume.voxel_size_m", 0.1)
    assert "remap its input" in tuner.set("input.color_topic", "/camera")
    assert "geometry: depth needs the depth image" in tuner.set("node.use_depth", False)
    tuner.transition(Transition.TRANSITION_CLEANUP)
    assert tuner.set("volume.voxel_size_m", 0.1) == ""
    assert tuner.set("node.queue", "all") == ""
    tuner.transition(Transition.TRANSITION_CONFIGURE)
    tuner.node.wait_for_log("voxels of 10 cm")
    tuner.transition(Transition.TRANSITION_ACTIVATE)
    assert tuner.get("input.depth_unit_m") == 0.0002
    find = tuner.peer.node.get_subscriptions_info_by_topic
    (endpoint,) = tuner.peer.wait(lambda: find("/camera/color/image_raw"), "the subscription")
    assert endpoint.qos_profile.reliability == ReliabilityPolicy.RELIABLE, "as node.queue: all has it"
    assert tuner.node.stop() == 0
    assert "Traceback" not in tuner.node.log
