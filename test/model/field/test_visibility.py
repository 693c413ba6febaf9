"""The paper's rule on signs along rays, the fast form with depth images, and where the two agree."""

from dataclasses import replace
from itertools import product

import field_reference as reference
import numpy as np
import pytest
import torch

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.rendering import Sampling, SdfGeometry, render_depth
from gnesf_model.field.surfaces import MeasuredSurface, surface_normals
from gnesf_model.field.views import SourceViews
from gnesf_model.field.visibility import occluded_by_signs, visible_along_rays, visible_in_depth
from gnesf_model.geometry import backproject, transform
from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.tsdf import DepthView, TsdfVolume


def test_signs_in_order_and_nothing_else():
    patterns = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=6)), dtype=torch.float64)
    found = occluded_by_signs(patterns * 0.1, 0.005)
    assert found.tolist() == [reference.occluded(row) for row in patterns.int().tolist()]
    assert not occluded_by_signs(torch.tensor([[1.0, -0.004, 1.0]]), 0.005).any(), "noise is no surface"
    assert not occluded_by_signs(torch.tensor([[-1.0, 1.0, -1.0]]), 0.005).any(), "a camera that starts inside"
    unknown = torch.tensor([[1.0, torch.nan, -1.0, torch.nan, 1.0], [1.0, torch.nan, torch.nan, torch.nan, 1.0]])
    assert occluded_by_signs(unknown, 0.005).tolist() == [True, False]


def slab(*centres: float, thickness: float = 0.12):
    """Walls across z, infinite in x and y."""

    def distance(points: torch.Tensor) -> torch.Tensor:
        z = points[:, 2:]
        return ((z - torch.tensor(centres, dtype=z.dtype)).abs() - thickness / 2).amin(dim=1)

    return distance


