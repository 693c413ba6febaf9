"""The mapping node on live topics: `ros2 launch gnesf_ros gnesf.launch.py --show-args`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from gnesf_ros import middleware
from gnesf_ros.launch_arguments import NODE, PARAMETERS, REMAPPINGS, SWITCHES, check_given, switch

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


def parts(namespace: str) -> list[str]:
    """The names that a namespace is made of, however many slashes are around them."""
    return [part for part in namespace.split("/") if part]


def rviz_remappings(value: dict[str, str]) -> list[tuple[str, str]]:
    """Absolute names in gnesf.rviz to those of this launch."""
    namespace = "/".join(["", *parts(value["namespace"])])
    outputs = [(f"/gnesf/{topic}", f"{namespace}/gnesf/{topic}") for topic in OUTPUTS]
    return outputs + [(f"/{name.lstrip('/')}", value[argument]) for name, argument in REMAPPINGS.items()]


def start(context: LaunchContext) -> list[Node]:
    """The node and, when asked for, RViz, with the arguments of this launch."""
    check_given(context, NODE)
    value = {name: LaunchConfiguration(name).perform(context) for name in NODE}
    overrides = {parameter: value[name] for name, parameter in PARAMETERS.items() if value[name]}
    overrides |= {PARAMETERS[name]: switch(name, value[name]) for name in SWITCHES if value[name]}
    # A logger has the node's full name, with points; `gnesf` alone is another one, which nobody writes to.
    node_logger = ".".join([*parts(value["namespace"]), "gnesf"])
    simulated = switch("use_sim_time", value["use_sim_time"])
    environment = middleware.environment(context.environment)
    fixed_frame = ["--fixed-frame", value["global_frame"]] if value["global_frame"] else []
    # RViz first: where it cannot be started the launch ends, and what was started before it would be left running.
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=value["namespace"],
            arguments=["-d", PathJoinSubstitution([SHARE, "config", "gnesf.rviz"]), *fixed_frame],
            parameters=[{"use_sim_time": simulated}],
            remappings=rviz_remappings(value),
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
            remappings=[(name, value[argument]) for name, argument in REMAPPINGS.items()],
            ros_arguments=["--log-level", f"{node_logger}:={value['log_level']}"],
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
