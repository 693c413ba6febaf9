"""The recorded bag, read back as RViz and Foxglove read it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.recording import LEGEND_TYPES, ResultBag, free_path
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.visualization.cloud import CLOUD_POINT

ROOT = Path(__file__).resolve().parents[2]
SPACE = LabelSpace.load("scannet20")
FRAMES = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    room = RoomSource(1, frames=FRAMES, width=160, height=120, shading=False)
    images = {}
    config = Config.from_flat({"device": "cpu", "occupancy.up": "auto", "node.record_period_s": 0.5})
    mapper = SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE))
    folder = tmp_path_factory.mktemp("out") / "results"
    frames = list(room)
    with ResultBag(folder, mapper, config) as bag:
        for frame in frames:
            images[frame.stamp_ns] = frame.labels
            update = mapper.integrate(frame)
            bag.frame(frame, update.segmentation, update.blocks)
    return folder, frames, mapper


def read(path):
    """Messages by topic, with nothing known but what the bag itself says of its types."""
    types = get_typestore(Stores.EMPTY)
    messages = {}
    with Reader(path) as reader:
        for connection in reader.connections:
            types.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        for connection, _, data in reader.messages():
            messages.setdefault(connection.topic, []).append(types.deserialize_cdr(data, connection.msgtype))
    return messages


def stamp(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def test_everything_is_there_and_says_what_the_map_says(recorded):
    folder, frames, mapper = recorded
    assert next(folder.glob("*.mcap")).read_bytes()[:8] == b"\x89MCAP0\r\n"
    messages = read(folder)
    stamps = [frame.stamp_ns for frame in frames]
    for topic in ("semantic/image_raw", "semantic/confidence", "semantic/camera_info", "semantic_color/image_raw"):
        assert [stamp(m) for m in messages[f"/gnesf/{topic}"]] == stamps
    labels = messages["/gnesf/semantic/image_raw"][3]
    pixels = labels.data.reshape(labels.height, labels.width)
    assert (pixels == frames[3].labels).mean() > 0.95
    color = messages["/gnesf/semantic_color/image_raw"][3].data.reshape(labels.height, labels.width, 3)
    np.testing.assert_array_equal(color, SPACE.colors[pixels])
    jpeg = messages["/gnesf/semantic_overlay/image_raw/compressed"][3]
    assert cv2.imdecode(jpeg.data, cv2.IMREAD_COLOR).shape == (120, 160, 3)
    legend = messages["/gnesf/semantic/legend"][0]
    assert [(c.id, c.name, c.kind) for c in legend.classes] == [(c.id, c.name, c.kind) for c in SPACE.classes]
    cloud = messages["/gnesf/semantic_cloud"][-1]
    assert stamp(cloud) == stamps[-1]
    points = cloud.data.view(CLOUD_POINT)
    surface = mapper.surface()
    np.testing.assert_array_equal(np.stack([points["x"], points["y"], points["z"]], 1), surface.points)
    np.testing.assert_array_equal(points["label"], surface.labels)


def test_every_frame_hangs_in_the_tree(recorded):
    folder, frames, _ = recorded
    messages = read(folder)
    edges = {(t.header.frame_id, t.child_frame_id) for m in messages["/tf"] for t in m.transforms}
    assert edges == {("odom", "camera_color_optical_frame")}
    levels = {(t.header.frame_id, t.child_frame_id) for m in messages["/tf_static"] for t in m.transforms}
    assert levels == {("odom", "odom_level")}
    known = {"odom", "camera_color_optical_frame", "odom_level", ""}
    assert {m.header.frame_id for topic, ms in messages.items() if "tf" not in topic for m in ms} <= known
    position = messages["/pose"][5].pose.position
    np.testing.assert_allclose((position.x, position.y, position.z), frames[5].world_T_cam[:3, 3])


def test_the_grid_grows_to_that_of_the_map(recorded):
    grids = read(recorded[0])["/gnesf/occupancy_grid"]
    assert len(grids) >= 2
    assert grids[-1].header.frame_id == "odom_level"
    assert len(grids[-1].data) == grids[-1].info.width * grids[-1].info.height
    assert set(np.unique(grids[-1].data)) == {-1, 0, 100}
    free = [(grid.data == 0).sum() for grid in grids]
    assert free[-1] > 100 and free[-1] >= free[0]


def test_a_latched_topic_is_latched_in_a_replay(recorded):
    with Reader(recorded[0]) as reader:
        profiles = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    for topic in ("/tf_static", "/gnesf/semantic/legend", "/gnesf/semantic_cloud", "/gnesf/occupancy_grid"):
        assert profiles[topic].durability.name == "TRANSIENT_LOCAL", topic


def test_the_legend_is_that_of_the_message_files():
    parsed = {}
    for name in LEGEND_TYPES:
        text = (ROOT / "msg" / f"{name.split('/')[-1]}.msg").read_text(encoding="utf-8")
        parsed |= get_types_from_msg(re.sub(r" *#.*", "", text), name)
    own = {}
    for name, definition in LEGEND_TYPES.items():
        own |= get_types_from_msg(definition, name)
    assert parsed == own != {}


def test_a_bag_that_is_there_is_not_overwritten(recorded):
    folder, _, mapper = recorded
    with pytest.raises(FileExistsError, match="exists already"):
        ResultBag(folder, mapper, Config(device="cpu"))


def test_nothing_mapped_is_an_empty_bag_not_a_broken_one(tmp_path, recorded):
    with ResultBag(tmp_path / "none", recorded[2], Config(device="cpu")):
        pass
    assert read(tmp_path / "none") == {}


class FullDisk:
    """Stands for the bag's writer: a disk cannot be filled here."""

    def __init__(self):
        self.closed = 0

    def write(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    def close(self):
        self.closed += 1
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", ["frame", "close"])
def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path, recorded, caplog, when):
    _, frames, mapper = recorded
    bag = ResultBag(tmp_path / "bag", mapper, Config(device="cpu"))
    update = mapper.segmenter(frames[0].rgb, frames[0].stamp_ns)
    blocks = torch.zeros(0, dtype=torch.int64)
    if when == "close":
        bag.frame(frames[0], update, blocks)
    bag._writer.close()
    bag._writer = bag._out._writer = disk = FullDisk()
    bag.frame(frames[1], mapper.segmenter(frames[1].rgb, frames[1].stamp_ns), blocks)
    bag.close()
    bag.close()
    assert disk.closed == 1
    assert "No space left" in caplog.text


