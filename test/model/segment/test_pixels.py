"""Pixels from stride-4 probabilities: the same as plain bilinear interpolation of everything, and faster."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.segment.pixels import pixel_labels, pixel_segmentation
from gnesf_model.segment.segmenter import STRIDE, Segmentation, grid_size

SPACE = LabelSpace.load("scannet20")


def patchy(height: int, width: int, seed: int = 0) -> Segmentation:
    """Patches of classes and of nothing, with soft borders."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = grid_size(height, width)
    coarse = torch.rand(21, max(rows // 4, 1), max(columns // 4, 1), generator=generator) ** 4
    share = F.interpolate(coarse[None], size=(rows, columns), mode="bilinear")[0]
    share /= share.sum(dim=0)
    return Segmentation(share[:20].contiguous(), torch.zeros(rows, columns), SPACE)


def in_full(segmentation: Segmentation, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Every class of every pixel, then compared."""
    rows, columns = segmentation.probabilities.shape[1:]
    size = (rows * STRIDE, columns * STRIDE)
    full = F.interpolate(segmentation.probabilities[None].double(), size=size, mode="bilinear")[0, :, :height, :width]
    best, label = full.max(dim=0)
    unknown = 1.0 - full.sum(dim=0) > best
    return torch.where(unknown, UNKNOWN, label).numpy(), torch.where(unknown, 0.0, best).numpy()


@pytest.mark.parametrize("size", [(480, 640), (121, 163), (7, 10), (4, 4), (1, 1)])
def test_they_are_those_of_plain_interpolation(size: tuple[int, int]) -> None:
    segmentation = patchy(*size)
    labels, confidence = pixel_segmentation(segmentation, *size)
    truth, probability = in_full(segmentation, *size)
    assert labels.dtype == confidence.dtype == np.uint8
    assert labels.flags.c_contiguous and confidence.flags.c_contiguous
    # Where two classes are equally likely to within rounding, either is right.
    assert (labels == truth).mean() > 0.9999 or (size[0] * size[1] < 10_000 and (labels == truth).all())
    same = labels == truth
    assert np.abs(confidence - 255 * probability)[same].max() <= 0.51
    if size[0] > 100:
        assert 0.01 < (labels == UNKNOWN).mean() < 0.9


def test_unknown_is_compared_like_a_class() -> None:
    probabilities = torch.zeros(20, 1, 2)
    probabilities[3, 0, 0] = 1.0  # the other cell is all unknown
    labels, confidence = pixel_segmentation(Segmentation(probabilities, torch.zeros(1, 2), SPACE), 4, 8)
    np.testing.assert_array_equal(labels[0], [3] * 4 + [UNKNOWN] * 4)
    np.testing.assert_array_equal(confidence[0, :4], [255, 255, 223, 159])
    assert not confidence[:, 4:].any()


def test_255_classes_and_unknown_fit_a_byte() -> None:
    space = LabelSpace.from_names([f"class {i}" for i in range(255)])
    probabilities = torch.zeros(255, 2, 2)
    probabilities[254, 0] = 1.0
    labels = pixel_labels(Segmentation(probabilities, torch.zeros(2, 2), space), 8, 8)
    assert (labels[:4] == 254).all()
    assert (labels[4:] == UNKNOWN).all()
