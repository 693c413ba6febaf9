"""The node's life cycle: by itself, or step by step as a life-cycle manager takes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from gnesf_msgs.msg import MapperStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from ros_harness import ROOT, NodeProcess, Peer, new_domain, play
from ros_recording import FRAMES, REMAPS
from sensor_msgs.msg import PointCloud2

from gnesf_ros import qos


class Manager:
    """A node that waits for transitions, and what it says."""

    def __init__(self, log: Path, **parameters: Any) -> None:
        self.domain = new_domain()
        given = {"node.autostart": False, "node.queue": "all", "node.cloud_period_s": 0.05, **parameters}
        self.node, self.peer = NodeProcess(self.domain, given, REMAPS, log, ready=False), Peer(self.domain)
        self.statuses = self.peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        self.clouds = self.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        self.diagnostics = self.peer.listen(DiagnosticArray, "/diagnostics")

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.peer.call(ChangeState, "/gnesf/change_state", request).success

    @property
    def state(self) -> int:
        return self.peer.call(GetState, "/gnesf/get_state").current_state.id

    def status(self, condition: Callable[[MapperStatus], bool], what: str) -> MapperStatus:
        self.peer.wait(lambda: self.statuses and condition(self.statuses[-1]), what)
        return self.statuses[-1]

    def close(self) -> None:
        self.peer.close()
        self.node.kill()


@pytest.fixture
def manager(room_bag: Path, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "log", **{"segmenter.model": f"oracle:{room_bag / 'labels'}", "use_sim_time": True})
    try:
        yield manager
    finally:
        manager.close()


def test_step_by_step(manager: Manager, room_bag: Path) -> None:
    peer = manager.peer
    assert manager.state == State.PRIMARY_STATE_UNCONFIGURED
    assert not peer.node.count_publishers("/gnesf/semantic_cloud")
    manager.node.wait_for_log("ros2 lifecycle set /gnesf configure")
    peer.wait(
        lambda: any("unconfigured: nothing is mapped" in s.message for d in manager.diagnostics for s in d.status),
        "the diagnostics of a node that nobody has configured",
    )

    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.state == State.PRIMARY_STATE_INACTIVE
    manager.status(lambda s: s.state == MapperStatus.INACTIVE, "the status to say inactive")
    peer.wait(
        lambda: any("ros2 lifecycle set /gnesf activate" in s.message for d in manager.diagnostics for s in d.status),
        "the diagnostics to name the remedy",
    )
    assert not peer.node.count_subscribers("/camera/color/image_raw")

    assert manager.change(Transition.TRANSITION_ACTIVATE)
    play(room_bag / "bag", manager.domain, "--rate", "0", "--wait-for", "/gnesf")
    first = manager.status(lambda s: s.frames_processed == FRAMES and not s.frames_pending, "every frame")
    peer.wait(lambda: manager.clouds and manager.clouds[-1].header.stamp == first.header.stamp, "the final cloud")
    cloud = manager.clouds[-1]

    # Nothing is heard while it is inactive, and what was mapped is still there.
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    inactive = manager.status(lambda s: s.state == MapperStatus.INACTIVE, "the status to say inactive")
    assert (inactive.frames_processed, inactive.frames_received) == (FRAMES, FRAMES)
    peer.wait(lambda: not peer.node.count_subscribers("/camera/color/image_raw"), "the subscriptions to go")
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    play(room_bag / "bag", manager.domain, "--rate", "0", "--wait-for", "/gnesf")
    second = manager.status(lambda s: s.frames_processed == 2 * FRAMES and not s.frames_pending, "every frame again")
    assert second.frames_received == 2 * FRAMES
    assert second.surface_voxels >= first.surface_voxels

    # Cleaned up and configured anew, it begins with nothing and maps the recording to the same cloud.
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    assert manager.change(Transition.TRANSITION_CLEANUP)
    assert manager.state == State.PRIMARY_STATE_UNCONFIGURED
    peer.wait(lambda: not peer.node.count_publishers("/gnesf/semantic_cloud"), "its topics to go")
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    manager.status(lambda s: s.state == MapperStatus.WAITING and not s.frames_processed, "an empty map")
    play(room_bag / "bag", manager.domain, "--rate", "0", "--wait-for", "/gnesf")
    last = manager.status(lambda s: s.frames_processed == FRAMES and not s.frames_pending, "every frame once more")
    assert last.surface_voxels == first.surface_voxels
    peer.wait(lambda: manager.clouds[-1] is not cloud and manager.clouds[-1].data == cloud.data, "the same cloud")

    assert manager.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert manager.state == State.PRIMARY_STATE_FINALIZED
    assert manager.node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in manager.node.log


def test_a_transition_that_the_state_does_not_have_is_refused(manager: Manager) -> None:
    """rclpy 7.1 raises in its callback, which would end the process."""
    for transition in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE, 99):
        assert not manager.change(transition)
    assert manager.state == State.PRIMARY_STATE_UNCONFIGURED
    manager.node.wait_for_log("was refused")
    assert manager.node.stop() == 0


def test_configure_with_bad_weights_fails_and_can_be_tried_again(room_bag: Path, tmp_path: Path) -> None:
    manager = Manager(tmp_path / "log", **{"segmenter.model": f"oracle:{tmp_path / 'weights'}"})
    try:
        assert not manager.change(Transition.TRANSITION_CONFIGURE)
        assert manager.state == State.PRIMARY_STATE_UNCONFIGURED
        (line,) = [line for line in manager.node.log.splitlines() if "ERROR" in line]
        assert "configure failed" in line
        assert str(tmp_path / "weights") in line
        (tmp_path / "weights").symlink_to(room_bag / "labels")
        assert manager.change(Transition.TRANSITION_CONFIGURE)
        assert manager.change(Transition.TRANSITION_ACTIVATE)
        manager.node.wait_for_log("ready:")
        assert manager.node.stop() == 0
    finally:
        manager.close()


CYCLES = """
import gc, sys, weakref
import rclpy
from gnesf_ros.gnesf_node import GnesfNode

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

rclpy.init(args=["node", "--ros-args", "-p", "segmenter.model:=oracle:" + sys.argv[1], "-p", "cpu_threads:=1"])
gnesf = GnesfNode()
node = gnesf.node

def entities():
    return [*node.subscriptions, *node.timers, *node.guards, *node.publishers]

memory = []
before = set(entities())
for _ in range(12):
    node.start()
    alive = [weakref.ref(gnesf._configured.mapper), weakref.ref(gnesf._active.inputs)]
    node.trigger_deactivate()
    node.trigger_cleanup()
    gc.collect()
    assert not any(ref() for ref in alive)
    memory.append(resident_mb())
left = set(entities()) - before
assert not left, left
assert memory[-1] < memory[2] + 5, memory
gnesf.close()
rclpy.try_shutdown()
"""


def test_cleanup_gives_everything_back(room_bag: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "ROS_DOMAIN_ID": str(new_domain())}
    command = [sys.executable, "-c", CYCLES, str(room_bag / "labels")]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
