"""Each kind of input, through the node's process: images, depth, poses, quality of service, several cameras."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from gnesf_msgs.srv import LoadMap, SaveMap
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from ros_harness import Peer, new_domain
from ros_recording import OPTICAL, tilted_camera
from ros_robot import BEST_EFFORT, TOPICS, Robot, odometry, pose_message, transform, usual_messages
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.frame import Frame
from gnesf_model.geometry import invert
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_ros import qos
from gnesf_ros.conversions import camera_info_message, fill, image_message
from gnesf_ros.inputs import FrameInput
from gnesf_ros.stamps import header


def head(frame: Frame):
    return header(frame.stamp_ns, OPTICAL)


def raw(frame: Frame, encoding: str, pixels: np.ndarray, big_endian: bool = False, padding: int = 0) -> Image:
    """sensor_msgs/Image with padded rows."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    height, width = pixels.shape[:2]
    return Image(
        header=head(frame), height=height, width=width, encoding=encoding, is_bigendian=int(big_endian),
        step=rows.shape[1], data=fill(rows),
    )  # fmt: skip


def yuyv(rgb: np.ndarray) -> np.ndarray:
    y, u, v = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV))
    packed = np.empty((*rgb.shape[:2], 2), np.uint8)
    packed[..., 0], packed[:, ::2, 1], packed[:, 1::2, 1] = y, u[:, ::2], v[:, ::2]
    return packed


def mosaic(rgb: np.ndarray) -> np.ndarray:
    """As a sensor with the pattern rggb gives it."""
    kept = rgb[..., 1].copy()
    kept[::2, ::2], kept[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    return kept


def opaque(bgr_or_rgb: np.ndarray) -> np.ndarray:
    return np.dstack([bgr_or_rgb, np.full(bgr_or_rgb.shape[:2], 255, np.uint8)])


COLORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bgr8": lambda rgb: rgb[..., ::-1],
    "8UC3": lambda rgb: rgb[..., ::-1],
    "rgba8": opaque,
    "bgra8": lambda rgb: opaque(rgb[..., ::-1]),
    "mono8": lambda rgb: rgb[..., 1],
    "yuyv": yuyv,
    "uyvy": lambda rgb: yuyv(rgb)[..., ::-1],
    "bayer_rggb8": mosaic,
}


def millimetres(frame: Frame) -> np.ndarray:
    return np.rint(frame.depth * 1000).astype(np.uint16)


def compressed(frame: Frame, form: str, data: bytes) -> CompressedImage:
    return CompressedImage(header=head(frame), format=form, data=data)


def test_every_encoding_of_colour_and_depth_is_mapped(room_bag: Path, tmp_path: Path) -> None:
    """The overlay, half image and half label colours, tells red from blue."""
    robot = Robot(room_bag, tmp_path / "log")
    try:
        overlays = robot.peer.listen(Image, "/gnesf/semantic_overlay/image_raw")
        robot.peer.found()
        references = {}
        for frame in robot.frames[: len(COLORS)]:
            robot.send(frame)
            references[frame.stamp_ns] = robot.peer.wait(lambda: overlays and overlays.pop(), "the overlay")
        robot.close()
        robot = Robot(room_bag, tmp_path / "log2")
        overlays = robot.peer.listen(Image, "/gnesf/semantic_overlay/image_raw")
        robot.peer.found()
        for i, (encoding, convert) in enumerate(COLORS.items()):
            frame = robot.frames[i]
            depth = [
                raw(frame, "16UC1", millimetres(frame), padding=6),
                raw(frame, "16UC1", millimetres(frame).byteswap(), big_endian=True),
                raw(frame, "32FC1", frame.depth, padding=4),
            ][i % 3]
            robot.send(frame, color=raw(frame, encoding, convert(frame.rgb), padding=i), depth=depth)
            overlay = robot.peer.wait(lambda: overlays and overlays.pop(), f"the overlay of {encoding}")
            reference = references[frame.stamp_ns]
            got, wanted = (np.frombuffer(m.data, np.uint8).astype(int) for m in (overlay, reference))
            limit = {"mono8": 60, "yuyv": 12, "uyvy": 12, "bayer_rggb8": 8}.get(encoding, 0)
            assert np.abs(got - wanted).mean() <= limit, encoding
        assert robot.status.frames_processed == len(COLORS)
        assert robot.drops == {}
    finally:
        robot.close()


