"""The pose at a stamp, or why there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gnesf_model.geometry import motion
from gnesf_model.trajectory import NotReady, PoseBuffer

MS = 1_000_000


def pose(x: float, yaw_deg: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix()
    matrix[0, 3] = x
    return matrix


def why(buffer: PoseBuffer, stamp_ns: int) -> str:
    with pytest.raises(NotReady) as caught:
        buffer.at(stamp_ns)
    assert caught.value.reason == "no_pose"
    return caught.value.why


def test_exact_stamp_gives_the_pose_as_received():
    buffer = PoseBuffer(max_gap_s=0.1)
    received = pose(0.1, 33.3)
    received[:3, :3] *= 1 + 1e-7  # what interpolation would normalise
    for i, item in enumerate((pose(0.0), received, pose(0.2))):
        buffer.add(i * 50 * MS, item)
    np.testing.assert_array_equal(buffer.at(50 * MS), received)


def test_single_pose_at_its_stamp_needs_no_neighbour():
    buffer = PoseBuffer(max_gap_s=0.1)
    buffer.add(7, pose(3.0))
    np.testing.assert_array_equal(buffer.at(7), pose(3.0))


def test_between_poses_translation_is_linear_and_rotation_at_constant_speed():
    buffer = PoseBuffer(max_gap_s=1.0)
    buffer.add(0, pose(0.0, 0.0))
    buffer.add(100 * MS, pose(1.0, 40.0))
    distance, angle = motion(pose(0.25, 10.0), buffer.at(25 * MS))
    assert distance < 1e-12
    assert angle < 1e-6


def test_rotation_takes_the_short_way_across_180_degrees():
    buffer = PoseBuffer(max_gap_s=1.0)
    buffer.add(0, pose(0.0, 170.0))
    buffer.add(100 * MS, pose(0.0, -170.0))
    assert motion(pose(0.0, 180.0), buffer.at(50 * MS))[1] < 1e-6


def test_missing_poses_are_told_apart():
    buffer = PoseBuffer(max_gap_s=0.1)
    assert why(buffer, 0) == "not_yet"
    for stamp in (100, 150, 400):
        buffer.add(stamp * MS, pose(0.0))
    assert why(buffer, 99 * MS) == "too_early"
    assert why(buffer, 200 * MS) == "gap"
    assert why(buffer, 401 * MS) == "not_yet"
    buffer.at(125 * MS)


def test_only_newer_data_are_worth_waiting_for():
    buffer = PoseBuffer(max_gap_s=0.1)
    for stamp in (100, 400):
        buffer.add(stamp * MS, pose(0.0))
    may_come = {}
    for stamp in (50, 200, 500):
        with pytest.raises(NotReady) as caught:
            buffer.at(stamp * MS)
        may_come[stamp] = caught.value.may_come
    assert may_come == {50: False, 200: False, 500: True}


def test_gap_message_names_the_gap_and_the_setting():
    buffer = PoseBuffer(max_gap_s=0.1, name="transform odom -> base_link")
    buffer.add(0, pose(0.0))
    buffer.add(300 * MS, pose(0.0))
    with pytest.raises(NotReady, match=r"odom -> base_link.*0\.300 s.*max_pose_gap_s"):
        buffer.at(100 * MS)


def test_first_of_two_poses_with_one_stamp_is_kept():
    buffer = PoseBuffer(max_gap_s=0.1)
    buffer.add(5, pose(1.0))
    buffer.add(5, pose(2.0))
    assert len(buffer) == 1
    assert buffer.at(5)[0, 3] == 1.0


def test_callers_cannot_change_what_is_remembered():
    buffer = PoseBuffer(max_gap_s=0.1)
    mine = pose(1.0)
    buffer.add(5, mine)
    mine[0, 3] = 9.0
    buffer.at(5)[0, 3] = 9.0
    assert buffer.at(5)[0, 3] == 1.0


@settings(deadline=None)
@given(order=st.permutations(range(12)), query=st.integers(0, 11 * 10))
def test_order_of_arrival_does_not_matter(order, query):
    in_order, shuffled = (PoseBuffer(max_gap_s=1.0) for _ in range(2))
    for i in range(12):
        in_order.add(i * 10, pose(i * 0.1, 5.0 * i))
    for i in order:
        shuffled.add(i * 10, pose(i * 0.1, 5.0 * i))
    np.testing.assert_array_equal(in_order.at(query), shuffled.at(query))


def test_memory_is_bounded_at_400_hz():
    buffer = PoseBuffer(max_gap_s=0.5, max_age_s=5.0)
    step = 2_500_000
    for i in range(8000):  # 20 s
        buffer.add(i * step, np.eye(4))
    assert len(buffer) == 5.0 / 0.0025 + 1
    assert why(buffer, 0) == "too_early"
    buffer.add(0, np.eye(4))  # too old to be of use
    assert len(buffer) == 5.0 / 0.0025 + 1


def test_reset_forgets():
    buffer = PoseBuffer(max_gap_s=0.5)
    buffer.add(10**18, pose(0.0))
    buffer.reset()
    buffer.add(10, pose(1.0))
    assert buffer.at(10)[0, 3] == 1.0
