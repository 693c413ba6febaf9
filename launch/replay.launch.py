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

OWN_ARGUMENTS = {
    "bag": (None, "Bag to play: a folder with metadata.yaml, or an .mcap or .db3 file."),
    "rate": ("1.0", "How fast to play; 0: as fast as the node maps."),
    "loop": ("false", "Start again at the end."),
    "exit_at_end": ("false", "End the node when the bag has been played and mapped."),
}
# The defaults fit bags written by `gnesf bag`; the rest is as in gnesf.launch.py.
PASSED_ON = {
    "use_sim_time": ("true", "Take the time from the bag."),
    "queue": ("all", "all: every frame is mapped, the player waits; newest: as on a robot."),
    "color_topic": ("/camera/color/image_raw", "Colour topic of the bag."),
    "camera_info_topic": ("/camera/color/camera_info", "Camera info topic of the bag."),
    "depth_topic": ("/camera/depth/image_raw", "Depth topic of the bag, registered to the colour image."),
    "pose_topic": ("/pose", "PoseStamped topic of the bag (pose_source: pose)."),
    "odom_topic": ("/odom", "Odometry topic of the bag (pose_source: odom)."),
}


def switch(name: str, text: str) -> bool:
    """An argument that is true or false.

    Raises:
        ValueError: it is neither.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{name} is {text!r}, expected true or false")
    return text.lower() in ("true", "1")


def play(context: LaunchContext) -> list:
    """The player, waiting for the node where every frame is to be mapped."""
    value = {name: LaunchConfiguration(name).perform(context) for name in (*OWN_ARGUMENTS, "queue", "namespace")}
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
        for name, (default, text) in (OWN_ARGUMENTS | PASSED_ON).items()
    ]
    live = PathJoinSubstitution([FindPackageShare("gnesf_ros"), "launch", "gnesf.launch.py"])
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(live),
        launch_arguments={name: LaunchConfiguration(name) for name in PASSED_ON}.items(),
    )
    return LaunchDescription([*declared, node, OpaqueFunction(function=play)])
