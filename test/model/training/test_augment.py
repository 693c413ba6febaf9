"""Augmented pictures still show what their labels say."""

from __future__ import annotations

import cv2
import numpy as np

from gnesf_model.training import augment
from gnesf_model.training.augment import augmented


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colours tell the label: grey 12 * label."""
    labels = np.zeros((96, 128), np.uint8)
    cv2.rectangle(labels, (20, 30), (70, 80), 5, -1)
    cv2.circle(labels, (95, 40), 22, 12, -1)
    return cv2.merge([labels * 12] * 3), labels


def test_labels_move_with_the_picture() -> None:
    rgb, labels = scene()
    seen = set()
    for seed in range(20):
        out, moved = augment._placed(rgb, labels, (80, 64), np.random.default_rng(seed))
        assert out.shape == (64, 80, 3)
        assert moved.shape == (64, 80)
        around = np.ones((9, 9))
        inside = (moved != 255) & (cv2.erode(moved, around) == cv2.dilate(moved, around))
        assert inside.mean() > 0.15
        off = np.abs(out[inside, 0].astype(int) - moved[inside] * 12)
        assert (off > 2).mean() < 0.005, "but for what a blur brings in from outside"
        seen |= set(np.unique(moved).tolist())
    assert seen == {0, 5, 12, 255}, "parts of all things and, zoomed out, of the rim come into view"


def test_the_same_numbers_give_the_same_picture() -> None:
    rgb, labels = scene()
    first, again, other = (augmented(rgb, labels, (80, 64), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_colours_change_and_stay_pictures() -> None:
    rgb, labels = scene()
    spread = []
    for seed in range(30):
        out, _ = augmented(rgb, labels, (80, 64), np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.flags.c_contiguous
        spread.append(out.mean())
    assert np.std(spread) > 5
    np.testing.assert_array_equal(rgb, scene()[0], "the picture itself stays as it was")


def test_repainted_surfaces_keep_their_labels_and_shading_and_lose_their_colours() -> None:
    rgb, labels = scene()
    shaded = ((rgb + 60) * np.linspace(0.4, 1.0, 128)[None, :, None]).astype(np.uint8)
    paints = {0: [], 5: [], 12: []}
    for seed in range(40):
        plain, same = augmented(shaded, labels, (80, 64), np.random.default_rng(seed))
        out, kept = augmented(shaded, labels, (80, 64), np.random.default_rng(seed), repaint=1.0)
        again, _ = augmented(shaded, labels, (80, 64), np.random.default_rng(seed), repaint=1.0)
        np.testing.assert_array_equal(kept, same)
        np.testing.assert_array_equal(out, again)
        assert out.dtype == np.uint8 and out.shape == plain.shape
        for label, found in paints.items():
            if (kept == label).sum() > 200:
                found.append(out[kept == label].mean(axis=0))
    for label, found in paints.items():
        assert np.std(found, axis=0).min() > 20, f"class {label} has every colour"
    rng = np.random.default_rng(3)
    flat, gradient = np.full((8, 64), 5, np.uint8), np.linspace(60, 180, 64).astype(np.uint8)
    grey = np.repeat(np.repeat(gradient[None, :, None], 8, axis=0), 3, axis=2)
    lights = [augment._repainted(grey, flat, rng)[0].mean(axis=1) for _ in range(30)]
    assert np.mean([light[-8:].mean() > light[:8].mean() for light in lights]) > 0.8, "what lies in the light stays so"
