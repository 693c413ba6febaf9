"""Two robots in two namespaces at once: each maps what it sees, and hears only its own requests."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from gnesf_msgs.msg import MapperStatus
from ros_harness import NodeProcess, Peer, new_domain, play
from ros_recording import FRAMES
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from gnesf_model.data.bag_file import BagFile
from gnesf_ros import qos

ROBOTS = ("robot1", "robot2")


def test_two_robots_at_once(room_bag: Path, tmp_path: Path) -> None:
    """One sees the whole recording, the other its first half, at the same time on the same domain."""
    domain = new_domain()
    topics = {c.topic for c in BagFile(room_bag / "bag").connections}
    halves = {"robot1": [], "robot2": ["--duration", str(FRAMES / 2 / 30)]}
    nodes, peer, failures = {}, Peer(domain), []

    def drive(robot: str) -> None:
        remaps = [word for topic in topics for word in ("--remap", f"{topic}:=/{robot}{topic}")]
        wait = ["--rate", "0", "--no-clock", "--wait-for", f"/{robot}/gnesf"]
        try:
            play(room_bag / "bag", domain, *wait, *remaps, *halves[robot])
        except BaseException as error:  # pytest does not see what a thread raises
            failures.append(error)

    try:
        for robot in ROBOTS:
            remaps = {"color/image_raw": "camera/color/image_raw", "color/camera_info": "camera/color/camera_info"}
            remaps |= {"depth/image_raw": "camera/depth/image_raw", "/tf": "tf", "/tf_static": "tf_static"}
            nodes[robot] = NodeProcess(
                domain,
                {
                    "segmenter.model": f"oracle:{room_bag / 'labels'}",
                    "node.queue": "all",
                    "node.cloud_period_s": 0.05,
                    "input.global_frame": "odom",
                },
                remaps,
                tmp_path / f"{robot}.log",
                ready=False,
                extra=("-r", f"__ns:=/{robot}"),
            )
        statuses = {r: peer.listen(MapperStatus, f"/{r}/gnesf/status", qos.latched()) for r in ROBOTS}
        clouds = {r: peer.listen(PointCloud2, f"/{r}/gnesf/semantic_cloud", qos.latched()) for r in ROBOTS}
        for node in nodes.values():
            node.wait_for_log("ready:", 60)
        drivers = [threading.Thread(target=drive, args=(robot,)) for robot in ROBOTS]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join()
        assert not failures, failures[0]
        for robot in ROBOTS:
            last = statuses[robot][-1].header.stamp
            peer.wait(lambda: clouds[robot] and clouds[robot][-1].header.stamp == last, f"the cloud of {robot}")  # noqa: B023
        one, two = (statuses[robot][-1] for robot in ROBOTS)
        assert one.frames_processed == one.frames_received == FRAMES
        assert 0 < two.frames_processed == two.frames_received < FRAMES
        assert clouds["robot1"][-1].width > clouds["robot2"][-1].width > 1000
        kept = np.array(clouds["robot2"][-1].data)

        assert peer.call(Trigger, "/robot1/gnesf/reset").success
        peer.wait(lambda: clouds["robot1"][-1].width == 0, "an empty cloud of robot1")
        np.testing.assert_array_equal(clouds["robot2"][-1].data, kept)
        assert statuses["robot2"][-1].frames_processed == two.frames_processed
        for node in nodes.values():
            assert node.stop() == 0
    finally:
        peer.close()
        for node in nodes.values():
            node.kill()
