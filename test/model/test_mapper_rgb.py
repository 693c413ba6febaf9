"""The mapper with `geometry: rgb`: keyframes get their depth from the views before them, everything else is as ever."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.depth_network import DepthNetwork
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter

SPACE = LabelSpace.load("scannet20")
RGB = Config.from_flat({"device": "cpu", "geometry": "rgb", "predicted_depth.weight": 1.0})


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(RoomSource(1, frames=24, stride=6, width=160, height=120))


def oracle(frames) -> OracleSegmenter:
    return OracleSegmenter({frame.stamp_ns: frame.labels for frame in frames}.__getitem__, SPACE)


class ExactDepth(ViewDepth):
    """Predicts what is true, where it would predict anything."""

    def __init__(self, frames) -> None:
        super().__init__(DepthNetwork(), side_px=64)
        self.truth = {frame.stamp_ns: frame.depth for frame in frames}
        self.asked: list[int] = []

    def add(self, frame: Frame) -> np.ndarray:
        self.asked.append(frame.stamp_ns)
        super().add(frame)
        return self.truth[frame.stamp_ns]


def vote(mapper: SemanticMapper, frame: Frame) -> bool:
    """Whether a frame becomes a keyframe that votes; the first one has nothing before it."""
    try:
        return mapper.integrate(frame).keyframe is not None
    except FrameDropped as drop:
        assert drop.reason == "first_view" and drop.segmentation is not None
        return False


def state(mapper) -> list[torch.Tensor]:
    grid, votes = mapper.grid, mapper.votes
    rows = torch.arange(votes.count)
    voxels = [grid.voxels[name][: grid.count] for name in ("tsdf", "weight", "row")]
    return [grid.coords[: grid.count], *voxels, votes.distribution(rows), votes.total(rows)]


def without_depth(frame: Frame) -> Frame:
    return replace(frame, depth=None)


def test_predicted_depth_is_mapped_as_measured_depth_is(frames):
    sensor = ExactDepth(frames)
    mapper = SemanticMapper(RGB, oracle(frames), view_depth=sensor)
    with pytest.raises(FrameDropped, match="it is the first keyframe") as drop:
        mapper.integrate(without_depth(frames[0]))
    assert drop.value.reason == "first_view" and drop.value.segmentation is not None
    updates = [mapper.integrate(without_depth(frame)) for frame in frames[1:]]
    voted = [frame for frame, update in zip(frames[1:], updates) if update.keyframe is not None]
    assert 4 < len(voted) < len(updates) and mapper.frames == len(updates)
    assert len(sensor.asked) == mapper.keyframes.count == len(voted) + 1, "the first one has nothing before it"
    expected = SemanticMapper(Config.from_flat({"device": "cpu", "keyframes.min_translation_m": 0.0}), oracle(frames))
    expected.tsdf.steep = False  # the one difference: predicted depth is steep where there is no surface, too
    for frame in voted:
        expected.integrate(frame)
    for found, wanted in zip(state(mapper), state(expected), strict=True):
        assert torch.equal(found, wanted)
    assert all(len(u.blocks) == 0 for u in updates if u.keyframe is None)
    assert all("predict_depth" in u.stages for u in updates if u.keyframe is not None)


def test_a_keyframe_counts_as_several_frames(frames):
    """One prediction is as much as `volume.min_weight` asks for, or half of it."""
    seen = {}
    for weight in (1.0, 2.0):
        config = replace(RGB, predicted_depth=replace(RGB.predicted_depth, weight=weight))
        mapper = SemanticMapper(config, oracle(frames), view_depth=ExactDepth(frames))
        voted = 0
        for frame in frames:
            voted += vote(mapper, without_depth(frame))
            if voted == 1:
                break
        seen[weight] = len(mapper.surface().points)
    assert seen[1.0] == 0 < 500 < seen[2.0]


def test_measured_depth_is_not_looked_at(frames):
    maps = []
    for shown in (frames, [replace(f, depth=np.full_like(f.depth, 1.5)) for f in frames]):
        mapper = SemanticMapper(RGB, oracle(frames), view_depth=ExactDepth(frames))
        for frame in shown:
            vote(mapper, frame)
        maps.append(state(mapper))
    assert all(torch.equal(a, b) for a, b in zip(*maps))


def test_a_standing_camera_maps_nothing_and_is_not_asked_again(frames):
    sensor = ExactDepth(frames)
    mapper = SemanticMapper(RGB, oracle(frames), view_depth=sensor)
    assert not vote(mapper, frames[0])
    for _ in range(3):
        update = mapper.integrate(frames[0])
        assert update.keyframe is None and len(update.blocks) == 0
    assert len(sensor.asked) == 1 and mapper.frames == 3 and mapper.grid.count == 0


def test_depth_out_of_range_is_not_predicted_at_every_frame(frames):
    """The keyframe is one, although it shows nothing that can be mapped."""
    sensor = ExactDepth(frames)
    sensor.truth = {stamp: np.full_like(depth, 50) for stamp, depth in sensor.truth.items()}
    mapper = SemanticMapper(RGB, oracle(frames), view_depth=sensor)
    reasons = []
    for frame in frames:
        try:
            assert mapper.integrate(frame).keyframe is None
        except FrameDropped as drop:
            reasons.append(drop.reason)
            text = str(drop)
    assert reasons == ["first_view", *["no_depth"] * (len(reasons) - 1)] and "pixels are predicted, at 50 m" in text
    assert len(sensor.asked) == mapper.keyframes.count == len(reasons) < len(frames) and mapper.grid.count == 0


def test_views_are_forgotten_with_the_map(frames):
    sensor = ExactDepth(frames)
    mapper = SemanticMapper(RGB, oracle(frames), view_depth=sensor)
    moved = [f for f in frames if vote(mapper, f)]
    other = SemanticMapper(RGB, oracle(frames), view_depth=ExactDepth(frames))
    other.replace(mapper.contents())
    mapper.reset()
    for first in (mapper, other):
        with pytest.raises(FrameDropped, match="it is the first keyframe"):
            first.integrate(moved[2])
        assert vote(first, moved[3])
    assert other.grid.count > mapper.grid.count > 0


def test_how_much_a_prediction_counts_may_change_while_there_is_a_map(frames):
    mapper = SemanticMapper(RGB, oracle(frames), view_depth=ExactDepth(frames))
    rest = iter(frames)
    while not vote(mapper, without_depth(next(rest))):
        pass
    assert len(mapper.surface().points) == 0, "one prediction counts as one frame of the two that are asked for"
    mapper.adjust(replace(RGB, predicted_depth=replace(RGB.predicted_depth, weight=2.0)))
    while not vote(mapper, without_depth(next(rest))):
        pass
    assert len(mapper.surface().points) > 500


def test_how_sure_a_prediction_must_be_may_change_while_there_is_a_map(frames):
    lenient = replace(RGB, predicted_depth=replace(RGB.predicted_depth, min_confidence=0.0))
    sensor = ViewDepth(DepthNetwork(), side_px=64, min_confidence=0.0)
    mapper = SemanticMapper(lenient, oracle(frames), view_depth=sensor)
    rest = iter(frames)
    while not vote(mapper, without_depth(next(rest))):
        pass
    mapper.adjust(replace(RGB, predicted_depth=replace(RGB.predicted_depth, min_confidence=1.0)))
    with pytest.raises(FrameDropped, match="0 pixels are predicted"):  # nothing is as sure as that
        for frame in rest:
            assert mapper.integrate(without_depth(frame)).keyframe is None


def test_geometry_and_network_go_together(frames):
    with pytest.raises(ValueError, match="geometry is 'rgb', which this mapper was not made for"):
        SemanticMapper(RGB, oracle(frames))
    with pytest.raises(ValueError, match="geometry is 'depth'"):
        SemanticMapper(Config(device="cpu"), oracle(frames), view_depth=ExactDepth(frames))
    with pytest.raises(FrameDropped, match="geometry: depth needs one"):
        SemanticMapper(Config(device="cpu"), oracle(frames)).integrate(without_depth(frames[0]))


def test_the_update_shows_the_depth_that_was_mapped(frames):
    sensor = ExactDepth(frames)
    mapper = SemanticMapper(RGB, oracle(frames), view_depth=sensor)
    vote(mapper, without_depth(frames[0]))
    for frame in frames[1:]:
        update = mapper.integrate(without_depth(frame))
        if update.keyframe is None:
            assert update.frame.depth is None
        else:
            np.testing.assert_array_equal(update.frame.depth, frame.depth)
