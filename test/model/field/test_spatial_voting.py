"""Votes between neighbouring surface points: within a surface, not across its edges, whatever the classes are."""

import field_reference as reference
import numpy as np
import pytest
import torch
from field_scene import randomised

from gnesf_model.field.spatial_voting import SpatialOptions, SpatialVoting, SurfacePatch, find_neighbours


def corner_patch():
    """A floor of class 0 and a wall of class 1 that meet at x = 0; every fifth point is wrong."""
    axis = torch.arange(0.02, 0.6, 0.04)
    a, b = (g.reshape(-1) for g in torch.meshgrid(axis, axis, indexing="ij"))
    floor, wall = torch.stack([a, b, 0 * a], 1), torch.stack([0 * a, b, a], 1)
    points = torch.cat([floor, wall])
    normals = torch.cat([torch.tensor([0.0, 0, 1]).expand(len(a), 3), torch.tensor([1.0, 0, 0]).expand(len(a), 3)])
    truth = torch.cat([torch.zeros(len(a)), torch.ones(len(a))]).long()
    said = truth.clone()
    generator = torch.Generator().manual_seed(0)
    flipped = torch.rand(len(said), generator=generator) < 0.2
    said[flipped] = 1 - said[flipped]
    distribution = 0.6 * torch.nn.functional.one_hot(said, 2).float() + 0.2
    colors = torch.full((len(points), 3), 0.5)
    return SurfacePatch(points, normals, colors), distribution, truth


@pytest.mark.parametrize("learned", [False, True])
def test_a_round_is_the_reference(learned):
    """One point, one neighbour at a time, in NumPy: some have no normal, no vote, no neighbour."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform(0, 0.25, (60, 3)) * (1, 1, 0.2))
    points[-1] = 9.0
    normals = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(60, 3)) * 0.3 + (0, 0, 1)), dim=1)
    normals[:8] = 0
    colors = torch.from_numpy(rng.uniform(0.3, 0.7, (60, 3)))
    patch = SurfacePatch(points, normals, colors, torch.from_numpy(rng.normal(size=(60, 24))))
    distribution = torch.from_numpy(rng.dirichlet(np.full(5, 0.2), 60) * rng.uniform(0.8, 1, (60, 1)))
    votes = torch.from_numpy(rng.uniform(0.2, 9, 60))
    distribution[5:12], votes[5:12] = 0, 0
    spatial = SpatialVoting(SpatialOptions(rounds=1, neighbours=12), learned).double()
    randomised(spatial)
    neighbours = spatial.neighbours(points)
    assert (neighbours[-1] < 0).all() and (neighbours[:-1] >= 0).sum(1).float().mean() > 6
    with torch.no_grad():
        found = spatial(patch, distribution, neighbours, votes)
    expected = reference.spatial_round(spatial, patch, distribution.numpy(), neighbours.tolist(), votes.tolist())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found - distribution).abs().amax(1).median() > 0.05


@pytest.mark.parametrize("learned", [False, True])
def test_errors_are_outvoted_and_edges_stay(learned):
    patch, distribution, truth = corner_patch()
    spatial = SpatialVoting(SpatialOptions(), learned)
    neighbours = find_neighbours(patch.points, 0.12, 16)
    assert float((distribution.argmax(1) == truth).float().mean()) < 0.85
    found = spatial(patch, distribution, neighbours)
    torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
    assert float((found.argmax(1) == truth).float().mean()) > 0.98
    beside_edge = patch.points.norm(dim=1) < 0.06
    assert (found.argmax(1) == truth)[beside_edge].all()


def test_before_training_the_learned_one_is_the_geometric_fallback():
    patch, distribution, _ = corner_patch()
    neighbours = find_neighbours(patch.points, 0.12, 16)
    options = SpatialOptions()
    plain = SpatialVoting(options, learned=False)(patch, distribution, neighbours)
    torch.testing.assert_close(SpatialVoting(options)(patch, distribution, neighbours), plain, atol=1e-6, rtol=0)
    assert not list(SpatialVoting(options, learned=False).parameters())


def test_any_classes_any_order_and_any_frame():
    patch, distribution, _ = corner_patch()
    neighbours = find_neighbours(patch.points, 0.12, 16)
    spatial = randomised(SpatialVoting())
    found = spatial(patch, distribution, neighbours)
    wide = torch.zeros(len(distribution), 40)
    wide[:, 31], wide[:, 7] = distribution[:, 0], distribution[:, 1]
    other = spatial(patch, wide, neighbours)
    torch.testing.assert_close(other[:, [31, 7]], found, atol=1e-6, rtol=0)
    assert other.sum().item() == pytest.approx(found.sum().item(), rel=1e-5)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    turned = SurfacePatch(patch.points @ turn.T + 5, patch.normals @ turn.T, patch.colors)
    torch.testing.assert_close(spatial(turned, distribution, neighbours), found, atol=1e-4, rtol=0)


@pytest.mark.parametrize("learned", [False, True])
def test_what_every_view_agrees_on_stays(learned):
    """A chair's leg before a wall: a column of points, certain of another class than all around them."""
    patch, distribution, _ = corner_patch()
    leg = (patch.points[:, 0] == 0) & (patch.points[:, 1] > 0.28) & (patch.points[:, 1] < 0.32)
    assert 5 < int(leg.sum()) < 20
    for sure, stays in ((1.0, True), (0.6, False)):
        said = distribution.clone()
        said[leg] = torch.tensor([sure, 1 - sure])
        spatial = SpatialVoting(SpatialOptions(), learned)
        found = spatial(patch, said, spatial.neighbours(patch.points))
        assert bool((found[leg].argmax(1) == 0).all()) == stays


