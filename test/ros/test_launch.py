"""The launch files, run as users run them, and what RViz is told to show."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from gnesf_msgs.msg import MapperStatus
from ros_harness import ROOT, Peer, new_domain, play
from ros_recording import FRAMES
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from gnesf_model.config import Config
from gnesf_model.data.bag_file import BagFile, jazzy_types
from gnesf_model.data.messages import decode_depth, decode_image
from gnesf_ros import qos
from gnesf_ros.launch_arguments import (
    NODE,
    PARAMETERS,
    REMAPPINGS,
    REPLAY,
    ROBOT,
    ROBOTS,
    pairs,
    refuse_unknown,
    remappings,
)

with_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None or shutil.which("ros2") is None,
    reason="launch_ros and ros2 are not installed (they are not among the wheels of `make setup`)",
)
FILES = ("gnesf.launch.py", "replay.launch.py", "robots.launch.py")


def ros2(*arguments: str, domain: int = 0, timeout_s: float = 250) -> str:
    """What a command prints; the end of the test, with all that it said, where it fails or takes too long."""
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain or new_domain())}
    process = subprocess.Popen(
        ["ros2", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # killed, a launch would leave its nodes behind
        out, err = process.communicate()
        raise AssertionError(f"no end within {timeout_s} s:\n{out}{err}") from None
    assert process.returncode == 0, out + err
    return out


def heed_interrupts() -> None:
    """A shell that runs the tests in the background has its children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@with_launch
@pytest.mark.parametrize("file", FILES)
def test_every_argument_is_described(file: str) -> None:
    listing = ros2("launch", "gnesf_ros", file, "--show-args")
    names = ["params_file", "use_sim_time", "global_frame", "geometry", "pose_source", "log_level", "segmenter"]
    names += ["image_transport", "depth_transport", "pose_frame"]
    for name in [*names, "autostart", "robots" if file == "robots.launch.py" else "namespace"]:
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


def renamed(bag: Path, out: Path) -> None:
    """The bag as another robot records it: PNG colour, compressedDepth and the base's PoseStamped, on other topics."""
    types = jazzy_types()
    names = {
        "/tf_static": "/tf_static",
        "/camera/color/camera_info": "/cam/rgb/info",
        "/camera/color/image_raw": "/cam/rgb/image/compressed",
        "/camera/depth/image_raw": "/cam/registered/depth/compressedDepth",
        "/odom": "/slam/pose",
    }
    compressed, posed = "sensor_msgs/msg/CompressedImage", "geometry_msgs/msg/PoseStamped"
    with Reader(bag) as reader, Writer(out, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {"/camera/color/image_raw": compressed, "/camera/depth/image_raw": compressed, "/odom": posed}
        taken = [c for c in reader.connections if c.topic in names]
        to = {}
        for c in taken:
            to[c.topic] = writer.add_connection(
                names[c.topic],
                kinds.get(c.topic, c.msgtype),
                typestore=types,
                offered_qos_profiles=c.ext.offered_qos_profiles,
            )
        for c, stamp, data in reader.messages(connections=taken):
            if c.topic in kinds:
                told = types.deserialize_cdr(data, c.msgtype)
                kind = types.types[kinds[c.topic]]
                if c.topic == "/odom":
                    message = kind(header=told.header, pose=told.pose.pose)
                elif "color" in c.topic:
                    png = cv2.imencode(".png", decode_image(told)[..., ::-1])[1].ravel()
                    message = kind(header=told.header, format="rgb8; png compressed bgr8", data=png)
                else:
                    millimetres = np.rint(decode_depth(told) * 1000).astype(np.uint16)
                    png = np.concatenate([np.zeros(12, np.uint8), cv2.imencode(".png", millimetres)[1].ravel()])
                    message = kind(header=told.header, format="16UC1; compressedDepth png", data=png)
                data = types.serialize_cdr(message, kinds[c.topic])
            writer.write(to[c.topic], stamp, data)


@with_launch
def test_a_bag_with_other_topics_and_compressed_images_is_replayed_by_arguments_alone(
    room_bag: Path, tmp_path: Path
) -> None:
    renamed(room_bag / "bag", tmp_path / "bag")
    arguments = [
        f"bag:={tmp_path / 'bag'}",
        f"segmenter:=oracle:{room_bag / 'labels'}",
        "color_topic:=/cam/rgb/image",
        "image_transport:=compressed",
        "camera_info_topic:=/cam/rgb/info",
        "depth_topic:=/cam/registered/depth",
        "depth_transport:=compressedDepth",
        "pose_topic:=/slam/pose",
        "pose_frame:=base_link",
        "rate:=0",
        "exit_at_end:=true",
    ]
    domain = new_domain()
    peer = Peer(domain)
    try:
        statuses = peer.listen(MapperStatus, "/gnesf/status", qos.latched())
        output = ros2("launch", "gnesf_ros", "replay.launch.py", *arguments, domain=domain)
        assert f"/gnesf has dealt with all {FRAMES} images" in output
        assert (statuses[-1].frames_processed, list(statuses[-1].drop_reasons)) == (FRAMES, [])
        assert statuses[-1].surface_voxels > 1000
    finally:
        peer.close()


@with_launch
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gnesf.launch.py", "pose_source:=odometry"], "pose_source is 'odometry'"),
        (["gnesf.launch.py", "geometry:=rgbd"], "geometry is 'rgbd'"),
        (["gnesf.launch.py", "image_transport:=theora"], "image_transport is 'theora'"),
        (["gnesf.launch.py", "depth_transport:=jpeg"], "depth_transport is 'jpeg'"),
        (["gnesf.launch.py", "autostart:=maybe"], "autostart is 'maybe', expected true or false"),
        (["gnesf.launch.py", "remap:=odom=/wheels"], "remap has 'odom=/wheels', expected NAME:=TOPIC"),
        (["replay.launch.py", "bag:=/nowhere", "remap:=odom:=,a:=b"], "remap has 'odom:=', expected NAME:=TOPIC"),
        (["robots.launch.py", "robots:=robot1,robot1"], "expected different names"),
        (["replay.launch.py", "bag:=/nowhere", "loop:=yes"], "loop is 'yes', expected true or false"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], words: str) -> None:
    """Those of the node come through to it, which names them and ends."""
    said, _ = failed(arguments)
    assert words in said