def test_compressed_colour_and_compressed_depth_are_mapped(room_bag: Path, tmp_path: Path) -> None:
    """From a camera with sensor QoS. The compressed topics follow the remapping of the raw ones."""
    topics = {
        "color": (CompressedImage, "/camera/color/image_raw/compressed"),
        "depth": (CompressedImage, "/camera/depth/image_raw/compressedDepth"),
    }
    transports = {"node.image_transport": "compressed", "node.depth_transport": "compressedDepth"}
    robot = Robot(room_bag, tmp_path / "log", topics, BEST_EFFORT, **transports)
    try:
        for i, frame in enumerate(robot.frames[:4]):
            suffix, form = ((".jpg", "rgb8; jpeg compressed bgr8"), (".png", "png"))[i % 2]
            color = cv2.imencode(suffix, frame.rgb[..., ::-1])[1].tobytes()
            plain, inverse = struct.pack("<iff", 0, 0.0, 0.0), struct.pack("<iff", 0, 10100.0, -1009.0)
            if i < 2:
                depth = plain + cv2.imencode(".png", millimetres(frame))[1].tobytes()
                depth_form = "16UC1; compressedDepth png"
            else:
                coded = np.where(frame.depth > 0, 10100.0 / np.maximum(frame.depth, 0.2) - 1009.0, 0)
                depth = inverse + cv2.imencode(".png", coded.astype(np.uint16))[1].tobytes()
                depth_form = "32FC1; compressedDepth png"
            robot.send(frame, color=compressed(frame, form, color), depth=compressed(frame, depth_form, depth))
        assert robot.status.frames_processed == 4
        assert robot.drops == {}
        broken = compressed(robot.frames[4], "16UC1; compressedDepth png", b"\0" * 40)
        robot.publishers["depth"].publish(broken)
        robot.peer.wait(lambda: robot.drops == {"unreadable_image": 1}, "the drop")
    finally:
        robot.close()


def test_depth_as_a_png_has_its_own_stamp_and_is_put_where_the_camera_was_then(room_bag: Path, tmp_path: Path) -> None:
    """depth_transport: compressed. Depth comes 10 ms after colour, in which the camera moves by 5 cm."""
    topics = {"depth": (CompressedImage, "/camera/depth/image_raw/compressed")}
    parameters = {"node.depth_transport": "compressed", "node.cloud_period_s": 0.05, "volume.min_weight": 0.5}
    robot = Robot(room_bag, tmp_path / "log", topics, **parameters)
    frames = robot.frames[:6]
    try:
        clouds = robot.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        robot.peer.found()
        for frame in frames:
            before = frame.world_T_cam.copy()
            before[:3, 3] -= 0.05 * before[:3, 0]
            after_ns = frame.stamp_ns + 10_000_000
            for stamp, pose in ((frame.stamp_ns, before), (after_ns, frame.world_T_cam)):
                message = PoseStamped(header=header(stamp, "odom"), pose=pose_message(pose))
                robot.publishers["pose"].publish(message)
            png = cv2.imencode(".png", millimetres(frame))[1].tobytes()
            depth = CompressedImage(header=header(after_ns, OPTICAL), format="16UC1; png compressed ", data=png)
            robot.send(frame, pose=None, depth=depth)
        assert (robot.status.frames_processed, robot.drops) == (len(frames), {})
        newest = lambda: clouds[-1].header.stamp.sec * 1_000_000_000 + clouds[-1].header.stamp.nanosec  # noqa: E731
        robot.peer.wait(lambda: clouds and newest() == frames[-1].stamp_ns, "the final cloud")
        cloud = np.frombuffer(clouds[-1].data, CLOUD_POINT)
    finally:
        robot.close()
    config = {"segmenter.model": f"oracle:{room_bag / 'labels'}", "device": "cpu", "volume.min_weight": 0.5}
    true, shifted = (build_mapper(Config.from_flat(config)) for _ in range(2))
    for frame in frames:
        frame = replace(frame, depth=millimetres(frame) * np.float32(0.001))
        true.integrate(frame)
        pose = frame.world_T_cam.copy()
        pose[:3, 3] -= 0.05 * pose[:3, 0]
        shifted.integrate(replace(frame, world_T_cam=pose))
    found = np.stack([cloud["x"], cloud["y"], cloud["z"]], axis=1)
    error, wrong = (cKDTree(m.surface().points).query(found)[0] for m in (true, shifted))
    assert np.percentile(error, 95) < 1e-4, "with the pose of its own stamp"
    assert np.percentile(wrong, 95) > 0.01, "which is not that of the colour image"


