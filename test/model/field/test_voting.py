"""Soft voting against the equations, and what users may rely on."""

from dataclasses import replace

import field_reference as reference
import numpy as np
import pytest
import torch
from field_scene import (
    SMALL,
    encoding_of,
    moved_points,
    moved_views,
    random_points,
    random_views,
    randomised,
    small_field,
    streamed,
    turned_world,
    visibility,
    voted,
)

from gnesf_model.field.cells import Lattice, box_cells
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.moments import Moments, masked_moments
from gnesf_model.field.statistics import probability_statistics
from gnesf_model.field.surfaces import PredictedSurface
from gnesf_model.field.voting import (
    VotingOptions,
    distance_scores,
    soft_vote,
    soft_vote_on_logits,
    uniform_scores,
    vote_shares,
)


def test_the_vote_is_that_of_the_equations(views, points):
    field, visible = small_field(), visibility(views, points)
    encoding = encoding_of(field, views, points)
    found = voted(field, points, views, encoding, visible)
    encoded = encoding.at(points, 1)[0].detach().numpy()
    for k, point in enumerate(points.numpy()):
        rows = []
        for i in range(len(views)):
            pixel, local = reference.project(point, *views.intrinsics[i].numpy(), views.cam_T_world[i].numpy())
            inside = local[2] > 0 and -0.5 <= pixel[0] < 65.5 and -0.5 <= pixel[1] < 49.5
            assert bool(found.seen[i, k]) == (inside and bool(visible[i, k]))
            if found.seen[i, k]:
                f = reference.bilinear(views.features[0][i].numpy(), pixel, 4)
                s = reference.bilinear(views.probabilities[i].numpy(), pixel, 4)
                rows.append((i, f, s, local))
        if not rows:
            assert found.probabilities[k].sum() == 0
            continue
        mean, variance = reference.mean_and_variance([f for _, f, _, _ in rows])
        scores = []
        for i, f, s, d in rows:
            rest = [other for j, _, other, _ in rows if j != i]
            others = sum(rest) / len(rest) if rest else np.zeros_like(s)
            told = reference.statistics(s, others)
            scores.append(reference.score(field.voting, f, mean, variance, encoded[k], d, told, len(rows)))
            assert scores[-1] == pytest.approx(found.scores[i, k].item(), abs=1e-9)
        expected = reference.soft_vote([s for _, _, s, _ in rows], scores)
        np.testing.assert_allclose(found.probabilities[k].detach().numpy(), expected, atol=1e-9)


def test_the_order_of_the_views_does_not_matter(views, points):
    field, visible = small_field(), visibility(views, points)
    order = torch.tensor([3, 0, 4, 2, 1])
    encoding = encoding_of(field, views, points)
    here = voted(field, points, views, encoding, visible)
    there = voted(field, points, views.select(order), encoding, visible[order])
    torch.testing.assert_close(there.probabilities, here.probabilities, atol=1e-12, rtol=0)
    torch.testing.assert_close(there.scores, here.scores[order], atol=1e-12, rtol=0)


def test_twenty_or_forty_classes_with_the_same_weights(points):
    field, twenty = small_field(), random_views(classes=20)
    # The same segmentation in a space of 40 classes, in another order, most of which are not in these images.
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    wide = torch.cat([twenty.probabilities, torch.zeros_like(twenty.probabilities)], dim=-1)[..., order]
    forty = replace(twenty, probabilities=wide.contiguous())
    encoding = encoding_of(field, twenty, points)
    a, b = voted(field, points, twenty, encoding), voted(field, points, forty, encoding)
    assert a.probabilities.shape[1] == 20 and b.probabilities.shape[1] == 40
    torch.testing.assert_close(a.scores, b.scores, atol=1e-12, rtol=0)
    torch.testing.assert_close(b.probabilities[:, order.argsort()[:20]], a.probabilities, atol=1e-12, rtol=0)
    # And with a network of 40 other classes.
    other = voted(field, points, random_views(classes=40), encoding)
    assert bool((other.probabilities.sum(1) <= 1 + 1e-9).all()) and other.probabilities.isfinite().all()


