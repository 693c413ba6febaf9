"""Bags: what is written comes back, topics are found, damage is survived and reported."""

import dataclasses
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from recording import (
    CAMERA,
    OPTICAL,
    PERIOD_NS,
    START_NS,
    STORE,
    ListSource,
    assert_same,
    compressed,
    make_frames,
    pose,
    pose_stamped,
    rewrite_bag,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from gnesf_model.config import InputConfig
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.bag_topics import POSE_TYPES
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.camera_rig import CameraRig
from gnesf_model.data.pose_chain import LINK_T_OPTICAL
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.source import open_source
from gnesf_model.frame import Camera

COLOR = "/camera/color/image_raw"
INFO = "/camera/color/camera_info"
DEPTH = "/camera/depth/image_raw"
FRAMES = make_frames()


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A whole bag of `FRAMES`."""
    path = tmp_path_factory.mktemp("bags") / "whole"
    assert write_bag(ListSource(FRAMES), path) == len(FRAMES)
    return path


def only(*topics):
    """`rewrite_bag` change that keeps some topics."""
    return lambda topic, t, msg: [(topic, t, msg)] if topic in topics else []


def without(*topics):
    """`rewrite_bag` change that leaves out some topics."""
    return lambda topic, t, msg: [] if topic in topics else [(topic, t, msg)]


# Round trips


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("millimetres", [True, False], ids=["mm", "float"])
def test_what_is_written_comes_back(tmp_path, storage, millimetres):
    frames = make_frames(millimetres=millimetres)
    write_bag(ListSource(frames), tmp_path / "bag", storage=storage)
    source = BagSource(tmp_path / "bag")
    assert len(source) == len(frames)
    assert_same(list(source), frames)
    assert_same(list(source), frames)  # a source can be iterated over again
    assert not source.drops
    (file,) = (tmp_path / "bag").glob("*.mcap" if storage == "mcap" else "*.db3")
    assert_same(list(BagSource(file)), frames)


def test_depth_is_written_in_millimetres_only_where_that_is_exact(tmp_path):
    mixed = [
        *make_frames(2),
        *(dataclasses.replace(f, stamp_ns=f.stamp_ns + 1) for f in make_frames(2, millimetres=False)),
    ]
    write_bag(ListSource(mixed), tmp_path / "bag")
    encodings = []
    rewrite_bag(
        tmp_path / "bag",
        tmp_path / "copy",
        lambda topic, t, msg: [encodings.append(msg.encoding)][:0] if topic == DEPTH else [(topic, t, msg)],
    )
    assert sorted(encodings) == ["16UC1", "16UC1", "32FC1", "32FC1"]
    assert_same(list(BagSource(tmp_path / "bag")), sorted(mixed, key=lambda f: f.stamp_ns))


def test_forced_16uc1_rounds_to_millimetres(tmp_path):
    frames = make_frames(2, millimetres=False)
    write_bag(ListSource(frames), tmp_path / "bag", depth_encoding="16UC1")
    for got, frame in zip(BagSource(tmp_path / "bag"), frames, strict=True):
        near = frame.depth < 65.5
        np.testing.assert_allclose(got.depth[near], frame.depth[near], atol=0.0005001)
        assert not got.depth[frame.depth > 65.54].any()


def write_compressed(bag, out, mode, plugin=StoragePlugin.SQLITE3):
    """The messages of a bag once more, as another one compressed with zstd."""
    whole = BagFile(bag)
    writer = Writer(out, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=STORE) for c in whole.connections}
        for connection, t, raw in whole.raw(set(topics)):
            writer.write(topics[connection.topic], t, raw)


@pytest.mark.parametrize("mode", list(CompressionMode)[1:])
def test_zstd_bags_are_read(tmp_path, bag, mode):
    plugin = StoragePlugin.MCAP if mode == CompressionMode.STORAGE else StoragePlugin.SQLITE3
    write_compressed(bag, tmp_path / "zstd", mode, plugin)
    assert_same(list(BagSource(tmp_path / "zstd")), FRAMES)


def split_bag(folder, storage, compression=None):
    """`FRAMES` as a recorder splits them: two files, of which one metadata.yaml tells."""
    parts = []
    for i, frames in enumerate((FRAMES[:5], FRAMES[5:])):
        write_bag(ListSource(frames), folder / f"part{i}", storage=storage)
        part = folder / f"part{i}"
        if compression:
            plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
            write_compressed(part, folder / f"zstd{i}", compression, plugin)
            part = folder / f"zstd{i}"
        parts.append(part)
    (folder / "bag").mkdir()
    described = [yaml.safe_load((part / "metadata.yaml").read_text()) for part in parts]
    first, second = (d["rosbag2_bagfile_information"] for d in described)
    names = []
    for i, (part, information) in enumerate(zip(parts, (first, second))):
        (name,) = information["relative_file_paths"]
        names.append(f"bag_{i}{''.join(Path(name).suffixes)}")
        shutil.copy(part / name, folder / "bag" / names[-1])
    first["relative_file_paths"] = names
    for topic, other in zip(first["topics_with_message_count"], second["topics_with_message_count"]):
        assert topic["topic_metadata"]["name"] == other["topic_metadata"]["name"]
        topic["message_count"] += other["message_count"]
    end = second["starting_time"]["nanoseconds_since_epoch"] + second["duration"]["nanoseconds"]
    first["duration"]["nanoseconds"] = end - first["starting_time"]["nanoseconds_since_epoch"]
    first["message_count"] += second["message_count"]
    first.pop("files", None)
    (folder / "bag" / "metadata.yaml").write_text(yaml.safe_dump(described[0]))
    return folder / "bag"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", [None, CompressionMode.FILE], ids=["plain", "zstd files"])
def test_split_bags_are_read_whole(tmp_path, storage, compression):
    path = split_bag(tmp_path, storage, compression)
    source = BagSource(path)
    assert len(source) == len(FRAMES)
    assert_same(list(source), FRAMES)
    assert not source.drops


def test_split_sqlite_with_zstd_messages_is_read_whole(tmp_path):
    assert_same(list(BagSource(split_bag(tmp_path, "sqlite3", CompressionMode.MESSAGE))), FRAMES)


@pytest.mark.parametrize("kind", ["pose_with_covariance", "transform"])
def test_poses_of_other_types_are_found(tmp_path, bag, kind):
    def convert(topic, t, msg):
        if topic != "/pose":
            return [(topic, t, msg)] if topic not in ("/odom", "/tf") else []
        if kind == "pose_with_covariance":
            pose = make("geometry_msgs/msg/PoseWithCovariance", pose=msg.pose, covariance=np.zeros(36))
            return [("/tracked", t, make(POSE_TYPES[kind], header=msg.header, pose=pose))]
        p = msg.pose.position
        moved = make("geometry_msgs/msg/Vector3", x=p.x, y=p.y, z=p.z)
        inner = make("geometry_msgs/msg/Transform", translation=moved, rotation=msg.pose.orientation)
        edge = make(POSE_TYPES[kind], header=msg.header, child_frame_id=OPTICAL, transform=inner)
        return [("/tracked", t, edge)]

    rewrite_bag(bag, tmp_path / "bag", convert, {"/tracked": POSE_TYPES[kind]})
    for config in (InputConfig(), InputConfig(pose_source=kind), InputConfig(pose_topic="/tracked")):
        source = BagSource(tmp_path / "bag", config)
        assert (source.topics.pose_source, source.topics.pose.topic) == (kind, "/tracked")
        assert_same(list(source), FRAMES)
    with pytest.raises(ValueError, match="no topic found for the pose"):
        BagSource(tmp_path / "bag", InputConfig(pose_source="pose"))


def make(kind, **fields):
    return STORE.types[kind](**fields)


def test_compressed_depth(tmp_path, bag):
    def compress(topic, t, msg):
        if topic != DEPTH:
            return [(topic, t, msg)]
        png = cv2.imencode(".png", msg.data.view(np.uint16).reshape(msg.height, msg.width))[1].tobytes()
        sent = compressed(t, struct.pack("<iff", 0, 0.0, 0.0) + png, "16UC1; compressedDepth png")
        return [(f"{DEPTH}/compressedDepth", t, sent)]

    extra = {f"{DEPTH}/compressedDepth": "sensor_msgs/msg/CompressedImage"}
    rewrite_bag(bag, tmp_path / "bag", compress, extra)
    source = BagSource(tmp_path / "bag")
    assert source.topics.first.depth.topic == f"{DEPTH}/compressedDepth"
    assert_same(list(source), FRAMES)


def test_the_depth_camera_s_own_info_is_found_beside_it(tmp_path, bag):
    """It says that depth is not registered, so nothing is mapped."""

    def add(topic, t, msg):
        yield topic, t, msg
        if topic == INFO:
            msg.k = msg.k * np.array([1.5, 1, 1, 1, 1.5, 1, 1, 1, 1])
            yield "/camera/depth/camera_info", t, msg

    rewrite_bag(bag, tmp_path / "bag", add, {"/camera/depth/camera_info": "sensor_msgs/msg/CameraInfo"})
    source = BagSource(tmp_path / "bag")
    assert list(source) == []
    assert source.drops == {"depth_not_registered": len(FRAMES)}
    assert_same(list(BagSource(tmp_path / "bag", InputConfig(depth_registered="always"))), FRAMES)


def test_a_recording_whose_depth_is_late_comes_back_with_the_poses_of_both(tmp_path):
    late = [
        dataclasses.replace(f, depth_stamp_ns=f.stamp_ns + 15_000_000, world_T_depth=pose(3.0 * i, 0, (0.1 * i, 1, 1)))
        for i, f in enumerate(FRAMES)
    ]
    write_bag(ListSource(late), tmp_path / "bag")
    for source in ("pose", "odom", "tf"):
        got = list(BagSource(tmp_path / "bag", InputConfig(pose_source=source, pose_jump_m=0)))
        assert_same(got, FRAMES)
        for frame, expected in zip(got, late):
            assert frame.depth_stamp_ns == expected.depth_stamp_ns
            np.testing.assert_allclose(frame.world_T_depth, expected.world_T_depth, atol=1e-9)


def test_a_pose_jump_is_noticed_and_said(tmp_path, bag, caplog):
    def shift(topic, t, msg):
        if topic == "/pose" and t >= START_NS + 4 * PERIOD_NS:
            msg.pose.position.x += 5.0
        return [(topic, t, msg)]

    rewrite_bag(bag, tmp_path / "bag", shift)
    source = BagSource(tmp_path / "bag")
    assert [f.pose_jumps for f in source] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert source.notices == {"pose_jumped": 1}
    assert "pose_jumped 1 times" in caplog.text


# Several cameras


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory, bag):
    """The recording twice, as that of a front and of a rear camera, with odometry of a base between them."""
    path = tmp_path_factory.mktemp("cameras") / "bag"
    images = (COLOR, DEPTH, INFO)

    def double(topic, t, msg):
        if topic not in images:
            return [(topic, t, msg)] if topic != "/pose" else []
        return [(topic.replace("/camera/", f"/{name}/"), t, msg) for name in ("front", "rear")]

    types = {c.topic: c.msgtype for c in BagFile(bag).connections}
    extra = {t.replace("/camera/", f"/{name}/"): types[t] for t in images for name in ("front", "rear")}
    rewrite_bag(bag, path, double, extra)
    return path


def test_several_cameras_of_a_bag_give_the_frames_of_each(two_cameras):
    source = BagSource(two_cameras, InputConfig(cameras=["front", "rear"]))
    frames = list(source)
    assert len(source) == len(frames) == 2 * len(FRAMES)
    for name in ("front", "rear"):
        assert_same([f for f in frames if f.source == name], FRAMES, tolerance=1e-9)
        assert source.topics.cameras[name].camera_info.topic == f"/{name}/color/camera_info"
    assert not source.drops


def test_several_cameras_are_not_written_as_one(tmp_path, two_cameras):
    with pytest.raises(ValueError, match="cameras 'front' and 'rear'"):
        write_bag(BagSource(two_cameras, InputConfig(cameras=["front", "rear"])), tmp_path / "bag")


def test_a_camera_that_is_not_in_the_bag_is_named_with_what_is(two_cameras):
    with pytest.raises(ValueError, match=r"no topic found for the colour image.*/rear/color/image_raw"):
        BagSource(two_cameras, InputConfig(cameras=["front", "left"]))


def test_messages_about_all_cameras_count_once(two_cameras):
    rig = CameraRig(InputConfig(pose_source="odom", cameras=["front", "rear"]))
    rig.add_transform("a", "b", 0, np.eye(4), static=True)
    rig.add_transform("b", "a", 0, np.eye(4), static=True)
    rig.add_pose(0, "odom", "base_link", np.eye(4))
    assert rig.drops == {"bad_tf": 1}
    assert rig.received == {"tf_static": 2, "pose": 1}
    assert rig.last_message["bad_tf"].startswith("rear: transform b -> a closes a cycle")
    assert "front: no colour image yet" in rig.missing()


def test_where_one_camera_sits_is_not_where_several_do():
    config = InputConfig(cameras=["front", "rear"], body_T_camera=[0.0, 0, 0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="names 2 cameras.*/tf_static"):
        CameraRig(config)


@pytest.mark.parametrize("source", ["pose", "odom", "tf"])
def test_pose_odometry_and_tf_describe_the_same_tilted_camera(tmp_path, source):
    tilted = pose(5.0, 25.0, (0.2, -0.1, 0.9)) @ LINK_T_OPTICAL
    write_bag(ListSource(FRAMES), tmp_path / "bag", body_T_camera=tilted)
    frames = list(BagSource(tmp_path / "bag", InputConfig(pose_source=source)))
    assert_same(frames, FRAMES, tolerance=1e-9)


def test_labels_come_back_by_stamp(tmp_path):
    frames = make_frames(3, labels=True)
    frames[1] = dataclasses.replace(frames[1], labels=None)
    write_bag(ListSource(frames, "nyu40"), tmp_path / "bag", labels_dir=tmp_path / "labels")
    source = open_source(tmp_path / "bag", labels_dir=tmp_path / "labels")
    assert source.label_space == "nyu40"
    assert_same(list(source), frames)
    assert BagSource(tmp_path / "bag").label_space is None


def test_compressed_colour(tmp_path, bag):
    def compress(topic, t, msg):
        if topic != COLOR:
            return [(topic, t, msg)]
        rgb = msg.data.reshape(msg.height, msg.width, 3)
        png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
        return [(f"{COLOR}/compressed", t, compressed(t, png, "png"))]

    extra = {f"{COLOR}/compressed": "sensor_msgs/msg/CompressedImage"}
    rewrite_bag(bag, tmp_path / "bag", compress, extra)
    source = BagSource(tmp_path / "bag")
    assert source.topics.first.color.topic == f"{COLOR}/compressed"
    assert source.topics.first.camera_info.topic == INFO
    assert_same(list(source), FRAMES)


def test_distorted_recording_is_rectified_with_its_labels(tmp_path):
    frames = make_frames(2, labels=True)

    def distort(topic, t, msg):
        if topic == INFO:
            msg.d = np.array([-0.3, 0.1, 0.0, 0.0, 0.0])
        return [(topic, t, msg)]

    write_bag(ListSource(frames, "scannet20"), tmp_path / "bag", labels_dir=tmp_path / "labels")
    rewrite_bag(tmp_path / "bag", tmp_path / "distorted", distort)
    (got, _) = open_source(tmp_path / "distorted", labels_dir=tmp_path / "labels")
    assert got.camera == CAMERA
    assert not np.array_equal(got.rgb, frames[0].rgb)
    centre = (11, 15)
    assert got.depth[centre] == frames[0].depth[centre]
    assert got.labels[centre] == frames[0].labels[centre]
    assert not np.array_equal(got.labels, frames[0].labels)


def test_poses_between_images_are_interpolated(tmp_path, bag):
    """A bag whose only poses lie half way between the images' stamps."""

    def shift(topic, t, msg):
        if topic == "/pose":
            t += PERIOD_NS // 2
            return [(topic, t, pose_stamped(t, "odom", pose(t=((t - START_NS) * 1e-9, 0, 0))))]
        return [(topic, t, msg)] if topic not in ("/odom", "/tf") else []

    rewrite_bag(bag, tmp_path / "bag", shift)
    source = BagSource(tmp_path / "bag")
    frames = list(source)
    assert [f.stamp_ns for f in frames] == [f.stamp_ns for f in FRAMES[1:]]
    for frame in frames:
        np.testing.assert_allclose(frame.world_T_cam[0, 3], (frame.stamp_ns - START_NS) * 1e-9, atol=1e-9)
    assert source.drops == {"no_pose": 1}


# Topics


def test_pose_sources_are_found_in_order(tmp_path, bag):
    for missing, expected in (((), "pose"), (("/pose",), "odom"), (("/pose", "/odom"), "tf")):
        target = tmp_path / expected
        rewrite_bag(bag, target, without(*missing))
        source = BagSource(target)
        assert source.topics.pose_source == expected
        assert_same(list(source), FRAMES)


def test_wished_pose_source_that_is_not_there_lists_the_topics(tmp_path, bag):
    rewrite_bag(bag, tmp_path / "bag", without("/odom"))
    with pytest.raises(ValueError, match=r"no topic found for the odom.*/pose \(geometry_msgs/msg/PoseStamped, 8\)"):
        BagSource(tmp_path / "bag", InputConfig(pose_source="odom"))


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        ((COLOR,), "no topic found for the colour image"),
        ((INFO,), f"no camera info beside {COLOR}"),
        (("/pose", "/odom", "/tf", "/tf_static"), "holds no pose"),
    ],
)
def test_bag_without_a_topic_lists_what_is_there(tmp_path, bag, gone, text):
    rewrite_bag(bag, tmp_path / "bag", without(*gone))
    with pytest.raises(ValueError, match=rf"{text}.*{DEPTH} \(sensor_msgs/msg/Image, 8\)"):
        BagSource(tmp_path / "bag")


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        (
            "color_topic",
            "/camera/colour",
            r"input.color_topic /camera/colour is not in the bag.*/camera/color/image_raw",
        ),
        ("depth_topic", "/pose", r"/pose has the type geometry_msgs/msg/PoseStamped, expected sensor_msgs/msg/Image"),
        ("pose_topic", COLOR, "expected geometry_msgs/msg/PoseStamped or .* or nav_msgs/msg/Odometry"),
        ("camera_info_topic", "/nowhere", "is not in the bag"),
    ],
)
def test_named_topics_are_checked(bag, setting, value, text):
    with pytest.raises(ValueError, match=text):
        BagSource(bag, InputConfig(**{setting: value}))


