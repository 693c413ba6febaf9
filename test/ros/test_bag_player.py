"""`gnesf play` as a process: time, order, quality of service."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from geometry_msgs.msg import PoseStamped
from gnesf_msgs.msg import MapperStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import ROOT, Peer, new_domain, play
from ros_recording import FRAMES
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from gnesf_model.data.bag_file import BagFile
from gnesf_ros import bag_player, playback, qos

RELIABLE = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)


def seconds(stamp: object) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


def test_messages_clock_and_names_are_those_of_the_recording(room_bag: Path) -> None:
    domain = new_domain()
    peer = Peer(domain)
    try:
        images = peer.listen(Image, "/front/image", RELIABLE)
        poses = peer.listen(PoseStamped, "/pose", RELIABLE)
        clocks = peer.listen(Clock, "/clock", RELIABLE)
        static = peer.listen(TFMessage, "/tf_static", qos.latched())
        start = time.monotonic()
        play(room_bag / "bag", domain, "--rate", "2", "--remap", "/camera/color/image_raw:=/front/image")
        assert time.monotonic() - start > (FRAMES - 1) * 0.1 / 2
        peer.wait(lambda: len(images) == FRAMES and len(poses) == FRAMES, "every message", 5)
        assert len(static) == 1
        stamps = [seconds(image.header.stamp) for image in images]
        assert stamps == sorted(stamps)
        times = [seconds(clock.clock) for clock in clocks]
        assert times == sorted(times)
        assert times[0] == pytest.approx(stamps[0], abs=0.05)
        assert times[-1] == pytest.approx(stamps[-1], abs=0.05)
        assert len(times) > 50  # it moves between the images, too
    finally:
        peer.close()


def test_a_part_is_played_with_the_static_transforms_from_before(room_bag: Path) -> None:
    domain = new_domain()
    peer = Peer(domain)
    try:
        images = peer.listen(Image, "/camera/color/image_raw", RELIABLE)
        static = peer.listen(TFMessage, "/tf_static", qos.latched())
        play(room_bag / "bag", domain, "--rate", "0", "--start", "0.95", "--duration", "0.5")
        peer.wait(lambda: len(images) == 5, "five images", 5)
        assert seconds(images[0].header.stamp) == pytest.approx(1.0 + 1.0)
        assert len(static) == 1
    finally:
        peer.close()


def test_loops_until_it_is_interrupted(room_bag: Path) -> None:
    domain = new_domain()
    peer = Peer(domain)
    images = peer.listen(Image, "/camera/color/image_raw", RELIABLE)
    command = [sys.executable, "-m", "gnesf_model.cli", "play", str(room_bag / "bag"), "--rate", "8", "--loop"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "ROS_DOMAIN_ID": str(domain)})
    try:
        peer.wait(lambda: len(images) > FRAMES + 2, "the second round")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        peer.close()


def test_recorded_quality_of_service_is_kept(room_bag: Path) -> None:
    profiles = {c.topic: playback.play_profile(c, reliable=False) for c in BagFile(room_bag / "bag").connections}
    assert profiles["/tf_static"].durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert profiles["/pose"].durability == DurabilityPolicy.VOLATILE
    assert profiles["/pose"].reliability == ReliabilityPolicy.RELIABLE


def test_images_that_the_mapper_does_not_take_are_not_waited_for(room_bag: Path, monkeypatch, caplog) -> None:
    """This mapper takes poses alone, so it never tells of an image."""
    domain = new_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    peer = Peer(domain)
    name = peer.node.get_fully_qualified_name()
    status = peer.node.create_publisher(MapperStatus, f"{name}/status", qos.latched())
    status.publish(MapperStatus(state=MapperStatus.WAITING))
    poses = peer.listen(PoseStamped, "/pose", RELIABLE)
    try:
        parser = argparse.ArgumentParser()
        bag_player.add_arguments(parser)
        with caplog.at_level(logging.INFO):
            bag_player.run(parser.parse_args([str(room_bag / "bag"), "--rate", "0", "--wait-for", name]))
        peer.wait(lambda: len(poses) == FRAMES, "every pose", 5)
        assert "dealt with all 0 images" in caplog.text
        assert "takes none of the bag's colour images (/camera/color/image_raw)" in caplog.text
        assert "did not reach" not in caplog.text
    finally:
        peer.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--remap", "/colour:=/x"], "/camera/color/image_raw"),
        (["--remap", "colour"], "expected /from:=/to"),
        (["--rate", "-1"], "--rate is -1"),
        (["--wait-for", "/nobody", "--wait-s", "0.3"], "/nobody is not there"),
    ],
)
def test_wrong_options_are_named(room_bag: Path, arguments: list[str], words: str, monkeypatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(new_domain()))
    parser = argparse.ArgumentParser()
    bag_player.add_arguments(parser)
    with pytest.raises((ValueError, RuntimeError), match=words):
        bag_player.run(parser.parse_args([str(room_bag / "bag"), *arguments]))
