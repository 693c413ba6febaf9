"""Votes that come one after the other: the same as all at once, in constant memory, no view twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from field_scene import encoding_of, random_points, random_views, small_field, streamed, visibility

from gnesf_model.field.model import next_score
from gnesf_model.field.moments import Moments
from gnesf_model.field.streaming import StreamingVotes
from gnesf_model.field.viewpoints import earlier_repeats, nearest_views, repeats_of
from gnesf_model.field.voting import soft_vote


def random_votes(views=9, points=30, classes=5, scale=3.0):
    rng = np.random.default_rng(4)
    probabilities = torch.from_numpy(rng.dirichlet(np.ones(classes), (views, points)))
    scores = torch.from_numpy(rng.normal(size=(views, points)) * scale)
    seen = torch.from_numpy(rng.random((views, points)) < 0.6)
    seen[:, 0] = False
    return probabilities, scores, seen


def accumulate(probabilities, scores, seen, views):
    votes = StreamingVotes.none(*probabilities.shape[1:], probabilities)
    for view in views:
        votes = votes.plus(view, probabilities[view], scores[view], seen[view])
    return votes


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_one_after_the_other_is_all_at_once(scale):
    p, v, seen = random_votes(scale=scale)
    votes = accumulate(p, v, seen, range(9))
    torch.testing.assert_close(votes.distribution, soft_vote(p, v, seen), atol=1e-12, rtol=0)
    assert votes.distribution[0].abs().max() == 0, "never seen is unknown"
    assert votes.denominator.isfinite().all() and votes.denominator[1:].min() >= 1 - 1e-12


def test_parts_can_be_merged():
    p, v, seen = random_votes()
    early, late = accumulate(p, v, seen, range(4)), accumulate(p, v, seen, range(4, 9))
    torch.testing.assert_close(early.merged(late).distribution, soft_vote(p, v, seen), atol=1e-12, rtol=0)
    nothing = StreamingVotes.none(30, 5, p)
    torch.testing.assert_close(nothing.merged(late).merged(nothing).distribution, late.distribution)


def test_no_view_votes_twice():
    p, v, seen = random_votes()
    votes = accumulate(p, v, seen, range(4))
    for again in (3, 0):
        with pytest.raises(ValueError, match=f"view {again} comes after view 3"):
            votes.plus(again, p[again], v[again], seen[again])
    with pytest.raises(ValueError, match="overlap"):
        votes.merged(accumulate(p, v, seen, range(2, 6)))


def test_gradients_are_those_of_the_softmax():
    p, v, seen = random_votes()
    grads = []
    for vote in (lambda v: accumulate(p, v, seen, range(9)).distribution, lambda v: soft_vote(p, v, seen)):
        scores = v.clone().requires_grad_()
        (vote(scores) * torch.arange(5)).square().sum().backward()
        grads.append(scores.grad)
    torch.testing.assert_close(*grads, atol=1e-10, rtol=0)


def test_the_field_streams_from_what_was_known():
    """Each view's score depends on nothing that came after it."""
    views, points, field = random_views(6), random_points(), small_field()
    visible = visibility(views, points)
    encoding = encoding_of(field, views, points)
    whole = streamed(field, points, views, encoding, visible)
    torch.testing.assert_close(
        whole.probabilities,
        soft_vote(views.sample_probabilities(views.project(points).pixels), whole.scores, whole.seen),
        atol=1e-12,
        rtol=0,
    )
    first = streamed(field, points, views.select(range(3)), encoding, visible[:3])
    torch.testing.assert_close(first.scores, whole.scores[:3], atol=1e-12, rtol=0)
    # A reference of the recurrence: eq. 3 with what the three first views had left behind.
    place = views.project(points)
    features = views.sample_features(place.pixels)
    moments = Moments.none(len(points), 8, features)
    for view in range(4):
        moments = moments.plus(features[view], whole.seen[view])
    expected = next_score(
        field.voting,
        features[3],
        views.sample_probabilities(place.pixels)[3],
        place.displacement[3],
        moments,
        first.probabilities,
        encoding.at(points, 1)[0],
    )
    torch.testing.assert_close(whole.scores[3], expected, atol=1e-12, rtol=0)


def test_repeats_are_read_where_they_are_asked_for():
    from gnesf_model.field.voting import VotingOptions

    views, points = random_views(), random_points()
    field = small_field(voting=VotingOptions(use_repeats=True))
    a = streamed(field, points, views, repeats=torch.zeros(5)).scores
    b = streamed(field, points, views, repeats=torch.tensor([0, 0, 0, 0, 30.0])).scores
    assert torch.equal(a[:4], b[:4]) and (a[4] - b[4]).abs().max() > 1e-4


def test_viewpoints():
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = (0.0, 0.2, 3.0, 0.3, 1.0)
    poses[4, :3, :3] = np.diag([-1.0, 1.0, -1.0])  # looks back
    assert earlier_repeats(poses).tolist() == [0, 1, 0, 2, 0]
    assert repeats_of(poses[3], poses[:3]) == 2 and repeats_of(poses[0], []) == 0
    assert nearest_views(np.eye(4), poses, 4).tolist() == [0, 1, 3, 2]
    assert nearest_views(np.eye(4), poses, 99).tolist() == [0, 1, 3, 2, 4]
    assert len(nearest_views(np.eye(4), poses[:0], 3)) == 0


def test_views_of_other_shapes_are_refused():
    views = random_views()
    with pytest.raises(ValueError, match=r"intrinsics has shape \(5, 3\), expected \(5, 4\)"):
        replace(views, intrinsics=views.intrinsics[:, :3])
    with pytest.raises(ValueError, match="features at stride 8"):
        replace(views, features=(views.features[0], views.features[0]))
    with pytest.raises(ValueError, match="no depth images"):
        views.sample_depth(views.project(random_points()).pixels)