def test_named_topics_are_taken(tmp_path, bag):
    renamed = {"/pose": "/slam/pose", COLOR: "/a/left", INFO: "/b/info"}
    types = {c.topic: c.msgtype for c in BagFile(bag).connections}

    def rename(topic, t, msg):
        return [(renamed.get(topic, topic), t, msg)]

    rewrite_bag(bag, tmp_path / "bag", rename, {new: types[old] for old, new in renamed.items()})
    config = InputConfig(pose_topic="slam/pose", color_topic="/a/left", camera_info_topic="/b/info")
    assert_same(list(BagSource(tmp_path / "bag", config)), FRAMES)


def test_of_several_candidates_the_choice_is_fixed_and_logged(tmp_path, bag, caplog):
    infra, goal = "/camera/aaa_infra/image_raw", "/goal_pose"

    def add(topic, t, msg):
        yield topic, t, msg
        if topic == COLOR:
            yield infra, t, msg
            if t == START_NS:
                yield goal, t, pose_stamped(t, "odom", np.eye(4))

    rewrite_bag(
        bag,
        tmp_path / "bag",
        add,
        {infra: "sensor_msgs/msg/Image", goal: "geometry_msgs/msg/PoseStamped"},
    )
    with caplog.at_level(logging.INFO):
        source = BagSource(tmp_path / "bag")
    assert source.topics.first.color.topic == COLOR
    assert source.topics.pose.topic == "/pose"
    assert f"colour image: taking {COLOR} (input.color_topic chooses), not {infra}" in caplog.text


