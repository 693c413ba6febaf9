"""Camera infos: what they say, and which one belongs to which image."""

from types import SimpleNamespace

import numpy as np
import pytest
from recording import CAMERA, camera_info

from gnesf_model.data.camera_info import CameraInfos, check_registered, decode_camera_info
from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import Camera, FrameDropped
from gnesf_model.trajectory import NotReady

SECOND = 1_000_000_000
P = np.array([[20.0, 0, 14, 0], [0, 21, 12, 0], [0, 0, 1, 0]])


def test_camera_info_without_distortion_passes_images_through():
    rectifier = decode_camera_info(camera_info())
    assert rectifier == Rectifier(CAMERA)
    rgb = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    assert rectifier.color(rgb) is rgb


@pytest.mark.parametrize(
    "fields",
    [
        {"k": np.zeros(9)},
        {"k": np.full(9, np.nan)},
        {"width": 0},
        {"height": 1 << 30},
        {"d": [np.nan] * 5},
        {"d": [0.1] * 5, "distortion_model": "kannala_brandt4"},
        {"d": [0.1] * 3},
        {"d": [0.1] * 5, "distortion_model": "equidistant"},
    ],
    ids=str,
)
def test_unusable_camera_info_is_dropped(fields):
    with pytest.raises(FrameDropped) as caught:
        decode_camera_info(camera_info(**fields))
    assert caught.value.reason == "bad_camera_info"


def test_zero_distortion_of_any_model_passes():
    assert decode_camera_info(camera_info(d=[], distortion_model="")) == Rectifier(CAMERA)
    assert decode_camera_info(camera_info(d=[0.0] * 7, distortion_model="odd")) == Rectifier(CAMERA)


def test_rectified_topic_takes_p_and_ignores_distortion():
    rectifier = decode_camera_info(camera_info(d=[0.3] * 5, p=P.ravel()), rectified=True)
    assert (rectifier.camera.fx, rectifier.camera.cy, rectifier.coefficients) == (20.0, 12.0, ())


def test_an_image_with_distortion_becomes_the_one_that_p_describes():
    rectifier = decode_camera_info(camera_info(d=[-0.2, 0.05, 0, 0, 0], p=P.ravel()))
    assert (rectifier.camera.fx, rectifier.camera.fy, rectifier.camera.cx) == (20.0, 21.0, 14.0)
    assert rectifier.raw == CAMERA


@pytest.mark.parametrize(
    "fields",
    [{"p": np.zeros(12)}, {"p": np.full(12, np.nan)}, {"p": P.ravel(), "r": [0, 1, 0, -1, 0, 0, 0, 0, 1]}],
    ids=["no P", "NaN", "R turns"],
)
def test_where_p_does_not_serve_the_pinhole_is_k(fields):
    rectifier = decode_camera_info(camera_info(d=[-0.2, 0.05, 0, 0, 0], **fields))
    assert rectifier.camera == CAMERA


def test_without_distortion_k_counts_whatever_p_says():
    assert decode_camera_info(camera_info(p=P.ravel())) == Rectifier(CAMERA)


def test_binning_and_region_of_interest_are_those_of_the_image():
    """A point keeps its ray: pixel (u, v) of the sensor is ((u - 8) / 2, (v - 4) / 2) of the image."""
    roi = SimpleNamespace(x_offset=8, y_offset=4, width=20, height=16, do_rectify=False)
    camera = decode_camera_info(camera_info(binning_x=2, binning_y=2, roi=roi)).camera
    assert (camera.width, camera.height) == (10, 8)
    ray = np.array([0.2, -0.1, 1.0])
    u, v, _ = CAMERA.K @ ray
    np.testing.assert_allclose((camera.K @ ray)[:2], [(u - 8) / 2, (v - 4) / 2])


def test_a_full_region_of_interest_changes_nothing():
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=CAMERA.width, height=CAMERA.height, do_rectify=False)
    assert decode_camera_info(camera_info(binning_x=1, binning_y=0, roi=roi)) == Rectifier(CAMERA)


def test_registered_depth_has_the_intrinsics_of_colour():
    check_registered(Camera(32, 24, 30.2, 31.0, 15.6, 11.0), CAMERA)
    with pytest.raises(
        FrameDropped, match=r"fx, fy, cx, cy 40\.0, .* px apart.*align_depth.*depth_registered: always"
    ) as caught:
        check_registered(Camera(32, 24, 40.0, 41.0, 15.5, 11.0), CAMERA)
    assert caught.value.reason == "depth_not_registered"
    with pytest.raises(FrameDropped, match="24 rows and 64 columns, colour 24 and 32") as caught:
        check_registered(Camera(64, 24, 30.0, 31.0, 15.5, 11.0), CAMERA)
    assert caught.value.reason == "depth_size"


# Which info an image has

WIDE, NARROW = Rectifier(CAMERA), Rectifier(Camera(32, 24, 60.0, 62.0, 15.5, 11.0))


def test_a_change_holds_from_its_stamp_on():
    infos = CameraInfos()
    infos.add(10 * SECOND, WIDE)
    infos.add(12 * SECOND, NARROW)
    assert [infos.at(s * SECOND, True) for s in (9, 10, 11, 12, 13)] == [WIDE, WIDE, WIDE, NARROW, NARROW]
    infos.forget_before(11 * SECOND)
    assert [infos.at(s * SECOND, True) for s in (11, 12)] == [WIDE, NARROW]


def test_an_equal_info_keeps_the_maps_of_the_first():
    infos = CameraInfos()
    first = Rectifier(CAMERA, "plumb_bob", (0.1, 0.0, 0.0, 0.0))
    infos.add(1, first)
    infos.add(2, Rectifier(CAMERA, "plumb_bob", (0.1, 0.0, 0.0, 0.0)))
    assert infos.at(2, True) is first


def test_an_info_without_a_stamp_holds_for_all_that_is_no_frame_yet():
    infos = CameraInfos()
    infos.add(0, WIDE)
    assert infos.at(5 * SECOND, False) is WIDE
    infos.add(0, NARROW)
    assert infos.at(5 * SECOND, False) is NARROW


def test_where_infos_come_with_the_images_each_image_waits_for_its_own():
    infos = CameraInfos()
    infos.add(1 * SECOND, WIDE)
    infos.decided(1 * SECOND)
    with pytest.raises(NotReady, match="did not come yet") as caught:
        infos.at(2 * SECOND, False)
    assert caught.value.may_come
    assert infos.at(2 * SECOND, True) is WIDE  # waited in vain
    infos.add(3 * SECOND, NARROW)  # its own was lost
    assert infos.at(2 * SECOND, False) is WIDE
    infos.decided(2 * SECOND)
    assert infos.at(4 * SECOND, False) is NARROW  # they do not come with every image: no waiting


def test_time_that_steps_back_leaves_the_latest_info():
    infos = CameraInfos()
    infos.add(100 * SECOND, WIDE)
    infos.add(101 * SECOND, NARROW)
    infos.add(5 * SECOND, NARROW)
    assert infos.at(4 * SECOND, True) is NARROW
    infos.reset()
    assert infos.at(1, True) is NARROW


def test_infos_without_images_are_bounded():
    infos = CameraInfos()
    for i in range(20_000):
        infos.add(1 + i, (WIDE, NARROW)[i % 2])
    assert len(infos._stamps) <= 1001
    assert len(infos._changes) <= 1001
