"""Rendering: eq. 5, 7, 8 and 9 against the equations, and a room seen from where no source view was."""

import field_reference as reference
import numpy as np
import pytest
import torch

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.losses import (
    decision_loss,
    gain_penalty,
    log_tsdf_loss,
    occupancy_loss,
    rendered_cross_entropy,
)
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.ray_weights import (
    composite,
    density_weights,
    importance_depths,
    sdf_weights,
    stratified_depths,
)
from gnesf_model.field.rendering import DensityGeometry, Sampling, SdfGeometry, render_rays, render_view
from gnesf_model.field.surfaces import MeasuredSurface
from gnesf_model.field.visibility import visible_in_depth
from gnesf_model.frame import Camera
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.volume.block_grid import BlockGrid

RNG = np.random.default_rng(0)


def test_density_weights_are_eq_7():
    sigma = RNG.exponential(0.5, (20, 12))
    found = density_weights(torch.from_numpy(sigma))
    np.testing.assert_allclose(found, [reference.density_weights(row) for row in sigma], atol=1e-12)
    assert found.sum(1).max() <= 1
    assert density_weights(torch.zeros(2, 5)).max() == 0


def test_sdf_weights_are_eq_8_and_9():
    depth = np.sort(RNG.uniform(0.1, 4, (40, 30)), axis=1)
    # Two surfaces, one behind the other; some rays begin inside, some meet nothing.
    sigma = np.minimum(np.abs(depth - 1.5) - 0.2, np.abs(depth - 3) - 0.15)
    sigma[:5] += 2
    sigma[5:10] *= -1
    found = sdf_weights(torch.from_numpy(sigma), torch.from_numpy(depth), 0.1)
    expected = [reference.sdf_weights(s, d, 0.1) for s, d in zip(sigma, depth)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (found * (torch.from_numpy(depth) > 2.5))[10:].sum() == 0, "the second surface is beyond the first"
    crossing = sdf_weights(torch.from_numpy(sigma), torch.from_numpy(depth), 0.1, crossing_only=True)
    assert crossing[:5].sum() == 0
    torch.testing.assert_close(crossing[10:], found[10:])


def test_unknown_distances_have_neither_weight_nor_slope():
    distance = torch.tensor([[1.0, torch.nan, 0.02, -0.02], [torch.nan] * 4], requires_grad=True)
    weights = sdf_weights(distance, torch.arange(4.0).expand(2, 4), 0.1)
    assert weights[0, 1] == 0 and weights[1].sum() == 0
    torch.testing.assert_close(weights[0].sum(), torch.tensor(1.0))
    weights[0, 2].backward()
    assert distance.grad.nan_to_num(9.0).abs().max() < 9.0


def wall_of_voxels(truncation_m):
    """A TSDF of a wall at z = 2 m, as mapping makes it: cut at the truncation, in voxels of 4 cm."""
    grid = BlockGrid(0.04, {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0)}, max_blocks=100)
    slots = grid.allocate(torch.tensor([(i, j, k) for i in (-1, 0) for j in (-1, 0) for k in range(8)]))
    grid.voxels["tsdf"][slots] = ((2.0 - grid.centres(slots)[..., 2]) / truncation_m).clamp(-1, 1)
    grid.voxels["weight"][slots] = 1.0
    return MeasuredSurface(grid, truncation_m)


def test_free_space_at_the_cut_of_an_sdf_weighs_nothing():
    depth = torch.linspace(0.05, 2.5, 128)[None]
    weights = sdf_weights((2.0 - depth).clamp(-0.12, 0.12), depth, 0.1 * 0.12)
    assert weights[(depth - 2.0).abs() < 0.12].sum() > 0.95
    surface = wall_of_voxels(0.16)
    assert surface.tr_m == pytest.approx(0.016)
    geometry = SdfGeometry(surface, surface.tr_m)

    def semantics(points):
        near = (points[:, 2] - 2.0).abs() < 0.12
        return torch.stack([near, ~near], dim=1).float()

    forward = torch.tensor([[0.0, 0.0, 1.0]])
    found = render_rays(torch.zeros(1, 3), forward, geometry, semantics, Sampling(0.05, 2.5, 64, 64, 0.0))
    assert found.probabilities[0, 0] > 0.95
    assert found.depth.item() == pytest.approx(2.0, abs=0.01)


