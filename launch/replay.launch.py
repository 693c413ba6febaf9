"""A bag through the mapping node: `ros2 launch gnesf_ros replay.launch.py bag:=PATH segmenter:=MODEL`."""

from collections.abc import Callable

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from gnesf_ros import middleware
from gnesf_ros.launch_arguments import NODE, PLAYER, REPLAY, check_given, switch

_ENDING_S = "60"
"""As long as the node has."""


def check(context: LaunchContext) -> list:
    """Refuse wrong arguments before there is any process: a launch that fails later leaves its processes running."""
    check_given(context, NODE | REPLAY | PLAYER)
    for name in ("loop", "exit_at_end"):
        switch(name, LaunchConfiguration(name).perform(context))
    return []


def play(context: LaunchContext) -> list:
    """The player, waiting for the node where every frame is to be mapped."""
    value = {name: LaunchConfiguration(name).perform(context) for name in (*PLAYER, "queue", "namespace")}
    mapper = "/".join(["", *(part for part in value["namespace"].split("/") if part), "gnesf"])
    command = [ExecutableInPackage("gnesf", "gnesf_ros"), "play", value["bag"], "--rate", value["rate"]]
    command += ["--wait-s", "900"]  # a network may have to be downloaded first
    if value["queue"] == "all":
        command += ["--wait-for", mapper]
    if switch("loop", value["loop"]):
        command.append("--loop")
    player = ExecuteProcess(
        cmd=command,
        name="player",
        output="screen",
        additional_env=middleware.environment(context.environment),
        sigterm_timeout=_ENDING_S,
        sigkill_timeout=_ENDING_S,
    )
    ends = [(_is_mapper, "the node")]
    if switch("exit_at_end", value["exit_at_end"]):
        ends.append((player, "the player"))
    return [
        player,
        *(RegisterEventHandler(OnProcessExit(target_action=target, on_exit=_end(name))) for target, name in ends),
    ]


def _is_mapper(action: Action) -> bool:
    return isinstance(action, Node) and action.node_executable == "gnesf_node"


def _end(name: str) -> Callable[[ProcessExited, LaunchContext], list]:
    """End everything with a process, and the launch with an error where the process had one.

    Without the node the player would wait for somebody who takes its images.
    """

    def ended(event: ProcessExited, context: LaunchContext) -> list:
        if context.is_shutdown:
            return []
        if event.returncode:
            raise RuntimeError(f"{name} ended with exit code {event.returncode}")
        return [EmitEvent(event=Shutdown(reason=f"{name} has ended"))]

    return ended


def generate_launch_description() -> LaunchDescription:
    """Arguments, the live launch file, and the player."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in (PLAYER | REPLAY).items()
    ]
    live = PathJoinSubstitution([FindPackageShare("gnesf_ros"), "launch", "gnesf.launch.py"])
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(live),
        launch_arguments={name: LaunchConfiguration(name) for name in REPLAY}.items(),
    )
    return LaunchDescription([*declared, OpaqueFunction(function=check), node, OpaqueFunction(function=play)])
