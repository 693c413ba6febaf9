"""What the launch files take: every argument once, with its default, its description and what it sets.

Nothing here needs ROS to be imported: launch files are read where they lie, and cannot import one another.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch import LaunchContext

ROBOT = "{robot}"
"""In robots.launch.py it stands for each robot's name in the value of any argument."""

NODE: dict[str, tuple[str, str]] = {
    "params_file": ("", "Parameter file, over which the other arguments win; empty: that of the package."),
    "namespace": ("", "Namespace of the node, e.g. robot1."),
    "autostart": (
        "",
        "true: map at once; false: wait for a life-cycle manager (node.autostart); empty: as in params_file.",
    ),
    "use_sim_time": ("false", "Take the time from /clock, as a played bag publishes it."),
    "global_frame": ("", "Frame of the map (input.global_frame); empty: as in params_file."),
    "geometry": (
        "",
        "Where surfaces come from (geometry): depth, a depth sensor; rgb, colour alone; empty: as in params_file, "
        "depth by default.",
    ),
    "pose_source": (
        "",
        "auto, pose, pose_with_covariance, transform, odom or tf (input.pose_source); empty: as in params_file.",
    ),
    "pose_frame": (
        "",
        "Frame whose pose a PoseStamped gives, e.g. base_link (input.pose_frame); empty: as in params_file, the "
        "camera's by default.",
    ),
    "segmenter": ("", "ONNX file, checkpoint folder or hub id (segmenter.model); empty: as in params_file."),
    "segmenter_revision": (
        "",
        "Commit of a hub id, so that it is the same network for ever (segmenter.revision); empty: as in params_file.",
    ),
    "queue": ("", "newest (robots) or all (evaluation) (node.queue); empty: as in params_file."),
    "record": (
        "",
        "Bag of results to write, e.g. results.mcap, or a folder (node.record); empty: as in params_file.",
    ),
    "image_transport": (
        "",
        "How colour comes: raw, or compressed (JPEG, PNG) on the topic's name with /compressed (node.image_transport); "
        "empty: as in params_file, raw by default.",
    ),
    "depth_transport": (
        "",
        "How depth comes: raw, compressedDepth or compressed, on the topic's name with that (node.depth_transport); "
        "empty: as in params_file, raw by default.",
    ),
    "color_topic": ("color/image_raw", "Colour image; with image_transport: compressed, its raw name."),
    "camera_info_topic": ("color/camera_info", "Camera info of the colour image."),
    "depth_topic": (
        "depth/image_raw",
        "Depth image, registered to the colour image, by its raw name; not needed with geometry: rgb.",
    ),
    "pose_topic": ("pose", "PoseStamped of the camera (pose_source: pose)."),
    "pose_with_covariance_topic": (
        "pose_with_covariance",
        "PoseWithCovarianceStamped of the camera (pose_source: pose_with_covariance).",
    ),
    "transform_topic": ("transform", "TransformStamped of a tracking system (pose_source: transform)."),
    "odom_topic": ("odom", "Odometry of the robot (pose_source: odom)."),
    "tf_topic": ("/tf", "Transforms; tf, without the slash, for those of the namespace."),
    "tf_static_topic": ("/tf_static", "Static transforms; tf_static, without the slash, for those of the namespace."),
    "remap": (
        "",
        "Further topics of the node and what they are called here, e.g. 'front/color/image_raw:=/cam0/rgb, "
        "front/color/camera_info:=/cam0/info' with input.cameras: [front]; wins over the arguments above.",
    ),
    "log_level": ("info", "debug, info, warn or error."),
    "rviz": ("false", "Start RViz, too."),
}
"""Of gnesf.launch.py: default and description by name."""

REPLAY: dict[str, tuple[str, str]] = {
    "use_sim_time": ("true", "Take the time from the bag."),
    "queue": ("all", "all: every frame is mapped, the player waits; newest: as on a robot."),
    "color_topic": ("/camera/color/image_raw", "Colour topic of the bag."),
    "camera_info_topic": ("/camera/color/camera_info", "Camera info topic of the bag."),
    "depth_topic": ("/camera/depth/image_raw", "Depth topic of the bag, registered to the colour image."),
    "pose_topic": ("/pose", "PoseStamped topic of the bag (pose_source: pose)."),
    "odom_topic": ("/odom", "Odometry topic of the bag (pose_source: odom)."),
}
"""What differs in replay.launch.py, which takes all others of `NODE` as well: it fits bags written by `gnesf bag`."""

PLAYER: dict[str, tuple[str | None, str]] = {
    "bag": (None, "Bag to play: a folder with metadata.yaml, or an .mcap or .db3 file."),
    "rate": ("1.0", "How fast to play; 0: as fast as the node maps."),
    "loop": ("false", "Start again at the end."),
    "exit_at_end": ("false", "End the node when the bag has been played and mapped."),
}
"""Of replay.launch.py alone; None: it has to be given."""

ROBOTS: dict[str, tuple[str, str]] = {
    **{name: known for name, known in NODE.items() if name not in ("namespace", "rviz")},
    "params_file": ("", f"Parameter file, e.g. /etc/robots/{ROBOT}.yaml; empty: that of the package."),
    "global_frame": (f"{ROBOT}/odom", "Frame of each map (input.global_frame)."),
    "record": ("", f"Bag of each robot's results, e.g. results/{ROBOT}.mcap (node.record); empty: none."),
    "tf_topic": ("tf", "Transforms; /tf where all robots share one tree."),
    "tf_static_topic": ("tf_static", "Static transforms; /tf_static where all robots share one tree."),
}
"""Of robots.launch.py: topics without a slash at the front are those of the robot's namespace."""

