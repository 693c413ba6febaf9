"""The learned vote as the mapper uses it: the same scores as offline, one view at a time, from memories alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from field_scene import CAMERA, look_at, randomised, streamed

from gnesf_model.field.cells import Lattice
from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.field.model import FieldOptions, NeuralSemanticField, next_score
from gnesf_model.field.moment_table import MomentTable
from gnesf_model.field.moments import Moments, masked_moments
from gnesf_model.field.online import LearnedFusion
from gnesf_model.field.shrunk import scaled
from gnesf_model.field.streaming import StreamingVotes
from gnesf_model.field.volume_memory import VolumeMemory
from gnesf_model.field.voting import VotingOptions
from gnesf_model.frame import Camera, Frame
from gnesf_model.fusion import ViewSamples
from gnesf_model.volume.votes import VoteTable

SMALL = FieldOptions(widths=(8, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4))
CLASSES = 4


def recording(count=5):
    rng = np.random.default_rng(3)
    picture = lambda: rng.integers(0, 255, (50, 66, 3), dtype=np.uint8)  # noqa: E731
    # Cameras around a plane at z = 0: its depth is known at every pixel.
    return [
        Frame(k, picture(), CAMERA, look_at(rng.normal(size=3) * 0.3 + (0, 0, -2)), np.full((50, 66), 9.0, np.float32))
        for k in range(count)
    ]


def trained(options=SMALL) -> NeuralSemanticField:
    torch.manual_seed(0)
    field = NeuralSemanticField(options).eval()
    randomised(field.voting, scale=0.12)
    return field


def plane_points(count=400):
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    points[:, 2] = 0
    return points


def run_online(fusion, frames, probabilities, points, device="cpu"):
    """The mapper's loop around a fusion: the distribution of each point at the end, and every weight."""
    votes = VoteTable(CLASSES, max_votes=1e6, max_rows=1000, device=device)
    rows = votes.allocate(len(points))
    every = []
    for frame, p in zip(frames, probabilities):
        samples = ViewSamples(
            frame, points, points[:, :2], points[:, 2], p, votes.distribution(rows), votes.total(rows), rows
        )
        weights = fusion.weights(samples)
        votes.add(rows, p, weights, torch.zeros(len(points), 3, device=device))
        every.append(weights)
    return votes.distribution(rows), every


def distributions(frames, points):
    """Probability maps of the views and what they are at the points."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(len(frames), CLASSES, 13, 17, generator=generator).softmax(1)
    views = NeuralSemanticField(SMALL).observe(
        [f.camera for f in frames], [f.world_T_cam for f in frames], torch.zeros(len(frames), 3, 50, 66), maps
    )
    place = views.project(points)
    assert place.inside.all()
    return maps, views.sample_probabilities(place.pixels)


def test_online_is_offline():
    """Without M, which online is that of the views so far, the mapper's votes are those that training unrolls."""
    field, frames, points = (
        trained(replace(SMALL, voting=VotingOptions(use_encoding=False))),
        recording(),
        plane_points(),
    )
    maps, probabilities = distributions(frames, points)
    images = torch.stack([image_tensor(f.rgb) for f in frames])
    with torch.no_grad():
        views = field.observe([f.camera for f in frames], [f.world_T_cam for f in frames], images, maps)
        offline = streamed(field, points, views)
    online, weights = run_online(LearnedFusion(field, image_side_px=0), frames, probabilities, points)
    # The memory of the features is in half precision.
    torch.testing.assert_close(torch.stack(weights).log(), offline.scores, atol=0.02, rtol=0)
    torch.testing.assert_close(online, offline.probabilities, atol=0.005, rtol=0)
    assert offline.scores.std() > 0.1, "the scores must say something for this to mean something"