def test_nothing_beyond_the_reach_has_a_say():
    patch, distribution, _ = corner_patch()
    spatial = randomised(SpatialVoting(SpatialOptions(rounds=2, radius_m=0.1, neighbours=60)))
    assert spatial.reach_m == pytest.approx(0.2)
    found = spatial(patch, distribution, spatial.neighbours(patch.points))
    far = patch.points[:, 1] > 0.35
    changed = torch.where(far[:, None], distribution.flip(1), distribution)
    other = spatial(patch, changed, spatial.neighbours(patch.points))
    unreached = patch.points[:, 1] < 0.35 - spatial.reach_m
    assert unreached.any() and torch.equal(found[unreached], other[unreached])
    assert not torch.equal(found[~unreached & ~far], other[~unreached & ~far])
    # Without what lies beyond it, it is the same, too.
    near = patch.points[:, 1] < 0.35
    part = SurfacePatch(patch.points[near], patch.normals[near], patch.colors[near])
    alone = spatial(part, distribution[near], spatial.neighbours(part.points))
    torch.testing.assert_close(alone[unreached[near]], found[unreached])


def test_points_without_votes_take_their_neighbours_and_islands_stay_unknown():
    patch, distribution, truth = corner_patch()
    holes = torch.rand(len(truth), generator=torch.Generator().manual_seed(2)) < 0.2
    distribution[holes] = 0
    lonely = torch.cat([patch.points, torch.tensor([[9.0, 9, 9]])])
    patch = SurfacePatch(
        lonely, torch.cat([patch.normals, torch.zeros(1, 3)]), torch.cat([patch.colors, torch.zeros(1, 3)])
    )
    distribution = torch.cat([distribution, torch.zeros(1, 2)])
    found = SpatialVoting(learned=False)(patch, distribution, find_neighbours(lonely, 0.12, 16))
    assert float((found[:-1].argmax(1) == truth)[holes].float().mean()) > 0.95
    assert found[-1].abs().max() == 0 and found.isfinite().all()
    nothing = SpatialVoting()(patch, torch.zeros_like(distribution), find_neighbours(lonely, 0.12, 16))
    assert nothing.abs().max() == 0


def test_colors_and_well_supported_neighbours_count():
    points = torch.tensor([[0.0, 0, 0], [0.05, 0, 0], [-0.05, 0, 0]])
    normals = torch.tensor([[0.0, 0, 1]]).expand(3, 3)
    distribution = torch.tensor([[0.5, 0.5], [1.0, 0], [0, 1.0]])
    neighbours = find_neighbours(points, 0.07, 4)
    grey = torch.full((3, 3), 0.5)
    red = grey.clone()
    red[2] = torch.tensor([0.9, 0.1, 0.1])
    spatial = SpatialVoting(SpatialOptions(rounds=1), learned=False)
    even = spatial(SurfacePatch(points, normals, grey), distribution, neighbours)[0]
    torch.testing.assert_close(even, torch.tensor([0.5, 0.5]))
    assert spatial(SurfacePatch(points, normals, red), distribution, neighbours)[0, 0] > 0.7
    votes = torch.tensor([1.0, 30.0, 1.0])
    assert spatial(SurfacePatch(points, normals, grey), distribution, neighbours, votes)[0, 0] > 0.55


def test_gradients_are_finite_and_reach_both_networks():
    patch, distribution, truth = corner_patch()
    patch = SurfacePatch(patch.points, 0 * patch.normals, patch.colors, torch.randn(len(truth), 24))
    spatial = SpatialVoting()
    found = spatial(patch, distribution, find_neighbours(patch.points, 0.12, 16))
    (-found[torch.arange(len(truth)), truth].clamp_min(1e-4).log()).mean().backward()
    assert all(p.grad.isfinite().all() for p in spatial.parameters())
    assert spatial.pair[-1].weight.grad.abs().max() > 0 and spatial.gate[-1].weight.grad.abs().max() > 0


def test_neighbours_are_the_nearest_within_the_radius():
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    found = find_neighbours(points, 0.2, 8)
    apart = torch.cdist(points, points).fill_diagonal_(9.0)
    for k in range(200):
        near = apart[k].sort().indices[: int((apart[k] < 0.2).sum())][:8]
        assert found[k][found[k] >= 0].tolist() == near.tolist()
    twins = torch.zeros(3, 3)
    for k, row in enumerate(find_neighbours(twins, 0.1, 4)):
        assert k not in row.tolist() and (row >= 0).sum() == 2


@pytest.mark.parametrize(
    "wrong", [{"radius_m": 0.0}, {"doubt": 0.0}, {"neighbours": 0}, {"rounds": -1}, {"share": 1.0}]
)
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpatialOptions(**wrong)