def test_bag_without_depth_gives_frames_without(tmp_path, bag):
    rewrite_bag(bag, tmp_path / "bag", without(DEPTH))
    frames = list(BagSource(tmp_path / "bag"))
    assert [f.depth for f in frames] == [None] * len(FRAMES)


def test_odometry_without_extrinsics_maps_nothing_and_says_why(tmp_path, bag):
    rewrite_bag(bag, tmp_path / "bag", without("/tf_static"))
    source = BagSource(tmp_path / "bag", InputConfig(pose_source="odom"))
    assert list(source) == []
    assert source.drops == {"no_extrinsics": len(FRAMES)}
    assert f"base_link -> {OPTICAL}" in source.last_message["no_extrinsics"]


def test_messages_that_cannot_be_used_are_counted_and_the_rest_go_on(tmp_path, bag):
    def spoil(topic, t, msg):
        i = (t - START_NS) // PERIOD_NS
        if topic == COLOR and i == 1:
            msg.encoding = "nv21"
        if topic == DEPTH and i == 2:
            msg.step = 1
        if topic == "/pose" and i == 3:
            msg.pose.orientation.w = 7.0
        return [(topic, t, msg)]

    rewrite_bag(bag, tmp_path / "bag", spoil)
    source = BagSource(tmp_path / "bag", InputConfig(max_pose_gap_s=0.15))
    kept = [f for i, f in enumerate(FRAMES) if i not in (1, 2, 3)]
    assert_same(list(source), kept)
    assert source.drops == {"encoding": 1, "bad_image": 1, "no_depth": 1, "bad_pose": 1, "no_pose": 1}


