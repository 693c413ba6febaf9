"""A mapping node for each of several robots: `ros2 launch gnesf_ros robots.launch.py robots:=robot1,robot2`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

ROBOT = "{robot}"
"""Stands for each robot's name in the value of any argument."""
# Topics without a slash at the front are those of the robot's namespace; the rest is as in gnesf.launch.py.
PASSED_ON = {
    "params_file": ("", f"Parameter file, e.g. /etc/robots/{ROBOT}.yaml; empty: that of the package."),
    "autostart": ("", "true: map at once; false: wait for a life-cycle manager; empty: as in params_file."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "global_frame": (f"{ROBOT}/odom", "Frame of each map (input.global_frame)."),
    "pose_source": (
        "",
        "auto, pose, pose_with_covariance, transform, odom or tf (input.pose_source); empty: as in params_file.",
    ),
    "segmenter": ("", "ONNX file, checkpoint folder or hub id (segmenter.model); empty: as in params_file."),
    "queue": ("", "newest (robots) or all (evaluation) (node.queue); empty: as in params_file."),
    "color_topic": ("color/image_raw", "Colour image."),
    "camera_info_topic": ("color/camera_info", "Camera info of the colour image."),
    "depth_topic": ("depth/image_raw", "Depth image, registered to the colour image."),
    "pose_topic": ("pose", "PoseStamped of the camera (pose_source: pose)."),
    "pose_with_covariance_topic": (
        "pose_with_covariance",
        "PoseWithCovarianceStamped of the camera (pose_source: pose_with_covariance).",
    ),
    "transform_topic": ("transform", "TransformStamped of a tracking system (pose_source: transform)."),
    "odom_topic": ("odom", "Odometry of the robot (pose_source: odom)."),
    "tf_topic": ("tf", "Transforms; /tf where all robots share one tree."),
    "tf_static_topic": ("tf_static", "Static transforms; /tf_static where all robots share one tree."),
    "log_level": ("info", "debug, info, warn or error."),
}


def start(context: LaunchContext) -> list[GroupAction]:
    """One gnesf.launch.py for each robot, each in its namespace and with arguments of its own."""
    robots = [name.strip(" /") for name in LaunchConfiguration("robots").perform(context).split(",")]
    if not all(robots) or len(set(robots)) < len(robots):
        raise ValueError(f"robots is {','.join(robots)!r}, expected different names, e.g. robot1,robot2")
    value = {name: LaunchConfiguration(name).perform(context) for name in PASSED_ON}
    live = PathJoinSubstitution([FindPackageShare("gnesf_ros"), "launch", "gnesf.launch.py"])
    groups = []
    for robot in robots:
        arguments = {name: text.replace(ROBOT, robot) for name, text in value.items() if text or name != "params_file"}
        source = PythonLaunchDescriptionSource(live)
        include = IncludeLaunchDescription(source, launch_arguments=[("namespace", robot), *arguments.items()])
        groups.append(GroupAction([include], scoped=True, forwarding=False))
    return groups


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the nodes."""
    declared = [DeclareLaunchArgument("robots", description="Names of the robots, their namespaces: robot1,robot2")]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in PASSED_ON.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
