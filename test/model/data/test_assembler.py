"""Frames from separate streams: pairing, waiting, chaining of poses, and a reason for every loss."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording import CAMERA, OPTICAL, START_NS, assert_same, pose

from gnesf_model.config import InputConfig
from gnesf_model.data.assembler import FrameAssembler
from gnesf_model.data.pose_chain import LINK_T_OPTICAL
from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import Frame
from gnesf_model.geometry import interpolate_pose, invert, quaternion_from_pose

MS = 1_000_000
RGB = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
DEPTH = np.ones((CAMERA.height, CAMERA.width), np.float32)
TILTED = LINK_T_OPTICAL @ pose(5.0, 20.0, (0.1, -0.3, 0.4))
ZOOMED = dataclasses.replace(CAMERA, fx=60.0)
Event = Callable[[FrameAssembler], None]


def at(ms: float) -> int:
    return START_NS + round(ms * MS)


def color(ms: float, frame: str = OPTICAL) -> Event:
    return lambda a: a.add_color(at(ms), frame, RGB)


def depth(ms: float, value: float = 1.0, frame: str = OPTICAL) -> Event:
    return lambda a: a.add_depth(at(ms), frame, DEPTH * np.float32(value))


def info() -> Event:
    return lambda a: a.add_camera_info(Rectifier(CAMERA))


def posed(ms: float, frame: str = "odom", child: str | None = None, value: np.ndarray | None = None) -> Event:
    value = pose(0.1 * ms, 0.0, (0.001 * ms, 0, 0)) if value is None else value
    return lambda a: a.add_pose(at(ms), frame, child, value)


def tf(parent: str, child: str, value: np.ndarray, ms: float = 0.0, static: bool = False) -> Event:
    return lambda a: a.add_transform(parent, child, at(ms), value, static)


def run(assembler: FrameAssembler, *events: Event, flush: bool = True) -> list[Frame]:
    """Frames of the events in this order, polled after each as a bag's reader does."""
    frames = []
    for event in events:
        event(assembler)
        frames += assembler.poll()
    return frames + assembler.poll(flush=True) if flush else frames


def make(depth_use: str = "required", source: str = "pose", **config) -> FrameAssembler:
    return FrameAssembler(InputConfig(pose_source=source, **config), depth_use)


def stamps(frames: list[Frame]) -> list[float]:
    return [(f.stamp_ns - START_NS) / MS for f in frames]


# Pairing and waiting


def test_frame_is_ready_as_soon_as_everything_is_there():
    a = make()
    assert not run(a, info(), color(50), depth(50), posed(0), flush=False)
    (frame,) = run(a, posed(100), flush=False)
    np.testing.assert_allclose(frame.world_T_cam[0, 3], 0.05)
    assert not a.drops
    assert a.missing() == []


def test_depth_with_the_nearest_stamp_is_taken():
    a = make(sync_tolerance_s=0.02)
    (frame,) = run(a, info(), posed(0), posed(200), depth(85, 1.0), color(100), depth(108, 2.0), depth(109, 3.0))
    assert frame.depth[0, 0] == 2.0


def test_depth_before_is_not_settled_until_one_at_or_after_came():
    a = make()
    assert not run(a, info(), posed(0), posed(200), depth(95), color(100), flush=False)
    assert "no depth image at or after" in a.missing()[-1]
    assert stamps(run(a, depth(128), flush=False)) == [100]


def test_depth_too_far_away_drops_the_frame():
    a = make(sync_tolerance_s=0.02)
    assert not run(a, info(), posed(0), posed(200), depth(70), color(100), depth(130))
    assert a.drops == {"no_depth": 1}
    assert "0.0300 s away, at most 0.02 s" in a.last_message["no_depth"]


def test_optional_depth_yields_the_frame_without():
    a = make("optional", sync_tolerance_s=0.02)
    frames = run(a, info(), posed(0), posed(200), depth(40), color(50), depth(60), color(100), depth(150))
    assert [f.depth is None for f in frames] == [False, True]
    assert not a.drops


