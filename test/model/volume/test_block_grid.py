"""The hash of voxel blocks: finds what was allocated, and nothing else, within its memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnesf_model.volume.block_grid import COORDINATE_LIMIT, BlockGrid
from gnesf_model.volume.limits import MapFull

ATTRIBUTES = {"tsdf": (torch.float32, 1.0), "row": (torch.int32, -1.0)}


def make_grid(max_blocks: int = 1 << 20) -> BlockGrid:
    return BlockGrid(0.05, ATTRIBUTES, max_blocks=max_blocks)


coordinate = st.integers(-COORDINATE_LIMIT + 1, COORDINATE_LIMIT - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=60, unique=True))
def test_finds_each_block_where_it_was_put_and_no_other(coords):
    grid = make_grid()
    half = max(1, len(coords) // 2)
    known = torch.tensor(coords[:half])
    slots = grid.allocate(known)
    assert sorted(slots.tolist()) == list(range(half))
    everything = torch.tensor(coords)
    expected = slots.tolist() + [-1] * (len(coords) - half)
    assert grid.find(everything).tolist() == expected
    again = grid.allocate(everything)
    assert again[:half].tolist() == slots.tolist()
    assert torch.equal(grid.coords[again].long(), everything)


def test_a_hundred_thousand_blocks_survive_growth_of_table_and_storage():
    grid = make_grid()
    rng = np.random.default_rng(0)
    coords = torch.from_numpy(np.unique(rng.integers(-300, 300, (120_000, 3)), axis=0))
    for part in coords.split(7_000):
        slots = grid.allocate(part)
        grid.voxels["tsdf"][slots, 0] = part[:, 0].float()
    slots = grid.find(coords)
    assert grid.count == len(coords) == len(slots.unique())
    assert torch.equal(grid.voxels["tsdf"][slots, 0], coords[:, 0].float())
    assert (grid.voxels["tsdf"][slots, 1:] == 1.0).all(), "voxels start at the fill value"
    assert (grid.find(coords + torch.tensor([0, 0, 1000])) == -1).all()


def test_a_full_map_refuses_and_keeps_what_it_has():
    grid = make_grid(max_blocks=10)
    first = torch.arange(8)[:, None].repeat(1, 3)
    grid.allocate(first)
    with pytest.raises(MapFull, match=r"holds 8 blocks and the frame needs 4 more.*max_map_memory_mb"):
        grid.allocate(torch.arange(6, 12)[:, None].repeat(1, 3))
    assert grid.count == 8
    assert grid.find(torch.tensor([[11, 11, 11]])).item() == -1
    assert grid.find(first).tolist() == list(range(8))
    assert len(grid.coords) <= 10


def test_a_pose_beyond_the_coordinates_is_refused():
    with pytest.raises(ValueError, match=r"block coordinate 1048576 .* km from the map's origin"):
        make_grid().allocate(torch.tensor([[COORDINATE_LIMIT, 0, 0]]))


def test_directory_is_the_table_of_a_box():
    grid = make_grid()
    grid.allocate(torch.tensor([[-1, 0, 2], [0, 0, 0], [5, 5, 5]]))
    table = grid.directory(torch.tensor([-1, 0, 0]), (2, 1, 3))
    assert table.tolist() == [[[-1, -1, 0]], [[1, -1, -1]]]


def test_voxel_centres_follow_the_documented_order():
    grid = make_grid()
    slots = grid.allocate(torch.tensor([[-1, 0, 2]]))
    centres = grid.centres(slots)[0]
    assert torch.allclose(centres[0], (torch.tensor([-8.0, 0.0, 16.0]) + 0.5) * 0.05)
    i, j, k = 3, 5, 7
    expected = (torch.tensor([-8.0 + i, j, 16.0 + k]) + 0.5) * 0.05
    assert torch.allclose(centres[(8 * i + j) * 8 + k], expected)


def test_bytes_per_block_bounds_what_is_reserved():
    grid = make_grid(max_blocks=5000)
    grid.allocate(torch.stack(torch.meshgrid(*[torch.arange(17)] * 3, indexing="ij"), -1).view(-1, 3))
    assert grid.count == 17**3
    assert grid.memory_bytes <= 5000 * BlockGrid.bytes_per_block(ATTRIBUTES)
