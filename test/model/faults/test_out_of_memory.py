"""A GPU without memory: smaller steps at first, then a counted drop in words; the map stays whole wherever it ends.

There need be no GPU for that: the error of its allocator is raised in place of one torch operation after the other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from gnesf_model import surface_classes
from gnesf_model.build import build_mapper
from gnesf_model.config import Config, VolumeConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.labels import LabelSpace
from gnesf_model.map_check import contents_of, description
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.volume import tsdf

SPACE = LabelSpace.load("scannet20")
CONFIG = Config(device="cpu", volume=VolumeConfig(voxel_size_m=0.08))


class MemoryEnds(TorchFunctionMode):
    """The `at`-th operation that takes memory finds none."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.operations, self._at = 0, at

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name not in ("__get__", "__len__", "numel", "element_size", "size") and not name.endswith("_"):
            self.operations += 1
            if self.operations == self._at:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(RoomSource(1, frames=6, width=96, height=72, shading=False, stride=12))


def mapper(frames: list[Frame], learned: bool = False) -> SemanticMapper:
    """With plain averages, or with learned votes and neighbours, as by default."""
    images = {frame.stamp_ns: frame.labels for frame in frames}
    segmenter = OracleSegmenter(images.__getitem__, SPACE)
    return build_mapper(CONFIG, segmenter) if learned else SemanticMapper(CONFIG, segmenter)


def mapped(frames: list[Frame], count: int, learned: bool = False) -> SemanticMapper:
    made = mapper(frames, learned)
    for frame in frames[:count]:
        made.integrate(frame)
    return made


def attempted(made: SemanticMapper, frame: Frame, mode: MemoryEnds) -> FrameDropped | None:
    """The drop of a frame for which memory ends; None where there was enough after all."""
    seen = made.segmenter(frame.rgb, frame.stamp_ns)  # not within the mode: its own failures have another test
    made.segmenter, network = lambda rgb, stamp_ns: seen, made.segmenter
    try:
        with mode:
            made.integrate(frame)
    except FrameDropped as drop:
        return drop
    finally:
        made.segmenter = network
    return None