PARAMETERS = {
    "global_frame": "input.global_frame",
    "geometry": "geometry",
    "pose_source": "input.pose_source",
    "pose_frame": "input.pose_frame",
    "image_transport": "node.image_transport",
    "depth_transport": "node.depth_transport",
    "segmenter": "segmenter.model",
    "segmenter_revision": "segmenter.revision",
    "queue": "node.queue",
    "record": "node.record",
    "autostart": "node.autostart",
}
"""The node's parameters that arguments set, where they are not empty."""

SWITCHES = ("autostart",)
"""Those of them that are true or false."""

REMAPPINGS = {
    "color/image_raw": "color_topic",
    "color/camera_info": "camera_info_topic",
    "depth/image_raw": "depth_topic",
    "pose": "pose_topic",
    "pose_with_covariance": "pose_with_covariance_topic",
    "transform": "transform_topic",
    "odom": "odom_topic",
    "/tf": "tf_topic",
    "/tf_static": "tf_static_topic",
}
"""The node's inputs, and the arguments that name their topics."""

_TOPIC = re.compile(r"(~/|/)?(?!__)[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
"""Without the names that begin with two underscores: ``__node`` and ``__ns`` are no topics to rcl."""

LAUNCH_OWN = ("launch-prefix", "launch-prefix-filter", "emulate_tty", "sigterm_timeout", "sigkill_timeout")
"""Arguments that launch itself reads, for every process that it starts."""


def check_given(context: LaunchContext, known: Iterable[str]) -> None:
    """Refuse what `ros2 launch` was given and nobody would read; to be called before anything is started.

    Args:
        context: of the launch file that asks.
        known: names of its arguments.

    Raises:
        ValueError: an argument that does not exist; says which one may be meant.
    """
    path = context.get_locals_as_dict().get("current_launch_file_path")
    if path is not None:  # or a program runs the description, and there is no command line
        refuse_unknown(given_to(Path(path), context), known, Path(path).name)


def given_to(file: Path, context: LaunchContext) -> dict[str, str]:
    """Arguments of the command line, where that has named this launch file; empty where another one includes it.

    All names are in the configurations of the context, but those are also what an including file has declared, set, or
    takes from its own command line. What the command line names is what the first description includes: `ros2 launch`
    makes one of just that, and the event that brought it is at hand until everything in it has begun.

    Args:
        file: absolute path of the launch file.
        context: its context.
    """
    first = getattr(context.get_locals_as_dict().get("event"), "launch_description", None)
    passed: set[str] = set()
    for entity in getattr(first, "entities", ()):
        source = getattr(entity, "launch_description_source", None)
        if source is not None and os.path.abspath(source.location) == str(file):
            passed |= {name for name, _ in entity.launch_arguments if isinstance(name, str)}
    words = (word.partition(":=") for word in context.argv)
    return {name: value for name, _, value in words if name in passed}


def refuse_unknown(given: Mapping[str, str], known: Iterable[str], file: str) -> None:
    """Raise ValueError for arguments that a launch file does not have, with the nearest ones that it has.

    launch takes every name, and leaves it to whoever may read it.

    Args:
        given: name -> value.
        known: names of the arguments that there are.
        file: the launch file's name.
    """
    known = list(known)
    wrong = []
    for name, value in given.items():
        if name in known or name in LAUNCH_OWN:
            continue
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        wrong.append(f"{name}:={value}" + (f" (nearest: {nearest[0]})" if nearest else ""))
    if wrong:
        raise ValueError(
            f"there is no launch argument for {', '.join(wrong)}: `ros2 launch gnesf_ros {file} --show-args` lists "
            "all; parameters of the node that have none go into params_file"
        )


def switch(name: str, text: str) -> bool:
    """An argument that is true or false.

    Raises:
        ValueError: it is neither.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{name} is {text!r}, expected true or false")
    return text.lower() in ("true", "1")


def remappings(value: Mapping[str, str]) -> dict[str, str]:
    """What each topic of the node is called in this launch.

    Those of `remap` are the first: of several rules for one topic, ``/odom`` and ``odom``, rcl follows the first.

    Args:
        value: of the arguments, by name.

    Raises:
        ValueError: `remap` is not made of pairs.
    """
    own = pairs(value["remap"])
    return own | {name: value[argument] for name, argument in REMAPPINGS.items() if name not in own}


def pairs(text: str) -> dict[str, str]:
    """The value of `remap`, pairs of topics with commas between them, as a dictionary.

    Raises:
        ValueError: something else, or one topic twice.
    """
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        sides = [side.strip() for side in pair.split(":=")]
        if len(sides) != 2 or not all(_TOPIC.fullmatch(side) for side in sides):
            raise ValueError(
                f"remap has {pair.strip()!r}, expected NAME:=TOPIC, with commas between several, e.g. "
                "remap:='front/color/image_raw:=/cam0/rgb, front/color/camera_info:=/cam0/info'"
            )
        if sides[0] in found:
            raise ValueError(f"remap has {sides[0]!r} twice, expected one topic for it")
        found[sides[0]] = sides[1]
    return found