def test_optional_depth_is_waited_for_only_while_there_is_a_stream_of_it():
    a = make("optional", pose_wait_s=0.5)
    assert stamps(run(a, info(), posed(0), posed(110), color(50), flush=False)) == [50]
    assert not run(a, depth(90), color(100), flush=False), "the next one may be nearer"
    (frame,) = run(a, depth(101), flush=False)
    assert frame.depth is not None
    assert stamps(run(a, posed(640), posed(660), color(650), flush=False)) == [650], "the stream has ended"
    assert not a.drops


@pytest.mark.parametrize("reason", ["depth_not_registered", "depth_size"])
def test_optional_depth_that_does_not_fit_is_left_out_and_said(reason: str):
    a = make("optional")
    shape = np.s_[:] if reason == "depth_not_registered" else np.s_[::2]
    frame_id = "elsewhere" if reason == "depth_not_registered" else OPTICAL
    unfit = lambda a: a.add_depth(at(10), frame_id, DEPTH[shape])  # noqa: E731
    (frame,) = run(a, info(), posed(0), posed(200), unfit, color(5))
    assert frame.depth is None and frame.world_T_depth is None
    assert (a.drops, a.notices) == ({}, {reason: 1})
    assert a.last_message[reason]


def test_depth_is_ignored_where_it_is_not_used():
    (frame,) = run(make("none"), info(), posed(0), depth(0), color(0))
    assert frame.depth is None


def test_depth_of_another_size_is_dropped():
    a = make()
    run(a, info(), posed(0), lambda a: a.add_depth(at(0), OPTICAL, DEPTH[::2]), color(0))
    assert a.drops == {"depth_size": 1}


def test_depth_of_another_camera_is_dropped_unless_it_sits_at_the_same_place():
    a = make()
    other = depth(0, frame="camera_depth_optical_frame")
    run(a, info(), posed(0), other, color(0))
    assert a.drops == {"depth_not_registered": 1}
    assert "camera_depth_optical_frame" in a.last_message["depth_not_registered"]
    same = tf(OPTICAL, "camera_depth_optical_frame", np.eye(4), static=True)
    assert len(run(make(), same, info(), posed(0), other, color(0))) == 1


def test_image_of_another_size_than_the_camera_info_is_dropped():
    a = make("none")
    run(a, info(), posed(0), lambda a: a.add_color(at(0), OPTICAL, RGB[:-1]))
    assert a.drops == {"image_size": 1}


def test_no_camera_info_is_said_and_counted():
    a = make("none")
    run(a, posed(0), color(0), flush=False)
    assert a.missing() == ["no usable camera info yet"]
    run(a, color(600), posed(600))
    assert a.drops == {"no_camera_info": 2}


def test_waiting_is_measured_in_stamps_and_frames_keep_their_order():
    a = make("none", pose_wait_s=0.5)
    events = [info(), *(color(100 * i) for i in range(6)), posed(0)]
    assert stamps(run(a, *events, flush=False)) == [0]
    assert not run(a, color(600), flush=False)  # the frame at 100 ms has waited for exactly 500 ms
    assert not a.drops
    run(a, color(610), flush=False)
    assert a.drops == {"no_pose": 1}
    assert "0.100 s older than the image" in a.last_message["no_pose"]
    assert stamps(run(a, posed(500), flush=False)) == [200, 300, 400, 500]


def test_live_the_callers_clock_ends_waiting_even_if_it_shows_another_time_than_the_stamps():
    a = make("none", pose_wait_s=0.5)
    a.add_camera_info(Rectifier(CAMERA))
    color(0)(a)
    wall = 2 * START_NS
    a.poll(now_ns=wall)
    a.poll(now_ns=wall + 500 * MS)
    assert not a.drops
    a.poll(now_ns=wall + 501 * MS)
    assert a.drops == {"no_pose": 1}


