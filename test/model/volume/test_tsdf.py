"""TSDF integration against a slow float64 reference written from the definition."""

import math

import numpy as np
import pytest
import torch

from gnesf_model.frame import Camera
from gnesf_model.geometry import pose_from_quaternion
from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.tsdf import Band, DepthView, TsdfVolume, in_range

CAMERA = Camera(64, 48, 55.0, 54.0, 31.3, 23.8)
VOXEL = 0.05
TRUNCATION = 0.2


def make_volume(**options) -> TsdfVolume:
    attributes = {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0)}
    grid = BlockGrid(VOXEL, attributes, max_blocks=100_000)
    defaults = {"truncation_m": TRUNCATION, "max_depth_m": 4.0, "max_weight": 64.0}
    return TsdfVolume(grid, **(defaults | options))


def wavy_depth(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    depth = 2.0 + 0.5 * np.sin(u / 9.0 + seed) + 0.3 * np.cos(v / 7.0)
    depth[rng.random(depth.shape) < 0.1] = 0.0
    return depth.astype(np.float32)


def reference(views, centres):
    """tsdf and weight of voxel centres (N, 3), one voxel and view at a time."""
    tsdf, weight = np.ones(len(centres)), np.zeros(len(centres))
    for depth, world_T_cam in views:
        cam_T_world = np.linalg.inv(world_T_cam)
        for n, centre in enumerate(centres):
            x, y, z = cam_T_world[:3, :3] @ centre + cam_T_world[:3, 3]
            if z <= 0:
                continue
            u = math.floor(CAMERA.fx * x / z + CAMERA.cx + 0.5)
            v = math.floor(CAMERA.fy * y / z + CAMERA.cy + 0.5)
            if not (0 <= u < CAMERA.width and 0 <= v < CAMERA.height) or depth[v, u] == 0:
                continue
            distance = depth[v, u] - z
            if distance < -TRUNCATION:
                continue
            value = min(1.0, distance / TRUNCATION)
            gain = min(1.0, (distance + TRUNCATION) / (TRUNCATION - VOXEL))
            if gain > 0:
                tsdf[n] = (tsdf[n] * weight[n] + gain * value) / (weight[n] + gain)
                weight[n] += gain
    return tsdf, weight


def poses(origin=(0.0, 0.0, 0.0)):
    turns = [(0, 0, 0, 1), (0.0, 0.1, 0.05, 1), (-0.08, 0.02, 0.2, 1)]
    moves = [(0, 0, 0), (0.11, -0.07, 0.2), (-0.3, 0.1, -0.1)]
    for q, t in zip(turns, moves, strict=True):
        q = np.array(q, float)
        yield pose_from_quaternion(np.array(t) + origin, q / np.linalg.norm(q))


def integrate(volume, views):
    for depth, pose in views:
        view = DepthView(torch.from_numpy(depth), CAMERA, pose)
        observation = volume.integrate(view, volume.allocate(view))
    return observation


def test_equals_the_reference_but_for_rounding():
    views = [(wavy_depth(seed), pose) for seed, pose in enumerate(poses())]
    volume = make_volume()
    # The blocks that every view of the reference touches must be those that each view allocated; a
    # voxel of an older block that a later view did not allocate is compared only where both saw it.
    for depth, pose in views:
        view = DepthView(torch.from_numpy(depth), CAMERA, pose)
        volume.allocate(view)
    slots = torch.arange(volume.grid.count)
    for depth, pose in views:
        # Along the optical axis everywhere: test_planes.py has what steep surfaces are measured by.
        volume.integrate(DepthView(torch.from_numpy(depth), CAMERA, pose), Band.flat(slots))
    centres = volume.grid.centres(slots).view(-1, 3).double().numpy()
    tsdf, weight = reference(views, centres)
    got_weight = volume.grid.voxels["weight"][: len(slots)].view(-1).numpy()
    got_tsdf = volume.grid.voxels["tsdf"][: len(slots)].view(-1).numpy()
    same = np.abs(got_weight - weight) < 1e-4
    # A voxel that projects onto the border of two pixels may take either in float32.
    assert same.mean() > 0.9995
    assert (weight > 0).sum() > 50_000
    error = np.abs(got_tsdf - tsdf)[same]
    assert np.quantile(error, 0.999) < 1e-4


def test_every_block_of_the_truncation_band_is_allocated():
    depth, pose = wavy_depth(0), next(poses())
    volume = make_volume()
    slots = volume.allocate(DepthView(torch.from_numpy(depth), CAMERA, pose)).slots
    have = set(map(tuple, volume.grid.coords[slots].tolist()))
    v, u = np.nonzero(depth)
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(len(u))], 1)
    missed = 0
    for offset in np.linspace(-TRUNCATION, TRUNCATION, 41):
        points = rays * (depth[v, u] + offset)[:, None]
        blocks = np.floor(points / volume.grid.block_size_m).astype(int)
        missed += sum(tuple(b) not in have for b in blocks.tolist())
    assert missed / (41 * len(u)) < 0.002


