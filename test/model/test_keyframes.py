"""Which frames become keyframes, at the thresholds of the paper: 0.1 m or 15 degrees, a window of 9."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gnesf_model.config import KeyframeConfig
from gnesf_model.frame import Camera, Frame
from gnesf_model.keyframes import KeyframeWindow

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
    window = KeyframeWindow(KeyframeConfig())
    window.push(frame())
    assert window.accepts(frame(**moved)) is accepted


def test_the_first_frame_is_a_keyframe_and_asking_changes_nothing():
    window = KeyframeWindow(KeyframeConfig())
    assert window.accepts(frame()) and window.accepts(frame())
    window.push(frame())
    assert not window.accepts(frame())


def test_motion_counts_from_the_last_keyframe_not_from_the_last_frame():
    window = KeyframeWindow(KeyframeConfig())
    accepted = []
    for step in range(31):
        seen = frame(x=0.04 * step)
        if window.accepts(seen):
            window.push(seen)
            accepted.append(step)
    assert accepted == list(range(0, 31, 3))


def test_a_drift_back_and_forth_makes_no_keyframe():
    window = KeyframeWindow(KeyframeConfig())
    window.push(frame())
    assert not any(window.accepts(frame(x=0.05 * (-1) ** i)) for i in range(100))


def test_the_window_holds_the_last_nine_and_indices_go_on():
    window = KeyframeWindow(KeyframeConfig())
    pushed = [window.push(frame(x=float(i), stamp_ns=i)) for i in range(25)]
    assert [k.index for k in pushed] == list(range(25))
    assert [k.frame.stamp_ns for k in window.window] == list(range(16, 25))
    assert window.count == 25
    window.clear()
    assert window.count == 0 and len(window.window) == 0
    assert window.accepts(frame(x=24.0)) and window.push(frame()).index == 0


def test_a_frame_that_turns_fast_does_not_vote_and_is_counted():
    window = KeyframeWindow(KeyframeConfig(max_angular_rate_deg_s=90.0))
    window.push(frame())
    blurred = dataclasses.replace(frame(x=1.0), angular_rate_deg_s=91.0)
    assert not window.accepts(blurred)
    assert not window.accepts(dataclasses.replace(frame(x=0.05), angular_rate_deg_s=91.0))  # none anyway
    assert window.too_fast == 1
    assert window.accepts(dataclasses.replace(blurred, angular_rate_deg_s=89.0))
    assert window.accepts(dataclasses.replace(blurred, angular_rate_deg_s=None))
    assert KeyframeWindow(KeyframeConfig(max_angular_rate_deg_s=0.0)).accepts(blurred)
    window.clear()
    assert window.too_fast == 0


def test_each_camera_has_its_own_last_keyframe():
    """Front and rear look apart by 180 degrees, and yet neither moves."""
    window = KeyframeWindow(KeyframeConfig())
    front, rear = (
        dataclasses.replace(frame(turn_deg=turn), source=name) for turn, name in ((0, "front"), (180, "rear"))
    )
    for camera in (front, rear):
        assert window.accepts(camera)
        window.push(camera)
    assert not window.accepts(front) and not window.accepts(rear)