@with_launch
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["gnesf.launch.py", "segmentor:=x", "qeue:=all"],
            "segmentor:=x (nearest: segmenter), qeue:=all (nearest: queue)",
        ),
        (["replay.launch.py", "bag:=/nowhere", "rat:=0"], "rat:=0 (nearest: rate)"),
        (["replay.launch.py", "bag:=/nowhere", "rosbag:=/b"], "rosbag:=/b (nearest: bag)"),
        (["robots.launch.py", "robots:=robot1", "namespace:=robot1"], "namespace:=robot1"),
        ([str(ROOT / "launch" / "gnesf.launch.py"), "segmentor:=x"], "segmentor:=x (nearest: segmenter)"),
    ],
    ids=["live", "replay", "another name of the bag", "robots", "by its path"],
)
def test_arguments_that_do_not_exist_are_refused_before_anything_starts(arguments: list[str], words: str) -> None:
    said, status = failed(arguments)
    assert status != 0 and f"there is no launch argument for {words}" in said
    assert f"`ros2 launch gnesf_ros {Path(arguments[0]).name} --show-args` lists all" in said
    assert "process started" not in said


@with_launch
def test_a_bag_by_another_name_alone_is_asked_for_by_its_own() -> None:
    """launch looks whether `bag` is there before our own look at the arguments."""
    said, status = failed(["replay.launch.py", "rosbag:=/nowhere"])
    assert status != 0 and "missing required argument 'bag'" in said
    assert "process started" not in said


OUTER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

def generate_launch_description():
    file = PathJoinSubstitution([FindPackageShare("gnesf_ros"), "launch", "FILE"])
    ours = IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=ARGUMENTS)
    return LaunchDescription([SetLaunchConfiguration("colour", "red"), ours, DeclareLaunchArgument("speed")])
