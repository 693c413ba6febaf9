"""The picture of a map shows the room."""

from dataclasses import replace

import numpy as np
import pytest

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.visualization.overview import overview, sample_frames

SPACE = LabelSpace.load("scannet20")


@pytest.fixture(scope="module")
def frames():
    return list(RoomSource(3, frames=8, width=96, height=72, shading=False, stride=12))


def mapper_of(frames):
    images = {frame.stamp_ns: frame.labels for frame in frames}
    config = Config.from_flat({"device": "cpu", "volume.min_weight": 1.0, "volume.voxel_size_m": 0.06})
    mapper = SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE))
    for frame in frames:
        mapper.integrate(frame)
    return mapper


def rooms(picture):
    """The two views of the whole map, below their captions."""
    return picture[60:560, :640], picture[60:560, 640:1280]


def test_the_room_is_in_view_in_the_colours_of_its_classes(frames):
    mapper = mapper_of(frames)
    surface = mapper.surface()
    picture = overview(mapper, surface, sample_frames(frames, 2), "a room")
    assert picture.dtype == np.uint8 and picture.shape[1] == 1280
    classes, colors = rooms(picture)
    for view in (classes, colors):
        drawn = (view < 250).any(axis=2)
        assert 0.15 < drawn.mean() < 0.95
        # Not in a corner: the room reaches across most of the picture, one way or the other.
        rows, columns = drawn.any(axis=1).nonzero()[0], drawn.any(axis=0).nonzero()[0]
        assert max(np.ptp(rows) / view.shape[0], np.ptp(columns) / view.shape[1]) > 0.6
        assert abs((columns.min() + columns.max()) / 2 / view.shape[1] - 0.5) < 0.2
    # Shading changes how bright a colour is, not which: the floor's is there.
    floor = np.array(SPACE.classes[SPACE.index("floor")].color, float)
    pixels = classes[(classes < 250).any(axis=2)].astype(float)
    cosine = pixels @ floor / (np.linalg.norm(pixels, axis=1) * np.linalg.norm(floor) + 1e-9)
    assert (cosine > 0.999).mean() > 0.05


def test_two_frames_give_two_rows_of_four_pictures(frames):
    mapper = mapper_of(frames)
    one = overview(mapper, mapper.surface(), frames[:1], "one")
    two = overview(mapper, mapper.surface(), frames[:2], "two")
    row = two.shape[0] - one.shape[0]
    assert row == 26 + 240  # caption, and 320 pixels for each of 96 x 72
    bare = overview(mapper, mapper.surface(), [replace(frames[0], labels=None)], "no ground truth")
    assert bare.shape[0] > one.shape[0]  # three wider pictures


def test_a_map_without_surface_still_has_its_picture(frames):
    images = {frame.stamp_ns: frame.labels for frame in frames}
    mapper = SemanticMapper(Config(device="cpu"), OracleSegmenter(images.__getitem__, SPACE))
    mapper.integrate(frames[0])  # one view of each voxel is fewer than volume.min_weight
    surface = mapper.surface()
    assert len(surface.points) == 0
    picture = overview(mapper, surface, frames[:1], "nothing yet")
    assert (rooms(picture)[0] == 255).mean() > 0.9


def test_a_camera_that_looks_straight_down(frames):
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = 2.0
    camera = frames[0].camera
    flat = np.full((camera.height, camera.width), 2.0, np.float32)
    down = [replace(frames[i], world_T_cam=pose, depth=flat) for i in range(3)]
    mapper = mapper_of(down)
    assert (rooms(overview(mapper, mapper.surface(), down[:1], "a floor"))[0] < 250).any(axis=2).mean() > 0.05


def test_sampled_frames_are_spread_and_labelled_ones_come_first(frames):
    assert sample_frames(frames, 3) == [frames[0], frames[4], frames[7]]
    assert sample_frames(frames[:2], 4) == frames[:2]
    bare = [replace(f, labels=None if i % 2 else f.labels) for i, f in enumerate(frames)]
    assert sample_frames(bare, 8) == bare[::2]
    nothing = [replace(f, labels=np.full_like(f.labels, UNKNOWN)) for f in frames]
    assert len(sample_frames(nothing, 4)) == 4
