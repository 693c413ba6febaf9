"""Depth that was taken at another moment than the colour image: both are put where they were taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.labelled_points import PointCollector, nearest_labels
from gnesf_model.frame import Camera, Frame
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.sampling import seen_from_color
from gnesf_model.segment.oracle import OracleSegmenter

STEP = 2
"""Depth is two images late: 3 cm and 3 degrees in the median, as 30 ms of fast turning are."""


@pytest.fixture(scope="module")
def room():
    return RoomSource(1, frames=60, width=160, height=120, stride=2, shading=False)


@pytest.fixture(scope="module")
def together(room):
    return list(room)


@pytest.fixture(scope="module")
def apart(together):
    """Each frame with the depth of a later one, which says so."""
    return [
        replace(frame, depth=late.depth, depth_stamp_ns=late.stamp_ns, world_T_depth=late.world_T_cam)
        for frame, late in zip(together, together[STEP:])
    ]


def mapped(frames: list[Frame]) -> SemanticMapper:
    images = {frame.stamp_ns: frame.labels for frame in frames}
    mapper = SemanticMapper(Config(device="cpu"), OracleSegmenter(images.__getitem__, LabelSpace.load("scannet20")))
    for frame in frames:
        mapper.integrate(frame)
    return mapper


def test_late_depth_gives_the_map_of_depth_in_time(room, together, apart):
    late, in_time = mapped(apart), mapped(together)
    naive = mapped([replace(frame, world_T_depth=None, depth_stamp_ns=None) for frame in apart])
    truth, scores = in_time.surface(), []
    for mapper in (in_time, late, naive):
        surface = mapper.surface()
        distance = room.scene.sdf(torch.from_numpy(surface.points)).abs() / mapper.grid.voxel_size_m
        same = nearest_labels(truth.points, surface.points, surface.labels, 0.08) == truth.labels
        scores.append((float(distance.quantile(0.9)), float(same.mean())))
    (exact_error, _), (late_error, late_same), (naive_error, naive_same) = scores
    assert late_error < 1.15 * exact_error
    assert late_same > 0.93
    # That is what the poses are for.
    assert naive_error > 1.5 * late_error
    assert naive_same < late_same


def test_ground_truth_of_late_depth_is_where_it_belongs(room, together, apart):
    collected = []
    for frames in (together, apart):
        collector = PointCollector(0.08)
        for frame in frames:
            collector.add(frame)
        collected.append(collector.points())
    (points, labels), (late_points, late_labels) = collected
    near = nearest_labels(late_points, points.astype(np.float32), labels, 0.08)
    assert len(late_points) > 0.8 * len(points)
    assert (near == late_labels)[near != UNKNOWN].mean() > 0.97


def test_what_moves_is_left_out_of_depth_where_depth_shows_it():
    """People in the right half of the colour image; depth was taken after a turn of 10 degrees to the right."""
    camera = Camera(160, 120, 150.0, 150.0, 80.0, 60.0)
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("y", 10.0, degrees=True).as_matrix()
    depth = np.full((120, 160), 2.0, np.float32)
    frame = Frame(
        0, np.zeros((120, 160, 3), np.uint8), camera, np.eye(4), depth, depth_stamp_ns=1, world_T_depth=turned
    )
    moving = torch.zeros(120, 160, dtype=torch.bool)
    moving[:, 80:] = True
    found = seen_from_color(moving, torch.from_numpy(depth), frame)
    edge = int(found[60].nonzero()[0, 0])  # the first column that shows people
    assert edge == pytest.approx(80 - 150 * np.tan(np.radians(10)), abs=2.5)
    assert found[60, edge:].all()