@pytest.mark.parametrize("kilometres", [0.0, 10.0])
def test_far_from_the_origin_is_as_exact(kilometres):
    # Whole blocks apart, so that the voxels fall on the same places.
    far = np.round(np.array([kilometres * 1000, -kilometres * 500, 0]) / (8 * VOXEL)) * 8 * VOXEL
    near_volume, far_volume = make_volume(), make_volume()
    integrate(near_volume, [(wavy_depth(s), p) for s, p in enumerate(poses())])
    integrate(far_volume, [(wavy_depth(s), p) for s, p in enumerate(poses(far))])
    shift = torch.from_numpy(np.round(far / (8 * VOXEL)).astype(np.int64))
    near = near_volume.grid
    slots = far_volume.grid.find(near.coords[: near.count].long() + shift)
    assert (slots >= 0).float().mean() > 0.999
    error = (far_volume.grid.voxels["tsdf"][slots] - near.voxels["tsdf"][: near.count]).abs()
    assert error[slots >= 0].mean() < 1e-4


def test_weight_is_capped_and_a_change_shows():
    volume = make_volume(max_weight=5.0)
    pose = np.eye(4)
    flat = np.full((CAMERA.height, CAMERA.width), 2.0, np.float32)
    integrate(volume, [(flat, pose)] * 50)
    assert volume.grid.voxels["weight"].max() == 5.0
    integrate(volume, [(flat + 0.1, pose)] * 12)
    slot = volume.grid.find(torch.tensor([[0, 0, 5]]))
    z = volume.grid.centres(slot)[0, :, 2]
    seen = volume.grid.voxels["weight"][slot[0]] > 0
    expected = ((2.1 - z) / TRUNCATION).clamp(-1, 1)
    near = seen & (expected.abs() < 0.5)
    assert near.any()
    assert (volume.grid.voxels["tsdf"][slot[0]] - expected)[near].abs().max() < 0.08


def test_no_measurement_changes_nothing():
    volume = make_volume()
    empty = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    observation = integrate(volume, [(empty, np.eye(4))])
    assert volume.grid.count == 0
    assert len(observation.slots) == 0


def test_what_lies_behind_the_surface_stays_unknown():
    volume = make_volume()
    flat = np.full((CAMERA.height, CAMERA.width), 2.0, np.float32)
    integrate(volume, [(flat, np.eye(4))])
    slots = torch.arange(volume.grid.count)
    z = volume.grid.centres(slots)[..., 2]
    weight = volume.grid.voxels["weight"][slots]
    assert (weight[z > 2.0 + TRUNCATION + 1e-4] == 0).all()
    assert (weight[(z - 2.0).abs() < TRUNCATION / 2] > 0).float().mean() > 0.5


def test_a_reach_that_needs_absurd_scratch_memory_is_refused():
    volume = make_volume(max_depth_m=4000.0)
    depth = torch.full((CAMERA.height, CAMERA.width), 2.0)
    with pytest.raises(ValueError, match="lower volume.max_depth_m or raise volume.voxel_size_m"):
        volume.allocate(DepthView(depth, CAMERA, np.eye(4)))


@pytest.mark.parametrize("low", [0.0, 0.1])
def test_depth_out_of_range_becomes_zero_and_the_limits_themselves_stay(low):
    below = np.nextafter(np.float32(0.1), np.float32(0))
    depth = torch.tensor([[0.0, below, 0.1, 3.0, 5.0, np.nextafter(np.float32(5), np.float32(9)), 1e9]])
    before = depth.clone()
    found = in_range(depth, low, 5.0)
    expected = torch.where((depth >= low) & (depth <= 5.0), depth, 0.0)
    assert torch.equal(found, expected)
    assert not found.signbit().any()
    assert torch.equal(depth, before)


def test_a_surface_behind_or_beside_the_camera_is_not_seen():
    """Blocks of a near surface reach behind the camera: nothing there may be written."""
    volume = make_volume()
    near = np.full((CAMERA.height, CAMERA.width), 0.12, np.float32)
    pose = np.eye(4)
    pose[2, 3] = 0.21
    integrate(volume, [(near, pose)])
    slots = torch.arange(volume.grid.count)
    x, y, z = volume.grid.centres(slots).unbind(-1)
    z = z - 0.21
    inside = (
        (z > 0)
        & ((x / z * CAMERA.fx + CAMERA.cx - 31.5).abs() <= 32)
        & ((y / z * CAMERA.fy + CAMERA.cy - 23.5).abs() <= 24)
    )
    written = volume.grid.voxels["weight"][slots] > 0
    assert (z < 0).any() and (written & inside).any()
    assert not (written & ~inside).any()