def test_a_view_that_sees_nothing_changes_nothing(views, points):
    field, visible = small_field(), visibility(views, points)
    visible[2] = False
    encoding = encoding_of(field, views.select([0, 1, 3, 4]), points)
    with_it = voted(field, points, views, encoding, visible)
    without = voted(field, points, views.select([0, 1, 3, 4]), encoding, visible[[0, 1, 3, 4]])
    torch.testing.assert_close(with_it.probabilities, without.probabilities, atol=1e-12, rtol=0)
    assert vote_shares(with_it.scores, with_it.seen)[2].abs().max() == 0


def test_points_that_no_view_sees_are_unknown(views, points):
    field = small_field()
    points = points.clone().requires_grad_()
    nothing = torch.zeros(len(views), len(points), dtype=torch.bool)
    for found in (voted(field, points, views, None, nothing), streamed(field, points, views, None, nothing)):
        assert found.probabilities.abs().max() == 0
        grads = torch.autograd.grad(
            found.probabilities.sum() + found.scores.sum(), list(field.voting.parameters()), allow_unused=True
        )
        assert all(g is None or g.isfinite().all() for g in grads)
    for empty in (voted(field, points, views.select([])), streamed(field, points, views.select([]))):
        assert empty.probabilities.shape == (len(points), 4) and empty.probabilities.abs().max() == 0
    assert voted(field, points[:0], views).probabilities.shape == (0, 4)
    assert masked_moments(torch.full((3, 2, 4), 9.0), torch.zeros(3, 2, dtype=torch.bool)).variance.abs().max() == 0


@pytest.mark.parametrize("untrained", [{"trained": False}, {"voting": VotingOptions(bound=0.0)}])
def test_before_training_and_without_bound_it_is_exactly_averaging(views, points, untrained):
    field, visible = small_field(**untrained), visibility(views, points)
    average = voted(field, points, views, None, visible, weighting="uniform")
    encoding = encoding_of(field, views, points)
    assert torch.equal(voted(field, points, views, encoding, visible).probabilities, average.probabilities)
    torch.testing.assert_close(
        streamed(field, points, views, encoding, visible).probabilities, average.probabilities, atol=1e-14, rtol=0
    )
    place = views.project(points)
    seen = (place.inside & visible)[..., None].double()
    plain = (views.sample_probabilities(place.pixels) * seen).sum(0) / seen.sum(0).clamp_min(1)
    torch.testing.assert_close(average.probabilities, plain, atol=1e-12, rtol=0)


def test_gradients_are_finite_everywhere(points):
    views = random_views(dtype=torch.float32)
    # Certain, empty and zero distributions are where logarithms and norms have no slope.
    views.probabilities[0] = torch.tensor([1.0, 0, 0, 0])
    views.probabilities[1] = 0
    field = NeuralSemanticField(SMALL)
    images = torch.rand(5, 3, 50, 66)
    probabilities = views.probabilities.clone().requires_grad_()
    seen = replace(views, probabilities=probabilities, features=features_of(field, images))
    points = points.float()
    encoding = encoding_of(field, seen, points)
    for found in (voted(field, points, seen, encoding), streamed(field, points, seen, encoding)):
        (-found.probabilities.sum(1).clamp_min(1e-4).log()).mean().backward(retain_graph=True)
    with_gradient = [name for name, p in field.named_parameters() if p.grad is not None]
    assert {n.split(".")[0] for n in with_gradient} == {"encoder", "volume", "voting"}
    assert all(p.grad is None or p.grad.isfinite().all() for p in field.parameters())
    assert probabilities.grad.isfinite().all()
    assert field.voting.last.weight.grad.abs().max() > 0, "the layer that starts at zero must be able to leave it"


def features_of(field, images):
    return tuple(m.permute(0, 2, 3, 1) for m in field.encoder(images))


def test_the_frame_of_the_world_does_not_matter(views, points):
    field, world = small_field(), turned_world()
    a = voted(field, points, views)
    b = voted(field, moved_points(points, world), moved_views(views, world))
    torch.testing.assert_close(a.scores, b.scores, atol=1e-9, rtol=0)


def test_scored_in_parts_it_is_the_same(views):
    field, points = small_field(), random_points(9000)
    visible = visibility(views, points)
    with torch.no_grad():
        parts = voted(field, points, views, None, visible)
    whole = voted(field, points, views, None, visible)
    torch.testing.assert_close(parts.scores, whole.scores, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["features", "encoding", "displacement", "statistics", "repeats"])
