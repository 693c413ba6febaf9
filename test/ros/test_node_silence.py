"""Nothing comes out: the node finds another way, or says why in words that help."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import OccupancyGrid, Odometry
from ros_recording import OPTICAL
from ros_robot import Robot, odometry, usual_messages
from sensor_msgs.msg import CameraInfo

from gnesf_ros import qos


def qos_file(folder: Path, *lines: str) -> Path:
    """A parameter file with these overrides of the quality of service."""
    path = folder / "qos.yaml"
    path.write_text("\n      ".join(["/**:\n  ros__parameters:\n    qos_overrides:", *lines]) + "\n")
    return path


def test_auto_passes_over_a_topic_with_messages_of_another_type(room_bag: Path, tmp_path: Path) -> None:
    """slam_toolbox publishes PoseWithCovarianceStamped on pose: odometry is what there is to map by."""
    robot = Robot(room_bag, tmp_path / "log", {"pose": (Odometry, "/odom")})
    try:
        robot.peer.node.create_publisher(PoseWithCovarianceStamped, "/pose", 10)
        for frame in robot.frames[:2]:
            robot.send(frame, pose=odometry(frame.stamp_ns, OPTICAL, frame.world_T_cam))
        assert robot.status.frames_processed == 2 and not robot.drops
        robot.shows("pose source", "odom")
    finally:
        robot.close()


def test_auto_gives_up_a_source_from_which_nothing_comes(room_bag: Path, tmp_path: Path) -> None:
    """Somebody advertises /pose and never sends: after two seconds odometry, which does come, takes its place."""
    robot = Robot(room_bag, tmp_path / "log", {"odom": (Odometry, "/odom")}, **{"input.pose_wait_s": 0.3})
    try:
        for frame in robot.frames:
            messages = usual_messages(frame) | {"odom": odometry(frame.stamp_ns, OPTICAL, frame.world_T_cam)}
            for role in ("info", "odom", "depth", "color"):
                robot.publishers[role].publish(messages[role])
            time.sleep(0.5)
        assert robot.status.frames_processed > 0, robot.drops
        robot.shows("pose source", "odom")
        assert "/pose is published, but not one pose came from it" in robot.node.log
    finally:
        robot.close()


def test_two_publishers_whose_clocks_differ_are_named(room_bag: Path, tmp_path: Path) -> None:
    robot = Robot(room_bag, tmp_path / "log", {"pose": (Odometry, "/odom")}, **{"input.pose_source": "odom"})
    try:
        robot.advertise("other", Odometry, "/odom")
        frame = robot.frames[0]
        end = time.monotonic() + 12
        while time.monotonic() < end:
            now = time.monotonic_ns()
            for role, stamp in (("pose", now), ("other", now - 5_000_000_000)):
                robot.publishers[role].publish(odometry(stamp, OPTICAL, frame.world_T_cam))
            messages = usual_messages(frame)
            for role in ("info", "depth", "color"):
                messages[role].header.stamp.sec, messages[role].header.stamp.nanosec = divmod(now, 10**9)
                robot.publishers[role].publish(messages[role])
            time.sleep(0.2)
            said = [s.message for array in robot.diagnostics for s in array.status if "input" in s.name]
            if any("again and again" in words for words in said):
                break
        (words, *_) = [w for w in said if "again and again" in w] or [said[-1]]
        assert "stamps of pose stepped back from" in words and "/odom has 2 publishers: do their clocks agree" in words
    finally:
        robot.close()


def test_a_latched_camera_info_that_was_sent_before_is_explained(room_bag: Path, tmp_path: Path) -> None:
    robot = Robot(room_bag, tmp_path / "log", {"info": (CameraInfo, "/camera/color/camera_info", qos.latched())})
    try:
        robot.says("is kept for those who ask for it", DiagnosticStatus.ERROR)
        robot.says("qos_overrides./camera/color/camera_info.subscription.durability to transient_local")
    finally:
        robot.close()


def test_a_topic_that_is_not_heard_any_more_is_blamed_no_longer(room_bag: Path, tmp_path: Path) -> None:
    overrides = qos_file(tmp_path, "/pose: {subscription: {reliability: reliable}}")
    robot = Robot(
        room_bag,
        tmp_path / "log",
        extra=("--params-file", str(overrides)),
        **{"input.pose_source": "pose"},
    )
    try:
        deaf = robot.peer.node.create_publisher(PoseStamped, "/pose", qos.images("newest", 1))
        robot.shows("pose /pose", "0 messages, 0.0 Hz, 2 publisher(s), incompatible reliability")
        robot.peer.node.destroy_publisher(deaf)
        robot.send(robot.frames[0])
        robot.peer.wait(
            lambda: robot.value("pose /pose").startswith("1 messages") and "incompat" not in robot.value("pose /pose"),
            "no complaint about the publisher that has gone",
        )
    finally:
        robot.close()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("/pose: {subscription: {reliablity: reliable}}", "nearest: reliability"),
        ("/pose: {subscription: {reliability: always}}", "expected reliable, best_effort, system_default"),
        ("/pose: {subscription: {depth: ten}}", "expected a whole number from 1 to"),
        ("/pose: {subscription: {depth: -1}}", "expected a whole number from 1 to"),
        ("/pose: {reliability: reliable}", "expected qos_overrides.TOPIC.publisher or .subscription"),
    ],
)
def test_quality_of_service_that_says_nothing_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    import rclpy

    from gnesf_ros.gnesf_node import GnesfNode

    rclpy.init(args=["node", "--ros-args", "--params-file", str(qos_file(tmp_path, lines))])
    try:
        with pytest.raises(ValueError, match="qos_overrides./pose.*" + words):
            GnesfNode()
    finally:
        rclpy.try_shutdown()


def test_overrides_of_topics_that_it_lacks_are_told_and_those_of_outputs_work(room_bag: Path, tmp_path: Path) -> None:
    overrides = qos_file(
        tmp_path,
        "/odometry: {subscription: {reliability: reliable}}",
        "/gnesf/semantic_overlay/image_raw: {publisher: {durability: transient_local, depth: 1}}",
    )
    robot = Robot(room_bag, tmp_path / "log", extra=("--params-file", str(overrides)))
    try:
        words = "qos_overrides./odometry.subscription.reliability has no effect: this node has no subscription of"
        robot.peer.wait(lambda: words in robot.node.log, "the warning")
        (overlay,) = robot.peer.node.get_publishers_info_by_topic("/gnesf/semantic_overlay/image_raw")
        assert overlay.qos_profile.durability == qos.latched().durability
    finally:
        robot.close()


def test_why_an_output_is_missing_is_in_the_diagnostics(room_bag: Path, tmp_path: Path) -> None:
    parameters = {"occupancy.max_size_m": 1.0, "node.grid_period_s": 0.05, "volume.min_weight": 0.5}
    robot = Robot(room_bag, tmp_path / "log", **parameters)
    try:
        grids = robot.peer.listen(OccupancyGrid, "/gnesf/occupancy_grid", qos.latched())
        for frame in robot.frames[:3]:
            robot.send(frame)
        robot.says("the occupancy grid leaves out surface beyond occupancy.max_size_m (1 m)", DiagnosticStatus.WARN)
        assert robot.value("~/occupancy_grid").startswith("the occupancy grid leaves out")
        assert grids
        for topic, package in (("~/semantic/label_info", "vision_msgs"), ("~/occupancy_grid_updates", "map_msgs")):
            installed = importlib.util.find_spec(package) is not None
            assert robot.value(topic) == "" if installed else f"{package} is not installed" in robot.value(topic)
    finally:
        robot.close()


LARGE = """
import time, rclpy
from array import array
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("driver")
profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, "/camera/color/image_raw", profile)
image = Image(height=1200, width=1920, encoding="rgb8", step=5760, data=array("B", bytes(1200 * 5760)))
while True:
    publisher.publish(image)
    time.sleep(0.05)
"""


def test_large_images_that_get_lost_on_the_way_are_counted(room_bag: Path, tmp_path: Path) -> None:
    """7 MB sent as best effort in pieces, as by a driver without the shared-memory profile: most never arrive."""
    robot = Robot(room_bag, tmp_path / "log")
    without = {name: value for name, value in os.environ.items() if not name.endswith("_DEFAULT_PROFILES_FILE")}
    driver = subprocess.Popen([sys.executable, "-c", LARGE], env={**without, "ROS_DOMAIN_ID": str(robot.node.domain)})
    try:
        robot.says("colour images were lost on the way")
        assert "lost on the way" in robot.value("color /camera/color/image_raw")
    finally:
        driver.kill()
        driver.wait()
        robot.close()
