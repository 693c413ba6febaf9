"""Surface points, mesh and ray casting against analytic shapes."""

import numpy as np
import pytest
import torch

from gnesf_model.frame import Camera
from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.raycast import raycast
from gnesf_model.volume.surface import surface_mesh, surface_points, voxel_normals

VOXEL = 0.05
TRUNCATION = 0.2
RADIUS = 0.83
CENTRE = torch.tensor([0.31, -0.22, 0.13])
CAMERA = Camera(80, 60, 70.0, 70.0, 39.5, 29.5)
ATTRIBUTES = {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0), "row": (torch.int32, -1.0)}


def sphere_grid(weight: float = 5.0) -> BlockGrid:
    """A sphere with its band of truncation, as a perfect sensor would have measured it."""
    grid = BlockGrid(VOXEL, ATTRIBUTES, max_blocks=10_000)
    axis = torch.arange(-5, 6)
    coords = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    slots = grid.allocate(coords)
    centres = grid.centres(slots)
    distance = (centres - CENTRE).norm(dim=-1) - RADIUS
    seen = distance > -TRUNCATION
    grid.voxels["tsdf"][slots] = (distance / TRUNCATION).clamp(-1, 1)
    grid.voxels["weight"][slots] = weight * seen
    band = distance.abs() < 1.5 * VOXEL
    # The row says which octant of the sphere a voxel belongs to.
    octant = ((centres > CENTRE).int() * torch.tensor([4, 2, 1])).sum(-1).int()
    grid.voxels["row"][slots] = torch.where(band, octant, -1)
    return grid


def octant_of(points: torch.Tensor) -> torch.Tensor:
    return ((points > CENTRE).long() * torch.tensor([4, 2, 1])).sum(-1)


def test_points_lie_on_the_surface_with_the_row_of_the_nearest_voxel():
    grid = sphere_grid()
    found = surface_points(grid, torch.arange(grid.count), min_weight=2)
    distance = (found.points - CENTRE).norm(dim=1) - RADIUS
    assert len(found.points) > 1000
    assert distance.abs().max() < 0.1 * VOXEL
    away = (found.points - CENTRE).abs().min(dim=1).values > VOXEL
    assert torch.equal(found.rows[away], octant_of(found.points[away]))


def test_normals_point_out_of_the_surface_also_where_one_side_was_not_measured():
    grid = sphere_grid()
    points = surface_points(grid, torch.arange(grid.count), min_weight=2).points
    outwards = (points - CENTRE) / (points - CENTRE).norm(dim=1, keepdim=True)
    normals = voxel_normals(grid, points)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(points)))
    assert float((normals * outwards).sum(1).min()) > 0.97
    # A view from above measured nothing below the middle: half of the neighbours of the equator are unknown.
    below = grid.centres(torch.arange(grid.count))[..., 2] < CENTRE[2]
    grid.voxels["weight"][: grid.count][below] = 0
    equator = points[(points[:, 2] - CENTRE[2] > 0.5 * VOXEL) & (points[:, 2] - CENTRE[2] < 1.5 * VOXEL)]
    outwards = (equator - CENTRE) / (equator - CENTRE).norm(dim=1, keepdim=True)
    assert len(equator) > 30 and float((voxel_normals(grid, equator) * outwards).sum(1).min()) > 0.9
    nowhere = voxel_normals(BlockGrid(VOXEL, ATTRIBUTES, max_blocks=10), points[:3])
    assert nowhere.shape == (3, 3) and nowhere.abs().max() == 0


def test_blocks_give_together_what_they_give_alone():
    grid = sphere_grid()
    whole = surface_points(grid, torch.arange(grid.count), min_weight=2).points
    parts = [surface_points(grid, torch.tensor([b]), min_weight=2).points for b in range(grid.count)]
    assert torch.equal(
        torch.cat(parts).sort(dim=0).values,
        whole.sort(dim=0).values,
    )