def test_poses_are_not_extrapolated_nor_interpolated_over_gaps():
    a = make("none", max_pose_gap_s=0.1)
    frames = run(a, info(), color(0), posed(10), posed(50), color(20), posed(200), color(100), color(250))
    assert stamps(frames) == [20]
    assert a.drops == {"no_pose": 3}


def test_future_transforms_do_not_end_waiting():
    a = make("none", global_frame="map")
    future = [tf("map", "odom", np.eye(4), ms) for ms in (0, 400, 800, 1200, 1600)]  # AMCL stamps ahead
    assert not run(a, info(), *future, color(300), flush=False)
    assert stamps(run(a, posed(300), flush=False)) == [300]


# Depth of another moment


def test_depth_has_the_pose_of_its_own_stamp():
    a = make()
    (frame,) = run(a, info(), color(100), depth(110), posed(0), posed(200))
    np.testing.assert_allclose(frame.world_T_cam, interpolate_pose(pose(0.0), pose(20.0, 0.0, (0.2, 0, 0)), 0.5))
    np.testing.assert_allclose(frame.world_T_depth, interpolate_pose(pose(0.0), pose(20.0, 0.0, (0.2, 0, 0)), 0.55))
    assert frame.depth_stamp_ns == at(110)


def test_depth_of_the_same_moment_says_nothing_of_its_own():
    (frame,) = run(make(), info(), color(100), depth(100), posed(0), posed(200))
    assert frame.world_T_depth is None
    assert frame.depth_stamp_ns is None


def test_the_pose_of_depth_is_waited_for():
    a = make()
    assert not run(a, info(), posed(0), posed(105), color(100), depth(110), flush=False)
    assert len(run(a, posed(200), flush=False)) == 1


# Registration


def depth_info(fx: float = 30.0, ms: float = 0.0) -> Event:
    camera = dataclasses.replace(CAMERA, fx=fx)
    return lambda a: a.add_depth_info(Rectifier(camera), at(ms))


def test_depth_of_other_intrinsics_is_refused_with_the_remedy():
    a = make()
    run(a, info(), depth_info(45.0), posed(0), color(0), depth(0))
    assert a.drops == {"depth_not_registered": 1}
    assert "depth_image_proc/register" in a.last_message["depth_not_registered"]
    assert len(run(make(), info(), depth_info(), posed(0), color(0), depth(0))) == 1


def test_depth_that_is_said_to_be_registered_is_taken():
    a = make(depth_registered="always")
    other = depth(0, frame="camera_depth_optical_frame")
    assert len(run(a, info(), depth_info(45.0), posed(0), color(0), other)) == 1


def test_rectified_depth_is_not_rectified_again():
    lens = Rectifier(CAMERA, "plumb_bob", (-0.3, 0.1, 0.0, 0.0))
    pixels = np.random.default_rng(0).uniform(1, 2, DEPTH.shape).astype(np.float32)
    for rectified in (True, False):
        (frame,) = run(
            make(),
            lambda a: a.add_camera_info(lens),
            posed(0),
            color(0),
            lambda a, rectified=rectified: a.add_depth(at(0), OPTICAL, pixels, rectified),
        )
        assert np.array_equal(frame.depth, pixels) == rectified


# Camera infos


def test_each_image_has_the_camera_info_of_its_stamp():
    zoomed = Rectifier(ZOOMED)
    a = make("none")
    events = [(lambda a, i=i: a.add_camera_info(Rectifier(CAMERA) if i < 3 else zoomed, at(33 * i))) for i in range(6)]
    frames = run(a, *(e for i in range(6) for e in (color(33 * i), events[i])), posed(0), posed(300))
    assert [f.camera.fx for f in frames] == [30.0, 30.0, 30.0, 60.0, 60.0, 60.0]


# Turning


