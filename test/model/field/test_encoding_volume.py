"""The encoding volume: sparse convolutions against dense ones, eq. 1 against the slow way, any place and size."""

import field_reference as reference
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from field_scene import moved_points, moved_views, random_points, random_views, turned_world

from gnesf_model.field import cells as cells_module
from gnesf_model.field.cells import CellIndex, Lattice, box_cells, children, parents, unique_cells
from gnesf_model.field.encoding_volume import CELL_SIZES_M, EncodingVolume
from gnesf_model.field.image_encoder import ImageEncoder
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.sparse_convolution import SparseConvolution
from gnesf_model.field.surfaces import PredictedSurface


def some_cells(count=300, seed=0, spread=4):
    rng = np.random.default_rng(seed)
    return unique_cells(torch.from_numpy(rng.integers(-spread, spread, (count, 3))))


@pytest.mark.parametrize("table", [True, False])
def test_sparse_convolution_is_the_dense_one_at_the_cells_that_exist(table, monkeypatch):
    if not table:
        monkeypatch.setattr(cells_module, "_TABLE_LIMIT", 0)
    cells = some_cells()
    index = CellIndex(cells)
    assert (index.table is not None) == table
    torch.manual_seed(0)
    layer = SparseConvolution(3, 5).double()
    values = torch.randn(len(cells), 3, dtype=torch.float64)
    dense = torch.zeros(1, 3, 8, 8, 8, dtype=torch.float64)
    dense[0, :, cells[:, 0] + 4, cells[:, 1] + 4, cells[:, 2] + 4] = values.T
    kernel = layer.weight.view(3, 3, 3, 3, 5).permute(4, 3, 0, 1, 2)
    expected = F.conv3d(dense, kernel, padding=1)[0][:, cells[:, 0] + 4, cells[:, 1] + 4, cells[:, 2] + 4].T
    torch.testing.assert_close(layer(values, index.neighbours(cells)), expected, atol=1e-12, rtol=0)
    assert layer(values[:0], index.neighbours(cells)[:0]).shape == (0, 5)


@pytest.mark.parametrize("table", [True, False])
def test_cells_are_found_however_far_away(table, monkeypatch):
    if not table:
        monkeypatch.setattr(cells_module, "_TABLE_LIMIT", 0)
    cells = some_cells(50) + 900_000
    index = CellIndex(cells)
    assert torch.equal(index.find(cells), torch.arange(len(cells)))
    assert (index.find(cells + torch.tensor([20, 0, 0])) == -1).all()
    assert (index.find(cells - 900_000) == -1).all()
    assert CellIndex(cells[:0]).find(cells).max() == -1


def test_cells_that_no_number_can_name_are_refused():
    with pytest.raises(ValueError, match="is a point not finite"):
        Lattice.world(torch.zeros(1)).cells_around(torch.full((1, 3), torch.inf), 0.04)


