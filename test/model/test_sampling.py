"""Probabilities at surface points: bilinear within a surface, never across an outline."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gnesf_model.frame import Camera
from gnesf_model.sampling import sample_beside_edges
from gnesf_model.volume.tsdf import DepthView

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def view(depth: torch.Tensor) -> DepthView:
    return DepthView(depth, CAMERA, np.eye(4))


def test_on_one_surface_it_is_plain_bilinear_interpolation():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(7, 12, 16, generator=generator)
    pixels = torch.rand(500, 2, generator=generator) * torch.tensor([63.0, 47.0])
    flat = torch.full((48, 64), 2.0)
    got = sample_beside_edges(probabilities, view(flat), pixels, torch.full((500,), 2.05), 0.1)
    size = torch.tensor([16.0, 12.0])
    place = (2 * ((pixels - 1.5) / 4) + 1) / size - 1
    expected = F.grid_sample(probabilities[None], place[None, None], padding_mode="border", align_corners=False)[
        0, :, 0
    ].T
    assert torch.allclose(got, expected, atol=1e-5)


def test_beside_an_outline_only_the_points_own_surface_counts():
    depth = torch.full((48, 64), 3.0)
    depth[:, :32] = 1.0
    probabilities = torch.zeros(2, 12, 16)
    probabilities[0, :, :8] = 1.0
    probabilities[1, :, 8:] = 1.0
    pixels = torch.tensor([[31.0, 20.0], [32.0, 20.0]])
    near = sample_beside_edges(probabilities, view(depth), pixels, torch.tensor([1.0, 1.0]), 0.1)
    far = sample_beside_edges(probabilities, view(depth), pixels, torch.tensor([3.0, 3.0]), 0.1)
    assert near[:, 0].min() > 0.99
    assert far[:, 1].min() > 0.99


def test_where_no_cell_fits_all_count():
    probabilities = torch.rand(3, 12, 16)
    pixels = torch.tensor([[20.0, 20.0]])
    far_off = sample_beside_edges(probabilities, view(torch.full((48, 64), 3.0)), pixels, torch.tensor([1.0]), 0.1)
    fitting = sample_beside_edges(probabilities, view(torch.full((48, 64), 1.0)), pixels, torch.tensor([1.0]), 0.1)
    assert torch.allclose(far_off, fitting, atol=1e-5)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (63.0, 0.0), (0.0, 47.0), (63.0, 47.0)])
def test_corners_of_the_image_are_within_the_grid(corner):
    probabilities = torch.full((2, 12, 16), 0.5)
    got = sample_beside_edges(
        probabilities, view(torch.full((48, 64), 1.0)), torch.tensor([corner]), torch.tensor([1.0]), 0.1
    )
    assert torch.allclose(got, torch.full((1, 2), 0.5))
