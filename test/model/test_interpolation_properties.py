"""Poses between poses, along chains of frames: rigid, on the way from one to the other, the same from both ends."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gnesf_model.frame import FrameDropped, check_pose
from gnesf_model.geometry import motion
from gnesf_model.trajectory import NotReady, PoseBuffer
from gnesf_model.transforms import TransformTree

QUICK = settings(max_examples=80, deadline=None)
METRES = st.floats(-100.0, 100.0)
STAMPS = st.integers(0, 2**62)


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    pose = np.eye(4)
    turn = np.array(draw(st.tuples(*[st.floats(-3.1, 3.1)] * 3)))
    pose[:3, :3] = Rotation.from_rotvec(turn / max(1.0, np.linalg.norm(turn) / 3.1)).as_matrix()
    pose[:3, 3] = draw(st.tuples(METRES, METRES, METRES))
    return pose


@QUICK
@given(first=poses(), last=poses(), start=STAMPS, step=st.integers(1, 10**9), share=st.floats(0.0, 1.0))
def test_between_two_poses(first, last, start, step, share) -> None:
    whole_m, whole_deg = motion(first, last)
    assume(whole_deg < 179.0)  # to the opposite there is no one way
    buffer = PoseBuffer(max_gap_s=1.0)
    buffer.add(start, first)
    buffer.add(start + step, last)
    stamp = start + round(share * step)
    pose = buffer.at(stamp)
    check_pose(pose)
    share = (stamp - start) / step
    distance, angle = motion(first, pose)
    assert abs(distance - share * whole_m) < 1e-6 + 1e-9 * whole_m
    assert abs(angle - share * whole_deg) < 1e-3
    np.testing.assert_array_equal(buffer.at(start), first)
    np.testing.assert_array_equal(buffer.at(start + step), last)


@QUICK
@given(
    stamps=st.lists(st.integers(0, 10**9), min_size=1, max_size=12),
    pose=poses(),
    asked=st.integers(-(10**9), 2 * 10**9),
)
def test_nothing_is_extrapolated_nor_bridged(stamps, pose, asked) -> None:
    """With poses in any order, and twice, a stamp has a pose exactly where two are near enough around it."""
    gap_ns = 200_000_000
    buffer = PoseBuffer(max_gap_s=0.2)
    for stamp in stamps:
        buffer.add(stamp, pose)
    before = max((s for s in stamps if s <= asked), default=None)
    after = min((s for s in stamps if s >= asked), default=None)
    try:
        found = buffer.at(asked)
    except NotReady as error:
        assert before is None or after is None or after - before > gap_ns
        assert error.why == ("not_yet" if after is None else "too_early" if before is None else "gap")
    else:
        assert before is not None and after is not None and (before == after or after - before <= gap_ns)
        np.testing.assert_allclose(found, pose, atol=1e-9)


FRAMES = [f"f{i}" for i in range(6)]


@QUICK
@given(
    data=st.data(),
    parents=st.tuples(*(st.integers(0, i) for i in range(5))),
    static=st.tuples(*[st.booleans()] * 5),
)
def test_chains_of_frames_agree_from_both_ends(data, parents, static) -> None:
    """a_T_b is the inverse of b_T_a, and a_T_c = a_T_b b_T_c, through static and moving edges."""
    tree = TransformTree(max_gap_s=1.0)
    for child, (parent, fixed) in enumerate(zip(parents, static), start=1):
        for stamp in (0, 10**8):
            tree.add(FRAMES[parent], FRAMES[child], stamp, data.draw(poses()), fixed)
    a, b, c = (data.draw(st.sampled_from(FRAMES)) for _ in range(3))
    stamp = data.draw(st.integers(0, 10**8))
    a_T_b, b_T_a, b_T_c, a_T_c = (tree.lookup(*pair, stamp) for pair in ((a, b), (b, a), (b, c), (a, c)))
    check_pose(a_T_b)
    np.testing.assert_allclose(a_T_b @ b_T_a, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(a_T_b @ b_T_c, a_T_c, atol=1e-6)


@QUICK
@given(
    edges=st.lists(
        st.tuples(st.sampled_from(["", "/", *FRAMES]), st.sampled_from(FRAMES), st.integers(0, 10**10), st.booleans()),
        max_size=20,
    )
)
def test_no_edges_break_the_tree(edges) -> None:
    """Loops, empty names, other parents, stamps in any order: each edge is taken or refused by name."""
    tree = TransformTree(max_gap_s=1.0)
    for parent, child, stamp, static in edges:
        try:
            tree.add(parent, child, stamp, np.eye(4), static)
        except FrameDropped as drop:
            assert drop.reason == "bad_tf"
    for source in FRAMES:
        try:
            np.testing.assert_allclose(tree.lookup(FRAMES[0], source, 10**9), np.eye(4), atol=1e-9)
        except NotReady as error:
            assert error.reason == "no_pose"
