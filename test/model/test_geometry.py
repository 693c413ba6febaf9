"""Rigid transforms and pinhole projection."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gnesf_model.frame import Camera, FrameDropped
from gnesf_model.geometry import (
    backproject,
    interpolate_pose,
    invert,
    motion,
    pose_from_quaternion,
    project,
    quaternion_from_pose,
    transform,
)

CAMERA = Camera(width=12, height=9, fx=10.0, fy=11.0, cx=5.2, cy=4.1)
seeds = st.integers(0, 10_000)


def random_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    pose[:3, 3] = rng.uniform(-5, 5, 3)
    return pose


@given(seeds)
def test_pose_survives_a_quaternion(seed):
    pose = random_pose(seed)
    back = pose_from_quaternion(pose[:3, 3], quaternion_from_pose(pose))
    np.testing.assert_allclose(back, pose, atol=1e-14)


@given(seeds)
def test_float32_poses_as_of_some_publishers_pass_and_stay_rigid(seed):
    pose = random_pose(seed)
    q = quaternion_from_pose(pose).astype(np.float32)
    back = pose_from_quaternion(pose[:3, 3].astype(np.float32), q)
    np.testing.assert_allclose(back, pose, atol=1e-6)
    np.testing.assert_allclose(back[:3, :3].T @ back[:3, :3], np.eye(3), atol=1e-14)


@pytest.mark.parametrize(
    ("t", "q"),
    [
        ((0, 0, 0), (0, 0, 0, 0)),
        ((0, 0, 0), (0, 0, 0, 1.02)),
        ((0, 0, 0), (0, 0, np.nan, 1)),
        ((np.inf, 0, 0), (0, 0, 0, 1)),
    ],
)
def test_bad_quaternions_are_dropped(t, q):
    with pytest.raises(FrameDropped) as caught:
        pose_from_quaternion(np.array(t), np.array(q))
    assert caught.value.reason == "bad_pose"


@given(seeds)
def test_inverse(seed):
    pose = random_pose(seed)
    np.testing.assert_allclose(invert(pose) @ pose, np.eye(4), atol=1e-12)


@given(seeds, seeds, st.floats(0, 1))
def test_interpolated_poses_are_rigid_and_lie_between(a, b, fraction):
    start, end = random_pose(a), random_pose(b)
    middle = interpolate_pose(start, end, fraction)
    np.testing.assert_allclose(middle[:3, :3].T @ middle[:3, :3], np.eye(3), atol=1e-9)
    whole, turned = motion(start, end)
    np.testing.assert_allclose(motion(start, middle)[0], fraction * whole, atol=1e-9)
    np.testing.assert_allclose(motion(start, middle)[1], fraction * turned, atol=1e-3)


def test_interpolation_ends_at_its_ends():
    a, b = random_pose(1), random_pose(2)
    np.testing.assert_allclose(interpolate_pose(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(interpolate_pose(a, b, 1.0), b, atol=1e-12)


def test_motion_is_metres_and_degrees():
    a = random_pose(3)
    step = np.eye(4)
    step[:3, :3] = Rotation.from_euler("y", 12.0, degrees=True).as_matrix()
    step[:3, 3] = (3.0, 0.0, 4.0)
    np.testing.assert_allclose(motion(a, a @ step), (5.0, 12.0))


def test_transform_maps_points_as_the_name_says():
    a_T_b = torch.from_numpy(random_pose(4))
    points = torch.randn(5, 7, 3, dtype=torch.float64)
    expected = torch.einsum("ij,...j->...i", a_T_b[:3, :3], points) + a_T_b[:3, 3]
    torch.testing.assert_close(transform(a_T_b, points), expected)


def test_projection_undoes_backprojection():
    depth = torch.rand(CAMERA.height, CAMERA.width) * 3 + 0.5
    pixels, z = project(backproject(depth, CAMERA), CAMERA)
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    torch.testing.assert_close(z, depth)
    torch.testing.assert_close(pixels, torch.stack([columns, rows], dim=-1), atol=1e-4, rtol=0)


def test_points_behind_the_camera_have_no_positive_depth_and_no_nan():
    pixels, z = project(torch.tensor([[0.1, 0.2, -1.0], [0.1, 0.2, 0.0]]), CAMERA)
    assert (z <= 0).all()
    assert torch.isfinite(pixels).all()
