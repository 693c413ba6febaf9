"""What may become a frame, and the reason under which the rest is counted."""

import dataclasses

import numpy as np
import pytest
import torch

from gnesf_model.frame import Camera, Frame, FrameDropped, check_pose, clean_depth
from gnesf_model.geometry import backproject

CAMERA = Camera(width=8, height=6, fx=7.0, fy=7.5, cx=3.5, cy=2.5)
SIZE = (6, 8)


def frame(**changes) -> Frame:
    values = {
        "stamp_ns": 5,
        "rgb": np.zeros((*SIZE, 3), np.uint8),
        "camera": CAMERA,
        "world_T_cam": np.eye(4),
        "depth": np.ones(SIZE, np.float32),
        "labels": np.zeros(SIZE, np.uint8),
    }
    return Frame(**{**values, **changes})


def with_value(value: float) -> np.ndarray:
    depth = np.ones(SIZE, np.float32)
    depth[2, 3] = value
    return depth


def changed(row: int, column: int, value: float) -> np.ndarray:
    pose = np.eye(4)
    pose[row, column] = value
    return pose


def test_valid_frames_are_made():
    frame()
    frame(depth=None, labels=None)
    frame(depth=np.zeros(SIZE, np.float32))


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("image_size", {"rgb": np.zeros((*SIZE, 4), np.uint8)}),
        ("image_size", {"rgb": np.zeros((6, 9, 3), np.uint8)}),
        ("image_size", {"rgb": np.zeros((*SIZE, 3), np.float32)}),
        ("depth_size", {"depth": np.ones((3, 4), np.float32)}),
        ("depth_size", {"depth": np.ones(SIZE, np.float64)}),
        ("bad_depth", {"depth": with_value(np.nan)}),
        ("bad_depth", {"depth": with_value(np.inf)}),
        ("bad_depth", {"depth": with_value(-0.1)}),
        ("label_size", {"labels": np.zeros((3, 4), np.uint8)}),
        ("label_size", {"labels": np.zeros(SIZE, np.int64)}),
        ("bad_pose", {"world_T_cam": changed(0, 3, np.nan)}),
        ("bad_pose", {"world_T_cam": np.eye(3)}),
    ],
)
def test_what_does_not_fit_is_dropped_with_its_reason(reason, changes):
    with pytest.raises(FrameDropped) as caught:
        frame(**changes)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "pose",
    [
        changed(0, 3, np.inf),
        changed(0, 0, 1.01),
        changed(0, 1, 0.01),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        changed(3, 0, 0.1),
        np.zeros((4, 4)),
    ],
    ids=["infinite", "scaled", "sheared", "mirrored", "last row", "zeros"],
)
def test_only_rigid_poses_pass(pose):
    with pytest.raises(FrameDropped) as caught:
        check_pose(pose)
    assert caught.value.reason == "bad_pose"


def test_poses_printed_with_few_digits_pass():
    angle = np.deg2rad(33.3)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    check_pose(np.round(pose, 4))


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": -3},
        {"width": 20_000},
        {"fx": 0.0},
        {"fy": -1.0},
        {"cx": np.nan},
        {"cy": np.inf},
    ],
    ids=str,
)
def test_impossible_cameras_are_refused(change):
    with pytest.raises(FrameDropped) as caught:
        dataclasses.replace(CAMERA, **change)
    assert caught.value.reason == "bad_camera_info"


def test_camera_matrix_round_trip():
    assert Camera.from_matrix(CAMERA.K, 8, 6) == CAMERA


@pytest.mark.parametrize("stride", [2, 4])
def test_strided_camera_sees_the_centre_of_each_block(stride):
    small = CAMERA.strided(stride)
    assert (small.width, small.height) == (-(-8 // stride), -(-6 // stride))
    full = backproject(torch.ones(SIZE), CAMERA)
    coarse = backproject(torch.ones(small.height, small.width), small)
    torch.testing.assert_close(coarse[0, 1], full[:stride, stride : 2 * stride].mean(dim=(0, 1)))


def test_strided_camera_with_offset_zero_keeps_every_nth_pixel():
    full = backproject(torch.ones(SIZE), CAMERA)
    coarse = backproject(torch.ones(3, 4), CAMERA.strided(2, offset=0))
    torch.testing.assert_close(coarse, full[::2, ::2])


def test_clean_depth_scales_and_leaves_nothing_but_measurements():
    np.testing.assert_allclose(clean_depth(np.array([[0, 1500]], np.uint16), 0.001), [[0, 1.5]], rtol=1e-6)
    raw = np.array([[np.nan, np.inf, -np.inf, -2.0, 0.0, 2.5]])
    cleaned = clean_depth(raw)
    assert cleaned.dtype == np.float32
    np.testing.assert_array_equal(cleaned, [[0, 0, 0, 0, 0, 2.5]])
    assert np.isnan(raw[0, 0])  # the input is not touched