def test_an_input_that_is_switched_off_is_not_read(views, points, kind):
    on = small_field(voting=VotingOptions(use_repeats=True))
    off = small_field(voting=replace(VotingOptions(use_repeats=True), **{f"use_{kind}": False}))
    encoding = encoding_of(on, views, points)
    changed = {
        "features": {"views": replace(views, features=tuple(-m for m in views.features))},
        "encoding": {"encoding": None},
        "displacement": {"views": replace(views, cam_T_world=views.cam_T_world * 1.5)},
        "statistics": {"views": replace(views, probabilities=views.probabilities**2)},
        "repeats": {"repeats": torch.full((5,), 9.0)},
    }[kind]
    if kind == "displacement":  # all lengths half as long again: the same pixels, another distance
        changed["views"].cam_T_world[:, 3] = torch.tensor([0, 0, 0, 1.0])
    same = {"points": points, "views": views, "encoding": encoding, "repeats": torch.zeros(5)}
    torch.testing.assert_close(voted(off, **{**same, **changed}).scores, voted(off, **same).scores, atol=1e-9, rtol=0)
    assert (voted(on, **{**same, **changed}).scores - voted(on, **same).scores).abs().max() > 1e-4


def test_inputs_are_dropped_at_random_while_training_only(views, points):
    field = small_field(voting=VotingOptions(drop=0.5))
    plain = voted(field, points, views).scores
    assert torch.equal(voted(field, points, views).scores, plain)
    field.train()
    assert len({float(voted(field, points, views).scores.sum().detach()) for _ in range(20)}) > 3


def test_votes_on_logits_are_a_geometric_mean():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 7, 5)) * 3)
    scores, seen = torch.from_numpy(rng.normal(size=(3, 7))), torch.ones(3, 7, dtype=torch.bool)
    found = soft_vote_on_logits(logits.softmax(-1), scores, seen)
    expected = torch.einsum("nk,nkc->kc", scores.softmax(0), logits).softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert soft_vote_on_logits(logits.softmax(-1), scores, ~seen).abs().max() == 0


def test_weights_by_hand():
    near, far = torch.tensor([[[0.0, 0, 1]]]), torch.tensor([[[0.0, 0, 2]]])
    displacement, seen = torch.cat([near, far]), torch.ones(2, 1, dtype=torch.bool)
    torch.testing.assert_close(vote_shares(distance_scores(displacement), seen)[:, 0], torch.tensor([0.8, 0.2]))
    torch.testing.assert_close(vote_shares(uniform_scores(displacement), seen)[:, 0], torch.tensor([0.5, 0.5]))


def test_extreme_scores_do_not_overflow():
    scores = torch.tensor([[3e4], [-3e4], [3e4]])
    p = torch.tensor([[[1.0, 0]], [[0, 1.0]], [[0, 1.0]]])
    torch.testing.assert_close(soft_vote(p, scores, torch.ones(3, 1, dtype=torch.bool)), torch.tensor([[0.5, 0.5]]))


def test_visibility_can_be_left_out_for_the_ablation(views, points):
    visible = visibility(views, points)
    without = voted(small_field(), points, views)
    assert torch.equal(without.seen, views.project(points).inside)
    assert not torch.equal(without.probabilities, voted(small_field(), points, views, None, visible).probabilities)


def test_predicting_directly_reads_features_and_never_votes(views, points):
    field = small_field(direct_classes=7)
    found = voted(field, points, views, encoding_of(field, views, points), outcome="direct")
    assert found.probabilities.shape == (len(points), 7) and found.scores is None
    seen = found.seen.any(0)
    torch.testing.assert_close(found.probabilities.sum(1), seen.double())
    blind = replace(views, probabilities=torch.zeros_like(views.probabilities))
    again = voted(field, points, blind, encoding_of(field, views, points), outcome="direct")
    assert torch.equal(again.probabilities, found.probabilities)
    assert found.total.tolist() == found.seen.sum(0).tolist()