def test_topics_are_those_of_the_node_that_records(tmp_path, recorded):
    _, frames, mapper = recorded
    with ResultBag(tmp_path / "bag", mapper, Config(device="cpu"), "/robot1/mapper") as bag:
        bag.frame(frames[0], mapper.segmenter(frames[0].rgb, frames[0].stamp_ns), torch.zeros(0, dtype=torch.int64))
    topics = set(read(tmp_path / "bag"))
    assert {"/robot1/mapper/semantic_cloud", "/robot1/mapper/semantic/legend", "/robot1/pose", "/tf"} <= topics
    assert all(topic.startswith(("/robot1/", "/tf")) for topic in topics)


@pytest.mark.parametrize("suffix", ["", ".mcap", ".d"])
def test_a_bag_that_exists_gets_a_number(tmp_path, suffix):
    asked = tmp_path / f"results{suffix}"
    numbered = (lambda n: f"results_{n}.mcap") if suffix == ".mcap" else (lambda n: f"results{suffix}_{n}")
    assert free_path(asked) == asked
    for name in (asked.name, numbered(2)):
        (tmp_path / name).mkdir()
    assert free_path(asked) == tmp_path / numbered(3)
    if suffix == ".mcap":
        (tmp_path / "results_3.mcap.part").mkdir()  # another process writes it, or one was killed
        assert free_path(asked) == tmp_path / numbered(4)


