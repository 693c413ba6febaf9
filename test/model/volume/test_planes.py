"""Planes of depth images, and surfaces seen along rather than at, against analytic floors and tables."""

import math

import numpy as np
import pytest
import torch

from gnesf_model.frame import Camera
from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.planes import STEEP, PixelPlanes
from gnesf_model.volume.surface import surface_points
from gnesf_model.volume.tsdf import DepthView, TsdfVolume

VOXEL, TRUNCATION, REACH = 0.04, 0.16, 5.0
HEIGHT = 0.5
"""Of the camera above the floor, m: a small robot's."""
CAMERAS = {
    width: Camera(width, width * 3 // 4, 0.85 * width, 0.85 * width, width / 2 - 0.5, width * 0.375 - 0.5)
    for width in (160, 320, 640)
}
LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""World axes (x ahead, z up) of a camera that looks straight ahead."""


def pose(x: float = 0.0, height: float = HEIGHT, down: float = 0.0) -> np.ndarray:
    """world_T_cam of a camera at (x, 0, height) that looks ahead, and down by an angle in rad."""
    tilt = np.array([[1, 0, 0], [0, math.cos(down), -math.sin(down)], [0, math.sin(down), math.cos(down)]])
    world_T_cam = np.eye(4)
    world_T_cam[:3, :3] = LEVEL @ tilt.T
    world_T_cam[:3, 3] = (x, 0.0, height)
    return world_T_cam


def rays_of(camera: Camera, world_T_cam: np.ndarray, stride: int = 1) -> np.ndarray:
    """(H, W, 3) what a step along the optical axis comes down to in the world, at every so many pixels."""
    v, u = np.mgrid[: camera.height : stride, : camera.width : stride]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1)
    return rays @ world_T_cam[:3, :3].T


def seen(camera: Camera, world_T_cam: np.ndarray, table: tuple[float, float, float] | None = None) -> torch.Tensor:
    """Exact depth of a floor at z = 0, of a wall at x = 6, and of a solid table (near x, far x, height), 1 m wide."""
    rays = rays_of(camera, world_T_cam)
    start = world_T_cam[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[..., 2] < 0, -start[2] / rays[..., 2], np.inf)
        depth = np.minimum(depth, np.where(rays[..., 0] > 0, (6.0 - start[0]) / rays[..., 0], np.inf))
        if table is not None:
            low, high = np.array([table[0], -0.5, 0.0]), np.array([table[1], 0.5, table[2]])
            enter, leave = (low - start) / rays, (high - start) / rays
            first = np.minimum(enter, leave).max(axis=-1)
            last = np.maximum(enter, leave).min(axis=-1)
            depth = np.where((first <= last) & (first > 0), np.minimum(depth, first), depth)
    return torch.from_numpy(np.where(depth < REACH, depth, 0.0).astype(np.float32))


def to_camera(world_T_cam: np.ndarray, points: np.ndarray) -> torch.Tensor:
    """Points (N, 3) of the world as (3, N) in the optical frame."""
    return torch.from_numpy(((points - world_T_cam[:3, 3]) @ world_T_cam[:3, :3]).T.astype(np.float32))


@pytest.mark.parametrize("width", CAMERAS)
@pytest.mark.parametrize("down", [0.0, 0.3, 1.2])
def test_planes_of_a_floor_are_the_floor(width, down):
    camera, world_T_cam = CAMERAS[width], pose(down=down)
    depth = seen(camera, world_T_cam)
    planes = PixelPlanes.of(depth, camera)
    stride = planes.stride_px
    assert planes.scale.shape == (math.ceil(camera.height / stride), math.ceil(camera.width / stride))
    # What a step along the optical axis comes down to, along the normal of the floor.
    expected = torch.from_numpy(-rays_of(camera, world_T_cam, stride)[..., 2])
    floor = (depth[::stride, ::stride] > 0) & (expected > 0.11)
    assert floor.sum() > 0.2 * floor.numel()
    inner = floor[1:-1, 1:-1]  # at the border there are neighbours to one side alone
    assert torch.allclose(planes.scale[1:-1, 1:-1][inner].double(), expected[1:-1, 1:-1][inner], atol=0.01)
    towards = torch.from_numpy(world_T_cam[:3, :3].T @ (0, 0, -1.0)).float()
    cosine = torch.einsum("d,dhw->hw", towards, planes.normal)
    assert (cosine[1:-1, 1:-1][inner] > 0.999).all()
    sure = inner & ((expected[1:-1, 1:-1] - STEEP).abs() > 0.02)
    assert torch.equal(planes.steep[1:-1, 1:-1][sure], (expected[1:-1, 1:-1] < STEEP)[sure])


def feet(
    camera: Camera, world_T_cam: np.ndarray, points: np.ndarray, table: tuple[float, float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which of some points (N, 3) of the world are found on surfaces that face up, and their distances."""
    planes = PixelPlanes.of(seen(camera, world_T_cam, table), camera)
    down = torch.from_numpy(world_T_cam[:3, :3].T @ (0, 0, -1.0)).float()[:, None].expand(3, len(points))
    place, distance = planes.find(to_camera(world_T_cam, points), down, 0.5 * VOXEL)
    return place.numpy(), distance.numpy()


def test_points_near_a_floor_are_found_with_their_distance():
    rng = np.random.default_rng(0)
    points = rng.uniform((1.2, -0.4, -0.012), (3.5, 0.4, 0.012), (4000, 3))
    place, distance = feet(CAMERAS[320], pose(), points)
    assert len(place) > 0.98 * len(points)
    assert np.abs(distance - points[place, 2]).max() < 0.002
    far = rng.uniform((1.2, -0.4, 0.03), (3.5, 0.4, 0.1), (4000, 3))
    assert len(feet(CAMERAS[320], pose(), far)[0]) == 0


def test_the_plane_of_a_table_ends_at_its_edge():
    """Points on the extended plane of its top, seen over the top but behind it: there is nothing."""
    rng = np.random.default_rng(1)
    table = (1.5, 2.5, 0.4)
    on_it = rng.uniform((1.55, -0.4, 0.4), (2.4, 0.4, 0.4001), (4000, 3))
    behind = rng.uniform((2.6, -0.4, 0.4), (4.5, 0.4, 0.4001), (4000, 3))
    assert len(feet(CAMERAS[320], pose(), on_it, table)[0]) > 0.8 * len(on_it)
    assert len(feet(CAMERAS[320], pose(), behind, table)[0]) == 0


def test_the_plane_of_a_table_ends_at_its_near_edge_too():
    """Before it the camera sees the table's front, through where its extended top would be."""
    rng = np.random.default_rng(2)
    table, height = (3.0, 3.6, 0.73), 1.49
    on_it = rng.uniform((3.05, -0.4, 0.73), (3.5, 0.4, 0.7301), (4000, 3))
    before = rng.uniform((2.9, -0.4, 0.73), (2.965, 0.4, 0.7301), (4000, 3))
    world_T_cam = pose(height=height, down=0.4)
    assert len(feet(CAMERAS[320], world_T_cam, on_it, table)[0]) > 0.8 * len(on_it)
    assert len(feet(CAMERAS[320], world_T_cam, before, table)[0]) == 0


def test_an_edge_between_two_flat_surfaces_is_not_steep():
    camera = CAMERAS[320]
    depth = torch.full((camera.height, camera.width), 1.0)
    depth[:, 161:] = 2.5
    depth[118:, :] = 0.7
    planes = PixelPlanes.of(depth, camera)
    assert not planes.steep.any()
    assert (planes.scale > 0.99).all()


def test_objects_behind_one_another_are_not_a_steep_surface():
    """Stairs in the inverse depth, one to each plane's pixel, have the slopes of a plane from one to the next."""
    camera = CAMERAS[320]
    column = torch.arange(camera.width).div(4, rounding_mode="floor")
    steps = torch.where((column > 36) & (column < 44), column - 36.0, 0.0).clamp_max(7.0)
    depth = (1.0 / (1.0 / 3.9 + 0.04 * steps)).expand(camera.height, -1).contiguous()
    slopes = (1.0 / depth[0, ::4]).diff()
    assert (slopes[37:42] > 0.039).all()
    assert not PixelPlanes.of(depth, camera).steep.any()


@pytest.mark.parametrize("size", [(61, 47), (320, 240), (5, 5), (1283, 3)])
def test_any_image_has_planes_and_points_are_found_only_where_it_measures(size):
    """Noise, holes, single pixels: nothing but numbers comes out, whatever points are asked for."""
    rng = np.random.default_rng(sum(size))
    camera = Camera(*size, 60.0, 62.0, size[0] / 2, size[1] / 2)
    depth = rng.uniform(0.1, 5.0, (size[1], size[0])).astype(np.float32)
    depth[rng.random(depth.shape) < 0.5] = 0.0
    depth = torch.from_numpy(depth)
    planes = PixelPlanes.of(depth, camera)
    for image in (planes.normal, planes.scale):
        assert image.isfinite().all()
    assert (planes.scale > 0).all()
    assert not planes.steep[depth[:: planes.stride_px, :: planes.stride_px] == 0].any()
    points = torch.from_numpy(rng.normal(0.0, 3.0, (3, 5000)).astype(np.float32))
    points[:, 0] = 0.0
    normal = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(3, 5000)).astype(np.float32)), dim=0)
    place, distance = planes.find(points, normal, 0.1)
    assert distance.isfinite().all() and (distance.abs() < 0.1).all()
    u, v = (points[i, place] / points[2, place] * f + c for i, f, c in ((0, 60.0, size[0] / 2), (1, 62.0, size[1] / 2)))
    assert (depth[v.round().long(), u.round().long()] > 0).all()
    empty = PixelPlanes.of(torch.zeros_like(depth), camera)
    assert not empty.steep.any() and len(empty.find(points, normal, 0.1)[0]) == 0
    assert empty.steep_samples(0.1, 0.3, 5.0).count == 0