def test_variants_that_do_not_exist_are_refused_by_name(views, points):
    for name, value in (("outcome", "votes"), ("weighting", "best")):
        with pytest.raises(ValueError, match=f"{name} is '{value}', expected one of"):
            voted(small_field(), points, views, **{name: value})
    for outcome in ("direct", "logits"):
        with pytest.raises(ValueError, match="without the heads of the ablation"):
            voted(small_field(), points, views, outcome=outcome)
    for wrong in ({"direct_classes": -1}, {"vote_level": 3}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            FieldOptions(**wrong)


def test_votes_on_logits_have_a_network_of_their_own(views, points):
    field = small_field(direct_classes=4)
    randomised(field.logit_voting, seed=9)
    found = voted(field, points, views, outcome="logits")
    assert not torch.equal(found.scores, voted(field, points, views).scores)
    place = views.project(points)
    expected = soft_vote_on_logits(views.sample_probabilities(place.pixels), found.scores, found.seen)
    assert torch.equal(found.probabilities, expected)


def test_statistics_are_those_of_the_reference_and_ignore_order_and_number_of_classes():
    rng = np.random.default_rng(2)
    p, m = rng.dirichlet(np.ones(6) / 2, 50) * rng.uniform(0.5, 1, (50, 1)), rng.dirichlet(np.ones(6), 50)
    m[:5] = 0
    found = probability_statistics(torch.from_numpy(p), torch.from_numpy(m))
    for row, a, b in zip(found.numpy(), p, m):
        np.testing.assert_allclose(row, reference.statistics(a, b), atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1 + 1e-9
    order = rng.permutation(20)
    wide = [torch.from_numpy(np.pad(x[5:], ((0, 0), (0, 14)))[:, order]) for x in (p, m)]
    torch.testing.assert_close(probability_statistics(*wide), found[5:], atol=1e-12, rtol=0)


def test_moments_one_view_at_a_time_are_those_of_all():
    rng = np.random.default_rng(1)
    values, seen = torch.from_numpy(rng.normal(size=(7, 20, 3))), torch.from_numpy(rng.random((7, 20)) < 0.5)
    one = Moments.none(20, 3, values)
    for v, s in zip(values, seen):
        one = one.plus(v, s)
    every = masked_moments(values, seen)
    for name in ("count", "mean", "variance"):
        torch.testing.assert_close(getattr(one, name), getattr(every, name), atol=1e-12, rtol=0)
    k = int(seen.sum(0).argmax())
    np.testing.assert_allclose(every.variance[k], values[seen[:, k], k].var(0, unbiased=False), atol=1e-12)


@pytest.mark.parametrize("way", ["window", "stream"])
def test_mixed_precision_is_close_and_learns(points, way):
    """What training on a GPU does: networks in bfloat16, geometry in float32."""
    torch.manual_seed(0)
    field = NeuralSemanticField(SMALL)
    randomised(field.voting, scale=0.1)
    views, images, points = random_views(dtype=torch.float32), torch.rand(5, 3, 50, 66), points.float()

    def run():
        seen = replace(views, features=tuple(m.permute(0, 2, 3, 1) for m in field.encoder(images)))
        encoding = field.volume(
            seen, Lattice.world(points), box_cells((-4, -4, -4), (8, 8, 8)), lambda c, d: c[:, 0] > 0
        )
        found = (voted if way == "window" else streamed)(field, points, seen, encoding)
        return found, PredictedSurface(field.volume, encoding)(points)

    exact, distance = run()
    pixels, coordinates = views.project(points).pixels, Lattice.world(points).coordinates(points, 0.04)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, near = run()
        assert torch.equal(views.project(points).pixels, pixels)
        assert torch.equal(Lattice.world(points).coordinates(points, 0.04), coordinates)
        loss = -found.probabilities.sum(1).clamp_min(1e-4).log().mean() + near.nan_to_num().square().mean()
    loss.backward()
    torch.testing.assert_close(found.scores.float(), exact.scores, atol=0.1, rtol=0)
    torch.testing.assert_close(found.probabilities.float(), exact.probabilities, atol=0.02, rtol=0)
    torch.testing.assert_close(near.float(), distance, atol=0.05, rtol=0, equal_nan=True)
    assert all(p.grad is None or p.grad.isfinite().all() for p in field.parameters())