def test_samples_are_in_order_and_where_the_weight_is():
    like = torch.zeros(1, dtype=torch.float64)
    depth = stratified_depths(3, 0.5, 2.5, 40, like)
    torch.testing.assert_close(depth[0], torch.linspace(0.525, 2.475, 40, dtype=torch.float64))
    random = stratified_depths(500, 0.5, 2.5, 40, like, torch.Generator().manual_seed(0))
    assert (random.diff(dim=1) > 0).all() and random.min() >= 0.5 and random.max() <= 2.5
    weights = torch.zeros(3, 40, dtype=torch.float64)
    weights[0, 10], weights[1, [5, 30]] = 1.0, torch.tensor([0.25, 0.75], dtype=torch.float64)
    fine = importance_depths(depth, weights, 64)
    assert ((fine[0] - depth[0, 10]).abs() <= 0.026).all()
    assert float((fine[1] > 1.5).double().mean()) == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(fine[2], torch.linspace(0.54, 2.46, 64, dtype=torch.float64), atol=0.03, rtol=0)
    assert (fine.diff(dim=1) >= 0).all()


def test_finer_samples_are_where_the_reference_has_them():
    rng = np.random.default_rng(1)
    depth = np.sort(rng.uniform(0.2, 4, (6, 15)), axis=1)
    weights = rng.exponential(1.0, (6, 15)) * (rng.random((6, 15)) < 0.6)
    found = importance_depths(torch.from_numpy(depth), torch.from_numpy(weights), 40)
    wanted = (np.arange(40) + 0.5) / 40
    # A little weight everywhere, so that there is a place where all is zero.
    expected = [reference.importance_depths(d, w + 1e-5 / 15, wanted) for d, w in zip(depth, weights)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    drawn = importance_depths(
        torch.from_numpy(depth), torch.from_numpy(weights), 20_000, torch.Generator().manual_seed(0)
    )
    quantiles = np.quantile(drawn.numpy(), wanted, axis=1).T
    inside = np.abs(quantiles - expected)
    assert np.median(inside) < 0.01, "drawn ones are as many where the weight is"


def test_rays_composite_what_they_meet():
    """A wall at 2 m whose left half is class 0 and whose right half is class 1, in empty space."""

    def distance(points):
        return 2.0 - points[:, 2]

    def semantics(points):
        return torch.stack([(points[:, 0] < 0).float(), (points[:, 0] >= 0).float(), 0 * points[:, 0]], dim=1)

    camera = Camera(16, 12, 14.0, 14.0, 7.5, 5.5)
    sampling = Sampling(0.1, 4.0, 64, 32)
    for geometry in (
        SdfGeometry(distance, 0.1),
        DensityGeometry(lambda p: 50.0 * (distance(p) < 0)),
    ):
        image = render_view(camera, np.eye(4), geometry, semantics, sampling, rays_at_once=50)
        assert (image.labels[:, :8] == 0).all() and (image.labels[:, 8:] == 1).all()
        np.testing.assert_allclose(image.depth, 2.0, atol=0.03)
        assert image.confidence.min() > 0.95
        assert image.labels.shape == image.depth.shape == (12, 16)
    away = np.diag([1.0, -1.0, -1.0, 1.0])
    for geometry in (SdfGeometry(distance, 0.1), DensityGeometry(lambda p: 0 * p[:, 0])):
        image = render_view(camera, away, geometry, semantics, sampling)
        assert (image.labels == 255).all() and image.depth.max() == 0 and image.confidence.min() == 1


def test_leaving_out_light_samples_changes_little_and_training_reaches_all():
    generator = torch.Generator().manual_seed(0)
    origins, directions = torch.zeros(30, 3), torch.randn(30, 3, generator=generator) * 0.3
    directions[:, 2] = 1.0
    slope = torch.randn(3, 4, generator=generator)
    semantics = lambda points: (points @ slope).softmax(-1)  # noqa: E731
    offset = torch.tensor(0.0, requires_grad=True)
    geometry = SdfGeometry(lambda p: 2.0 + offset - p[:, 2], 0.1)
    few = render_rays(origins, directions, geometry, semantics, Sampling())
    every = render_rays(origins, directions, geometry, semantics, Sampling(least_weight=0.0))
    torch.testing.assert_close(few.probabilities, every.probabilities, atol=0.03, rtol=0)
    torch.testing.assert_close(every.probabilities.sum(1), torch.ones(30), atol=1e-5, rtol=0)
    rendered_cross_entropy(every.probabilities, torch.arange(30) % 4).backward()
    assert offset.grad.isfinite() and offset.grad != 0, "the geometry learns from the semantics"


def test_a_room_is_seen_from_a_new_view():
    """Source views with perfect classes, averaged at measured geometry: nearly the true classes from anywhere."""
    source = RoomSource(5, frames=9, stride=12, width=96, height=72, shading=False)
    frames, target = [source[i] for i in range(9) if i != 4], source[4]
    space = LabelSpace.load("scannet20")
    oracle = OracleSegmenter({f.stamp_ns: f.labels for f in frames}.__getitem__, space)
    field = NeuralSemanticField()
    views = field.observe(
        [f.camera for f in frames],
        [f.world_T_cam for f in frames],
        torch.zeros(8, 3, 72, 96),
        torch.stack([oracle(f.rgb, f.stamp_ns).probabilities for f in frames]),
        torch.stack([torch.from_numpy(f.depth) for f in frames]),
    )

    def semantics(points):
        visible = visible_in_depth(views, views.project(points), 0.05)
        return field.vote(field.look(points, views, None, visible)).probabilities

    camera = target.camera.strided(2)
    geometry = SdfGeometry(source.scene.sdf, 0.06)
    image = render_view(camera, target.world_T_cam, geometry, semantics, Sampling(0.1, 8.0, 96, 32))
    depth, labels = (a[1::2, 1::2] for a in (target.depth, target.labels))
    known = image.labels != 255
    assert known.mean() > 0.85, "the other views cover most of it"
    assert (image.labels == labels)[known].mean() > 0.93
    hit = (image.depth > 0) & (depth > 0)
    assert hit.mean() > 0.95 and np.median(np.abs(image.depth - depth)[hit]) < 0.03


def test_sampling_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="near_m is 2"):
        Sampling(2.0, 1.0)
    with pytest.raises(ValueError, match="coarse is 1"):
        Sampling(coarse=1)


