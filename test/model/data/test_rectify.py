"""Images without lens distortion, against OpenCV's projection of known points."""

import cv2
import numpy as np
import pytest

from gnesf_model.data.rectify import Rectifier
from gnesf_model.frame import Camera, FrameDropped

CAMERA = Camera(width=160, height=120, fx=100.0, fy=101.0, cx=80.0, cy=58.0)
LENSES = {
    "plumb_bob": (-0.25, 0.08, 0.001, -0.002, 0.0),
    "rational_polynomial": (0.4, -0.3, 0.001, -0.001, 0.05, 0.7, -0.2, 0.01),
    "equidistant": (0.05, -0.02, 0.01, -0.003),
}


def distorted_pixel(model: str, ray: np.ndarray) -> np.ndarray:
    """(u, v) where the lens images a ray."""
    D = np.asarray(LENSES[model])
    zero = np.zeros(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(ray.reshape(1, 1, 3), zero, zero, CAMERA.K, D)[0].ravel()
    return cv2.projectPoints(ray.reshape(1, 1, 3), zero, zero, CAMERA.K, D)[0].ravel()


ZOOMED_OUT = Camera(width=160, height=120, fx=80.0, fy=82.0, cx=77.0, cy=61.0)
"""As P of a camera info that shows more than K would."""


@pytest.mark.parametrize("pinhole", [CAMERA, ZOOMED_OUT], ids=["K", "P"])
@pytest.mark.parametrize("model", LENSES)
def test_a_point_lands_where_the_pinhole_sees_it(model, pinhole):
    rectifier = Rectifier(pinhole, model, LENSES[model], raw=CAMERA)
    for ray in ([0.3, 0.2, 1.0], [-0.4, 0.25, 1.0], [0.0, -0.3, 1.0]):
        u, v = distorted_pixel(model, np.array(ray))
        rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
        spot = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)
        image = rectifier.color(np.dstack([spot.astype(np.uint8)] * 3))[..., 0].astype(float)
        found = [(image * axis).sum() / image.sum() for axis in (columns, rows)]
        expected = (pinhole.K @ ray)[:2]
        np.testing.assert_allclose(found, expected, atol=0.3)


@pytest.mark.parametrize("model", LENSES)
def test_depth_and_labels_are_never_mixed(model):
    rectifier = Rectifier(CAMERA, model, LENSES[model])
    rng = np.random.default_rng(1)
    depth = rng.choice(np.array([1.0, 4.0], np.float32), (CAMERA.height, CAMERA.width))
    labels = rng.choice(np.array([3, 200], np.uint8), (CAMERA.height, CAMERA.width))
    assert set(np.unique(rectifier.depth(depth))) <= {0.0, 1.0, 4.0}
    assert set(np.unique(rectifier.labels(labels))) <= {3, 200, 255}
    assert rectifier.depth(depth).dtype == np.float32


def test_outside_of_the_lens_image_there_is_nothing():
    rectifier = Rectifier(CAMERA, "plumb_bob", (0.5, 0.0, 0.0, 0.0, 0.0))  # pincushion: corners look past it
    size = (CAMERA.height, CAMERA.width)
    assert rectifier.depth(np.ones(size, np.float32))[0, 0] == 0.0
    assert rectifier.labels(np.ones(size, np.uint8))[0, 0] == 255
    assert not rectifier.color(np.full((*size, 3), 9, np.uint8))[0, 0].any()


@pytest.mark.parametrize("coefficients", [(), LENSES["plumb_bob"]])
def test_images_of_another_size_are_dropped(coefficients):
    rectifier = Rectifier(CAMERA, "plumb_bob", coefficients)
    small = (CAMERA.height // 2, CAMERA.width // 2)
    for method, array, reason, remedy in (
        (rectifier.color, np.zeros((*small, 3), np.uint8), "image_size", "publish the camera info of this image"),
        (rectifier.depth, np.zeros(small, np.float32), "depth_size", "register depth to colour"),
        (rectifier.labels, np.zeros(small, np.uint8), "label_size", "as large as the colour images"),
    ):
        sizes = "60 rows and 80 columns.* says 120 and 160"
        with pytest.raises(FrameDropped, match=f"{sizes}: .*{remedy}") as caught:
            method(array)
        assert caught.value.reason == reason
