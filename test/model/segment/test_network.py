"""Where pixels and cells lie, and what is done around a network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnesf_model.labels import LabelSpace
from gnesf_model.segment.network import (
    ClassOutput,
    Normalisation,
    Resampler,
    check_input_size,
    resampling_matrix,
    round_to_multiple,
)


@given(n_in=st.integers(1, 300), n_pixels=st.integers(1, 700))
def test_weights_are_an_average(n_in, n_pixels):
    weights = resampling_matrix(n_in, n_pixels).numpy()
    assert weights.shape == (-(-n_pixels // 4), n_in)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("n_in", [640, 512, 320, 200, 160, 128, 80, 40])
def test_cells_lie_at_4j_plus_1_5(n_in):
    """A map which holds its own pixel coordinate must give every cell that of its centre."""
    n_pixels = 640
    pixel = (torch.arange(n_in, dtype=torch.float64) + 0.5) * n_pixels / n_in - 0.5
    value = resampling_matrix(n_in, n_pixels).double() @ pixel
    centre = 4.0 * torch.arange(160, dtype=torch.float64) + 1.5
    inside = slice(2, -2) if n_in < 160 else slice(None)
    torch.testing.assert_close(value[inside], centre[inside], atol=0.13 * 640 / n_in, rtol=0)
    assert abs(float((value - centre)[inside].mean())) < 1e-3, "no shift"


def test_same_as_torch_where_torch_knows_it():
    torch.manual_seed(0)
    maps = torch.rand(3, 30, 41)
    expected = torch.nn.functional.interpolate(maps[None], size=(60, 82), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(Resampler()(maps, 240, 328), expected)
    full = torch.rand(3, 24, 32)
    expected = torch.nn.functional.avg_pool2d(full[None], 4)[0]
    torch.testing.assert_close(Resampler()(full, 24, 32), expected)
    same = torch.rand(3, 6, 8)
    torch.testing.assert_close(Resampler()(same, 24, 32), same)


def test_a_partial_block_is_the_part_in_the_image():
    full = torch.zeros(1, 5, 6)
    full[0, 4, 4:] = 1.0
    result = Resampler()(full, 5, 6)
    torch.testing.assert_close(result, torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]))


def test_resampler_follows_a_change_of_size():
    resample = Resampler()
    for height, width in ((48, 64), (30, 50), (48, 64)):
        out = resample(torch.full((2, 6, 8), 0.25), height, width)
        torch.testing.assert_close(out, torch.full((2, -(-height // 4), -(-width // 4)), 0.25))


def test_normalisation_resizes_and_scales():
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51
    norm = Normalisation.make(1 / 255, 0.0, (0.5, 0.0, 0.0), (0.5, 1.0, 0.1))
    out = norm.apply(image, (4, 6))
    assert out.shape == (3, 4, 6) and out.dtype == np.float32 and out.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(out[:, 0, 0], [1.0, 0.0, 2.0], rtol=1e-6)
    bgr = Normalisation.make(2 / 255, -1.0, bgr=True).apply(image, (16, 16))
    np.testing.assert_allclose(bgr[:, 5, 5], [-0.6, -1.0, 1.0], rtol=1e-5)


def test_sizes():
    assert round_to_multiple((480, 641), 8) == (480, 640)
    assert round_to_multiple((3, 21), 8) == (8, 24)
    assert check_input_size(None) is check_input_size([]) is None
    assert check_input_size([256.0, 328.0]) == (256, 328)
    for wrong in ([256], [256.5, 328], [0, 8], [8, 9000]):
        with pytest.raises(ValueError, match="input_size is"):
            check_input_size(wrong)


def output(own="nyu40", labels="scannet20"):
    target = LabelSpace.load(labels) if labels else None
    return ClassOutput("the network toy", LabelSpace.load(own), target, torch.device("cpu"))


def test_channels_must_be_the_classes():
    assert output().has_unlabelled_first(40) is False
    assert output().has_unlabelled_first(41) is True
    for channels in (20, 39, 42):
        with pytest.raises(ValueError, match=f"has {channels} class channels.*40 classes"):
            output().has_unlabelled_first(channels)
    with pytest.raises(ValueError, match="150 channels"):
        output("ade20k150").has_unlabelled_first(151)


def test_unmapped_classes_become_unknown_and_dynamic_is_kept():
    nyu40 = LabelSpace.load("nyu40")
    probabilities = torch.zeros(40, 1, 1)
    for name, value in (("sofa", 0.5), ("person", 0.25), ("ceiling", 0.25)):
        probabilities[nyu40.index(name)] = value
    result = output().segmentation(probabilities)
    assert float(result.probabilities.sum()) == 0.5
    assert float(result.dynamic) == 0.25
    native = output(labels=None).segmentation(probabilities)
    assert native.labels == nyu40 and float(native.probabilities.sum()) == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_which_are_not_finite_never_become_a_map(value):
    probabilities = torch.full((40, 2, 2), 1 / 40)
    probabilities[7, 1, 0] = value
    with pytest.raises(RuntimeError, match="the network toy gave NaN or infinite"):
        output().segmentation(probabilities)


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_logits_taken_for_probabilities_are_refused(value):
    probabilities = torch.full((40, 2, 2), 1 / 40)
    probabilities[7, 1, 0] = value
    with pytest.raises(RuntimeError, match="If they are logits"):
        output().segmentation(probabilities)
