"""Label images as colours, blended with the photograph, with a legend. All images are RGB uint8."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from gnesf_model.labels import UNKNOWN, LabelSpace

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ROW_PX = 22


def colorize(labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Colours (H, W, 3) of a label image (H, W) uint8; unknown is black."""
    return space.colors[labels]


def overlay(rgb: np.ndarray, labels: np.ndarray, space: LabelSpace, opacity: float = 0.6) -> np.ndarray:
    """Photograph (H, W, 3) with the classes' colours over it; unknown pixels stay as they are."""
    return blend(rgb, colorize(labels, space), (labels == UNKNOWN).astype(np.uint8), opacity)


def blend(rgb: np.ndarray, color: np.ndarray, plain: np.ndarray, opacity: float) -> np.ndarray:
    """Photograph (H, W, 3) under colours (H, W, 3), itself where (H, W) uint8 `plain` is not 0; `color` is used up."""
    rgb = np.ascontiguousarray(rgb)
    return cv2.addWeighted(rgb, 1 - opacity, cv2.copyTo(rgb, plain, color), opacity, 0.0)


def shade(labels_rgb: np.ndarray, depth: np.ndarray, focal_px: float) -> np.ndarray:
    """Rendered colours (H, W, 3) darkened where the surface of a depth image (H, W) turns away.

    Pixels without surface become white.
    """
    z = np.where(depth > 0, depth, np.nan)
    dx = np.gradient(z, axis=1) * focal_px / z
    dy = np.gradient(z, axis=0) * focal_px / z
    facing = np.nan_to_num(1 / np.sqrt(1 + dx**2 + dy**2), nan=0.4)
    shaded = labels_rgb * (0.35 + 0.65 * facing[..., None])
    return np.where((depth > 0)[..., None], shaded, 255).astype(np.uint8)


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """Image with a line of text above it."""
    bar = np.full((_ROW_PX + 4, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (6, _ROW_PX - 4), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, image])


def legend(space: LabelSpace, present: np.ndarray, width: int) -> np.ndarray:
    """Strip (h, `width`, 3) that names the colours of the classes in `present` (label values)."""
    entries = [(c.name, c.color) for c in space.classes if c.id in present]
    if UNKNOWN in present:
        entries.append(("unknown", (0, 0, 0)))
    column = 160
    columns = max(1, width // column)
    rows = max(1, -(-len(entries) // columns))
    strip = np.full((rows * _ROW_PX + 6, width, 3), 255, np.uint8)
    for index, (name, color) in enumerate(entries):
        x, y = index % columns * column + 6, index // columns * _ROW_PX + 4
        cv2.rectangle(strip, (x, y), (x + 16, y + 16), tuple(int(c) for c in color), -1)
        cv2.putText(strip, name, (x + 22, y + 13), _FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def fit_width(image: np.ndarray, width: int) -> np.ndarray:
    """Image scaled to a width."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def contact_sheet(images: Sequence[np.ndarray], columns: int, width: int) -> np.ndarray:
    """Pictures (H, W, 3) of one shape in rows and columns on one sheet (h, `width`, 3); white where there is none."""
    small = [fit_width(image, width // columns) for image in images]
    blank = np.full_like(small[0], 255)
    rows = [[*small[i : i + columns], *[blank] * columns][:columns] for i in range(0, len(small), columns)]
    sheet = np.vstack([np.hstack(row) for row in rows])
    return np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=255)


def save(path: object, rgb: np.ndarray) -> None:
    """Write an RGB image; the suffix names the format.

    Raises:
        OSError: it cannot be written.
    """
    try:
        written = cv2.imwrite(str(path), rgb[..., ::-1])
    except cv2.error as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    if not written:
        raise OSError(f"{path} cannot be written: check the folder and its permissions")