def test_trilinear_is_exact_for_linear_fields_and_leaves_out_missing_cells():
    lattice = Lattice(torch.from_numpy(turned_world()))
    cells = box_cells((-3, 0, 2), (6, 5, 4))
    centres = lattice.centres(cells, 0.16)
    slope = torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    index = CellIndex(cells)
    inside = centres.mean(0) + (torch.rand(50, 3, dtype=torch.float64) - 0.5) * 0.2
    value, share = index.trilinear(centres @ slope, lattice.coordinates(inside, 0.16))
    torch.testing.assert_close(value, inside @ slope, atol=1e-9, rtol=0)
    torch.testing.assert_close(share, torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(lattice.coordinates(centres, 0.16), cells.double(), atol=1e-9, rtol=0)
    value, share = index.trilinear(torch.ones(len(cells), 1, dtype=torch.float64), torch.tensor([[-3.4, 1, 3.0]]))
    assert share.item() == pytest.approx(0.6) and value.item() == pytest.approx(1.0)
    value, share = index.trilinear(torch.ones(len(cells), 1), torch.tensor([[50.0, 1, 3.0]]))
    assert share.item() == 0 and value.item() == 0


def test_children_lie_within_their_parents():
    cells = some_cells(20)
    assert torch.equal(unique_cells(parents(children(cells))), cells)
    assert torch.equal(unique_cells(children(cells)), unique_cells(children(cells).flip(0)))
    lattice = Lattice.world(torch.zeros(1, dtype=torch.float64))
    family = lattice.centres(children(cells), 0.08).view(-1, 8, 3)
    torch.testing.assert_close(family.mean(1), lattice.centres(cells, 0.16))


def small_volume(**changes):
    torch.manual_seed(1)
    return EncodingVolume((8, 6, 5), (6, 7, 4), **changes).double()


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("depth", [False, True])
def test_mean_and_variance_are_those_of_eq_1a(level, depth):
    views, lattice = random_views(depth=depth), Lattice(torch.from_numpy(turned_world(5)))
    lattice.world_T_lattice[:3, 3] = 0
    cells = some_cells(60, spread=4 * 2**level)
    found = small_volume().moments(views, lattice, cells, level)
    size, source = CELL_SIZES_M[level], 2 - level
    for k, centre in enumerate(lattice.centres(cells, size).numpy()):
        rows = []
        for i in range(len(views)):
            pixel, local = reference.project(centre, *views.intrinsics[i].numpy(), views.cam_T_world[i].numpy())
            if not (local[2] > 0 and -0.5 <= pixel[0] < 65.5 and -0.5 <= pixel[1] < 49.5):
                continue
            if depth and local[2] > views.depth[i, round(pixel[1]), round(pixel[0])] + size:
                continue
            rows.append(reference.bilinear(views.features[source][i].numpy(), pixel, 4 * 2**source))
        assert found.count[k] == len(rows)
        if rows:
            mean, variance = reference.mean_and_variance(rows)
            np.testing.assert_allclose(found.mean[k], mean, atol=1e-9)
            np.testing.assert_allclose(found.variance[k], variance, atol=1e-9)


def test_any_origin_orientation_and_size():
    """The same cells of the same scene, in a world turned and moved: the same M, the same geometry."""
    views, volume, world = random_views(), small_volume(), turned_world()
    here = Lattice(torch.eye(4, dtype=torch.float64))
    there = Lattice(torch.from_numpy(world))
    cells = box_cells((-3, -4, -2), (7, 5, 6))
    near = lambda centres, distance: centres.norm(dim=1) < 0.3  # noqa: E731
    origin = torch.from_numpy(world[:3, 3])
    near_there = lambda centres, distance: (centres - origin).norm(dim=1) < 0.3  # noqa: E731
    a, b = volume(views, here, cells, near), volume(moved_views(views, world), there, cells, near_there)
    assert [len(level.cells) for level in a.levels] == [len(level.cells) for level in b.levels]
    assert len(a.levels[2].cells) > 100
    points = random_points(spread=0.2)
    for level in range(3):
        torch.testing.assert_close(b.levels[level].encoding, a.levels[level].encoding, atol=1e-9, rtol=0)
        torch.testing.assert_close(
            b.at(moved_points(points, world), level)[0], a.at(points, level)[0], atol=1e-9, rtol=0
        )
    mine = PredictedSurface(volume, a)(points)
    assert mine.isfinite().sum() > 20
    torch.testing.assert_close(
        PredictedSurface(volume, b)(moved_points(points, world)), mine, atol=1e-9, rtol=0, equal_nan=True
    )


def test_only_the_occupied_part_is_made_fine():
    views, volume = random_views(), small_volume()
    lattice = Lattice(torch.eye(4, dtype=torch.float64))
    cells = box_cells((-3, -3, -3), (6, 6, 6))
    found = volume(views, lattice, cells, lambda centres, distance: centres[:, 2].abs() < 0.1)
    fine = lattice.centres(found.levels[2].cells, 0.04)
    assert fine[:, 2].abs().max() < 0.1 + 0.08
    predicted = volume(views, lattice, cells)
    kept = predicted.levels[0].cells[predicted.levels[0].occupancy > 0]
    assert set(map(tuple, parents(predicted.levels[1].cells).tolist())) <= set(map(tuple, kept.tolist()))
    bounded = small_volume(max_cells=10)(views, lattice, cells, lambda centres, distance: centres[:, 0] > -9)
    assert len(bounded.levels[1].cells) <= 80 and len(bounded.levels[2].cells) <= 80


def test_nothing_seen_gives_an_empty_volume_not_an_error():
    views, volume = random_views(), small_volume()
    lattice = Lattice(torch.eye(4, dtype=torch.float64))
    behind = box_cells((0, 0, -90), (4, 4, 4))
    for found in (volume(views, lattice, behind), volume(views.select([]), lattice, behind)):
        assert [len(level.cells) for level in found.levels] == [0, 0, 0]
        surface = PredictedSurface(volume, found)
        assert surface(random_points()).isnan().all() and surface.density(random_points()).max() == 0


def test_distances_are_cut_and_densities_positive_and_both_can_learn():
    views, volume = random_views(), small_volume()
    lattice = Lattice(torch.eye(4, dtype=torch.float64))
    found = volume(views, lattice, box_cells((-4, -4, -4), (8, 8, 8)), lambda c, d: c.norm(dim=1) < 0.5)
    surface, points = PredictedSurface(volume, found), random_points(200, spread=0.2)
    distance, density = surface(points), surface.density(points)
    assert distance.abs().max() <= 3 * 0.16 and density.min() >= 0 and distance.isfinite().all()
    (distance.square().mean() + density.mean()).backward()
    grads = {n: p.grad for n, p in volume.named_parameters() if "occupancy" not in n}
    assert all(g is not None and g.isfinite().all() for g in grads.values())
    assert sum(float(g.abs().sum()) for n, g in grads.items() if n.startswith("nets.2")) > 0


def test_features_lie_where_the_maps_say():
    """A picture moved by one cell gives features moved by one cell, and turned over gives them turned over."""
    torch.manual_seed(0)
    encoder = ImageEncoder((8, 8, 8, 8), (4, 4, 4)).eval()
    # Kernels turned over, too: then a picture turned over must give maps exactly turned over, or cells lie off centre.
    torch.manual_seed(0)
    mirrored = ImageEncoder((8, 8, 8, 8), (4, 4, 4)).eval()
    with torch.no_grad():
        for module in mirrored.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(module.weight.flip(-1, -2))
    image = torch.rand(1, 3, 64, 96)
    for a, b in zip(encoder(image), mirrored(image.flip(-1, -2))):
        torch.testing.assert_close(b.flip(-1, -2), a, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(48, 64), (50, 66), (17, 5), (1, 1)])
def test_images_of_any_size(size):
    maps = ImageEncoder((4, 8, 8, 8), (3, 4, 5))(torch.rand(2, 3, *size))
    for channels, stride, found in zip((3, 4, 5), (4, 8, 16), maps):
        assert found.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert found.isfinite().all()


def test_the_networks_are_small():
    assert sum(p.numel() for p in NeuralSemanticField().parameters()) <= 2_000_000