def test_a_name_that_ends_in_mcap_is_one_file(tmp_path, recorded):
    """With all that the folder's bag has, for rosbags and for our reader."""
    folder, frames, mapper = recorded
    path = tmp_path / "new" / "results.mcap"
    with ResultBag(path, mapper, Config(device="cpu")) as bag:
        assert bag.path == path and not path.exists(), "it is not whole yet"
        for frame in frames:
            segmentation = mapper.segmenter(frame.rgb, frame.stamp_ns)
            bag.frame(frame, segmentation, torch.zeros(0, dtype=torch.int64))
        with pytest.raises(FileExistsError, match=r"results\.mcap\.part exists already.* remove that folder"):
            ResultBag(path, mapper, Config(device="cpu"))
    assert [p.name for p in path.parent.iterdir()] == ["results.mcap"] and path.read_bytes()[:8] == b"\x89MCAP0\r\n"
    messages, expected = read(path), read(folder)
    assert messages.keys() == expected.keys() - {"/tf_static"}, "that one is of a grid that is levelled"
    for topic in ("/tf", "/pose", "/gnesf/semantic/image_raw"):
        assert len(messages[topic]) == len(expected[topic]) == len(frames)
    ours = BagFile(path)
    assert {c.topic for c in ours.connections} >= messages.keys() and not ours.damage
    with Reader(path) as reader:
        profiles = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    assert profiles["/gnesf/semantic_cloud"].durability.name == "TRANSIENT_LOCAL"
    with pytest.raises(FileExistsError, match=r"results\.mcap exists already"):
        ResultBag(path, mapper, Config(device="cpu"))


def test_a_mapping_that_fails_has_recorded_what_came_before(tmp_path, recorded):
    _, frames, mapper = recorded
    with pytest.raises(KeyboardInterrupt), ResultBag(tmp_path / "a.mcap", mapper, Config(device="cpu")) as bag:
        segmentation = mapper.segmenter(frames[0].rgb, frames[0].stamp_ns)
        bag.frame(frames[0], segmentation, torch.zeros(0, dtype=torch.int64))
        raise KeyboardInterrupt
    assert len(read(tmp_path / "a.mcap")["/pose"]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.mcap"]


def test_the_grid_follows_the_settings(tmp_path, recorded):
    _, frames, mapper = recorded
    config = Config(device="cpu")
    with ResultBag(tmp_path / "bag", mapper, config) as bag:
        for frame, height in ((frames[0], 2.0), (frames[-1], 0.3)):
            bag.adjust(replace(config, occupancy=replace(config.occupancy, max_height_m=height)))
            bag.frame(frame, mapper.segmenter(frame.rgb, frame.stamp_ns), torch.zeros(0, dtype=torch.int64))
    grids = read(tmp_path / "bag")["/gnesf/occupancy_grid"]
    assert (grids[-1].data == 100).sum() < (grids[0].data == 100).sum()


@pytest.mark.parametrize(
    ("before_s", "then_s", "maps"), [(3600.0, 1.0, 4), (1.0, 3600.0, 3)], ids=["shorter", "longer"]
)
def test_another_period_counts_from_the_latest_map(tmp_path, recorded, before_s, then_s, maps):
    _, frames, mapper = recorded

    def every(period_s: float) -> Config:
        return Config.from_flat({"device": "cpu", "node.record_period_s": period_s})

    with ResultBag(tmp_path / "bag", mapper, every(before_s)) as bag:
        for second in (0.0, 1.5, 2.0, 3.5):
            if second == 2.0:
                bag.adjust(every(then_s))
            frame = replace(frames[0], stamp_ns=frames[0].stamp_ns + round(second * 1e9))
            bag.frame(frame, mapper.segmenter(frame.rgb, frames[0].stamp_ns), torch.zeros(0, dtype=torch.int64))
    clouds = read(tmp_path / "bag")["/gnesf/semantic_cloud"]
    assert len(clouds) == maps, "the first, what was due, and the final one"


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
def test_the_command_records(tmp_path, name):
    source = RoomSource(1, frames=6, width=160, height=120, shading=False)
    write_folder(source, tmp_path / "room")
    arguments = ["map", str(tmp_path / "room"), "--out", str(tmp_path / "out"), "--segmenter", "oracle"]
    threads = torch.get_num_threads()
    try:
        assert main([*arguments, "--record", str(tmp_path / name), "--set", "cpu_threads=1"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / name).is_file() == name.endswith(".mcap")
    messages = read(tmp_path / name)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["frames"] == 6
    assert len(messages["/gnesf/semantic/image_raw"]) == 6
    assert len(messages["/gnesf/semantic_cloud"]) == 2
