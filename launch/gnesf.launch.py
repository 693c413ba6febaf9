"""The mapping node on live topics: `ros2 launch gnesf_ros gnesf.launch.py --show-args`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import prefix_namespace

from gnesf_ros import middleware
from gnesf_ros.launch_arguments import NODE, PARAMETERS, REMAPPINGS, SWITCHES, check_given, remappings, switch
from gnesf_ros.params_file import value_in

SHARE = FindPackageShare("gnesf_ros")

OUTPUTS = (
    "semantic_cloud",
    "semantic_mesh",
    "occupancy_grid",
    "occupancy_grid_updates",
    "dynamic_cloud",
    "semantic_overlay/image_raw",
    "semantic_map_color/image_raw",
)


def node_names(context: LaunchContext, namespace: str) -> list[str]:
    """The node's full name in parts; a launch file that includes this one may have pushed a namespace."""
    namespace = prefix_namespace(context.launch_configurations.get("ros_namespace"), namespace)
    return [*(part for part in namespace.split("/") if part), "gnesf"]


def rviz_remappings(node: str, topics: dict[str, str]) -> list[tuple[str, str]]:
    """Absolute names in gnesf.rviz to those of this launch.

    Args:
        node: fully qualified name of the node.
        topics: how those of the node are remapped.
    """
    outputs = [(f"/gnesf/{topic}", topics.get(f"~/{topic}", f"{node}/{topic}")) for topic in OUTPUTS]
    return outputs + [(f"/{name.lstrip('/')}", topics[name]) for name in REMAPPINGS]


def start(context: LaunchContext) -> list[Node]:
    """The node and, when asked for, RViz, with the arguments of this launch."""
    check_given(context, NODE)
    value = {name: LaunchConfiguration(name).perform(context) for name in NODE}
    overrides = {parameter: value[name] for name, parameter in PARAMETERS.items() if value[name]}
    overrides |= {PARAMETERS[name]: switch(name, value[name]) for name in SWITCHES if value[name]}
    names = node_names(context, value["namespace"])
    node, topics = "/".join(["", *names]), remappings(value)
    simulated = switch("use_sim_time", value["use_sim_time"])
    environment = middleware.environment(context.environment)
    frame = value["global_frame"] or value_in(value["params_file"], node, PARAMETERS["global_frame"])
    fixed_frame = ["--fixed-frame", str(frame).lstrip("/")] if frame else []
    # RViz first: where it cannot be started the launch ends, and what was started before it would be left running.
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=value["namespace"],
            arguments=["-d", PathJoinSubstitution([SHARE, "config", "gnesf.rviz"]), *fixed_frame],
            parameters=[{"use_sim_time": simulated}],
            remappings=rviz_remappings(node, topics),
            additional_env=environment,
            condition=IfCondition(LaunchConfiguration("rviz")),
        ),
        Node(
            package="gnesf_ros",
            executable="gnesf_node",
            name="gnesf",
            namespace=value["namespace"],
            parameters=[
                value["params_file"] or PathJoinSubstitution([SHARE, "config", "gnesf.yaml"]),
                {"use_sim_time": simulated, **overrides},
            ],
            remappings=list(topics.items()),
            # A logger has the node's full name, with points; `gnesf` alone is another one, which nobody writes to.
            ros_arguments=["--log-level", f"{'.'.join(names)}:={value['log_level']}"],
            additional_env=environment,
            output="screen",
            emulate_tty=True,
            # Not launch's 5 s and 10 s: the frame in work ends first, and a recorded bag gets its final map.
            sigterm_timeout="60",
            sigkill_timeout="60",
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the node."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in NODE.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
