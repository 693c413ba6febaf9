"""Rays, normals and distances of single primitives against each other and against sampled surfaces."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gnesf_model.data.procrooms.materials import Material
from gnesf_model.data.procrooms.primitives import Kind, Primitive
from gnesf_model.data.procrooms.scene import Scene, SceneObject

SIZES = {
    Kind.BOX: (0.5, 0.2, 0.9),
    Kind.CYLINDER: (0.3, 0.3, 0.7),
    Kind.ELLIPSOID: (0.6, 0.15, 0.3),
    Kind.CAPSULE: (0.2, 0.2, 0.5),
}


def scene_of(kind: Kind, size=None) -> Scene:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", (0.4, -0.7, 1.1)).as_matrix()
    pose[:3, 3] = (0.3, -0.2, 0.5)
    primitive = Primitive(kind, size or SIZES[kind], pose, 7, 0)
    return Scene([primitive], [SceneObject("thing", 0, 1)], [Material("plain", (1, 1, 1))])


def rays(count: int, generator: torch.Generator, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """From a shell 3 m away to somewhere near the primitive; directions of any length."""
    origin = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=1) * 3
    aim = torch.tensor([0.3, -0.2, 0.5], dtype=dtype) + 0.5 * torch.randn(count, 3, generator=generator, dtype=dtype)
    return origin, (aim - origin) * torch.rand(count, 1, generator=generator, dtype=dtype).add(0.1)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_rays_end_on_the_surface_and_meet_nothing_before(kind, dtype, tolerance):
    scene = scene_of(kind)
    o, d = rays(4000, torch.Generator().manual_seed(kind), dtype)
    hits = scene.cast(o, d)
    hit = hits.primitive >= 0
    assert 0.1 < hit.float().mean() < 0.9
    assert torch.equal(hit, hits.t.isfinite())
    end = o[hit] + hits.t[hit, None] * d[hit]
    assert scene.sdf(end).abs().max() < tolerance
    steps = torch.linspace(0, 1, 60, dtype=dtype)[:-1, None, None]
    assert scene.sdf(o[hit] + steps * (end - o[hit])).min() > 0
    along = torch.linspace(0, 8, 400, dtype=dtype)[:, None, None]  # what is missed is truly missed
    assert scene.sdf(o[~hit] + along * d[~hit] / d[~hit].norm(dim=1, keepdim=True)).min() > -tolerance


@pytest.mark.parametrize("kind", Kind)
def test_normals_are_the_gradient_of_the_distance(kind):
    scene = scene_of(kind)
    o, d = rays(3000, torch.Generator().manual_seed(10 + kind))
    hits = scene.cast(o, d)
    hit = hits.primitive >= 0
    end, normal = o[hit] + hits.t[hit, None] * d[hit], hits.normal[hit]
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(len(normal), dtype=torch.float64))
    assert ((normal * d[hit]).sum(1) < 0).all()
    step = 1e-5
    assert (scene.sdf(end + step * normal) - step).abs().max() < 1e-8


@pytest.mark.parametrize("kind", Kind)
def test_distance_is_that_to_the_nearest_surface_point(kind):
    scene = scene_of(kind)
    generator = torch.Generator().manual_seed(20 + kind)
    o, d = rays(60000, generator)
    hits = scene.cast(o, d)
    surface = (o + hits.t[:, None] * d)[hits.primitive >= 0]
    points = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64) + 0.6 * torch.randn(
        400, 3, generator=generator, dtype=torch.float64
    )
    distance = scene.sdf(points)
    assert (distance < 0).sum() > 10
    nearest = torch.cdist(points, surface).amin(1)
    assert (nearest - distance.abs()).min() > -1e-9  # no sampled surface point is nearer
    assert (nearest - distance.abs()).max() < 0.08  # and one is about that near


def test_ellipsoid_distance_where_newton_has_it_hardest():
    """Centre, axes and symmetry planes of a flat ellipsoid; closed forms exist there."""
    scene = scene_of(Kind.ELLIPSOID, (1.0, 0.1, 0.5))
    pose = torch.from_numpy(scene.primitives[0].parent_T_local)
    local = torch.tensor([[0.0, 0, 0], [0, 0.05, 0], [0, 0.3, 0], [2, 0, 0], [0, 0, -0.7], [0.995, 0, 0]]).double()
    expected = torch.tensor([-0.1, -0.05, 0.2, 1.0, 0.2, -0.005]).double()
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        world = (local @ pose[:3, :3].T + pose[:3, 3]).to(dtype)
        torch.testing.assert_close(scene.sdf(world), expected.to(dtype), atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", Kind)
def test_a_ray_that_starts_inside_does_not_see_the_primitive(kind):
    scene = scene_of(kind)
    d = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    assert (scene.cast(torch.tensor([0.3, -0.2, 0.5]), d).primitive == -1).all()


def test_axis_parallel_rays_are_no_special_case():
    box = Primitive(Kind.BOX, (1.0, 1.0, 1.0), np.eye(4), 0, 0)
    scene = Scene([box], [SceneObject("box", 0, 1)], [Material("plain", (1, 1, 1))])
    hits = scene.cast(torch.tensor([[-3.0, 0.5, 0.5], [-3.0, 1.5, 0.0]]), torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]))
    assert hits.t.tolist() == [2.0, float("inf")]
    assert hits.normal.tolist() == [[-1, 0, 0], [0, 0, 0]]


def test_a_primitive_of_no_size_is_refused():
    with pytest.raises(ValueError, match=r"BOX has size .* positive"):
        Primitive(Kind.BOX, (1.0, 0.0, 1.0), np.eye(4), 0, 0)
