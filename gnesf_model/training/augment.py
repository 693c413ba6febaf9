"""What changes a training picture without changing what is in it."""

from __future__ import annotations

import cv2
import numpy as np

from gnesf_model.labels import UNKNOWN

ZOOM = (0.6, 1.25)
"""Side of the part that is shown over that of the picture; beyond 1 the rim is unlabelled."""
STRETCH = 0.15
TILT_RAD = np.deg2rad(8.0)
PATTERN_PX = (4, 48)
"""Size of the spots of a painted pattern."""


def augmented(
    rgb: np.ndarray, labels: np.ndarray, size: tuple[int, int], rng: np.random.Generator, repaint: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """A random view and rendition of a picture.

    Args:
        rgb: (H, W, 3) uint8.
        labels: (H, W) uint8, 255 = none.
        size: width and height of the result.
        rng: draws everything.
        repaint: probability that every class gets a paint of its own, so that colour tells nothing.

    Returns:
        rgb (height, width, 3) uint8 and labels (height, width) uint8.
    """
    rgb, labels = _placed(rgb, labels, size, rng)
    if repaint and rng.random() < repaint:
        rgb = _repainted(rgb, labels, rng)
    return _rendered(rgb, rng), labels


def _placed(
    rgb: np.ndarray, labels: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Another part of the picture, slightly turned and stretched, perhaps mirrored, at `size`."""
    height, width = labels.shape
    part = float(np.exp(rng.uniform(*np.log(ZOOM))))
    stretch = float(np.exp(rng.uniform(-STRETCH, STRETCH)))
    turn = rng.uniform(-TILT_RAD, TILT_RAD)
    scale = np.array([part * width / size[0] * stretch, part * height / size[1] / stretch])
    if rng.random() < 0.5:
        scale[0] = -scale[0]
    c, s = np.cos(turn), np.sin(turn)
    linear = np.array([[c, -s], [s, c]]) * scale  # from the result's pixels to the picture's
    slack = np.abs(1 - part) * np.array([width, height]) / 2
    centre = np.array([width - 1, height - 1]) / 2 + rng.uniform(-slack, slack)
    matrix = np.column_stack([linear, centre - linear @ ((np.array(size) - 1) / 2)])
    if np.abs(scale).mean() > 1.3:  # shrinking: without a blur, single pixels would stand for many
        rgb = cv2.GaussianBlur(rgb, (0, 0), 0.35 * float(np.abs(scale).mean()))
    inverse = cv2.WARP_INVERSE_MAP
    rgb = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_REFLECT_101)
    labels = cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST | inverse, borderValue=UNKNOWN)
    return rgb, labels


def _repainted(rgb: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The surface of each class in another colour, some with a pattern; light, shadow and relief stay."""
    height, width = labels.shape
    light = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    out = rgb.astype(np.float32)
    for label in np.unique(labels):
        if rng.random() < 0.25:
            continue
        here = labels == label
        shade = light[here] / max(float(light[here].mean()), 8.0)
        shade = shade ** rng.uniform(0.5, 1.2)  # the old texture more or less plain
        paint = np.exp(rng.uniform(np.log(45), np.log(230))) * np.exp(rng.normal(0, 0.3, 3))
        if rng.random() < 0.4:
            spot = float(np.exp(rng.uniform(*np.log(PATTERN_PX))))
            coarse = rng.random((max(2, round(height / spot)), max(2, round(width / spot))), dtype=np.float32)
            pattern = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)[here]
            other = paint * np.exp(rng.normal(0, 0.5, 3))
            paint = paint + (other - paint) * np.clip(4 * pattern - 1.5, 0, 1)[:, None]
        out[here] = shade[:, None] * paint
    return np.clip(out, 0, 255).astype(np.uint8)


def _rendered(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other light, colours and sharpness."""
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        hue = rng.integers(-12, 13) if rng.random() < 0.7 else rng.integers(180)
        saturation = rng.uniform(0.4, 1.5)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + hue) % 180
        hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=saturation)
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.08:
        rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # One table per channel: gain, contrast and gamma.
    grey = np.linspace(0, 1, 256)
    contrast, middle, gamma = rng.uniform(0.7, 1.3), rng.uniform(0.3, 0.6), np.exp(rng.uniform(-0.45, 0.45))
    curve = np.clip((grey - middle) * contrast + middle, 0, 1) ** gamma
    gains = np.exp(rng.uniform(-0.12, 0.12, 3) + rng.uniform(-0.2, 0.2))
    tables = np.rint(255 * np.clip(curve[:, None] * gains, 0, 1)).astype(np.uint8)
    rgb = cv2.LUT(rgb, tables.reshape(1, 256, 3))
    if rng.random() < 0.25:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 10), (*rgb.shape[:2], 1 if rng.random() < 0.5 else 3))
        rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        _, code = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))])
        rgb = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return rgb