def test_how_fast_the_camera_turns_is_known_from_the_poses():
    a = make("none")
    turning = [posed(10 * i, value=pose(0.9 * i)) for i in range(20)]  # 90 degrees per second
    frames = run(a, info(), color(0), color(105), *turning)
    assert frames[0].angular_rate_deg_s is None  # nothing is known before
    assert frames[1].angular_rate_deg_s == pytest.approx(90.0)


# Pose jumps


def moved(ms: float, x: float) -> Event:
    return posed(ms, value=pose(t=(x, 0, 0)))


def test_a_jump_is_counted_once_and_never_interpolated_across():
    a = make("none", pose_jump_m=0.5)
    events = [moved(100 * i, 0.05 * i + (3.0 if i > 4 else 0.0)) for i in range(10)]
    frames = run(a, info(), *events, *(color(50 * i) for i in range(19)))
    assert [f.pose_jumps for f in frames] == [0] * 9 + [1] * 9
    assert a.notices == {"pose_jumped": 1}
    assert a.drops == {"pose_jump": 1}  # the image between the poses on both sides of the jump
    assert "jumped by 3.05 m" in a.last_message["pose_jumped"]
    assert "jumps by 3.05 m around the image" in a.last_message["pose_jump"]


def test_a_correction_of_the_map_frame_is_a_jump_too():
    a = make("none", "odom", global_frame="map", pose_jump_m=0.5)
    jump = [tf("map", "odom", pose(t=(0, 2.0 * (i > 2), 0)), 100 * i) for i in range(6)]
    frames = run(a, info(), *jump, *(posed(100 * i, "odom", OPTICAL, np.eye(4)) for i in range(6)),
                 *(color(100 * i) for i in range(6)))  # fmt: skip
    assert [f.pose_jumps for f in frames] == [0, 0, 0, 1, 1, 1]


def test_a_gap_between_images_is_no_jump():
    a = make("none", pose_jump_m=0.5, max_pose_gap_s=2.0)
    frames = run(a, info(), *(moved(200 * i, 0.3 * i) for i in range(20)), color(0), color(3600))
    assert [f.pose_jumps for f in frames] == [0, 0]  # 5.4 m in 3.6 s
    assert not a.notices


def test_zero_is_no_limit():
    a = make("none", pose_jump_m=0.0)
    frames = run(a, info(), moved(0, 0.0), moved(100, 50.0), color(0), color(50), color(100))
    assert [f.pose_jumps for f in frames] == [0, 0, 0]


def test_a_bag_that_loops_does_not_jump():
    a = make("none", pose_jump_m=0.5)
    loop = [e for i in range(40) for e in (moved(100 * i, 0.1 * i), color(100 * i))]
    run(a, info(), *loop, *loop)
    assert a.drops["clock_jump"] == 1
    assert not a.notices


# Settings that change while messages come


def adjusted(**config) -> Event:
    return lambda a: a.adjust(InputConfig(pose_source="pose", **config))


def test_another_jump_limit_holds_from_the_next_image_on():
    a = make("none", pose_jump_m=0.5)
    steps = [e for i in range(6) for e in (moved(100 * i, 0.45 * i), color(100 * i))]  # 0.3 of it is fast, no jump
    frames = run(a, info(), *steps[:6], adjusted(pose_jump_m=0.1), *steps[6:10], adjusted(pose_jump_m=0.0), *steps[10:])
    assert [f.pose_jumps for f in frames] == [0, 0, 0, 1, 2, 2]
    # What is interpolated between goes by the same limit, for poses that were there before as well.
    run(a, adjusted(pose_jump_m=0.1), moved(600, 2.7), color(550), color(600))
    assert a.drops == {"pose_jump": 1}


def test_another_jump_limit_holds_for_transforms_that_are_there_already():
    a = make("none", "odom", global_frame="map", pose_jump_m=0.5)
    edges = [tf("map", "odom", pose(t=(0, 0.45 * i, 0)), 100 * i) for i in range(3)]
    run(a, info(), *edges, *(posed(50 * i, "odom", OPTICAL, np.eye(4)) for i in range(5)))
    assert stamps(run(a, color(50))) == [50]
    a.adjust(InputConfig(pose_source="odom", global_frame="map", pose_jump_m=0.1))
    assert not run(a, color(150)) and a.drops == {"pose_jump": 1}