@pytest.mark.parametrize(
    ("before", "learned"),
    [(0, False), (3, False), (3, True)],
    ids=["into an empty map", "into a map", "with learned votes and neighbours"],
)
def test_wherever_memory_ends_the_map_stays_whole(frames: list[Frame], before: int, learned: bool) -> None:
    counted = MemoryEnds(10**9)
    assert attempted(mapped(frames, before, learned), frames[before], counted) is None
    whole = mapped(frames, len(frames), learned).surface()
    dropped, tried = 0, range(1, counted.operations + 1, max(1, counted.operations // (8 if learned else 24)))
    for at in tried:
        made = mapped(frames, before, learned)
        drop = attempted(made, frames[before], MemoryEnds(at))
        if drop is not None:
            dropped += 1
            assert drop.reason == "out_of_memory"
        # Every array is possible and goes with the others, as loading checks it, ...
        held = made.contents()
        arrays = {f"blocks.{name}": tensor.numpy() for name, tensor in held.blocks.items()}
        arrays |= {f"votes.{name}": tensor.numpy() for name, tensor in held.votes.items()}
        arrays["last_poses"] = np.array(list(held.last_poses.values())).reshape(-1, 4, 4)
        contents_of(Path("map"), description(made, held), arrays, made)
        # ... and mapping goes on to the same surface, but for the view that had no memory or was seen twice.
        for frame in frames[before:]:
            made.integrate(frame)
        surface = made.surface()
        assert abs(len(surface.points) - len(whole.points)) < 0.1 * len(whole.points), f"operation {at}"
        assert set(np.unique(surface.labels)) == set(np.unique(whole.labels)), f"operation {at}"
    assert dropped > len(tried) / 2, "most of these operations should have ended the frame"


def test_a_look_that_has_no_memory_loses_nothing(frames: list[Frame]) -> None:
    """What was to be looked at anew is so at the next look: with what neighbours vote, as if none had failed."""
    whole = mapped(frames, len(frames), learned=True).surface()
    made = mapped(frames, len(frames) - 1, learned=True)
    made.surface()
    made.integrate(frames[-1])
    counted, failed = MemoryEnds(10**9), 0
    other = mapped(frames, len(frames) - 1, learned=True)
    other.surface()
    other.integrate(frames[-1])
    with counted:
        other.surface()
    for at in range(1, counted.operations + 1, max(1, counted.operations // 12)):
        with MemoryEnds(at):
            try:
                made.surface()
            except torch.cuda.OutOfMemoryError:
                failed += 1
    assert failed > 5
    found = made.surface()
    np.testing.assert_array_equal(found.points, whole.points)
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_array_equal(found.confidence, whole.confidence)


def test_neighbours_vote_in_smaller_steps_where_memory_is_short(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mapped(frames, len(frames), learned=True).surface()
    plain, steps = surface_classes.surface_points, []

    def little(grid, slots, min_weight):
        if len(slots) > 60:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        steps.append(len(slots))
        return plain(grid, slots, min_weight)

    monkeypatch.setattr(surface_classes, "_LEAST_BLOCKS", 1)
    monkeypatch.setattr(surface_classes, "surface_points", little)
    found = mapped(frames, len(frames), learned=True).surface()
    assert len(steps) > 1
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_array_equal(found.confidence, whole.confidence)


def test_the_drop_names_what_to_change(frames: list[Frame]) -> None:
    made = mapped(frames, 2)

    def full(rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    full.labels = SPACE
    before = {name: tensor.clone() for name, tensor in made.contents().blocks.items()}
    made.segmenter, network = full, made.segmenter
    with pytest.raises(FrameDropped, match=r"no memory left to segment.*segmenter.input_size.*Tried to allo") as drop:
        made.integrate(frames[2])
    assert drop.value.reason == "out_of_memory"
    for name, tensor in made.contents().blocks.items():
        assert torch.equal(tensor, before[name]), name
    made.segmenter = network
    made.integrate(frames[2])


def test_with_little_memory_the_same_map_is_made_in_smaller_steps(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator refuses every step of more than 20 blocks."""
    monkeypatch.setattr(tsdf, "_LEAST_BLOCKS", 4)
    whole, steps = tsdf.TsdfVolume._distances, []

    def distances(self, view, band):
        if len(band.slots) > 20:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        steps.append(len(band.slots))
        return whole(self, view, band)

    plain = mapped(frames, len(frames)).contents()
    monkeypatch.setattr(tsdf.TsdfVolume, "_distances", distances)
    halved = mapped(frames, len(frames)).contents()
    assert len(steps) > 2 * len(frames)
    for one, other in ((plain.blocks, halved.blocks), (plain.votes, halved.votes)):
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_a_network_whose_output_is_no_number_never_votes(frames: list[Frame]) -> None:
    made = mapped(frames, 2)
    network, before = made.segmenter, {name: t.clone() for name, t in made.contents().votes.items()}

    class Broken:
        labels = SPACE
        value, cells = float("nan"), slice(None)

        def __call__(self, rgb, stamp_ns=None):
            seen = network(rgb, stamp_ns)
            probabilities = seen.probabilities.clone()[:, self.cells]
            probabilities[3, 0, 0] = self.value
            return replace(seen, probabilities=probabilities, dynamic=seen.dynamic[self.cells])

    for value, cells in ((float("nan"), slice(None)), (float("inf"), slice(None)), (0.0, slice(1, None))):
        made.segmenter = Broken()
        made.segmenter.value, made.segmenter.cells = value, cells
        with pytest.raises(FrameDropped, match="expected finite probabilities of 18x24 cells") as drop:
            made.integrate(frames[2])
        assert drop.value.reason == "segmenter"
    for name, tensor in made.contents().votes.items():
        assert torch.equal(tensor, before[name]), name
    made.segmenter = network
    assert made.integrate(frames[2]).keyframe is not None