# Damage


def test_mcap_cut_in_half_gives_its_whole_records_and_says_so(tmp_path):
    frames = make_frames(40, camera=Camera(192, 144, 180.0, 180.0, 96.0, 72.0))
    write_bag(ListSource(frames), tmp_path / "bag")
    (file,) = (tmp_path / "bag").glob("*.mcap")
    data = file.read_bytes()
    for share in (0.5, 0.999):
        file.write_bytes(data[: int(share * len(data))])
        source = BagSource(tmp_path / "bag")
        got = list(source)
        assert share * 40 - 12 < len(got) <= 40  # at most a chunk is lost
        assert_same(got, frames[: len(got)])
        assert source.drops["truncated_bag"] == 1
        assert file.name in source.last_message["truncated_bag"]
    assert len(got) == 40


def test_mcap_cut_within_its_first_chunk_is_refused(tmp_path, bag):
    (file,) = bag.glob("*.mcap")
    (tmp_path / "cut.mcap").write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(ValueError, match="The bag holds: no message"):
        BagSource(tmp_path / "cut.mcap")


def test_recorder_that_was_killed_leaves_no_metadata(tmp_path, bag):
    (file,) = bag.glob("*.mcap")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "bag_0.mcap").write_bytes(file.read_bytes())
    assert_same(list(open_source(tmp_path / "bag")), FRAMES)
    (tmp_path / "bag" / "bag_1.mcap").write_bytes(file.read_bytes())
    with pytest.raises(FileNotFoundError, match="ros2 bag reindex"):
        open_source(tmp_path / "bag")


