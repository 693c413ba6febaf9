"""Geometry from M: the surface that is in it comes out where it is, and new views see it."""

import numpy as np
import pytest
import torch

from gnesf_model.evaluation.encoded_geometry import DENSITY, SIGNED_DISTANCE, encoded_surface, encoded_view_labels
from gnesf_model.field.cells import Lattice
from gnesf_model.field.encoding_volume import CELL_SIZES_M, TRUNCATION_CELLS, EncodedLevel, EncodingVolume
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Camera
from gnesf_model.geometry import pixel_rays

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
WALL_M, FAR_M = 1.53, 2.5


class Walled(EncodingVolume):
    """M that says how far a wall is in front of each cell: the real lattice, levels and heads, known networks."""

    def __init__(self) -> None:
        super().__init__((4, 4, 4), (8, 8, 8))
        with torch.no_grad():
            for head in self.heads:
                for parameter in head.parameters():
                    parameter.zero_()
                # ELU is the identity above zero: the first channel, raised and lowered again.
                head.to_distance[0].weight[0, 0], head.to_distance[0].bias[0] = 1.0, 20.0
                head.to_distance[2].weight[0, 0], head.to_distance[2].bias[0] = 1.0, -20.0
                # Dense behind the wall, empty in front of it.
                head.to_density[0].weight[0, 0], head.to_density[0].bias[0] = -1.0, 20.0
                head.to_density[2].weight[0, 0], head.to_density[2].bias[0] = 40.0, -800.0
                head.to_occupancy.weight[0, 1] = 1.0

    def encode(self, level, cells, moments, above):
        found = super().encode(level, cells, moments, above)
        size = CELL_SIZES_M[level]
        distance = WALL_M - Lattice.world(found.encoding).centres(cells, size)[:, 2]
        truncated = (distance / (TRUNCATION_CELLS * size)).clamp(-0.999, 0.999)
        encoding = torch.zeros_like(found.encoding)
        encoding[:, 0] = torch.atanh(truncated)
        encoding[:, 1] = 0.99 - truncated.abs()
        return EncodedLevel(size, cells, found.index, encoding, self.heads[level].occupancy(encoding), found.views)


@pytest.fixture(scope="module")
def field() -> NeuralSemanticField:
    torch.manual_seed(0)
    options = FieldOptions(widths=(4, 4, 4, 4), features=(4, 4, 4), encoding=(8, 8, 8))
    made = NeuralSemanticField(options).eval()
    made.volume = Walled().eval()
    return made


def views_of_a_wall(field: NeuralSemanticField, count: int = 11) -> SourceViews:
    """Cameras beside each other; left of x = 0 the wall is of class 0, right of it of class 1. No depth."""
    poses = [np.eye(4) for _ in range(count)]
    said = torch.zeros(count, 2, 12, 16)
    for number, pose in enumerate(poses):
        pose[0, 3] = 0.06 * (number - count // 2)
        x = (torch.arange(16) * 4 + 1.5 - CAMERA.cx) / CAMERA.fx * WALL_M + pose[0, 3]
        said[number, 0], said[number, 1] = (x < 0).float(), (x >= 0).float()
    with torch.no_grad():
        return field.observe([CAMERA] * count, poses, torch.rand(count, 3, 48, 64), said)


def test_the_surface_of_m_is_where_its_distance_is_zero(field):
    views = views_of_a_wall(field)
    points = encoded_surface(field, views, FAR_M)
    assert len(points) > 500
    # Between two cells the distance is not quite linear: it is a tanh of what M says, exact at the cells.
    np.testing.assert_allclose(points[:, 2], WALL_M, atol=2e-3)
    assert points[:, 0].min() < -0.9 and points[:, 0].max() > 0.9
    assert encoded_surface(field, views, 1.0).shape == (0, 3), "nothing that far is looked at"


def test_new_views_see_the_wall_by_distance_and_by_density(field):
    new = np.eye(4)
    new[:3, 3] = 0.03, 0.05, 0.1
    rays = pixel_rays(CAMERA, "cpu")[::4, ::4]
    at = rays[..., 0] * (WALL_M - 0.1) + 0.03
    found = encoded_view_labels(field, views_of_a_wall(field), new, rays.reshape(-1, 3), FAR_M)
    assert set(found) == {DENSITY, SIGNED_DISTANCE}
    inner = (at.abs() > 0.15) & (at.abs() < 0.8)  # not where the maps' cells hold both classes, nor at the border
    for name, labels in found.items():
        labels = torch.from_numpy(labels).view(rays.shape[:2])
        assert (labels[inner] == (at >= 0)[inner]).all(), name
