"""The size of a map at every keyframe against counting all of it."""

import numpy as np

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.growth import Growth, SurfacePointCount
from gnesf_model.evaluation.mapping_run import run_mapping
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter

SPACE = LabelSpace.load("scannet20")


def mapper_and_source():
    source = RoomSource(2, frames=8, width=96, height=72, shading=False)
    images = {frame.stamp_ns: frame.labels for frame in source}
    config = Config.from_flat({"device": "cpu", "volume.min_weight": 1.0, "keyframes.min_translation_m": 0.0})
    return SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE)), source


def test_the_count_of_changed_blocks_is_that_of_the_whole_surface():
    mapper, source = mapper_and_source()
    count = SurfacePointCount(mapper)
    seen = []
    for frame in source:
        count.changed(mapper.integrate(frame).blocks)
        seen.append(count.total())
        assert seen[-1] == len(mapper.surface().points)
    assert seen[0] < seen[-1]
    mapper.reset()
    assert count.total() == 0


def test_a_run_tells_the_size_at_every_keyframe():
    mapper, source = mapper_and_source()
    run = run_mapping(source, mapper)
    growth = run.growth
    assert len(growth.points) == run.keyframes >= 4
    assert growth.points[-1] == len(mapper.surface().points)
    assert growth.voxels[-1] == mapper.votes.count
    assert growth.memory_mb[-1] == round(mapper.memory_bytes / 1e6, 3)
    np.testing.assert_allclose(growth.stamp_s, (np.array(run.stamps_ns) - run.stamps_ns[0]) * 1e-9, atol=1e-3)
    assert growth.frames == sorted(growth.frames) and growth.frames[-1] <= run.frames
    assert {len(column) for column in growth.columns().values()} == {run.keyframes}
    assert len(run.frame_ms) == len(run.path) == run.frames


def test_columns_are_numbers_or_none():
    growth = Growth()
    growth.add(5_000_000_000, 1, None, 10, None)
    growth.add(6_500_000_000, 3, 20, 30, 1.23456)
    assert growth.columns() == {
        "stamp_s": [0.0, 1.5],
        "frames": [1, 3],
        "points": [None, 20],
        "voxels": [10, 30],
        "memory_mb": [None, 1.235],
    }
