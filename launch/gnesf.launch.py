"""The mapping node on live topics: `ros2 launch gnesf_ros gnesf.launch.py --show-args`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from gnesf_ros import middleware

SHARE = FindPackageShare("gnesf_ros")

ARGUMENTS = {
    "params_file": (PathJoinSubstitution([SHARE, "config", "gnesf.yaml"]), "Parameter file; the arguments below win."),
    "namespace": ("", "Namespace of the node, e.g. robot1."),
    "autostart": (
        "",
        "true: map at once; false: wait for a life-cycle manager (node.autostart); empty: as in params_file.",
    ),
    "use_sim_time": ("false", "Take the time from /clock, as a played bag publishes it."),
    "global_frame": ("", "Frame of the map (input.global_frame); empty: as in params_file."),
    "pose_source": (
        "",
        "auto, pose, pose_with_covariance, transform, odom or tf (input.pose_source); empty: as in params_file.",
    ),
    "segmenter": ("", "ONNX file, checkpoint folder or hub id (segmenter.model); empty: as in params_file."),
    "queue": ("", "newest (robots) or all (evaluation) (node.queue); empty: as in params_file."),
    "color_topic": ("color/image_raw", "Colour image; with node.image_transport: compressed, its raw name."),
    "camera_info_topic": ("color/camera_info", "Camera info of the colour image."),
    "depth_topic": ("depth/image_raw", "Depth image, registered to the colour image."),
    "pose_topic": ("pose", "PoseStamped of the camera (pose_source: pose)."),
    "pose_with_covariance_topic": (
        "pose_with_covariance",
        "PoseWithCovarianceStamped of the camera (pose_source: pose_with_covariance).",
    ),
    "transform_topic": ("transform", "TransformStamped of a tracking system (pose_source: transform)."),
    "odom_topic": ("odom", "Odometry of the robot (pose_source: odom)."),
    "tf_topic": ("/tf", "Transforms; tf, without the slash, for those of the namespace."),
    "tf_static_topic": ("/tf_static", "Static transforms; tf_static, without the slash, for those of the namespace."),
    "log_level": ("info", "debug, info, warn or error."),
    "rviz": ("false", "Start RViz, too."),
}
PARAMETERS = {
    "global_frame": "input.global_frame",
    "pose_source": "input.pose_source",
    "segmenter": "segmenter.model",
    "queue": "node.queue",
    "autostart": "node.autostart",
}
SWITCHES = ("autostart",)
"""Arguments that are true or false for the node."""
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
OUTPUTS = (
    "semantic_cloud",
    "semantic_mesh",
    "occupancy_grid",
    "occupancy_grid_updates",
    "dynamic_cloud",
    "semantic_overlay/image_raw",
    "semantic_map_color/image_raw",
)


def rviz_remappings(value: dict[str, str]) -> list[tuple[str, str]]:
    """Absolute names in gnesf.rviz to those of this launch."""
    namespace = "/".join(["", *(part for part in value["namespace"].split("/") if part)])
    outputs = [(f"/gnesf/{topic}", f"{namespace}/gnesf/{topic}") for topic in OUTPUTS]
    return outputs + [(f"/{name.lstrip('/')}", value[argument]) for name, argument in REMAPPINGS.items()]


def switch(name: str, text: str) -> bool:
    """An argument that is true or false.

    Raises:
        ValueError: it is neither.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{name} is {text!r}, expected true or false")
    return text.lower() in ("true", "1")


def start(context: LaunchContext) -> list[Node]:
    """The node and, when asked for, RViz, with the arguments of this launch."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {parameter: value[name] for name, parameter in PARAMETERS.items() if value[name]}
    overrides |= {PARAMETERS[name]: switch(name, value[name]) for name in SWITCHES if value[name]}
    simulated = switch("use_sim_time", value["use_sim_time"])
    environment = middleware.environment(context.environment)
    fixed_frame = ["--fixed-frame", value["global_frame"]] if value["global_frame"] else []
    return [
        Node(
            package="gnesf_ros",
            executable="gnesf_node",
            name="gnesf",
            namespace=value["namespace"],
            parameters=[value["params_file"], {"use_sim_time": simulated, **overrides}],
            remappings=[(name, value[argument]) for name, argument in REMAPPINGS.items()],
            ros_arguments=["--log-level", f"gnesf:={value['log_level']}"],
            additional_env=environment,
            output="screen",
            emulate_tty=True,
        ),
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
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the node."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
