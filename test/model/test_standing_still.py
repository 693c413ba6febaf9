"""A robot that stands still for hours: neither memory nor labels change, and a frame takes no longer."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.labelled_points import agreement
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.volume.changes import BlockChanges

SPACE = LabelSpace.load("scannet20")
SETTLED = 100
"""Frames until every weight is capped (volume.max_weight)."""


def resident_mb() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
def test_neither_memory_nor_labels_change(count: int) -> None:
    frame = next(iter(RoomSource(1, frames=1, width=48, height=36, shading=False)))
    config = Config.from_flat({"device": "cpu", "volume.voxel_size_m": 0.16})
    mapper = build_mapper(config, OracleSegmenter(lambda stamp: frame.labels, SPACE))  # learned votes, neighbours
    changes = BlockChanges(lambda: mapper.grid)

    def stand(frames: int) -> list[float]:
        """Seconds of each frame."""
        spent = []
        for _ in range(frames):
            nonlocal frame
            frame = replace(frame, stamp_ns=frame.stamp_ns + 33_333_333)
            start = time.perf_counter()
            changes.add(mapper.integrate(frame).blocks)
            spent.append(time.perf_counter() - start)
        return spent

    stand(SETTLED)
    votes, grid = mapper.votes, mapper.grid
    first, memory, before = mapper.surface(), resident_mb(), (mapper.memory_bytes, grid.count, votes.count)
    total = votes.total(torch.arange(votes.count)).clone()
    spent = stand(count)
    assert (mapper.memory_bytes, grid.count, votes.count) == before
    assert resident_mb() < memory + 30
    assert mapper.frames == SETTLED + count
    assert mapper.keyframes.count == 1, "who does not move votes once"
    assert torch.equal(votes.total(torch.arange(votes.count)), total)
    assert float(grid.voxels["weight"].max()) <= config.volume.max_weight
    last = mapper.surface()
    # Where a voxel's distance is zero but for rounding, a point may come or go.
    for one, other in ((first, last), (last, first)):
        near, equal = agreement(one.points, one.labels, other.points, other.labels)
        assert near > 0.99 and equal == 1.0, "the surface stands, too"
    # The median, for a busy machine stops now and then.
    assert statistics.median(spent[-100:]) < 3 * statistics.median(spent[:100]) + 0.005