"""


@with_launch
@pytest.mark.parametrize(
    ("file", "given", "words"),
    [
        ("gnesf.launch.py", {"autostart": "maybe"}, "autostart is 'maybe'"),
        ("replay.launch.py", {"bag": "/nowhere", "loop": "yes"}, "loop is 'yes'"),
        ("robots.launch.py", {"robots": "a,a"}, "expected different names"),
    ],
)
def test_a_launch_file_that_includes_ours_has_arguments_of_its_own(
    tmp_path: Path, file: str, given: dict[str, str], words: str
) -> None:
    """It may even have the same name. What ends the launch comes after the look at the arguments."""
    outer = tmp_path / file
    arguments = list({**given, "height": "1"}.items())
    outer.write_text(OUTER.replace("FILE", file).replace("ARGUMENTS", repr(arguments)))
    said, status = failed([str(outer), "speed:=3", "segmentor:=x"])
    assert status != 0 and words in said
    assert "there is no launch argument" not in said


@with_launch
@pytest.mark.parametrize("file", FILES)
def test_a_program_runs_the_description_as_well(file: str) -> None:
    """Without `ros2 launch` there is no command line, and no file that is included."""
    program = (
        "import runpy, sys\n"
        "from launch import LaunchDescription, LaunchService\n"
        "from launch.actions import SetLaunchConfiguration\n"
        "found = runpy.run_path(sys.argv[1])['generate_launch_description']()\n"
        "wrong = {'autostart': 'maybe', 'loop': 'yes', 'bag': 'b', 'robots': 'a,a', 'speed': '3'}\n"
        "service = LaunchService(argv=['speed:=3'])\n"
        "set_ = [SetLaunchConfiguration(name, value) for name, value in wrong.items()]\n"
        "service.include_launch_description(LaunchDescription([*set_, found]))\n"
        "sys.exit(service.run())\n"
    )
    environment = {**os.environ, "ROS_DOMAIN_ID": str(new_domain())}
    command = [sys.executable, "-c", program, str(ROOT / "launch" / file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "', expected" in said and "process started" not in said, said


@with_launch
def test_arguments_that_launch_itself_reads_are_taken() -> None:
    said, _ = failed(["gnesf.launch.py", "launch-prefix:=nice", "autostart:=maybe"])
    assert "autostart is 'maybe'" in said and "there is no launch argument" not in said


@with_launch
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay.launch.py", "bag:=/nowhere", "exit_at_end:=true"], "the player ended with exit code 2"),
        # Without a node the player would wait for one.
        (["replay.launch.py", "bag:=BAG", "segmenter:=/nowhere/net.onnx"], "the node ended with exit code 1"),
        (["replay.launch.py", "bag:=BAG", "exit_at_end:=maybe"], "exit_at_end is 'maybe', expected true or false"),
        pytest.param(
            ["gnesf.launch.py", "rviz:=true"],
            "rviz2",
            marks=pytest.mark.skipif(importlib.util.find_spec("rviz2") is not None or bool(shutil.which("rviz2")),
                                     reason="rviz2 is installed, so nothing fails"),
        ),
    ],
    ids=["no bag", "no network", "no switch", "no RViz"],
)  # fmt: skip
def test_a_launch_that_fails_says_so_and_leaves_nothing_running(
    room_bag: Path, arguments: list[str], words: str
) -> None:
    said, status = failed([argument.replace("BAG", str(room_bag / "bag")) for argument in arguments])
    assert words in said and status != 0


def failed(arguments: list[str]) -> tuple[str, int]:
    """What a launch says that ends by itself, and its exit status; no process of it may be left.

    Args:
        arguments: of `ros2 launch`: a file of the package, or an absolute path, and the launch arguments.
    """
    domain = new_domain()
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "LAUNCHED_BY": f"test {os.getpid()} {domain}"}
    done = subprocess.run(
        ["ros2", "launch", *([] if Path(arguments[0]).is_absolute() else ["gnesf_ros"]), *arguments],
        env=environment, capture_output=True, text=True, timeout=200, check=False, cwd="/",
    )  # fmt: skip
    mark, left = f"LAUNCHED_BY={environment['LAUNCHED_BY']}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            if mark in (process / "environ").read_bytes().split(b"\0"):
                left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    assert not left
    return done.stdout + done.stderr, done.returncode


class Launched:
    """A launch file that runs until the end of the block."""

    def __init__(self, domain: int, log: Path, *arguments: str) -> None:
        self.domain, self._log = domain, log
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        command = ["ros2", "launch", *([] if Path(arguments[0]).is_absolute() else ["gnesf_ros"]), *arguments]
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                preexec_fn=heed_interrupts,
            )

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)  # which it passes on to its nodes
        self._process.wait(150)

    def wait_for(self, text: str, count: int = 1, timeout_s: float = 150) -> None:
        end = time.monotonic() + timeout_s
        while (log := self._log.read_text(errors="replace")).count(text) < count:
            assert time.monotonic() < end, f"no {text!r}:\n{log}"
            time.sleep(0.1)

    def ask(self, *arguments: str) -> str:
        """A command that looks for itself, and again while it does not see the node."""
        # The daemon that ros2 starts otherwise would outlive the test.
        command = (*arguments, "--no-daemon", "--spin-time", "3")
        end = time.monotonic() + 150
        while True:
            try:
                return ros2(*command, domain=self.domain)
            except AssertionError as error:
                if "ode not found" not in str(error) and "Unable to find node" not in str(error):
                    raise
                assert time.monotonic() < end, "ros2 never saw the node"


@with_launch
def test_without_autostart_the_command_line_takes_it_through_its_life_cycle(room_bag: Path, tmp_path: Path) -> None:
    arguments = ("gnesf.launch.py", "autostart:=false", f"segmenter:=oracle:{room_bag / 'labels'}")
    with Launched(new_domain(), tmp_path / "log", *arguments) as launched:
        for transition, state in (("configure", "inactive"), ("activate", "active"), ("deactivate", "inactive")):
            assert "Transitioning successful" in launched.ask("lifecycle", "set", "/gnesf", transition)
            assert launched.ask("lifecycle", "get", "/gnesf").startswith(f"{state} ")
        launched.wait_for("deactivated: the map is kept")


@with_launch
@pytest.mark.parametrize("arguments", [["gnesf.launch.py"], ["replay.launch.py", "bag:=/nowhere"]])
def test_the_geometry_is_the_nodes_to_judge(tmp_path: Path, arguments: list[str]) -> None:
    with Launched(new_domain(), tmp_path / "log", *arguments, "geometry:=rgb", "autostart:=false") as launched:
        assert launched.ask("param", "get", "/gnesf", "geometry") == "String value is: rgb\n"


@with_launch
@pytest.mark.parametrize(
    ("arguments", "logger"),
    [
        (["gnesf.launch.py"], "gnesf"),
        (["gnesf.launch.py", "namespace:=/site/robot1/"], "site.robot1.gnesf"),
        (["robots.launch.py", "robots:=robot1"], "robot1.gnesf"),
    ],
    ids=["without a namespace", "in a namespace", "of a robot"],
)
def test_the_log_level_is_that_of_the_node(tmp_path: Path, arguments: list[str], logger: str) -> None:
    """Debug lines come, and at another level not even those that always come by default."""
    arguments = [*arguments, "autostart:=false"]
    with Launched(new_domain(), tmp_path / "debug", *arguments, "log_level:=debug") as launched:
        launched.wait_for("waiting for a life-cycle manager")
    said = (tmp_path / "debug").read_text()
    assert f"[{logger}]: settings other than the defaults: " in said and "node.autostart: False" in said
    with Launched(new_domain(), tmp_path / "warn", *arguments, "log_level:=warn") as launched:
        assert launched.ask("lifecycle", "get", f"/{logger.replace('.', '/')}").startswith("unconfigured ")
    assert f"[{logger}]" not in (tmp_path / "warn").read_text()


PUSHED = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace

def generate_launch_description():
    ours = IncludeLaunchDescription(PythonLaunchDescriptionSource("FILE"), launch_arguments=ARGUMENTS)
    return LaunchDescription([GroupAction([PushRosNamespace("site"), ours])])
"""