def test_another_tolerance_pairs_depth_that_is_there_already():
    a = make(sync_tolerance_s=0.02)
    run(a, info(), *(posed(10 * i) for i in range(30)), depth(40), color(10), depth(140), color(110), flush=False)
    assert a.drops == {"no_depth": 2}
    assert stamps(run(a, adjusted(sync_tolerance_s=0.04), depth(240), color(210), flush=False)) == [210]
    assert a.drops == {"no_depth": 2}


def test_images_that_wait_go_by_another_waiting_time():
    a = make("none", pose_wait_s=5.0)
    assert not run(a, info(), posed(0), color(50), color(600), flush=False)
    assert a.waiting == 2 and not a.drops
    assert not run(a, adjusted(pose_wait_s=0.5), flush=False)
    assert a.waiting == 1 and a.drops == {"no_pose": 1}, "one waits longer than that already"


def test_poses_are_kept_for_another_waiting_time():
    a = make("none", pose_wait_s=0.5)  # poses are kept for 7 s
    run(a, info(), adjusted(pose_wait_s=10.0), *(posed(100 * i) for i in range(101)), flush=False)
    assert stamps(run(a, color(50))) == [50]


def test_another_gap_is_interpolated_over():
    a = make("none", max_pose_gap_s=0.5)
    run(a, info(), posed(0), posed(800), color(300))
    assert a.drops == {"no_pose": 1}
    assert stamps(run(a, adjusted(max_pose_gap_s=1.0), color(400))) == [400]


# Interleaving


def _streams() -> list[list[Event]]:
    base_T_optical = TILTED
    return [
        [lambda a, i=i: a.add_camera_info(Rectifier(CAMERA if i < 5 else ZOOMED), at(33 * i)) for i in range(8)],
        [tf("base_link", OPTICAL, base_T_optical, static=True)],
        [color(33 * i) for i in range(8)],
        [depth(33 * i + 4, 1.0 + i) for i in range(8)],
        [posed(20 * i, "odom", "base_link") for i in range(14)],
        [tf("map", "odom", pose(ms * 0.01), ms) for ms in range(0, 301, 50)],
    ]


def _frames_of(order: list[int]) -> tuple[list[Frame], dict]:
    queues = [iter(stream) for stream in _streams()]
    a = make(source="odom", global_frame="map", pose_wait_s=60.0)
    return run(a, *(next(queues[i]) for i in order)), dict(a.drops)


@settings(max_examples=40, deadline=None)
@given(st.permutations([i for i, stream in enumerate(_streams()) for _ in stream]))
def test_the_same_messages_give_the_same_frames_however_topics_interleave(order):
    expected, drops = _frames_of(sorted(order))
    frames, others = _frames_of(order)
    assert len(frames) == 8
    assert drops == others == {}
    assert_same(frames, expected, tolerance=0.0)


# Whose pose it is


def one(a: FrameAssembler, *events: Event) -> np.ndarray:
    (frame,) = run(a, info(), *events, color(0))
    assert not a.drops
    return frame.world_T_cam


WORLD_T_CAM = pose(30.0, 10.0, (1.0, 2.0, 0.5))


def test_pose_of_the_optical_frame_is_taken_as_it_is():
    np.testing.assert_array_equal(one(make("none"), posed(0, value=WORLD_T_CAM)), WORLD_T_CAM)


def test_pose_of_camera_link_is_turned_by_rep_103():
    got = one(make("none", pose_frame="camera_link"), posed(0, value=np.eye(4)))
    np.testing.assert_array_equal(got[:3, :3] @ [0, 0, 1], [1, 0, 0])  # optical z looks along x, forward
    np.testing.assert_array_equal(got[:3, :3] @ [1, 0, 0], [0, -1, 0])  # optical x is right
    np.testing.assert_array_equal(got[:3, :3] @ [0, 1, 0], [0, 0, -1])  # optical y is down