def test_mesh_is_closed_and_faces_free_space():
    grid = sphere_grid()
    mesh = surface_mesh(grid, torch.arange(grid.count), min_weight=2)
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    directed = set(map(tuple, edges.tolist()))
    assert len(directed) == len(edges), "an edge is used twice in one direction"
    assert all((b, a) in directed for a, b in directed), "the mesh has a hole"
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    outward = (a + b + c) / 3 - CENTRE
    assert ((normal * outward).sum(1) > 0).all()
    volume = (torch.linalg.cross(b - CENTRE, c - CENTRE) * (a - CENTRE)).sum() / 6
    assert volume.item() == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)
    assert ((mesh.vertices - CENTRE).norm(dim=1) - RADIUS).abs().max() < 0.25 * VOXEL


def test_voxels_measured_too_rarely_give_no_surface():
    grid = sphere_grid(weight=1.0)
    everything = torch.arange(grid.count)
    assert len(surface_points(grid, everything, min_weight=2).points) == 0
    assert len(surface_mesh(grid, everything, min_weight=2).faces) == 0
    assert len(surface_points(grid, everything, min_weight=1).points) > 1000


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    pose[:3, 3] = eye
    return pose


def cast(grid, pose, **options):
    defaults = {"truncation_m": TRUNCATION, "min_depth_m": 0.1, "max_depth_m": 5.0, "min_weight": 2}
    return raycast(grid, CAMERA, pose, **(defaults | options))


def analytic_depth(pose: np.ndarray) -> np.ndarray:
    u = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx
    v = (np.arange(CAMERA.height) - CAMERA.cy) / CAMERA.fy
    rays = np.stack([*np.meshgrid(u, v), np.ones((CAMERA.height, CAMERA.width))], -1) @ pose[:3, :3].T
    o = pose[:3, 3] - CENTRE.numpy()
    a, b, c = (rays**2).sum(-1), rays @ o, o @ o - RADIUS**2
    under = b**2 - a * c
    return np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / a, 0.0)


@pytest.mark.parametrize("eye", [(2.4, 1.0, 0.9), (-1.5, -1.8, 0.2), (0.3, 2.2, -1.7)])
def test_depth_of_the_map_is_within_half_a_voxel(eye):
    grid, pose = sphere_grid(), look_at(np.array(eye), CENTRE.numpy())
    found, truth = cast(grid, pose), analytic_depth(pose)
    both = (found.depth.numpy() > 0) & (truth > 0)
    assert both.sum() > 800
    # Only the silhouette may differ in who is hit.
    assert ((found.depth.numpy() > 0) != (truth > 0)).sum() < 0.06 * both.sum()
    error = np.abs(found.depth.numpy() - truth)[both]
    assert np.quantile(error, 0.97) < 0.5 * VOXEL
    assert np.median(error) < 0.05 * VOXEL


def test_rows_of_the_hits_are_those_of_the_surface():
    grid, pose = sphere_grid(), look_at(np.array([2.0, 1.5, 1.0]), CENTRE.numpy())
    found = cast(grid, pose)
    hit = found.depth > 0
    assert (found.rows[hit] >= 0).all()
    assert (found.rows[~hit] == -1).all()
    v, u = hit.nonzero(as_tuple=True)
    rays = torch.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, torch.ones(len(u))], 1)
    points = (rays * found.depth[hit][:, None]).double() @ torch.from_numpy(pose[:3, :3]).T
    points = (points + torch.from_numpy(pose[:3, 3])).float()
    away = (points - CENTRE).abs().min(dim=1).values > 1.5 * VOXEL
    assert torch.equal(found.rows[hit][away], octant_of(points[away]))


def test_a_surface_seen_from_behind_is_no_surface():
    grid = sphere_grid()
    found = cast(grid, look_at(CENTRE.numpy().astype(float), np.array([3.0, 2.0, 0.5])))
    assert (found.depth == 0).all()


def test_an_empty_map_and_a_map_out_of_reach_show_nothing():
    pose = look_at(np.array([2.0, 0.0, 0.0]), CENTRE.numpy())
    assert (cast(BlockGrid(VOXEL, ATTRIBUTES, max_blocks=10), pose).depth == 0).all()
    assert (cast(sphere_grid(), pose, max_depth_m=0.5).depth == 0).all()
