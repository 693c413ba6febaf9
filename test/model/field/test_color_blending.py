"""Colours of a new view, blended from the source views: against a slow reference, and what must never happen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from field_scene import (
    CAMERA,
    look_at,
    moved_points,
    moved_views,
    random_points,
    random_views,
    small_field,
    turned_world,
)

from gnesf_model.field.color_blending import ray_difference
from gnesf_model.field.views import SourceViews

EYE = torch.tensor([0.2, -0.1, -2.7], dtype=torch.float64)


def with_images(views: SourceViews, seed: int = 5) -> SourceViews:
    """In twice the resolution of the views."""
    colors = np.random.default_rng(seed).uniform(size=(len(views), 100, 132, 3))
    return replace(views, images=torch.from_numpy(colors).to(views.intrinsics))


def blended(field, views, points, eye=EYE, hidden=()):
    found = field.look(points, views)
    seen = found.seen.clone()
    for view in hidden:
        seen[view] = False
    found = replace(found, seen=seen, encoding=_encoding(points))
    return field.blend(found, views, points, eye), found


def _encoding(points):
    """Some M(x) that belongs to the points and not to where they lie."""
    return torch.linspace(-1, 1, 7 * len(points), dtype=points.dtype).view(len(points), 7)


def test_it_is_the_reference():
    """Each point by itself, in NumPy: weights from what one view shows and what all of them share."""
    field, views, points = small_field(colors=True), with_images(random_views()), random_points(25)
    colors, found = blended(field, views, points)
    net = {name: p.detach().numpy() for name, p in field.blending.named_parameters()}

    def linear(name, x):
        return net[f"{name}.weight"] @ x + net.get(f"{name}.bias", 0)

    def elu(x):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    sampled = views.sample_colors(found.place.pixels).numpy()
    for k in range(len(points)):
        seen = found.seen[:, k].numpy().nonzero()[0]
        if len(seen) == 0:
            assert not colors[k].any()
            continue
        f = found.features[seen, k].numpy()
        shared = linear("consistency", np.concatenate([f.mean(0), f.var(0), found.encoding[k].numpy()]))
        scores = []
        for i, own in zip(seen, f):
            pose = np.linalg.inv(views.cam_T_world[i].numpy())
            source = pose[:3, :3].T @ (points[k].numpy() - pose[:3, 3])
            target = pose[:3, :3].T @ (points[k].numpy() - EYE.numpy())
            a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
            near = np.log(np.linalg.norm(source) / np.linalg.norm(target))
            shift = sampled[i, k] - sampled[seen, k].mean(0)
            x = elu(shared + linear("view", np.concatenate([own, shift, b - a, [a @ b], [near]])))
            scores.append(linear("last", elu(linear("middle", x)))[0] + np.exp(net["log_sharpness"]) * (a @ b - 1))
        weights = np.exp(np.array(scores) - max(scores))
        expected = (weights / weights.sum()) @ sampled[seen, k]
        np.testing.assert_allclose(colors[k].detach(), expected, atol=1e-9)


def test_an_untrained_head_takes_the_view_from_where_one_looks():
    field = small_field(trained=False, colors=True)
    poses = [look_at((0, 0, -3)), look_at((2.5, 0, -1.5)), look_at((-2.5, 0.5, -1.5))]
    maps = [torch.zeros(3, d, -(-50 // s), -(-66 // s)).double() for d, s in zip((8, 6, 5), (4, 8, 16))]
    views = SourceViews.make([CAMERA] * 3, poses, torch.zeros(3, 2, 13, 17).double(), tuple(maps))
    paint = torch.eye(3, dtype=torch.float64)[:, None, None].expand(3, 50, 66, 3)
    views = replace(views, images=paint.contiguous())
    points = random_points(20, spread=0.1)
    for view, pose in enumerate(poses):
        colors, _ = blended(field, views, points, torch.from_numpy(pose[:3, 3]))
        assert (colors.argmax(1) == view).all() and (colors[:, view] > 0.9).all()


def test_colors_stay_within_those_of_the_views_and_hidden_views_count_nothing():
    field, views, points = small_field(colors=True), with_images(random_views()), random_points()
    colors, found = blended(field, views, points)
    sampled = views.sample_colors(found.place.pixels)
    low = sampled.masked_fill(~found.seen[..., None], torch.inf).amin(0)
    high = sampled.masked_fill(~found.seen[..., None], -torch.inf).amax(0)
    there = found.seen.any(0)
    assert there.sum() > 30
    assert ((colors >= low - 1e-9) & (colors <= high + 1e-9))[there].all()
    assert not colors[~there].any()
    without, _ = blended(field, views, points, hidden=(2,))
    changed = replace(views, images=torch.where(torch.arange(5)[:, None, None, None] == 2, 0.0, views.images))
    torch.testing.assert_close(blended(field, changed, points, hidden=(2,))[0], without)
    assert not torch.equal(without, colors)


def test_the_axes_of_the_world_and_the_order_of_the_views_change_nothing():
    field, views, points = small_field(colors=True), with_images(random_views()), random_points()
    colors, _ = blended(field, views, points)
    turn = turned_world()
    eye = moved_points(EYE[None], turn)[0]
    moved = field.look(points, views)  # M(x) of the same cells
    turned = field.look(moved_points(points, turn), moved_views(views, turn))
    turned = replace(turned, encoding=_encoding(points), seen=moved.seen)
    again = field.blend(turned, moved_views(views, turn), moved_points(points, turn), eye)
    torch.testing.assert_close(again, colors)
    torch.testing.assert_close(blended(field, views.select([3, 1, 4, 0, 2]), points)[0], colors)


def test_images_may_be_of_another_resolution():
    """A ramp over the picture: what is sampled at a pixel is its place, in any resolution."""
    views = random_views()
    places = []
    for scale in (1, 2, 3):
        width, height = 66 * scale, 50 * scale
        u = (torch.arange(width).double() + 0.5) / scale - 0.5
        ramp = u[None, None, :, None].expand(5, height, width, 3).contiguous()
        pixels = torch.tensor([[10.0, 20.0], [31.25, 7.5], [50.5, 40.0]], dtype=torch.float64).expand(5, 3, 2)
        places.append(replace(views, images=ramp).sample_colors(pixels)[..., 0])
        torch.testing.assert_close(places[-1], pixels[..., 0])
    with pytest.raises(ValueError, match="images has shape"):
        replace(views, images=torch.zeros(5, 60, 66, 3))
    with pytest.raises(ValueError, match="no images"):
        views.sample_colors(pixels)


def test_gradients_are_finite_where_nothing_is_seen_and_where_the_eye_is_on_the_point():
    field, views, points = small_field(colors=True), with_images(random_views()), random_points()
    points[0], points[1] = 100.0, EYE
    colors, _ = blended(field, views, points)
    assert colors.isfinite().all() and not colors[0].any()
    colors.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in field.blending.parameters())
    assert float(field.blending.last.weight.grad.abs().max()) > 0
    assert ray_difference(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3)).isfinite().all()


def test_a_field_without_the_head_says_how_to_get_one():
    field, views, points = small_field(), with_images(random_views()), random_points()
    with pytest.raises(ValueError, match="no head for colours: train one"):
        blended(field, views, points)
