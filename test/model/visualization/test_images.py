"""Pictures of labels: what a person is to see."""

import cv2
import numpy as np
import pytest

from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.visualization.images import caption, colorize, fit_width, legend, overlay, save, shade

SPACE = LabelSpace.load("scannet20")
WHITE = (255, 255, 255)


@pytest.fixture
def photograph():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def test_classes_have_their_colours_and_unknown_is_black():
    image = colorize(np.array([[0, 19, UNKNOWN]], np.uint8), SPACE)
    assert [tuple(c) for c in image[0].tolist()] == [SPACE.classes[0].color, SPACE.classes[19].color, (0, 0, 0)]


def test_overlay_leaves_unknown_pixels_and_mixes_the_others(photograph):
    labels = np.full((40, 60), UNKNOWN, np.uint8)
    labels[:, 30:] = 4
    before = photograph.copy()
    mixed = overlay(photograph, labels, SPACE, opacity=0.6)
    assert mixed.dtype == np.uint8 and mixed.shape == photograph.shape
    np.testing.assert_array_equal(mixed[:, :30], photograph[:, :30])
    expected = 0.6 * np.array(SPACE.classes[4].color) + 0.4 * photograph[:, 30:]
    assert np.abs(mixed[:, 30:] - expected).max() <= 1
    np.testing.assert_array_equal(photograph, before)


def test_shading_darkens_what_turns_away_and_leaves_nothing_white():
    flat, depth = np.full((20, 30, 3), 200, np.uint8), np.full((20, 30), 2.0, np.float32)
    depth[:, 15:] += np.arange(15) * 0.3
    depth[:5] = 0
    shaded = shade(flat, depth, focal_px=30.0)
    assert (shaded[:5] == 255).all()
    assert (shaded[10, 5] == 200).all()
    assert (shaded[10, 22] < 150).all()
    assert (shaded[5:] > 0).all()


def test_legend_names_what_is_present_in_its_colour():
    strip = legend(SPACE, np.array([1, 4, UNKNOWN]), 500)
    assert strip.shape[1] == 500
    colors = {tuple(c) for c in strip.reshape(-1, 3).tolist()}
    assert {SPACE.classes[1].color, SPACE.classes[4].color, (0, 0, 0), WHITE} <= colors
    assert SPACE.classes[5].color not in colors
    assert legend(SPACE, np.arange(20), 300).shape[0] > strip.shape[0]
    assert legend(SPACE, np.array([], int), 50).shape[1] == 50


def test_caption_adds_a_line_of_text(photograph):
    image = caption(photograph, "a photograph")
    np.testing.assert_array_equal(image[-40:], photograph)
    assert image.shape[0] > 50 and image[:-40].min() < 100 and (image[0] == 255).all()


def test_fit_width_keeps_the_proportions(photograph):
    assert fit_width(photograph, 30).shape == (20, 30, 3)
    assert fit_width(photograph[:1], 6).shape == (1, 6, 3)


def test_saved_images_have_red_first(tmp_path, photograph):
    save(tmp_path / "p.png", photograph)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "p.png"))[..., ::-1], photograph)


@pytest.mark.parametrize("name", ["nowhere/p.png", "p.unknown"])
def test_a_picture_that_cannot_be_written_is_an_error(tmp_path, photograph, name):
    with pytest.raises(OSError, match="cannot be written"):
        save(tmp_path / name, photograph)
