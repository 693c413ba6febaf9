"""Who follows the map hears of every block that changed, and of no others."""

import torch

from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.changes import BlockChanges, with_lower_neighbours, with_neighbours


def make_grid() -> BlockGrid:
    grid = BlockGrid(0.05, {"tsdf": (torch.float32, 1.0)}, max_blocks=1000)
    grid.allocate(torch.tensor([(x, y, z) for x in range(3) for y in range(3) for z in range(3)]))
    return grid


def test_the_first_look_is_at_everything_and_the_next_at_what_changed():
    grid = make_grid()
    changes = BlockChanges(lambda: grid)
    slots, whole = changes.take()
    assert whole and slots.tolist() == list(range(27))
    changes.add(torch.tensor([7, 3]))
    changes.add(torch.tensor([3, 11]))
    slots, whole = changes.take()
    assert not whole and slots.tolist() == [3, 7, 11]
    assert changes.take()[0].tolist() == []


def test_a_cleared_map_is_a_new_one():
    grid = make_grid()
    changes = BlockChanges(lambda: grid)
    changes.take()
    changes.add(torch.tensor([20]))
    grid.clear()
    slots, whole = changes.take()
    assert whole and len(slots) == 0
    grid.allocate(torch.tensor([(0, 0, 0)]))
    changes.add(torch.tensor([0]))
    assert changes.take()[0].tolist() == [0]


def test_another_grid_in_its_place_is_a_new_map():
    """As loading a map does it."""
    grids = [make_grid()]
    changes = BlockChanges(lambda: grids[-1])
    changes.take()
    changes.add(torch.tensor([20]))
    grids.append(make_grid())
    slots, whole = changes.take()
    assert whole and len(slots) == 27


def test_who_asks_for_all_gets_all():
    grid = make_grid()
    changes = BlockChanges(lambda: grid)
    changes.take()
    changes.all()
    assert changes.take()[1]


def test_a_camera_that_stands_still_does_not_fill_the_memory():
    grid = make_grid()
    changes = BlockChanges(lambda: grid)
    changes.take()
    for _ in range(1000):
        changes.add(torch.arange(20))
    assert sum(len(part) for part in changes._parts) < 2000
    assert changes.take()[0].tolist() == list(range(20))


def test_the_surface_of_a_block_depends_on_those_above_it():
    grid = make_grid()
    middle = grid.find(torch.tensor([(1, 1, 1)]))
    found = {tuple(c) for c in grid.coords[with_lower_neighbours(grid, middle)].tolist()}
    assert found == {(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)}


def test_neighbours_are_all_blocks_within_so_many_steps_also_of_blocks_far_apart():
    generator = torch.Generator().manual_seed(0)
    coords = torch.randint(-6, 7, (600, 3), generator=generator).unique(dim=0)
    # Two clusters, too far apart for one table.
    coords = torch.cat([coords, coords + torch.tensor([5000, -3000, 9])])
    grid = BlockGrid(0.05, {"tsdf": (torch.float32, 1.0)}, max_blocks=5000)
    grid.allocate(coords)
    for slots in (torch.tensor([3]), torch.tensor([3, 70, len(coords) - 1]), torch.arange(len(coords))):
        for steps in (0, 1, 3):
            apart = (grid.coords[: grid.count, None] - grid.coords[slots]).abs().amax(-1).amin(1)
            expected = (apart <= steps).nonzero()[:, 0]
            assert torch.equal(with_neighbours(grid, slots, steps), expected)
    assert with_neighbours(grid, slots[:0], 2).tolist() == []
