"""A mapping node for each of several robots: `ros2 launch gnesf_ros robots.launch.py robots:=robot1,robot2`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from gnesf_ros.launch_arguments import ROBOT, ROBOTS, check_given


def start(context: LaunchContext) -> list[GroupAction]:
    """One gnesf.launch.py for each robot, each in its namespace and with arguments of its own."""
    check_given(context, ["robots", *ROBOTS])
    robots = [name.strip(" /") for name in LaunchConfiguration("robots").perform(context).split(",")]
    if not all(robots) or len(set(robots)) < len(robots):
        raise ValueError(f"robots is {','.join(robots)!r}, expected different names, e.g. robot1,robot2")
    value = {name: LaunchConfiguration(name).perform(context) for name in ROBOTS}
    live = PathJoinSubstitution([FindPackageShare("gnesf_ros"), "launch", "gnesf.launch.py"])
    groups = []
    for robot in robots:
        arguments = {name: text.replace(ROBOT, robot) for name, text in value.items()}
        source = PythonLaunchDescriptionSource(live)
        include = IncludeLaunchDescription(source, launch_arguments=[("namespace", robot), *arguments.items()])
        groups.append(GroupAction([include], scoped=True, forwarding=False))
    return groups


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the nodes."""
    declared = [DeclareLaunchArgument("robots", description="Names of the robots, their namespaces: robot1,robot2")]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in ROBOTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