@with_launch
def test_the_log_level_is_that_of_a_node_in_a_pushed_namespace(tmp_path: Path) -> None:
    outer, arguments = tmp_path / "outer.launch.py", {"namespace": "robot1", "log_level": "debug", "autostart": "false"}
    text = PUSHED.replace("FILE", str(ROOT / "launch" / "gnesf.launch.py"))
    outer.write_text(text.replace("ARGUMENTS", repr(list(arguments.items()))))
    with Launched(new_domain(), tmp_path / "log", str(outer)) as launched:
        launched.wait_for("waiting for a life-cycle manager")
    assert "[site.robot1.gnesf]: settings other than the defaults: " in (tmp_path / "log").read_text()


@with_launch
def test_cameras_whose_topics_have_other_names_are_launched_by_arguments_alone(tmp_path: Path) -> None:
    """`remap` names what has no argument of its own, and wins where there is one."""
    file = tmp_path / "params.yaml"
    file.write_text("/**: {ros__parameters: {input: {cameras: [front, rear]}}}\n")
    remap = {
        "front/color/image_raw": "/cam0/rgb",
        "front/color/camera_info": "/cam0/info",
        "rear/depth/image_raw": "cam1/depth",
        "odom": "/wheels",
        "~/semantic_cloud": "/cloud",
    }
    arguments = ["gnesf.launch.py", "namespace:=robot1", f"params_file:={file}", "odom_topic:=/elsewhere"]
    arguments.append("remap:=" + ", ".join(f"{name}:={topic}" for name, topic in remap.items()))
    with Launched(new_domain(), tmp_path / "log", *arguments) as launched:
        launched.wait_for("ready:")
        listed = launched.ask("node", "info", "/robot1/gnesf")
    heard = ("/cam0/rgb", "/cam0/info", "/robot1/cam1/depth", "/robot1/rear/color/image_raw", "/wheels", "/cloud")
    for topic in heard:
        assert f" {topic}: " in listed, listed
    for topic in ("front/color", "rear/depth/image_raw", "elsewhere", "semantic_cloud"):
        assert topic not in listed, listed


