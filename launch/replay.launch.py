"""A bag through the mapping node: `ros2 launch gnesf_ros replay.launch.py bag:=PATH segmenter:=MODEL`."""

from launch import LaunchContext, LaunchDescription
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
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from gnesf_ros import middleware
from gnesf_ros.launch_arguments import PLAYER, REPLAY, switch


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
        cmd=command, name="player", output="screen", additional_env=middleware.environment(context.environment)
    )
    if not switch("exit_at_end", value["exit_at_end"]):
        return [player]
    end = EmitEvent(event=Shutdown(reason="the bag has been played"))
    return [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[end]))]


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
    return LaunchDescription([*declared, node, OpaqueFunction(function=play)])