def test_online_with_the_encoding_is_offline_with_that_of_the_views_so_far():
    """M changes with every view: the vote of each is held against all views up to it, encoded anew."""
    field, frames, points = trained(), recording(), plane_points()
    randomised(field.volume, scale=0.1)
    maps, probabilities = distributions(frames, points)
    images, depth = (torch.stack(x) for x in zip(*((image_tensor(f.rgb), torch.from_numpy(f.depth)) for f in frames)))
    levels, scores, blind = field.options.vote_level + 1, [], []
    with torch.no_grad():
        views = field.observe([f.camera for f in frames], [f.world_T_cam for f in frames], images, maps, depth)
        votes = StreamingVotes.none(len(points), CLASSES, points)
        for number in range(len(frames)):
            so_far = views.select(list(range(number + 1)))
            encoding = field.volume.around(so_far, Lattice.world(points), points, levels)
            found = field.look(points, so_far, encoding)
            moments = masked_moments(found.features, found.seen)
            newest = (found.features[-1], found.probabilities[-1], found.place.displacement[-1], moments)
            scores.append(next_score(field.voting, *newest, votes.distribution, found.encoding))
            blind.append(next_score(field.voting, *newest, votes.distribution, 0 * found.encoding))
            votes = votes.plus(number, found.probabilities[-1], scores[-1], found.seen[-1])
    online, weights = run_online(LearnedFusion(field, image_side_px=0), frames, probabilities, points)
    scores = torch.stack(scores)
    # The memories of the features and of the cells are in half precision.
    torch.testing.assert_close(torch.stack(weights).log(), scores, atol=0.03, rtol=0)
    torch.testing.assert_close(online, votes.distribution, atol=0.005, rtol=0)
    assert (scores - torch.stack(blind)).abs().mean() > 0.2, "M must say something for this to mean something"


def test_half_the_bits_give_nearly_the_same_votes():
    """What a GPU does in float16, here in bfloat16, which has fewer bits still: nothing in it needs more."""
    field, frames, points = trained(), recording(), plane_points()
    randomised(field.volume, scale=0.1)
    _, probabilities = distributions(frames, points)
    found = {}
    for reduced in (False, True):
        fusion = LearnedFusion(field, image_side_px=0, reduced=reduced)
        found[reduced] = run_online(fusion, frames, probabilities, points)
    (whole, weights), (less, other) = found[False], found[True]
    assert all(w.dtype == torch.float32 for w in other)
    difference = (torch.stack(weights).log() - torch.stack(other).log()).abs()
    assert 0 < difference.mean() < 0.03 and difference.max() < 0.3
    torch.testing.assert_close(less, whole, atol=0.03, rtol=0)