def test_a_frame_that_turns_fast_is_mapped_and_does_not_vote(room_bag: Path, tmp_path: Path) -> None:
    robot = Robot(room_bag, tmp_path / "log", **{"keyframes.max_angular_rate_deg_s": 60.0})
    try:
        for frame, degrees_per_s in zip(robot.frames[:2], (80.0, 40.0)):
            turned = frame.world_T_cam.copy()
            turned[:3, :3] @= Rotation.from_euler("y", 0.02 * degrees_per_s, degrees=True).as_matrix()
            earlier = PoseStamped(header=header(frame.stamp_ns - 20_000_000, "odom"), pose=pose_message(turned))
            robot.publishers["pose"].publish(earlier)
            robot.send(frame)
            robot.shows("turned too fast to vote", "1")
            assert robot.status.keyframes == (degrees_per_s < 60.0)
        assert (robot.status.frames_processed, robot.drops) == (2, {})
    finally:
        robot.close()


@pytest.mark.parametrize("source", ["pose_with_covariance", "transform"])
def test_poses_of_other_types_are_found_by_themselves(room_bag: Path, tmp_path: Path, source: str) -> None:
    kind = {"pose_with_covariance": PoseWithCovarianceStamped, "transform": TransformStamped}[source]
    robot = Robot(room_bag, tmp_path / "log", {"pose": (kind, f"/{source}")})
    try:
        for frame in robot.frames[:3]:
            if source == "transform":
                pose = transform(frame.stamp_ns, "odom", OPTICAL, frame.world_T_cam)
            else:
                pose = PoseWithCovarianceStamped(header=header(frame.stamp_ns, "odom"))
                pose.pose.pose = pose_message(frame.world_T_cam)
            robot.send(frame, pose=pose)
        assert robot.status.frames_processed == 3
        assert robot.drops == {}
        assert f"poses come from {source} (/{source})" in robot.node.log
    finally:
        robot.close()


