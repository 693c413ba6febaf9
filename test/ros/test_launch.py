"""The launch files, run as users run them, and what RViz is told to show."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ros_harness import ROOT, new_domain
from ros_recording import FRAMES

with_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None or shutil.which("ros2") is None,
    reason="launch_ros and ros2 are not installed (they are not among the wheels of `make setup`)",
)
FILES = ("gnesf.launch.py", "replay.launch.py")


def ros2(*arguments: str, domain: int = 0, timeout_s: float = 100) -> str:
    command = ["ros2", *arguments]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain or new_domain())}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@with_launch
@pytest.mark.parametrize("file", FILES)
def test_every_argument_is_described(file: str) -> None:
    listing = ros2("launch", "gnesf_ros", file, "--show-args")
    for name in ("params_file", "use_sim_time", "global_frame", "pose_source", "namespace", "log_level", "segmenter"):
        assert f"'{name}':" in listing
    assert "no description" not in listing.lower()


@with_launch
@pytest.mark.parametrize("namespace", ["", "robot1"])
def test_a_bag_is_replayed_through_the_node(room_bag: Path, namespace: str) -> None:
    arguments = [
        f"bag:={room_bag / 'bag'}",
        f"segmenter:=oracle:{room_bag / 'labels'}",
        "rate:=0",
        "exit_at_end:=true",
    ]
    if namespace:
        arguments.append(f"namespace:={namespace}")
    output = ros2("launch", "gnesf_ros", "replay.launch.py", *arguments)
    mapper = f"/{namespace}/gnesf" if namespace else "/gnesf"
    assert f"{mapper} has dealt with all {FRAMES} images" in output
    assert output.count("process has finished cleanly") == 2


@with_launch
def test_the_live_file_passes_its_arguments_on(room_bag: Path) -> None:
    """A wrong value comes through to the node, which names it and ends."""
    environment = {**os.environ, "ROS_DOMAIN_ID": str(new_domain())}
    done = subprocess.run(
        ["ros2", "launch", "gnesf_ros", "gnesf.launch.py", "pose_source:=odometry"],
        env=environment, capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert "pose_source is 'odometry'" in done.stdout + done.stderr


def test_rviz_shows_topics_that_exist_with_matching_qos() -> None:
    tree = yaml.safe_load((ROOT / "config" / "gnesf.rviz").read_text())
    topics = {d["Name"]: d["Topic"] for d in tree["Visualization Manager"]["Displays"] if "Topic" in d}
    assert topics["Semantic cloud"]["Value"] == "/gnesf/semantic_cloud"
    assert topics["Semantic cloud"]["Durability Policy"] == "Transient Local"
    assert topics["Overlay"]["Value"] == "/gnesf/semantic_overlay/image_raw"
    assert topics["Semantic mesh"]["Value"] == "/gnesf/semantic_mesh"
    assert topics["Occupancy grid"]["Value"] == "/gnesf/occupancy_grid"
    for name in ("Semantic cloud", "Semantic mesh", "Occupancy grid"):
        assert topics[name]["Durability Policy"] == "Transient Local", name
    assert {"Camera", "Odometry", "Camera pose", "What moves", "Seen from the map"} <= set(topics)
    launch_file = (ROOT / "launch" / "gnesf.launch.py").read_text()
    for topic in topics.values():
        name = topic["Value"].removeprefix("/gnesf/").lstrip("/")
        assert f'"{name}"' in launch_file, f"gnesf.launch.py does not remap {topic['Value']} for RViz"