def _tilted_setups():
    world_T_base = WORLD_T_CAM @ invert(TILTED)
    static = tf("base_link", OPTICAL, TILTED, static=True)
    parameter = [*TILTED[:3, 3], *quaternion_from_pose(TILTED)]
    base_in_tf = tf("odom", "base_link", world_T_base)
    return {
        "odometry + tf_static": (make("none", "odom"), [static, posed(0, "odom", "base_link", world_T_base)]),
        "odometry + parameter": (
            make("none", "odom", body_T_camera=parameter),
            [posed(0, "odom", "base_link", world_T_base)],
        ),
        "pose of a named frame": (
            make("none", pose_frame="/base_link"),
            [static, posed(0, value=world_T_base)],
        ),
        "pose + parameter": (make("none", body_T_camera=parameter), [posed(0, value=world_T_base)]),
        "odometry of the optical frame": (make("none", "odom"), [posed(0, "odom", OPTICAL, WORLD_T_CAM)]),
        "tf": (make("none", "tf"), [static, base_in_tf]),
        "tf + parameter": (
            make("none", "tf", pose_frame="base_link", body_T_camera=parameter),
            [base_in_tf],
        ),
        "another world frame joined by tf": (
            make("none", "odom", global_frame="map"),
            [
                static,
                tf("map", "odom", pose(50.0)),
                posed(0, "odom", "base_link", invert(pose(50.0)) @ world_T_base),
            ],
        ),
        "moving head": (
            make("none", "odom"),
            [tf("base_link", OPTICAL, TILTED), posed(0, "odom", "base_link", world_T_base)],
        ),
    }


@pytest.mark.parametrize("name", _tilted_setups())
def test_a_tilted_camera_on_a_base_gives_the_pose_of_the_optical_frame(name):
    assembler, events = _tilted_setups()[name]
    np.testing.assert_allclose(one(assembler, *events), WORLD_T_CAM, atol=1e-12)


def test_every_link_is_interpolated_at_the_image_stamp():
    a = make("none", "odom", global_frame="map")
    drift = [pose(0.0), pose(10.0, 0.0, (0.4, 0.0, 0.0))]
    body = [pose(0.0), pose(0.0, 8.0, (0.0, 0.5, 0.0))]
    frames = run(
        a, info(), color(25),
        tf("map", "odom", drift[0], 0), tf("map", "odom", drift[1], 100),
        posed(0, "odom", OPTICAL, body[0]), posed(50, "odom", OPTICAL, body[1]),
    )  # fmt: skip
    expected = interpolate_pose(*drift, 0.25) @ interpolate_pose(*body, 0.5)
    np.testing.assert_allclose(frames[0].world_T_cam, expected, atol=1e-12)


def test_without_extrinsics_nothing_is_mapped_and_the_missing_edge_is_named():
    a = make("none", "odom")
    assert not run(a, info(), posed(0, "odom", "base_link"), color(0), flush=False)
    edge = f"base_link -> {OPTICAL}"
    assert edge in a.missing()[-1]
    assert not a.poll(flush=True)
    assert a.drops == {"no_extrinsics": 1}
    assert edge in a.last_message["no_extrinsics"]
    assert "input.body_T_camera" in a.last_message["no_extrinsics"]


def test_extrinsics_that_come_late_are_waited_for():
    a = make("none", "odom")
    events = [info(), posed(0, "odom", "base_link"), color(0)]
    assert not run(a, *events, flush=False)
    assert len(run(a, tf("base_link", OPTICAL, TILTED, static=True), flush=False)) == 1