def at_400_hz(robot: Robot, pose_of: Callable[[int, np.ndarray], object], images: int = 10) -> int:
    """Images at 10 Hz among poses at 400 Hz, never at an image's stamp; waits until the images are dealt with.

    Args:
        pose_of: message of a stamp and a (4, 4) pose.

    Returns:
        how many poses were sent.
    """
    frames, period, sent = robot.frames[:images], 2_500_000, 0
    first, due = frames[0], {frame.stamp_ns // period: frame for frame in frames}
    for k in range(first.stamp_ns // period - 1, frames[-1].stamp_ns // period + 3):
        stamp = k * period + 1_100_000
        at = min(max(stamp - first.stamp_ns, 0) / 1e8, len(frames) - 1.0)
        robot.publishers["pose"].publish(pose_of(stamp, frames[round(at)].world_T_cam))
        sent += 1
        if k in due:
            for role in ("depth", "color"):
                robot.publishers[role].publish(usual_messages(due[k])[role])
        time.sleep(0.0025)
    done = lambda: robot.status.frames_processed + sum(robot.drops.values()) == len(frames)  # noqa: E731
    robot.peer.wait(done, f"all images; {robot.drops}")
    assert set(robot.drops) <= {"superseded"}  # on a busy machine
    return sent


def test_400_hz_odometry_reaches_every_image_and_qos_can_be_overridden(room_bag: Path, tmp_path: Path) -> None:
    """Odometry made reliable, the camera info latched and sent once: both by qos_overrides, as a user has to."""
    parameters = tmp_path / "qos.yaml"
    parameters.write_text(
        "/**:\n  ros__parameters:\n    qos_overrides:\n"
        "      /odom: {subscription: {reliability: reliable}}\n"
        "      /camera/color/camera_info: {subscription: {reliability: reliable, durability: transient_local}}\n"
    )
    topics = {"pose": (Odometry, "/odom"), "info": (CameraInfo, "/camera/color/camera_info", qos.latched())}
    robot = Robot(room_bag, tmp_path / "log", topics, extra=("--params-file", str(parameters)))
    try:
        endpoints = {topic: robot.peer.node.get_subscriptions_info_by_topic(topic) for topic in ("/odom", "/pose")}
        assert [e.qos_profile.reliability for e in endpoints["/odom"]] == [ReliabilityPolicy.RELIABLE]
        # An override is that of its own topic, and the others keep theirs.
        assert [e.qos_profile.reliability for e in endpoints["/pose"]] == [ReliabilityPolicy.BEST_EFFORT]
        (info,) = robot.peer.node.get_subscriptions_info_by_topic("/camera/color/camera_info")
        assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        robot.publishers["info"].publish(camera_info_message(robot.frames[0].camera, header(0, OPTICAL)))
        sent = at_400_hz(robot, lambda stamp, pose: odometry(stamp, OPTICAL, pose))
        robot.shows("odom /odom", f"{sent} messages")
    finally:
        robot.close()


def test_400_hz_transforms_reach_every_image(room_bag: Path, tmp_path: Path) -> None:
    """/tf of a robot whose localisation, wheels and arm publish: the camera's chain among edges of no interest."""
    robot = Robot(room_bag, tmp_path / "log", {"pose": (TFMessage, "/tf")}, **{"input.pose_source": "tf"})
    try:
        robot.advertise("tf_static", TFMessage, "/tf_static", qos.latched())
        robot.publishers["tf_static"].publish(
            TFMessage(transforms=[transform(0, "base_link", OPTICAL, tilted_camera())])
        )
        robot.publishers["info"].publish(usual_messages(robot.frames[0])["info"])
        still = np.eye(4)

        def pose_of(stamp: int, pose: np.ndarray) -> TFMessage:
            body = transform(stamp, "odom", "base_link", pose @ invert(tilted_camera()))
            wheels = [transform(stamp, "base_link", f"wheel_{n}", still) for n in range(4)]
            return TFMessage(transforms=[*wheels[:2], body, *wheels[2:]])

        sent = at_400_hz(robot, pose_of)
        robot.shows("tf /tf", f"{sent} messages")
    finally:
        robot.close()


def test_depth_of_another_camera_is_refused_by_its_camera_info(room_bag: Path, tmp_path: Path) -> None:
    """The info beside the depth images is found without a word; a zoom of both is followed."""
    robot = Robot(room_bag, tmp_path / "log", {"depth_info": (CameraInfo, "/camera/depth/camera_info")})
    try:
        frames = robot.frames
        robot.send(frames[0], depth_info=camera_info_message(frames[0].camera, head(frames[0])))
        assert robot.status.frames_processed == 1
        other = camera_info_message(frames[1].camera, head(frames[1]))
        other.k[0] *= 1.3
        other.k[4] *= 1.3
        robot.publishers["depth_info"].publish(other)
        robot.shows("depth_info /camera/depth/camera_info", "2 messages")
        robot.send(frames[1])
        assert robot.drops == {"depth_not_registered": 1}
        robot.says("depth_image_proc/register", DiagnosticStatus.WARN)
        zoomed = camera_info_message(frames[2].camera, head(frames[2]))
        zoomed.k[0] *= 1.3
        zoomed.k[4] *= 1.3
        robot.send(frames[2], info=zoomed)
        assert robot.status.frames_processed == 2
    finally:
        robot.close()


def test_without_a_depth_sensor_an_image_waits_for_its_pose_alone(room_bag: Path) -> None:
    """geometry: rgb. Depth that is there all the same comes along, and where it does not fit it is left out."""
    config = Config.from_flat({"geometry": "rgb", "input.pose_source": "pose", "input.pose_wait_s": 60.0})
    domain = new_domain()
    camera, mapper = Peer(domain), Peer(domain)
    found: list[Frame] = []
    try:
        inputs = FrameInput(mapper.node, config, found.append, lambda: True)
        publishers = {
            role: camera.node.create_publisher(kind, topic.removeprefix("/camera"), 50)
            for role, (kind, topic) in TOPICS.items()
        }
        for publisher in publishers.values():
            camera.wait(publisher.get_subscription_count, f"a subscriber of {publisher.topic_name}")
        frames = list(BagSource(room_bag / "bag"))[:4]
        depths = {2: usual_messages(frames[2])["depth"], 3: image_message(frames[3].depth[::2], head(frames[3]))}
        for i, frame in enumerate(frames):
            if i in depths:
                publishers["depth"].publish(depths[i])
                camera.wait(lambda: inputs.topics["depth"].received == i - 1, "depth")  # noqa: B023
            messages = usual_messages(frame)
            for role in ("info", "pose", "color"):
                publishers[role].publish(messages[role])
            camera.wait(lambda: len(found) == i + 1, f"frame {i}")  # noqa: B023
        assert [frame.depth is not None for frame in found] == [False, False, True, False]
        assert [topic.role for topic in inputs.required] == ["color", "camera_info", "pose"]
        assert inputs.assembler.missing() == []
        assert (inputs.assembler.drops, inputs.assembler.notices) == ({}, {"depth_size": 1})
    finally:
        camera.close()
        mapper.close()


def test_a_pose_jump_is_reported_and_pauses_the_map_where_that_is_wished(room_bag: Path, tmp_path: Path) -> None:
    robot = Robot(room_bag, tmp_path / "log", **{"input.on_pose_jump": "pause"})
    try:
        for frame in robot.frames[:2]:
            robot.send(frame)
        assert robot.status.frames_processed == 2
        frame = robot.frames[2]
        pose = usual_messages(frame)["pose"]
        pose.pose.position.x += 4.0
        robot.send(frame, pose=pose)
        assert robot.drops == {"paused": 1}
        assert robot.status.frames_processed == 2
        robot.says("1 noticed (pose_jumped): the camera jumped by", DiagnosticStatus.WARN)
        robot.node.wait_for_log("the map does not deform")
        robot.node.wait_for_log("~/resume")
    finally:
        robot.close()


def test_a_pose_jump_is_warned_of_and_mapped_over_by_default(room_bag: Path, tmp_path: Path) -> None:
    robot = Robot(room_bag, tmp_path / "log")
    try:
        for frame in robot.frames[:2]:
            robot.send(frame)
        before = robot.status.surface_voxels
        for frame in robot.frames[2:4]:
            pose = usual_messages(frame)["pose"]
            pose.pose.position.x += 4.0
            robot.send(frame, pose=pose)
        assert (robot.status.frames_processed, robot.drops) == (4, {})
        assert robot.status.surface_voxels > before, "what was mapped before stays, and the room is there twice"
        robot.says("1 noticed (pose_jumped): the camera jumped by", DiagnosticStatus.WARN)
        robot.node.wait_for_log("the map does not deform")
        assert "emptied" not in robot.node.log and "paused" not in robot.node.log
    finally:
        robot.close()


def test_a_map_that_a_pose_jump_empties_is_told_of_even_if_the_frame_is_dropped(room_bag: Path, tmp_path: Path) -> None:
    reset = {"input.on_pose_jump": "reset", "node.cloud_period_s": 0.1}
    robot = Robot(room_bag, tmp_path / "log", **reset)
    try:
        clouds = robot.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        for frame in robot.frames[:2]:
            robot.send(frame)
        robot.peer.wait(lambda: clouds and clouds[-1].width, "the cloud")
        frame = robot.frames[2]
        messages = usual_messages(frame)
        messages["pose"].pose.position.x += 4.0
        messages["depth"] = image_message(np.zeros_like(frame.depth), head(frame))
        for role, message in messages.items():
            robot.publishers[role].publish(message)
        robot.peer.wait(lambda: robot.drops == {"no_depth": 1}, "the drop")
        robot.peer.wait(lambda: robot.status.frames_pending == 0, "the end")
        assert (robot.status.frames_received, robot.status.frames_processed) == (1, 0)
        robot.peer.wait(lambda: not clouds[-1].width, "the empty cloud")
        assert clouds[-1].header.stamp.sec > 0
        robot.node.wait_for_log("the map was emptied, because the camera's pose jumped")
    finally:
        robot.close()


def test_two_cameras_make_one_map(room_bag: Path, tmp_path: Path) -> None:
    kinds = {"info": (CameraInfo, "color/camera_info"), "depth": (Image, "depth/image_raw"),
             "color": (Image, "color/image_raw")}  # fmt: skip
    topics = {f"{role}": (kind, f"/front/{topic}") for role, (kind, topic) in kinds.items()}
    topics |= {f"rear {role}": (kind, f"/rear/{topic}") for role, (kind, topic) in kinds.items()}
    topics |= {"pose": (Odometry, "/odom")}
    robot = Robot(room_bag, tmp_path / "log", topics, remaps={}, **{"input.cameras": "[front, rear]"})
    try:
        images = robot.peer.listen(Image, "/gnesf/semantic/image_raw")
        robot.peer.found()
        robot.advertise("tf_static", TFMessage, "/tf_static", qos.latched())
        names = {"": "front_optical", "rear ": "rear_optical"}
        edges = [transform(0, "base_link", name, tilted_camera()) for name in names.values()]
        robot.publishers["tf_static"].publish(TFMessage(transforms=edges))
        for frame in robot.frames[:3]:
            base = frame.world_T_cam @ invert(tilted_camera())
            messages = {"pose": odometry(frame.stamp_ns, "base_link", base)}
            for prefix, frame_id in names.items():
                usual = usual_messages(frame, frame_id)
                messages |= {f"{prefix}{role}": usual[role] for role in kinds}
            robot.send(frame, images=2, **messages)
        assert robot.drops == {}
        assert (robot.status.frames_received, robot.status.frames_processed) == (6, 6)
        robot.peer.wait(lambda: len(images) == 6, "images of both cameras")
        assert sorted(m.header.frame_id for m in images) == ["front_optical"] * 3 + ["rear_optical"] * 3
        robot.shows("front/color /front/color/image_raw", "3 messages")

        # A map file knows where each camera's latest keyframe was: mapping goes on from both.
        saved = robot.peer.call(SaveMap, "/gnesf/save_map", SaveMap.Request(path=str(tmp_path / "two.map")))
        assert saved.success, saved.message
        voxels = robot.status.surface_voxels
        assert robot.peer.call(Trigger, "/gnesf/reset").success
        robot.peer.wait(lambda: robot.status.surface_voxels == 0, "the empty map")
        loaded = robot.peer.call(LoadMap, "/gnesf/load_map", LoadMap.Request(path=str(tmp_path / "two.map")))
        assert loaded.success and "from 6 frames" in loaded.message, loaded.message
        robot.peer.wait(lambda: robot.status.surface_voxels == voxels, "the map as it was")
        resent = replace(robot.frames[2], stamp_ns=robot.frames[3].stamp_ns)
        messages = {"pose": odometry(resent.stamp_ns, "base_link", resent.world_T_cam @ invert(tilted_camera()))}
        for prefix, frame_id in names.items():
            usual = usual_messages(resent, frame_id)
            messages |= {f"{prefix}{role}": usual[role] for role in kinds}
        robot.send(resent, images=2, **messages)
        assert robot.drops == {}
        assert (robot.status.frames_processed, robot.status.keyframes) == (2, 0), "neither camera has moved since"
        robot.publishers["depth"].publish(usual_messages(robot.frames[4], "front_optical")["depth"])
        blind = image_message(robot.frames[4].rgb, header(robot.frames[4].stamp_ns, "rear_optical"))
        robot.publishers["rear color"].publish(blind)
        robot.says("rear: ")
        words = "no message on /rear/color/image_raw for"
        for frame in robot.frames[5:]:  # 7.6 s, of which the other camera may be silent for 5
            base = frame.world_T_cam @ invert(tilted_camera())
            robot.publishers["pose"].publish(odometry(frame.stamp_ns, "base_link", base))
            for role, message in usual_messages(frame, "front_optical").items():
                if role in kinds:
                    robot.publishers[role].publish(message)
            if any(words in status.message for array in robot.diagnostics for status in array.status):
                break
            time.sleep(0.4)
        robot.says(words, DiagnosticStatus.WARN)
    finally:
        robot.close()
