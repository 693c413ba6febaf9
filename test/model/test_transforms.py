"""Chains of transforms without tf2."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gnesf_model.frame import FrameDropped
from gnesf_model.geometry import interpolate_pose, invert
from gnesf_model.trajectory import NotReady
from gnesf_model.transforms import TransformTree


def random_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    matrix[:3, 3] = rng.normal(size=3)
    return matrix


def failure(tree: TransformTree, target: str, source: str, stamp: int) -> NotReady:
    with pytest.raises(NotReady) as caught:
        tree.lookup(target, source, stamp)
    return caught.value


@pytest.fixture
def tree() -> TransformTree:
    """map -> odom -> base_link (moving) -> link -> optical (static), and base_link -> lidar (static)."""
    tree = TransformTree(max_gap_s=0.2)
    for stamp in (0, 100_000_000):
        tree.add("map", "odom", stamp, random_pose(stamp + 1), static=False)
        tree.add("odom", "base_link", stamp, random_pose(stamp + 2), static=False)
    tree.add("base_link", "link", 0, random_pose(3), static=True)
    tree.add("link", "optical", 0, random_pose(4), static=True)
    tree.add("base_link", "lidar", 0, random_pose(5), static=True)
    return tree


def test_chain_multiplies_from_the_target_down(tree):
    expected = random_pose(1) @ random_pose(2) @ random_pose(3) @ random_pose(4)
    np.testing.assert_allclose(tree.lookup("map", "optical", 0), expected, atol=1e-12)


def test_inverse_chain(tree):
    np.testing.assert_allclose(tree.lookup("optical", "map", 0), invert(tree.lookup("map", "optical", 0)), atol=1e-12)


def test_branches_meet_at_their_common_ancestor_at_any_stamp(tree):
    expected = invert(random_pose(3) @ random_pose(4)) @ random_pose(5)
    far = 10**15  # moving edges above the ancestor have nothing there, and are not needed
    np.testing.assert_allclose(tree.lookup("optical", "lidar", far), expected, atol=1e-12)


def test_every_moving_edge_is_interpolated_by_itself(tree):
    halves = [interpolate_pose(random_pose(s), random_pose(100_000_000 + s), 0.5) for s in (1, 2)]
    np.testing.assert_allclose(tree.lookup("map", "base_link", 50_000_000), halves[0] @ halves[1], atol=1e-12)


def test_frame_to_itself_is_identity_without_any_data():
    np.testing.assert_array_equal(TransformTree(0.1).lookup("a", "/a", 0), np.eye(4))


def test_leading_slashes_are_stripped(tree):
    tree.add("/lidar", "/mirror", 0, random_pose(6), static=True)
    np.testing.assert_array_equal(tree.lookup("lidar", "mirror", 0), random_pose(6))


def test_unknown_frame_is_named(tree):
    error = failure(tree, "base_link", "thermal", 0)
    assert error.why == "unconnected"
    assert error.may_come
    assert "base_link -> thermal" in str(error)
    assert "never named thermal" in str(error)


def test_separate_trees_are_named_by_their_roots(tree):
    tree.add("other_root", "thermal", 0, np.eye(4), static=True)
    error = failure(tree, "base_link", "thermal", 0)
    assert "roots map and other_root" in str(error)


def test_edge_without_data_at_the_stamp_is_named(tree):
    tree.add("odom", "base_link", 250_000_000, np.eye(4), static=False)
    tree.add("odom", "base_link", 600_000_000, np.eye(4), static=False)
    cases = {-1: "too_early", 110_000_000: "not_yet", 300_000_000: "gap"}
    for stamp, why in cases.items():
        target = "map" if why == "not_yet" else "odom"
        error = failure(tree, target, "optical", stamp)
        assert error.why == why
        assert ("map -> odom" if why == "not_yet" else "odom -> base_link") in str(error)


def test_cycles_are_refused_and_the_tree_stays(tree):
    before = tree.lookup("map", "optical", 0)
    for parent, child in (("optical", "map"), ("optical", "base_link"), ("map", "map")):
        with pytest.raises(FrameDropped, match="cycle") as caught:
            tree.add(parent, child, 0, np.eye(4), static=False)
        assert caught.value.reason == "bad_tf"
    np.testing.assert_array_equal(tree.lookup("map", "optical", 0), before)


def test_frame_without_name_is_refused():
    with pytest.raises(FrameDropped, match="lacks a frame's name"):
        TransformTree(0.1).add("map", "/", 0, np.eye(4), static=True)


def test_child_with_a_new_parent_leaves_the_old_one(tree):
    tree.add("lidar", "optical", 0, random_pose(8), static=True)
    np.testing.assert_array_equal(tree.lookup("lidar", "optical", 0), random_pose(8))
    np.testing.assert_allclose(
        tree.lookup("link", "optical", 0),
        invert(random_pose(3)) @ random_pose(5) @ random_pose(8),
        atol=1e-12,
    )


def test_moving_edge_with_a_new_parent_starts_a_new_history(tree):
    tree.add("map", "base_link", 50_000_000, random_pose(9), static=False)
    assert failure(tree, "map", "base_link", 0).why == "too_early"
    np.testing.assert_array_equal(tree.lookup("map", "base_link", 50_000_000), random_pose(9))


def test_reset_keeps_static_edges_only(tree):
    tree.reset()
    np.testing.assert_allclose(tree.lookup("base_link", "optical", 0), random_pose(3) @ random_pose(4), atol=1e-12)
    assert failure(tree, "odom", "base_link", 0).why == "unconnected"


def test_a_step_back_starts_the_history_of_that_edge_only(tree):
    second = 10**9
    tree.add("odom", "base_link", 5 * second, random_pose(12), static=False)
    tree.add("odom", "base_link", 3 * second, random_pose(13), static=False)
    assert failure(tree, "odom", "base_link", 0).why == "too_early"
    assert failure(tree, "odom", "base_link", 5 * second).why == "not_yet"
    np.testing.assert_array_equal(tree.lookup("odom", "base_link", 3 * second), random_pose(13))
    np.testing.assert_array_equal(tree.lookup("map", "odom", 0), random_pose(1))


def test_reset_keeps_edges_that_stepped_back_already(tree):
    second = 10**9
    for child in ("base_link", "other"):
        tree.add("odom", child, 5 * second, random_pose(12), static=False)
        tree.add("odom", child, 3 * second, random_pose(13), static=False)
    tree.add("odom", "other", 5 * second, random_pose(14), static=False)
    tree.reset(3 * second)
    np.testing.assert_array_equal(tree.lookup("odom", "base_link", 3 * second), random_pose(13))
    for frame in ("map", "other"):
        assert failure(tree, "odom", frame, 3 * second).why == "unconnected"


def test_latest_static_transform_counts(tree):
    tree.add("base_link", "lidar", 0, random_pose(11), static=True)
    np.testing.assert_array_equal(tree.lookup("base_link", "lidar", 0), random_pose(11))