@pytest.mark.gpu
def test_cpu_and_cuda_give_the_same_votes():
    """Offline, all views at once and one after the other, and online from the memories."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    frames, points = recording(), plane_points()
    maps, probabilities = distributions(frames, points)
    images, depth = (torch.stack(x) for x in zip(*((image_tensor(f.rgb), torch.from_numpy(f.depth)) for f in frames)))
    found = []
    for device in ("cpu", "cuda"):
        field = trained()
        randomised(field.volume, scale=0.1)
        field.to(device)
        tensors = (t.to(device) for t in (images, maps, depth))
        there = points.to(device)
        with torch.no_grad():
            views = field.observe([f.camera for f in frames], [f.world_T_cam for f in frames], *tensors)
            encoding = field.volume.around(views, Lattice.world(there), there, field.options.vote_level + 1)
            seen = field.look(there, views, encoding)
            offline = [votes.scores.cpu() for votes in (field.vote(seen), field.stream(seen))]
        fusion = LearnedFusion(field, image_side_px=0, device=device)
        online, weights = run_online(fusion, frames, probabilities.to(device), there, device)
        found.append((*offline, torch.stack(weights).log().cpu(), online.cpu()))
    # Convolutions on CUDA may round to TF32, and the memories are in half precision.
    for cpu, cuda in zip(*found):
        torch.testing.assert_close(cuda, cpu, atol=0.03, rtol=0)
    assert found[0][0].std() > 0.1


def test_the_volume_in_memory_is_that_of_all_views_so_far():
    field, frames, points = trained(), recording(), plane_points()
    fusion = LearnedFusion(field, image_side_px=0)
    memory = VolumeMemory(field.volume)
    with torch.no_grad():
        for frame in frames:
            encoding = memory.add(fusion._view(frame), points)
        images = torch.stack([image_tensor(f.rgb) for f in frames])
        depth = torch.stack([torch.from_numpy(f.depth) for f in frames])
        views = field.observe(
            [f.camera for f in frames], [f.world_T_cam for f in frames], images, torch.zeros(5, 0, 13, 17), depth
        )
        whole = field.volume.around(views, encoding.lattice, points)
    for level in range(2):
        assert torch.equal(encoding.levels[level].cells, whole.levels[level].cells)
        assert torch.equal(encoding.levels[level].views, whole.levels[level].views)
        torch.testing.assert_close(encoding.at(points, level)[0], whole.at(points, level)[0], atol=0.05, rtol=0.05)
    memory.clear()
    assert memory.memory_bytes < 200_000 and memory.counts == [0, 0]


def test_an_untrained_field_counts_every_view_the_same():
    frames, points = recording(), plane_points()
    _, probabilities = distributions(frames, points)
    fusion = LearnedFusion(NeuralSemanticField(SMALL))
    online, weights = run_online(fusion, frames, probabilities, points)
    assert all(torch.equal(w, torch.ones_like(w)) for w in weights)
    torch.testing.assert_close(online, probabilities.mean(0), atol=1e-6, rtol=0)


def test_weights_are_bounded_and_memory_does_not_grow_with_views():
    field, frames, points = trained(), recording(), plane_points()
    _, probabilities = distributions(frames, points)
    fusion = LearnedFusion(field)
    run_online(fusion, frames, probabilities, points)
    before = fusion.memory_bytes
    _, weights = run_online(fusion, frames * 4, [*probabilities] * 4, points)
    assert fusion.memory_bytes == before
    assert all((w > np.exp(-2.001)).all() and (w < np.exp(2.001)).all() for w in weights)
    fusion.clear()
    _, again = run_online(fusion, frames, probabilities, points)
    fusion.clear()
    _, once_more = run_online(fusion, frames, probabilities, points)
    assert all(torch.equal(a, b) for a, b in zip(again, once_more)), "the same frames give the same votes"


def test_repeated_viewpoints_reach_the_vote():
    options = replace(SMALL, voting=VotingOptions(use_repeats=True))
    frames, points = recording(1) * 3, plane_points()
    _, probabilities = distributions(frames, points)
    field = trained(options)
    _, with_count = run_online(LearnedFusion(field), frames, probabilities, points)
    field.voting.options = replace(field.voting.options, use_repeats=False)
    _, without = run_online(LearnedFusion(field), frames, probabilities, points)
    assert torch.equal(with_count[0], without[0]) and not torch.equal(with_count[2], without[2])


def test_a_view_that_sees_nothing_votes_on_nothing():
    frames, points = recording(1), plane_points()
    _, probabilities = distributions(frames, points)
    none = ViewSamples(
        frames[0],
        *(t[:0] for t in (points, points, points[:, 2], probabilities[0])),
        *([points[:0]] * 2),
        rows=torch.zeros(0, dtype=torch.int64),
    )
    assert LearnedFusion(NeuralSemanticField(SMALL)).weights(none).shape == (0,)


def test_rows_remember_their_views_and_let_old_ones_fade():
    values = torch.randn(30, 10, 4, generator=torch.Generator().manual_seed(0)) + 1
    table = MomentTable(4)
    for v in values:
        table.add(torch.arange(5, 15), v)
    found, exact = table.read(torch.arange(5, 15)), masked_moments(values, torch.ones(30, 10, dtype=torch.bool))
    torch.testing.assert_close(found.mean, exact.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(found.variance, exact.variance, atol=0.02, rtol=0)
    assert table.read(torch.tensor([0])).count.item() == 0
    assert isinstance(found, Moments) and table.memory_bytes == 4096 * MomentTable.bytes_per_row(4)
    short = MomentTable(1, longest=10.0)
    for value in [0.0] * 200 + [1.0] * 60:
        short.add(torch.tensor([0]), torch.tensor([[value]]))
    assert short.read(torch.tensor([0])).mean.item() > 0.95
    short.add(torch.tensor([0]), torch.tensor([[1e9]]))
    assert short.read(torch.tensor([0])).mean.isfinite().all()


def test_smaller_images_look_at_the_same_places():
    camera = Camera(640, 480, 500.0, 510.0, 310.0, 250.0)
    small = scaled(camera, 320)
    assert (small.width, small.height) == (320, 240)
    # The corner of the image stays its corner: pixel (-0.5, -0.5) of both looks the same way.
    assert (-0.5 - small.cx) / small.fx == pytest.approx((-0.5 - camera.cx) / camera.fx)
    assert (319.5 - small.cx) / small.fx == pytest.approx((639.5 - camera.cx) / camera.fx)
    assert scaled(camera, 0) == scaled(camera, 640) == camera