def test_wrong_world_frame_says_what_to_set():
    a = make("none")
    assert not run(a, info(), posed(0, "map"), color(0))
    assert a.drops == {"wrong_world_frame": 1}
    assert "set input.global_frame:=map" in a.last_message["wrong_world_frame"]


def test_tf_source_names_the_edge_it_lacks():
    a = make("none", "tf")
    assert not run(a, info(), tf("odom", "base_link", np.eye(4)), color(0))
    assert a.drops == {"no_pose": 1}
    assert re.search(f"odom -> {OPTICAL}.*never named {OPTICAL}", a.last_message["no_pose"])


def test_poses_of_two_publishers_are_not_mixed():
    a = make("none")
    run(a, info(), posed(0, "odom"), posed(10, "map"), color(5))
    assert a.drops == {"pose_frames_changed": 1, "wrong_world_frame": 1}


def test_auto_waits_until_the_source_is_settled():
    a = make("none", "auto")
    assert not run(a, info(), posed(0), color(0), flush=False)
    assert a.missing() == ["no pose, odom or tf message yet", *a.missing()[1:]]
    a.use_pose_source("pose")
    assert len(a.poll()) == 1
    assert a.pose_source == "pose"


def test_pose_source_and_body_T_camera_are_checked():
    with pytest.raises(ValueError, match="'gps', expected one of pose, pose_with_covariance, transform, odom, tf"):
        make("none", "auto").use_pose_source("gps")
    with pytest.raises(ValueError, match=r"input\.body_T_camera.*norm 2"):
        make(body_T_camera=[0.0, 0, 0, 0, 0, 0, 2])
    with pytest.raises(ValueError, match=r"set it to the TF frame.*base_link"):
        make(source="tf", body_T_camera=[0.0, 0, 0, 0, 0, 0, 1])


def test_cyclic_and_non_rigid_transforms_are_counted():
    a = make("none")
    tf("a", "b", np.eye(4))(a)
    tf("b", "a", np.eye(4))(a)
    assert a.drops == {"bad_tf": 1}
    run(a, info(), posed(0, value=np.diag([2.0, 1, 1, 1])), color(0))
    assert a.drops["bad_pose"] == 1


# Bad streams


def test_duplicates_and_stragglers_are_counted():
    a = make()
    frames = run(
        a, info(), posed(0), posed(300),
        color(100), depth(100), color(100), depth(100), color(40), color(50), depth(140),
    )  # fmt: skip
    assert stamps(frames) == [100]
    assert a.drops == {"duplicate_stamp": 2, "out_of_order": 2}


def test_images_that_overtake_each_other_while_waiting_come_out_in_order():
    a = make("none")
    assert stamps(run(a, info(), color(30), color(10), color(20), posed(0), posed(40))) == [10, 20, 30]


@pytest.mark.parametrize("source", ["pose", "tf"])
def test_a_looped_bag_starts_over(source):
    a = make(source=source)

    def motion(ms):
        return posed(ms) if source == "pose" else tf("odom", OPTICAL, pose(0.1 * ms), ms)

    loop = [e for ms in range(0, 3001, 100) for e in (motion(ms), depth(ms), color(ms))]
    first = run(a, info(), *loop, flush=False)
    second = run(a, *loop, flush=False)
    assert len(first) == 31
    assert_same(first, second, tolerance=0.0)
    assert a.drops["clock_jump"] == 1
    assert set(a.drops) == {"clock_jump"}


def test_images_that_wait_at_a_clock_jump_are_counted():
    a = make("none")
    run(a, info(), color(5000), color(5100), flush=False)
    run(a, color(0), posed(0), flush=False)
    assert a.drops == {"clock_jump": 2}


def test_a_clock_that_steps_back_starts_over():
    a = make("none")
    a.poll(now_ns=10_000 * MS)
    a.poll(now_ns=9_500 * MS)
    assert not a.drops
    a.poll(now_ns=100 * MS)
    assert a.drops["clock_jump"] == 1


