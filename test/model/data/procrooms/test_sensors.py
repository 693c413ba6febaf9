"""What sensors do to colour and depth."""

import cv2
import numpy as np
import pytest
import torch

from gnesf_model import geometry
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.procrooms.color_sensor import ColorSensor, camera_twist, pixel_velocity
from gnesf_model.data.procrooms.depth_sensor import SENSORS
from gnesf_model.frame import Camera

CAMERA = Camera(96, 72, 80.0, 80.0, 47.5, 35.5)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_pixels_move_as_the_geometry_says():
    source = RoomSource(1, frames=20, width=160, height=120, stride=1)
    before, after = source.poses[14], source.poses[15]
    depth = source.images(14).depth
    flow = pixel_velocity(depth.numpy(), source.camera, camera_twist(before, after, 1 / 30)) / 30
    points = geometry.transform(torch.from_numpy(before), geometry.backproject(depth, source.camera).double())
    pixel, _ = geometry.project(geometry.transform(torch.from_numpy(np.linalg.inv(after)), points), source.camera)
    v, u = np.mgrid[:120, :160]
    moved = pixel.numpy() - np.stack([u, v], 2)
    assert np.abs(moved).max() > 0.5
    assert np.abs(moved - flow).max() < 0.1


def test_a_perfect_colour_sensor_changes_nothing_and_a_still_one_does_not_blur():
    rgb = generator().integers(0, 256, (72, 96, 3), dtype=np.uint8)
    depth = np.full((72, 96), 2.0, np.float32)
    for sensor in (ColorSensor(), ColorSensor(shutter_s=0.03, readout_s=0.03)):
        same = sensor.apply(rgb, depth, CAMERA, np.zeros(6), generator())
        np.testing.assert_array_equal(same, rgb)
    assert ColorSensor().gain(generator(), 3.0) == 1.0


def test_turning_blurs_along_the_turn_and_leans_upright_edges():
    rgb = np.zeros((72, 96, 3), np.uint8)
    rgb[:, 48:] = 255
    depth = np.full((72, 96), 2.0, np.float32)
    turn = np.array([0, 0, 0, 0, 1.0, 0])
    blurred = ColorSensor(shutter_s=0.05).apply(rgb, depth, CAMERA, turn, generator())
    assert 2 <= ((blurred[36, :, 0] > 10) & (blurred[36, :, 0] < 245)).sum() <= 8
    leaning = ColorSensor(readout_s=0.1).apply(rgb, depth, CAMERA, turn, generator())
    first, last = (int((leaning[row, :, 0] > 127).argmax()) for row in (0, 71))
    assert 6 <= first - last <= 10  # 80 px/s for 0.1 s, to the left: later rows see the edge farther on


def test_noise_and_compression_stay_small():
    rgb = cv2.resize(generator().integers(0, 256, (6, 8, 3), dtype=np.uint8), (96, 72))
    depth = np.full((72, 96), 2.0, np.float32)
    for sensor in (ColorSensor(noise=0.01), ColorSensor(jpeg_quality=60), ColorSensor(defocus_px=0.8)):
        error = np.abs(sensor.apply(rgb, depth, CAMERA, np.zeros(6), generator()).astype(int) - rgb)
        assert 0.1 < error.mean() < 8


def test_exposure_drifts_within_its_range():
    sensor = ColorSensor(exposure_stops=0.5)
    gains = [sensor.gain(generator(), t) for t in np.arange(0, 60, 0.5)]
    assert 0.7 < min(gains) < 0.95
    assert 1.05 < max(gains) < 1.42
    assert np.abs(np.diff(np.log2(gains))).max() < 0.35


@pytest.mark.parametrize("bad", [{"noise": -0.1}, {"jpeg_quality": 101}])
def test_impossible_colour_sensors_are_refused(bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        ColorSensor(**bad)


@pytest.mark.parametrize("name", SENSORS)
def test_depth_is_noisier_farther_away_and_lost_on_black_and_at_grazing_angles(name):
    def measured(distance: float, facing: float = 0.9, brightness: float = 0.5, gloss: float = 0.0) -> np.ndarray:
        flat = np.full((72, 96), 1.0)
        arguments = (flat.astype(np.float32) * distance, facing * flat, brightness * flat, gloss * flat)
        return SENSORS[name](*arguments, CAMERA, generator())

    near, far = measured(1.0), measured(4.0)
    assert (near > 0).mean() > 0.99
    assert (far > 0).mean() > 0.8
    assert np.abs(near - 1.0).max() < 0.02
    assert far[far > 0].std() > 2 * near.std()
    assert (measured(3.0, brightness=0.001) > 0).mean() < 0.4
    assert (measured(2.0, facing=0.05) > 0).mean() < 0.1
    assert (measured(2.0, facing=0.999, gloss=0.9) > 0).mean() < 0.6
    assert (measured(0.0) == 0).all()


def test_structured_light_leaves_holes_beside_outlines_and_mixes_nothing():
    depth = np.full((72, 96), 3.0, np.float32)
    depth[20:50, 30:60] = 1.0
    flat = np.ones_like(depth)
    seen = SENSORS["structured_light"](depth, flat * 0.9, flat * 0.5, flat * 0, CAMERA, generator())
    near, window = (depth < 2).astype(np.uint8), np.ones((3, 3), np.uint8)
    beside = cv2.dilate(near, window) != cv2.erode(near, window)
    assert 0.2 < (seen[beside] == 0).mean() < 0.5, "more than half of the pixels on one side of the outline"
    assert (seen[~beside] == 0).mean() < 0.01
    assert (np.abs(seen - depth) < 0.1)[seen > 0].all(), "what is measured is one of the two surfaces"


def test_time_of_flight_mixes_depths_on_outlines_and_ends_early():
    depth = np.full((72, 96), 3.0, np.float32)
    depth[:, 48:] = 1.0
    flat = np.ones_like(depth)
    seen = SENSORS["time_of_flight"](depth, flat * 0.9, flat * 0.5, flat * 0, CAMERA, generator())
    assert ((seen > 1.1) & (seen < 2.9)).sum() > 5
    assert ((seen > 1.1) & (seen < 2.9)).sum() < 150
    assert seen.max() < 3.2
    assert seen[seen > 0].min() > 0.9
    beyond = SENSORS["time_of_flight"](flat * 6, flat * 0.9, flat * 0.5, flat * 0, CAMERA, generator())
    assert (beyond == 0).all()