@pytest.mark.parametrize("name", ["x.mcap", "x.db3"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 100], ids=["empty", "nonsense"])
def test_files_that_are_no_bag_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match=f"{name} cannot be read as a ROS 2 bag"):
        BagSource(tmp_path / name)


def test_truncated_sqlite_is_refused(tmp_path):
    write_bag(ListSource(FRAMES), tmp_path / "bag", storage="sqlite3")
    (file,) = (tmp_path / "bag").glob("*.db3")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(OSError, match=r"truncated.*\.recover"):
        list(BagSource(tmp_path / "bag"))


def test_broken_metadata_is_refused(tmp_path, bag):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    with pytest.raises(OSError, match="cannot be read as a ROS 2 bag"):
        BagSource(tmp_path / "bag")


def test_message_cut_short_is_counted(tmp_path, bag):
    whole = BagFile(bag)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=STORE) for c in whole.connections}
        for connection, t, raw in whole.raw(set(topics)):
            cut = connection.topic in (COLOR, "/odom", "/pose") and t == START_NS + 2 * PERIOD_NS
            writer.write(topics[connection.topic], t, raw[: len(raw) // 2] if cut else raw)
    source = BagSource(tmp_path / "bag", InputConfig(pose_source="odom"))
    assert_same(list(source), [f for i, f in enumerate(FRAMES) if i != 2])
    assert source.drops["bad_message"] == 2


# Writing


def test_existing_folder_is_not_overwritten(bag):
    with pytest.raises(FileExistsError, match="exists already"):
        write_bag(ListSource(FRAMES), bag)


def test_a_name_that_ends_in_mcap_is_one_file(tmp_path):
    write_bag(ListSource(FRAMES), tmp_path / "new" / "bag.mcap")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["bag.mcap"]
    assert_same(list(BagSource(tmp_path / "new" / "bag.mcap")), FRAMES)
    with pytest.raises(FileExistsError, match=r"bag\.mcap exists already"):
        write_bag(ListSource(FRAMES), tmp_path / "new" / "bag.mcap")
    with pytest.raises(ValueError, match=r"b\.mcap ends in \.mcap, and the storage is sqlite3: name a folder"):
        write_bag(ListSource(FRAMES), tmp_path / "b.mcap", storage="sqlite3")


def test_source_without_frames_leaves_no_bag(tmp_path):
    source = ListSource([])
    source.drops["no_pose"] = 3
    with pytest.raises(ValueError, match=r"gave no frame.*no_pose.*3"):
        write_bag(source, tmp_path / "bag")
    assert not (tmp_path / "bag").exists()


def test_labels_that_are_not_there_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="has no labels"):
        write_bag(ListSource(FRAMES), tmp_path / "bag", labels_dir=tmp_path / "labels")


def test_progress_is_called_for_every_frame(tmp_path):
    calls = []
    write_bag(ListSource(FRAMES), tmp_path / "bag", progress=calls.append)
    assert calls == [1] * len(FRAMES)


def test_static_transforms_are_latched(bag):
    (static,) = (c for c in BagFile(bag).connections if c.topic == "/tf_static")
    assert static.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"


def test_sigterm_leaves_nothing_of_a_compressed_bag(tmp_path):
    """Whatever ends a command, the plain copy that it reads is removed with it."""
    write_bag(RoomSource(5, frames=40, width=96, height=72, shading=False), tmp_path / "plain", storage="sqlite3")
    write_compressed(tmp_path / "plain", tmp_path / "zstd", CompressionMode.FILE)
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "gnesf_model.cli", "map", str(tmp_path / "zstd"), "--out", str(tmp_path / "out")]
    run = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 100
        while not list((tmp_path / "tmp").glob("gnesf_bag_*/*")):
            assert run.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM
    finally:
        run.kill()
        run.wait()
    assert not list((tmp_path / "tmp").glob("gnesf_bag_*"))