def test_cross_entropy_is_eq_6():
    p = torch.tensor([[0.7, 0.2], [0.1, 0.5], [0.5, 0.5]], requires_grad=True)
    loss = rendered_cross_entropy(p, torch.tensor([0, 1, 255]))
    assert loss.item() == pytest.approx(-(np.log(0.7) + np.log(0.5)) / 2)
    assert rendered_cross_entropy(p, torch.full((3,), 255)).item() == 0
    weighted = rendered_cross_entropy(p, torch.tensor([0, 1, 255]), torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx(-(3 * np.log(0.7) + np.log(0.5)) / 4)
    wrong = torch.zeros(1, 2, requires_grad=True)
    rendered_cross_entropy(wrong, torch.tensor([1])).backward()
    assert wrong.grad[0, 1] < 0, "what is surely wrong can still learn"


def test_the_loss_of_decisions_is_the_reference():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.full(4, 0.5), 50) * rng.uniform(0.3, 1.0, (50, 1))
    labels = rng.integers(0, 4, 50)
    p[:3], labels[3:9] = 0, 255
    weights = rng.uniform(0.3, 4, 4)
    for w in (None, weights):
        for sharpness in (1.0, 4.0):
            tensors = torch.from_numpy(p), torch.from_numpy(labels), None if w is None else torch.from_numpy(w)
            expected = reference.decision_loss(p, labels, np.ones(4) if w is None else w, sharpness)
            assert decision_loss(*tensors, sharpness).item() == pytest.approx(expected, abs=1e-12)
    assert decision_loss(torch.from_numpy(p), torch.full((50,), 255)).item() == 0
    sure = torch.tensor([[0.9, 0.1], [0.4, 0.3], [0.1, 0.9]])
    found = [decision_loss(row[None], torch.tensor([0])).item() for row in sure]
    assert found[0] < 0.01 and 0.2 < found[1] < 0.5 and found[2] > 0.99, "about whether the label is wrong"


def test_losses_of_geometry_and_votes():
    at = torch.atanh(0.95 * torch.tensor([1.0, -0.5]))
    assert log_tsdf_loss(at, torch.tensor([7.0, -0.5])).item() == pytest.approx(0, abs=1e-6)
    assert log_tsdf_loss(torch.tensor([0.0]), torch.tensor([1.0])).item() == pytest.approx(np.log1p(np.arctanh(0.95)))
    stuck = torch.tensor([30.0], requires_grad=True)  # its tanh is 1 in every digit
    log_tsdf_loss(stuck, torch.tensor([-1.0])).backward()
    assert stuck.grad.item() > 0.01
    logits = torch.tensor([5.0, -5.0, -5.0, -5.0])
    occupied = torch.tensor([True, False, False, False])
    assert occupancy_loss(logits, occupied).item() < 0.01 < occupancy_loss(-logits, occupied).item()
    all_free = occupancy_loss(torch.full((4,), -5.0), occupied)
    assert all_free.item() > 2, "the rare kind counts as much as the frequent one"
    scores, seen = torch.tensor([[1.0, -1.0], [3.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    assert gain_penalty(scores, seen).item() == 1.0
    torch.testing.assert_close(
        composite(torch.tensor([[0.5, 0.25]]), torch.tensor([[[1.0, 0], [0, 1.0]]])), torch.tensor([[0.5, 0.25]])
    )
