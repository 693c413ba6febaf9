"""Which frames become keyframes, at the thresholds of the paper: 0.1 m or 15 degrees."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gnesf_model.config import KeyframeConfig
from gnesf_model.frame import Camera, Frame
from gnesf_model.keyframes import KeyframeSelector

CAMERA = Camera(4, 3, 4.0, 4.0, 1.5, 1.0)


def frame(x=0.0, turn_deg=0.0, axis="y", stamp_ns=1):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler(axis, turn_deg, degrees=True).as_matrix()
    pose[0, 3] = x
    return Frame(stamp_ns, np.zeros((3, 4, 3), np.uint8), CAMERA, pose)


def test_the_defaults_are_those_of_the_paper():
    config = KeyframeConfig()
    assert (config.min_translation_m, config.min_rotation_deg, config.window) == (0.1, 15.0, 9)


@pytest.mark.parametrize(
    "moved, accepted",
    [
        ({"x": 0.0}, False),
        ({"x": 0.0999}, False),
        ({"x": 0.1001}, True),
        ({"x": -0.1001}, True),
        ({"turn_deg": 14.9}, False),
        ({"turn_deg": 15.1}, True),
        ({"turn_deg": -15.1, "axis": "x"}, True),
        ({"turn_deg": 15.1, "axis": "z"}, True),
        ({"turn_deg": 180.0}, True),
        ({"x": 0.09, "turn_deg": 14.0}, False),
    ],
)
def test_a_tenth_of_a_metre_or_fifteen_degrees(moved, accepted):
    selector = KeyframeSelector(KeyframeConfig())
    selector.push(frame())
    assert selector.accepts(frame(**moved)) is accepted


def test_the_first_frame_is_a_keyframe_and_asking_changes_nothing():
    selector = KeyframeSelector(KeyframeConfig())
    assert selector.accepts(frame()) and selector.accepts(frame())
    selector.push(frame())
    assert not selector.accepts(frame())


def test_motion_counts_from_the_last_keyframe_not_from_the_last_frame():
    selector = KeyframeSelector(KeyframeConfig())
    accepted = []
    for step in range(31):
        seen = frame(x=0.04 * step)
        if selector.accepts(seen):
            selector.push(seen)
            accepted.append(step)
    assert accepted == list(range(0, 31, 3))


def test_a_drift_back_and_forth_makes_no_keyframe():
    selector = KeyframeSelector(KeyframeConfig())
    selector.push(frame())
    assert not any(selector.accepts(frame(x=0.05 * (-1) ** i)) for i in range(100))


def test_keyframes_are_numbered_until_all_are_forgotten():
    selector = KeyframeSelector(KeyframeConfig())
    pushed = [selector.push(frame(x=float(i), stamp_ns=i)) for i in range(25)]
    assert [k.index for k in pushed] == list(range(25))
    assert selector.count == 25
    selector.clear()
    assert selector.count == 0 and not selector.last_poses
    assert selector.accepts(frame(x=24.0)) and selector.push(frame()).index == 0


def test_a_frame_that_turns_fast_does_not_vote_and_is_counted():
    selector = KeyframeSelector(KeyframeConfig(max_angular_rate_deg_s=90.0))
    selector.push(frame())
    blurred = dataclasses.replace(frame(x=1.0), angular_rate_deg_s=91.0)
    assert not selector.accepts(blurred)
    assert not selector.accepts(dataclasses.replace(frame(x=0.05), angular_rate_deg_s=91.0))  # none anyway
    assert selector.too_fast == 1
    assert selector.accepts(dataclasses.replace(blurred, angular_rate_deg_s=89.0))
    assert selector.accepts(dataclasses.replace(blurred, angular_rate_deg_s=None))
    assert KeyframeSelector(KeyframeConfig(max_angular_rate_deg_s=0.0)).accepts(blurred)
    selector.clear()
    assert selector.too_fast == 0


def test_each_camera_has_its_own_last_keyframe():
    """Front and rear look apart by 180 degrees, and yet neither moves."""
    selector = KeyframeSelector(KeyframeConfig())
    front, rear = (
        dataclasses.replace(frame(turn_deg=turn), source=name) for turn, name in ((0, "front"), (180, "rear"))
    )
    for camera in (front, rear):
        assert selector.accepts(camera)
        selector.push(camera)
    assert not selector.accepts(front) and not selector.accepts(rear)