@with_launch
def test_several_robots_are_launched_at_once(room_bag: Path, tmp_path: Path) -> None:
    arguments = ("robots.launch.py", "robots:=robot1,robot2", f"segmenter:=oracle:{room_bag / 'labels'}")
    with Launched(new_domain(), tmp_path / "log", *arguments) as launched:
        launched.wait_for("ready:", count=2)
        launched.wait_for("in robot1/odom")
        launched.wait_for("in robot2/odom")
        listed = launched.ask("node", "info", "/robot2/gnesf")
        for name in ("/robot2/color/image_raw", "/robot2/tf_static", "/robot2/gnesf/semantic_cloud"):
            assert f" {name}: " in listed
        assert "/robot1/" not in listed


@with_launch
def test_each_of_several_robots_maps_its_own_camera(room_bag: Path, tmp_path: Path) -> None:
    """The topics of the arguments are those of each robot's namespace."""
    domain, camera = new_domain(), {f"{role}_topic": f"camera/{name}" for role, name in (
        ("color", "color/image_raw"), ("camera_info", "color/camera_info"), ("depth", "depth/image_raw"),
    )}  # fmt: skip
    arguments = ["robots.launch.py", "robots:=robot1,robot2", f"segmenter:=oracle:{room_bag / 'labels'}", "queue:=all"]
    arguments += ["global_frame:=odom", *(f"{name}:={topic}" for name, topic in camera.items())]
    topics = {c.topic for c in BagFile(room_bag / "bag").connections}
    remaps = [word for topic in topics for word in ("--remap", f"{topic}:=/robot1{topic}")]
    peer = Peer(domain)
    try:
        statuses = {n: peer.listen(MapperStatus, f"/{n}/gnesf/status", qos.latched()) for n in ("robot1", "robot2")}
        with Launched(domain, tmp_path / "log", *arguments) as launched:
            launched.wait_for("ready:", count=2)
            play(room_bag / "bag", domain, "--rate", "0", "--no-clock", "--wait-for", "/robot1/gnesf", *remaps)
            peer.wait(lambda: statuses["robot1"][-1].frames_processed == FRAMES, "every frame of robot1", 120)
            assert statuses["robot1"][-1].surface_voxels > 1000
            assert statuses["robot2"][-1].frames_received == 0
    finally:
        peer.close()


