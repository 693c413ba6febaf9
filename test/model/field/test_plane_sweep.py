"""The plane sweep: where cells of one view are looked for in another, and that they are found at their depth."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gnesf_model.field.parallax import useful_views
from gnesf_model.field.plane_sweep import SweepView, depth_planes, matching_cost, normalised
from gnesf_model.frame import Camera
from gnesf_model.geometry import backproject, invert, project, transform

CAMERA = Camera(48, 36, 40.0, 41.0, 23.2, 17.9)
DEPTHS = depth_planes(0.5, 6.0, 64)


def pose(x=0.0, y=0.0, z=0.0, turn_deg=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = (x, y, z)
    return matrix


def wall_depth(world_T_cam: np.ndarray) -> torch.Tensor:
    """Depth (H, W) float64 of the slanted wall n . x = 2.2 as a camera sees it."""
    n, offset = np.array([0.2, -0.1, 1.0]), 2.2
    rays = backproject(torch.ones(CAMERA.height, CAMERA.width, dtype=torch.float64), CAMERA).numpy()
    directions = rays @ world_T_cam[:3, :3].T
    return torch.from_numpy((offset - world_T_cam[:3, 3] @ n) / (directions @ n))


def wall_view(world_T_cam: np.ndarray, channels: int = 12, groups: int = 4) -> SweepView:
    """Features that are smooth functions of the place on the wall, so that equal places look equal."""
    points = transform(torch.from_numpy(world_T_cam), backproject(wall_depth(world_T_cam), CAMERA))
    rng = np.random.default_rng(0)
    waves = torch.from_numpy(rng.normal(0, 6, (channels, 3)))
    phases = torch.from_numpy(rng.uniform(0, 6, channels))
    features = (points @ waves.T + phases).sin().permute(2, 0, 1)
    return SweepView(CAMERA, world_T_cam, normalised(features[None], groups)[0].float())


def test_planes_are_a_factor_apart():
    ratios = DEPTHS[1:] / DEPTHS[:-1]
    assert DEPTHS[0] == pytest.approx(0.5) and DEPTHS[-1] == pytest.approx(6.0)
    torch.testing.assert_close(ratios, ratios[:1].expand(63))


def test_the_true_depth_matches_best():
    reference = wall_view(pose())
    sources = [wall_view(pose(0.35, 0.05, 0.1, (2, -5, 3))), wall_view(pose(-0.3, 0.1, -0.1, (0, 4, -8)))]
    cost, share = matching_cost(reference, sources, DEPTHS, 4)
    assert cost.shape == (4, 64, 36, 48) and share.shape == (64, 36, 48)
    found, truth = DEPTHS[cost.mean(0).argmax(0)], wall_depth(pose()).float()
    seen = share.gather(0, cost.mean(0).argmax(0)[None])[0] == 1
    assert seen.float().mean() > 0.5
    error = (found / truth - 1).abs()[seen]
    # Planes are 4 % apart: half of that is what rounding to planes costs, and few cells miss by more than two.
    assert error.median() < 0.025 and (error < 0.085).float().mean() > 0.97
    at_truth = cost.mean(0).amax(0)[seen]
    assert at_truth.median() > 0.97 and at_truth.min() > 0.7 and cost.max() <= 1.001


def test_correlation_is_that_of_the_projected_cells():
    """Against projection in float64, cell by cell: every cell whose place is whole lies where `project` says."""
    reference, source = wall_view(pose()), wall_view(pose(0.2, -0.1, 0.15, (3, 6, -4)))
    depths = torch.tensor([0.9, 2.0, 4.5])
    cost, share = matching_cost(reference, [source], depths, 4)
    for plane, depth in enumerate(depths.tolist()):
        points = backproject(torch.full((36, 48), depth, dtype=torch.float64), CAMERA)
        local = transform(torch.from_numpy(invert(source.world_T_cam)), points)
        pixels, z = project(local, CAMERA)
        inside = (z > 0) & (pixels >= 0).all(-1) & (pixels[..., 0] <= 47) & (pixels[..., 1] <= 35)
        assert ((share[plane] > 0) == inside).float().mean() > 0.995  # but for rounding at the rim
        for v, u in [(5, 7), (18, 24), (30, 40)]:
            if not inside[v, u]:
                continue
            x, y = pixels[v, u].tolist()
            j, i = min(int(x), 46), min(int(y), 34)
            fx, fy = x - j, y - i
            f = source.features.double()
            there = (1 - fy) * ((1 - fx) * f[:, i, j] + fx * f[:, i, j + 1])
            there += fy * ((1 - fx) * f[:, i + 1, j] + fx * f[:, i + 1, j + 1])
            expected = (reference.features[:, v, u].double() * there).view(4, 3).sum(1)
            torch.testing.assert_close(cost[:, plane, v, u].double(), expected, atol=2e-3, rtol=0)


def test_what_no_source_sees_is_no_match():
    reference = wall_view(pose())
    behind = SweepView(CAMERA, pose(0, 0, 3.0), reference.features)
    cost, share = matching_cost(reference, [behind], DEPTHS, 4)
    near = DEPTHS < 2.9
    assert (cost[:, near] == 0).all() and (share[near] == 0).all() and share[~near].max() == 1
    cost, share = matching_cost(reference, [], DEPTHS, 4)
    assert (cost == 0).all() and (share == 0).all()


def test_gradients_reach_both_views():
    reference, source = wall_view(pose()), wall_view(pose(0.3))
    for view in (reference, source):
        view.features.requires_grad_()
    matching_cost(reference, [source], DEPTHS, 4)[0].square().sum().backward()
    for view in (reference, source):
        assert view.features.grad.isfinite().all() and view.features.grad.abs().max() > 0


def test_views_that_stand_apart_and_look_the_same_way_are_of_use():
    others = [pose(0.01), pose(0.3), pose(1.5), pose(0.3, turn_deg=(0, 60, 0)), pose(0.3, turn_deg=(0, 20, 0))]
    assert useful_views(pose(), others, 4) == [1, 4, 2]
    assert useful_views(pose(), others, 1) == [1]
    assert useful_views(pose(), [], 4) == [] and useful_views(pose(), [pose(turn_deg=(0, 10, 0))], 4) == []