def mapped(frames: list[tuple[torch.Tensor, Camera, np.ndarray]], steep: bool = True) -> BlockGrid:
    attributes = {"tsdf": (torch.float32, 1.0), "weight": (torch.float32, 0.0), "row": (torch.int32, -1.0)}
    grid = BlockGrid(VOXEL, attributes, max_blocks=100_000)
    volume = TsdfVolume(grid, truncation_m=TRUNCATION, max_depth_m=REACH, max_weight=64.0, steep=steep)
    for depth, camera, world_T_cam in frames:
        view = DepthView(depth, camera, world_T_cam)
        volume.integrate(view, volume.allocate(view))
    return grid


def drive(height: float, table: tuple[float, float, float] | None) -> list[tuple[torch.Tensor, Camera, np.ndarray]]:
    """A camera that goes 0.6 m ahead, looking straight ahead."""
    camera = CAMERAS[320]
    poses = [pose(x, height) for x in np.linspace(0.0, 0.6, 16)]
    return [(seen(camera, at, table), camera, at) for at in poses]


def covered(points: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> float:
    """Share of the 5 cm cells between two corners (x, y) in which there are points."""
    inside = ((points[:, :2] >= low) & (points[:, :2] < high)).all(axis=1)
    cells = np.unique(np.floor(points[inside][:, :2] / 0.05 + 1e-6).astype(int), axis=0)
    return len(cells) / np.prod(np.round((np.array(high) - low) / 0.05))


@pytest.mark.parametrize("floor_at", [0.0, 0.013, 0.031])
def test_a_floor_seen_at_six_to_twelve_degrees_is_in_the_map(floor_at):
    """Wherever between the middles of voxels it lies: along the optical axis alone, 8 % of it were at 0.013 m."""
    frames = [(depth, camera, at + lifted(floor_at)) for depth, camera, at in drive(HEIGHT, None)]
    points = surface_points(*everything(mapped(frames)), 2.0).points.numpy()
    floor = points[np.abs(points[:, 2] - floor_at) < 0.05]
    assert covered(floor, (2.6, -0.5), (4.6, 0.5)) > 0.95
    assert np.quantile(np.abs(floor[:, 2] - floor_at), 0.95) < 0.015


@pytest.mark.parametrize("height", [0.37, 0.35, 0.3])
def test_a_table_top_seen_at_three_to_seven_degrees_is_in_the_map_and_ends_at_its_edge(height):
    """Nothing beyond the map's range is measured behind it; along the optical axis alone it were 8, 42 and 62 %."""
    points = surface_points(*everything(mapped(drive(HEIGHT, (1.6, 2.4, height)))), 2.0).points.numpy()
    top = points[np.abs(points[:, 2] - height) < 0.05]
    assert covered(top, (1.7, -0.45), (2.35, 0.45)) > 0.8
    assert np.quantile(np.abs(top[:, 2] - height), 0.9) < 0.025
    behind = points[(points[:, 0] > 2.5) & (points[:, 0] < 5.5) & (points[:, 2] > 0.06)]
    assert len(behind) == 0


def test_nothing_hangs_before_the_edge_of_a_table_whose_top_is_seen_along():
    """From one place that stays as it is: no other view tells better."""
    camera, world_T_cam, table = CAMERAS[320], pose(height=1.49, down=0.4), (3.0, 3.6, 0.73)
    grid = mapped([(seen(camera, world_T_cam, table), camera, world_T_cam)] * 4)
    points = surface_points(*everything(grid), 2.0).points.numpy()
    top = points[np.abs(points[:, 2] - 0.73) < 0.05]
    assert covered(top, (3.1, -0.45), (3.5, 0.45)) > 0.8
    before = points[(points[:, 2] > 0.1) & (points[:, 0] < 3.0 - 1.25 * VOXEL)]
    assert len(before) == 0


def test_where_a_wall_and_a_floor_are_both_seen_along_the_nearer_one_counts():
    """A corridor: in the corner both distances hold, and which comes first must not matter."""
    camera, world_T_cam = CAMERAS[320], pose()
    rays = rays_of(camera, world_T_cam)
    with np.errstate(divide="ignore"):
        depth = np.where(rays[..., 2] < 0, -HEIGHT / rays[..., 2], np.inf)
        depth = np.minimum(depth, np.where(rays[..., 1] < 0, -0.5 / rays[..., 1], np.inf))
    depth = torch.from_numpy(np.where(depth < REACH, depth, 0.0).astype(np.float32))
    grid = mapped([(depth, camera, world_T_cam)])
    centres = grid.centres(torch.arange(grid.count)).view(-1, 3)
    measured = grid.voxels["weight"][: grid.count].view(-1) > 0
    value = grid.voxels["tsdf"][: grid.count].view(-1)[measured]
    x, y, z = centres[measured].T
    corner = (x > 2.0) & (x < 4.0) & (y > -0.47) & (y < -0.41) & (z > 0.0) & (z < 0.06)
    expected = torch.minimum(y + 0.5, z) / STEEP / TRUNCATION
    assert corner.sum() > 20
    assert ((value - expected).abs()[corner] < 0.05).float().mean() > 0.9


def test_depth_that_runs_from_object_to_object_is_measured_along_the_rays():
    """As networks predict it (geometry: rgb): a ramp at an outline is no surface, and nothing is made of it."""
    camera = CAMERAS[320]
    ramp = (torch.arange(camera.width) - 150.0).clamp(0, 20) / 20
    depth = (1.0 / (1 / 1.5 - ramp * (1 / 1.5 - 1 / 3.0))).expand(camera.height, -1).contiguous()
    assert PixelPlanes.of(depth, camera).steep.any()
    frames = [(depth, camera, pose())] * 3
    points = [surface_points(*everything(mapped(frames, steep)), 2.0).points for steep in (True, False)]
    between = [int(((p[:, 0] > 1.7) & (p[:, 0] < 2.6)).sum()) for p in points]
    assert between[0] > 100 and between[1] < 0.5 * between[0]


def lifted(by: float) -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[2, 3] = by
    return shift


def everything(grid: BlockGrid) -> tuple[BlockGrid, torch.Tensor]:
    return grid, torch.arange(grid.count)
