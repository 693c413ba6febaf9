"""The depth network that comes with the package, on rooms that it has not seen."""

import contextlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from gnesf_model.build import build_mapper, build_view_depth
from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.field.weights import load_depth
from gnesf_model.frame import FrameDropped
from gnesf_model.labels import LabelSpace
from gnesf_model.resources import weights_dir
from gnesf_model.segment.oracle import OracleSegmenter

CONFIG = Config.from_flat({"device": "cpu", "geometry": "rgb", "semantics.neighbours": "none"})


@pytest.fixture(scope="module")
def room() -> RoomSource:
    return RoomSource(2_000_005, frames=60, stride=6)


@pytest.fixture(scope="module")
def frames(room):
    return list(room)


def test_depth_is_right_more_often_where_it_is_sure(frames):
    errors = {}
    for confidence in (0.0, 0.7):
        sensor = build_view_depth(
            replace(CONFIG, predicted_depth=replace(CONFIG.predicted_depth, min_confidence=confidence))
        )
        known = []
        for frame in frames[::2]:
            with contextlib.suppress(FrameDropped):
                depth = sensor.add(frame)
                known.append((depth[depth > 0], frame.depth[depth > 0]))
        errors[confidence] = np.concatenate([np.abs(d / truth - 1) for d, truth in known])
    assert len(errors[0.0]) > 1.3 * len(errors[0.7]) > 100_000
    assert np.median(errors[0.7]) < 0.8 * np.median(errors[0.0]) < 0.15


def test_half_the_bits_give_nearly_the_same_depth(frames):
    """What a GPU does in float16, here in bfloat16, which has fewer bits still."""
    network = load_depth(weights_dir() / "depth" / "depth.safetensors")
    found = []
    for reduced in (False, True):
        sensor = ViewDepth(network, side_px=128, min_confidence=0.0, reduced=reduced)
        depth = []
        for frame in frames[:12:3]:
            with contextlib.suppress(FrameDropped):
                depth.append(sensor.add(frame))
        found.append(np.stack(depth))
    whole, less = found
    both = (whole > 0) & (less > 0)
    assert both.mean() > 0.7 and less.dtype == np.float32
    assert 0 < np.median(np.abs(less[both] / whole[both] - 1)) < 0.02


def test_a_room_is_mapped_from_colour_alone(room, frames):
    """Most of the surface lies near the true one, and the same frames give the same map."""
    maps = []
    segmenter = OracleSegmenter({f.stamp_ns: f.labels for f in frames}.__getitem__, LabelSpace.load("scannet20"))
    for _ in range(2):
        mapper = build_mapper(CONFIG, segmenter)
        for frame in frames:
            with contextlib.suppress(FrameDropped):
                mapper.integrate(replace(frame, depth=None))
        maps.append(mapper.surface())
    points = maps[0].points
    error = room.scene.sdf(torch.from_numpy(points).double()).abs()
    assert len(points) > 3000
    assert error.median() < 0.12
    np.testing.assert_array_equal(points, maps[1].points)
    np.testing.assert_array_equal(maps[0].labels, maps[1].labels)


def test_a_folder_without_depth_and_a_bag_with_it_give_the_same_map(tmp_path):
    """`gnesf map --geometry rgb`: depth that is there is not looked at, and where it is late no image is lost."""
    folder = tmp_path / "room"
    write_folder(RoomSource(1, frames=16, width=128, height=96, stride=5, shading=False), folder)
    assert main(["bag", str(folder), str(tmp_path / "bag"), "--labels-out", str(tmp_path / "labels")]) == 0
    shutil.rmtree(folder / "depth")
    points = []
    for source, more in ((folder, []), (tmp_path / "bag", ["--labels", str(tmp_path / "labels")])):
        out = tmp_path / f"out_{source.name}"
        settings = ["device=cpu", "cpu_threads=1", "segmenter.model=oracle", "predicted_depth.min_confidence=0"]
        options = [word for setting in settings for word in ("--set", setting)]
        assert main(["map", str(source), "--out", str(out), "--geometry", "rgb", *options, *more]) == 0
        found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        assert found["dropped"] == {"first_view": 1} and found["frames"] == 15
        assert found["keyframes"] > 3 and "predict_depth" in found["stages"]
        points.append((out / "cloud.ply").read_bytes())
    assert points[0] == points[1] and found["map"]["surface_points"] > 50