@pytest.mark.parametrize("occluder_m", [0.15, 0.5, 1.0, 2.0, 3.0])
def test_occluders_are_found_near_and_far(occluder_m):
    """The paper's code begins at 1 m and takes 10 samples: it misses what is nearer and every fourth band of 12 cm."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.rand(8, 3, generator=generator, dtype=torch.float64) * 0.05 - 0.025
    points = torch.rand(200, 3, generator=generator, dtype=torch.float64) * 0.6 - 0.3
    points[:, 2] += 4.0
    wall = slab(occluder_m, 6.0)
    assert not visible_along_rays(wall, origins, points).any()
    in_front = points.clone()
    in_front[:, 2] = occluder_m - 0.06  # on the occluder itself
    assert visible_along_rays(wall, origins, in_front).all()
    assert visible_along_rays(slab(6.0), origins, points).all()


def test_what_is_deep_within_something_is_the_papers_blind_spot():
    inside = torch.tensor([[0.0, 0.0, 2.4]])
    origins = torch.zeros(1, 3)
    wall = slab(2.5, thickness=1.0)
    assert visible_along_rays(wall, origins, inside).all()
    assert not visible_along_rays(wall, origins, inside, deepest_m=0.1).any()
    assert visible_along_rays(wall, origins, torch.tensor([[0.0, 0.0, 2.02]]), deepest_m=0.1).all()


def test_no_view_and_no_point():
    wall, point = slab(2.0), torch.zeros(1, 3)
    assert visible_along_rays(wall, point[:0], point).shape == (0, 1)
    assert visible_along_rays(wall, point, point[:0]).shape == (1, 0)
    assert visible_along_rays(wall, point, point).all(), "the camera itself"


@pytest.fixture(scope="module")
def room():
    source = RoomSource(7, frames=6, stride=60, width=160, height=120, shading=False)
    frames = list(source)
    views = SourceViews.make(
        [f.camera for f in frames],
        [f.world_T_cam for f in frames],
        torch.zeros(len(frames), 0, 30, 40),
        depth=torch.stack([torch.from_numpy(f.depth) for f in frames]),
    )
    points = torch.cat(
        [
            transform(
                torch.from_numpy(f.world_T_cam).float(),
                backproject(torch.from_numpy(f.depth), f.camera)[4::9, 4::9].reshape(-1, 3),
            )
            for f in frames
        ]
    )
    return source, frames, views, points


def compare(views, points, distance, tolerance_m, **along):
    """Share of (view, measured point) pairs on which both forms agree; the pairs (N, K) on which each alone sees."""
    place = views.project(points)
    fast = visible_in_depth(views, place, tolerance_m)
    measured = place.inside & (views.sample_depth(place.pixels) > 0)
    slow = visible_along_rays(distance, views.origins, points, **along)
    return (fast == slow)[measured].float().mean().item(), fast & ~slow & measured, ~fast & slow & measured


def test_both_forms_agree_on_the_surface_of_a_room(room):
    source, _, views, points = room
    place = views.project(points)
    hidden = place.inside & ~visible_in_depth(views, place, 0.05)
    assert hidden.sum() > 0.08 * place.inside.sum(), "the test needs occlusion"
    agreement, only_fast, only_rule = compare(views, points, source.scene.sdf, 0.05, spacing_m=0.025)
    assert agreement > 0.975
    assert not only_fast.any(), "what the depth image shows, the rule never hides"
    # They differ beside outlines, where one depth stands for a pixel: the point fits a pixel next to its own. (The rest
    # is the rule's blind spot: points within half a step of what hides them.)
    depth = torch.nn.functional.max_pool2d(views.depth[:, None], 3, 1, 1)[:, 0]
    beside = visible_in_depth(replace(views, depth=depth), place, 0.05)
    assert (only_rule & beside).sum() > 0.6 * only_rule.sum()
    coarse, *_ = compare(views, points, source.scene.sdf, 0.05, spacing_m=0.6)
    assert coarse < agreement - 0.03, "too few samples lose occluders"


def test_rendered_depth_serves_as_well_as_measured_depth(room):
    """The fast form where depth is not measured: what the distance itself renders, once for each view."""
    source, _, _, points = room
    camera, pose = source.camera.strided(3), source.poses[0]
    rendered = render_depth(camera, pose, SdfGeometry(source.scene.sdf, 0.05), Sampling(0.05, 8.0, 256, 0))
    depth = source.renderer.render(camera, pose, 1.0).depth
    both = (rendered > 0) & (depth > 0)
    assert both.float().mean() > 0.97
    assert float((rendered - depth)[both].abs().median()) < 0.005
    view = SourceViews.make([camera], [pose], torch.zeros(1, 0, 10, 14), depth=depth[None])
    place = view.project(points)
    told = [visible_in_depth(replace(view, depth=d[None]), place, 0.05) for d in (rendered, depth)]
    assert 0.02 < (place.inside & ~told[1]).sum() / place.inside.sum() < 0.5, "the test needs occlusion"
    assert (told[0] == told[1])[place.inside].float().mean() > 0.97


def test_measured_geometry_serves_the_rule_too(room):
    """ "With mesh": the TSDF of the same depth images in place of the exact distance."""
    _, frames, views, points = room
    grid = BlockGrid(0.04, {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0)}, max_blocks=20000)
    volume = TsdfVolume(grid, truncation_m=0.16, max_depth_m=8.0, max_weight=64)
    for frame in frames:
        view = DepthView(torch.from_numpy(frame.depth), frame.camera, frame.world_T_cam)
        volume.integrate(view, volume.allocate(view))
    surface = MeasuredSurface(grid, 0.16)
    assert float(surface(points).abs().nanmedian()) < 0.01
    first = transform(
        torch.from_numpy(frames[0].world_T_cam).float(),
        backproject(torch.from_numpy(frames[0].depth), frames[0].camera)[4::9, 4::9].reshape(-1, 3),
    )
    toward = torch.nn.functional.normalize(views.origins[0] - first, dim=1) * 0.05
    assert float((surface(first + toward) > 0).float().mean()) > 0.97
    assert float((surface(first - toward) < 0).float().mean()) > 0.85
    assert surface(points + 100).isnan().all()
    agreement, *_ = compare(views, points, surface, 0.05, spacing_m=0.025, noise_m=0.01)
    assert agreement > 0.95


def test_measured_surface_is_exact_for_a_linear_field():
    grid = BlockGrid(0.04, {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0)}, max_blocks=100)
    corners = torch.tensor([(i, j, k) for i in (-1, 0) for j in (-1, 0) for k in (-1, 0)])
    slots = grid.allocate(corners)
    normal = torch.tensor([0.6, 0.0, 0.8])
    grid.voxels["tsdf"][slots] = grid.centres(slots) @ normal / 0.5
    grid.voxels["weight"][slots] = 1.0
    points = (torch.rand(300, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.5
    torch.testing.assert_close(MeasuredSurface(grid, 0.5)(points), points @ normal, atol=1e-5, rtol=0)
    far_apart = torch.cat([points, points + 5000])
    found = MeasuredSurface(grid, 0.5)(far_apart)
    torch.testing.assert_close(found[:300], points @ normal, atol=1e-5, rtol=0)
    assert found[300:].isnan().all()
    grid.voxels["weight"][slots] = 0.0
    assert MeasuredSurface(grid, 0.5)(points).isnan().all()
    assert MeasuredSurface(grid, 0.5)(points[:0]).shape == (0,)


def test_unmeasured_depth_shows_nothing_unless_told(room):
    _, _, views, points = room
    blind = replace(views, depth=torch.zeros_like(views.depth))
    place = blind.project(points)
    assert not visible_in_depth(blind, place, 0.05).any()
    assert torch.equal(visible_in_depth(blind, place, 0.05, unmeasured=True), place.inside)
    np.testing.assert_array_equal(place.inside.numpy(), views.project(points).inside.numpy())


def test_normals_are_the_slope_of_the_distance():
    points = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1) * 0.5

    def ball(at: torch.Tensor) -> torch.Tensor:
        return at.norm(dim=1) - 0.5

    def outside_only(at: torch.Tensor) -> torch.Tensor:
        return torch.where(ball(at) > -0.01, ball(at), torch.nan)

    torch.testing.assert_close(surface_normals(ball, points), points / 0.5, atol=0.01, rtol=0)
    one_sided = surface_normals(outside_only, points)
    assert ((one_sided * points).sum(1) / 0.5).min() > 0.97
    assert surface_normals(lambda at: torch.full((len(at),), torch.nan), points).abs().max() == 0