@pytest.fixture
def rviz_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File in which a program rviz2 writes what it was called with: the real one needs a screen."""
    called = tmp_path / "called"
    prefix = tmp_path / "rviz"
    program, marker = prefix / "lib/rviz2/rviz2", prefix / "share/ament_index/resource_index/packages/rviz2"
    for file in (program, marker):
        file.parent.mkdir(parents=True)
    marker.touch()
    program.write_text(f'#!/bin/sh\necho "$*" >{called}.part && mv {called}.part {called}\n')
    program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}")
    return called


@with_launch
@pytest.mark.parametrize(
    ("arguments", "frame"),
    [
        ([], None),
        (["params_file:=FILE"], "map"),
        (["params_file:=FILE", "namespace:=robot1"], "robot1/map"),
        (["params_file:=FILE", "global_frame:=/world"], "world"),
    ],
    ids=["by default", "of the file", "of the file, for this node", "of the argument"],
)
def test_rviz_is_fixed_in_the_frame_of_the_map(
    tmp_path: Path, rviz_called: Path, arguments: list[str], frame: str | None
) -> None:
    file = tmp_path / "params.yaml"
    said = "{ros__parameters: {input: {global_frame: %s}}}"
    file.write_text(f"/**: {said % '/map'}\n/robot1/gnesf: {said % 'robot1/map'}\n")
    arguments = ["rviz:=true", "autostart:=false", "remap:=odom:=/wheels", *arguments]
    arguments = [argument.replace("FILE", str(file)) for argument in arguments]
    with Launched(new_domain(), tmp_path / "log", "gnesf.launch.py", *arguments) as launched:
        launched.wait_for("waiting for a life-cycle manager")
        launched.wait_for("[rviz2-1]: process has finished cleanly")
    called = rviz_called.read_text()
    assert f"--fixed-frame {frame} " in called if frame else "--fixed-frame" not in called, called
    mapper = "/robot1/gnesf" if "namespace:=robot1" in arguments else "/gnesf"
    assert f"/gnesf/semantic_cloud:={mapper}/semantic_cloud" in called and "/odom:=/wheels" in called, called


def test_what_the_arguments_set_exists() -> None:
    """launch need not be installed for that."""
    known = {option.name for option in Config.options()}
    for arguments in (NODE, ROBOTS, {**NODE, **REPLAY}):
        assert set(PARAMETERS) | set(REMAPPINGS.values()) <= set(arguments)
        for name, (default, text) in arguments.items():
            assert text.endswith("."), name
            if name in PARAMETERS:
                assert default in ("", "all", f"{ROBOT}/odom"), "params_file has a say"
                assert PARAMETERS[name] in NODE[name][1]
    assert set(PARAMETERS.values()) <= known
    assert set(NODE) - set(ROBOTS) == {"namespace", "rviz"}, "the first is the robot's name"


def test_remap_is_pairs_of_topics() -> None:
    assert pairs("") == pairs(" ") == {}
    assert pairs("odom:=/wheels") == {"odom": "/wheels"}
    found = pairs(" front/color/image_raw:=/cam0/rgb ,~/semantic_cloud:=cloud, /tf:=tf")
    assert found == {"front/color/image_raw": "/cam0/rgb", "~/semantic_cloud": "cloud", "/tf": "tf"}


@pytest.mark.parametrize(
    "pair",
    ["odom", "odom=/a", "odom:=", ":=/a", "", "odom:=/a pose:=/b", "a b:=/c", "__ns:=/robot1", "a:=/1", "a:=/b/"],
)
def test_remap_that_is_no_pair_is_named(pair: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^remap has {re.escape(repr(pair))}, expected NAME:=TOPIC, .* e\.g\. remap:='"
    ):
        pairs(f"color/image_raw:=/rgb, {pair}")


def test_one_topic_is_remapped_once() -> None:
    with pytest.raises(ValueError, match="remap has 'odom' twice"):
        pairs("odom:=/a, odom:=/b")
    value = {name: default for name, (default, _) in NODE.items()} | {"remap": "front/odom:=/o, odom:=/wheels"}
    found = remappings(value)
    assert list(found)[:2] == ["front/odom", "odom"] and found["odom"] == "/wheels"
    assert found.keys() == REMAPPINGS.keys() | {"front/odom"}
    assert found["/tf"] == "/tf" and found["depth/image_raw"] == "depth/image_raw"


def test_only_arguments_that_do_not_exist_are_refused() -> None:
    refuse_unknown({"segmenter": "x", "rviz": "true", "launch-prefix": "gdb -ex run"}, NODE, "gnesf.launch.py")
    with pytest.raises(ValueError, match=r"^there is no launch argument for segmentor:=x \(nearest: segmenter\): "):
        refuse_unknown({"segmentor": "x", "rviz": "true"}, NODE, "gnesf.launch.py")
    with pytest.raises(ValueError, match="for zzz:=1: `ros2 launch gnesf_ros robots.launch.py --show-args` lists all"):
        refuse_unknown({"zzz": "1"}, ROBOTS, "robots.launch.py")


def test_rviz_has_a_layout_for_every_dock() -> None:
    """An image that the layout does not know is docked in view and so switched on, whatever its Enabled says."""
    tree = yaml.safe_load((ROOT / "config" / "gnesf.rviz").read_text())
    layout = bytes.fromhex(tree["Window Geometry"]["QMainWindow State"])
    images = [d for d in tree["Visualization Manager"]["Displays"] if d["Class"].split("/")[1] in ("Image", "Camera")]
    assert {image["Name"]: image["Enabled"] for image in images} == {
        "Overlay": True,
        "Seen from the map": False,
        "Camera": False,
    }
    for name in [panel["Name"] for panel in tree["Panels"]] + [image["Name"] for image in images]:
        docked = name.encode("utf-16-be")  # QMainWindow::saveState: length in bytes, name, whether it is shown
        at = layout.index(len(docked).to_bytes(4, "big") + docked) + 4 + len(docked)
        shown = name not in ("Seen from the map", "Camera", "Views")
        assert layout[at] & 1 == shown, name


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
        assert f'"{name}"' in launch_file or {name, f"/{name}"} & set(REMAPPINGS), topic["Value"]