def test_static_transforms_and_camera_info_survive_a_clock_jump():
    a = make("none", "odom")
    run(a, info(), tf("base_link", OPTICAL, TILTED, static=True), posed(5000, "odom", "base_link"))
    assert len(run(a, posed(0, "odom", "base_link"), color(0))) == 1


def test_a_transform_of_something_else_that_steps_back_costs_no_frame():
    a = make("none", "tf")
    events = [info()]
    for i in range(60):
        ms = 3000 + 33 * i
        events += [tf("odom", OPTICAL, pose(0.1 * i), ms), tf("map", "object_7", np.eye(4), ms - 2000 * (i % 2))]
        events.append(color(ms))
    assert len(run(a, *events)) == 60
    assert not a.drops


# Bounds


def test_waiting_images_are_bounded_and_the_first_ones_survive():
    a = FrameAssembler(InputConfig(pose_source="pose", pose_wait_s=60.0), "none", max_waiting_mb=10 * RGB.nbytes / 1e6)
    events = [info(), *(color(10 * i) for i in range(50))]
    assert not run(a, *events, flush=False)
    assert a.drops == {"queue_full": 40}
    assert len(run(a, posed(0), posed(400), flush=False)) == 10


def test_depth_without_colour_is_bounded():
    a = make(pose_wait_s=0.5)
    for i in range(1000):
        depth(33 * i)(a)
    assert a._depths.nbytes < 60 * DEPTH.nbytes
    assert not a.drops


def test_400_hz_poses_and_transforms_are_bounded():
    a = make("none", "odom")
    for i in range(20_000):  # 50 s
        posed(2.5 * i, "odom", "base_link", np.eye(4))(a)
        tf("map", "odom", np.eye(4), 2.5 * i)(a)
    chain = a._chain
    bound = (5.0 + 2 * (0.5 + 0.5)) * 400 + 1
    assert len(chain._poses) <= bound
    assert len(chain.tree._edges["odom"]) <= bound


def test_frames_that_nobody_speaks_of_any_more_are_forgotten():
    a = make("none", "tf")
    tf("base_link", OPTICAL, TILTED, static=True)(a)
    for i in range(20_000):  # 200 s
        tf("odom", "base_link", np.eye(4), 10 * i)(a)
        tf("odom", f"object_{i}", np.eye(4), 10 * i)(a)
    tree = a._chain.tree
    alive = round((5.0 + 2 * (0.5 + 0.5)) * 100)
    assert len(tree._edges) == len(tree._parents) <= 2 * (alive + 2) + 2
    assert len(a._newest) == 0
    np.testing.assert_array_equal(tree.lookup("odom", OPTICAL, at(199_980)), TILTED)


def test_missing_lists_every_topic_that_is_silent():
    assert make(source="odom").missing() == [
        "no colour image yet",
        "no usable camera info yet",
        "no depth image yet",
        "no odom message yet",
    ]


def test_an_image_that_fails_does_not_keep_those_behind_it_waiting(caplog):
    """Whatever goes wrong with one image, memory for example, the next ones become frames."""

    class Short(Rectifier):
        def color(self, rgb):
            if self.failing:
                raise MemoryError("of all things")
            return super().color(rgb)

    a, rectifier = make(), Short(CAMERA)
    rectifier.failing = True
    a.add_camera_info(rectifier)
    assert not run(a, color(50), depth(50), posed(0), posed(100), flush=False)
    assert a.drops == {"internal_error": 1} and "MemoryError: of all things" in a.last_message["internal_error"]
    assert "Traceback" in caplog.text
    rectifier.failing = False
    (frame,) = run(a, color(80), depth(80), flush=False)
    assert stamps([frame]) == [80]


def test_what_stepped_back_is_named():
    a = make()
    run(a, info(), color(5000), depth(5000), posed(5000), posed(0), flush=False)
    assert re.search(r"stamps of pose stepped back from \d+\.\d{3} to \d+\.\d{3} s", a.last_message["clock_jump"])
