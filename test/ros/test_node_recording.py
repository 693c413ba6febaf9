"""The bags that the node records while it maps: one for each configuration, whatever becomes of the disk."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_harness import NodeProcess, Peer, new_domain
from ros_recording import REMAPS
from ros_robot import Robot
from rosbags.rosbag2 import Reader


def stamps_in(bag: Path, topic: str) -> list[int]:
    """Log times of a topic's messages."""
    with Reader(bag) as reader:
        return [stamp for connection, stamp, _ in reader.messages() if connection.topic == topic]


@pytest.mark.parametrize(("first", "second"), [("results", "results_2"), ("results.mcap", "results_2.mcap")])
def test_each_configuration_has_a_bag_of_its_own(room_bag: Path, tmp_path: Path, first: str, second: str) -> None:
    """And the counters of the status and of the diagnostics are the same ones, over activations and resets."""
    robot = Robot(room_bag, tmp_path / "log", **{"node.record": str(tmp_path / first)})

    def transition(number: int) -> None:
        request = ChangeState.Request(transition=Transition(id=number))
        assert robot.peer.call(ChangeState, "/gnesf/change_state", request).success

    try:
        for frame in robot.frames[:3]:
            robot.send(frame)
        robot.send(robot.frames[3], depth=None)  # waits for its depth in vain
        robot.peer.wait(lambda: robot.drops, "the drop", 60)
        assert robot.drops == {"no_depth": 1}
        robot.shows("dropped: no_depth", "1")
        transition(Transition.TRANSITION_DEACTIVATE)
        transition(Transition.TRANSITION_ACTIVATE)
        robot.peer.matched(*robot.publishers.values())
        robot.shows("dropped: no_depth", "1")  # as the status has it
        assert robot.drops == {"no_depth": 1}

        transition(Transition.TRANSITION_DEACTIVATE)
        transition(Transition.TRANSITION_CLEANUP)
        assert stamps_in(tmp_path / first, "/gnesf/semantic/image_raw") == [f.stamp_ns for f in robot.frames[:3]]
        transition(Transition.TRANSITION_CONFIGURE)
        transition(Transition.TRANSITION_ACTIVATE)
        robot.peer.matched(*robot.publishers.values())
        robot.node.wait_for_log(f"results are recorded in {tmp_path / second}")
        robot.peer.wait(lambda: not robot.status.frames_received, "the counters of the new map")
        robot.send(robot.frames[5])
        assert robot.node.stop() == 0
        assert stamps_in(tmp_path / second, "/gnesf/semantic/image_raw") == [robot.frames[5].stamp_ns]
        assert stamps_in(tmp_path / second, "/gnesf/semantic_cloud")
        assert len(stamps_in(tmp_path / first, "/gnesf/semantic/image_raw")) == 3, "that of before is as it was"
        assert {p.name for p in tmp_path.iterdir()} == {"log", first, second}
    finally:
        robot.close()


def test_a_disk_that_is_full_ends_the_recording_and_not_the_mapping(room_bag: Path, tmp_path: Path) -> None:
    """A limit on the size of files takes the part of the disk: writing fails in the same place."""
    bag = tmp_path / "results"
    robot = Robot(room_bag, tmp_path / "log", **{"node.record": str(bag)})
    try:
        robot.send(robot.frames[0])
        (file,) = bag.glob("*.mcap")
        limit = file.stat().st_size + 4096
        pid, before = robot.node.process.pid, resource.prlimit(robot.node.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, before[1]))
        for frame in robot.frames[1:]:
            robot.send(frame)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert robot.status.frames_processed == len(robot.frames)
        assert robot.drops == {}
        assert robot.node.stop() == 0
        assert "the recording of results" in robot.node.log
        assert "free some space, or record elsewhere" in robot.node.log
        assert "Traceback" not in robot.node.log
    finally:
        robot.close()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(room_bag: Path, tmp_path: Path) -> None:
    domain = new_domain()
    parameters = {"segmenter.model": f"oracle:{room_bag / 'labels'}", "node.autostart": False}
    parameters["node.record"] = "/proc/results"
    node, peer = NodeProcess(domain, parameters, REMAPS, tmp_path / "log", ready=False), Peer(domain)
    try:
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        assert not peer.call(ChangeState, "/gnesf/change_state", request).success
        (line,) = [line for line in node.log.splitlines() if "ERROR" in line]
        assert "configure failed" in line
        assert "/proc/results" in line
        assert node.stop() == 0
    finally:
        peer.close()
        node.kill()
