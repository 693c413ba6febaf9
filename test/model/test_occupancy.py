"""The grid against rooms whose every obstacle is known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gnesf_model.config import Config, OccupancyConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.occupancy import FREE, OCCUPIED, UNKNOWN_CELL, OccupancyGrid, OccupancyMapper
from gnesf_model.segment.oracle import OracleSegmenter

SPACE = LabelSpace.load("scannet20")
ROOM = RoomSource(2, frames=40, stride=15, shading=False, width=240, height=180)
MEASURED = (1, 2, 3, 7, 12)
"""Rooms of docs/outputs.md."""


def turned(frame: Frame, R: np.ndarray) -> Frame:
    turn = np.eye(4)
    turn[:3, :3] = R
    return replace(frame, world_T_cam=turn @ frame.world_T_cam)


def build(frames: list[Frame], settings: OccupancyConfig, every: int = 1000) -> tuple[OccupancyMapper, SemanticMapper]:
    """Map the frames, with a look at the grid after every so many of them."""
    images = {frame.stamp_ns: frame.labels for frame in frames}
    mapper = SemanticMapper(Config(device="cpu"), OracleSegmenter(images.__getitem__, SPACE))
    occupancy = OccupancyMapper(mapper, settings)
    for index, frame in enumerate(frames):
        occupancy.changes.add(mapper.integrate(frame).blocks)
        if index % every == every - 1:
            occupancy.grid()
    return occupancy, mapper


def centres(grid: OccupancyGrid) -> np.ndarray:
    """(H, W, 3) world coordinates of the cells' centres at the floor."""
    height, width = grid.cells.shape
    x = grid.origin_m[0] + (np.arange(width) + 0.5) * grid.resolution_m
    y = grid.origin_m[1] + (np.arange(height) + 0.5) * grid.resolution_m
    level = np.stack([*np.meshgrid(x, y), np.full((height, width), grid.floor_m)], axis=-1)
    return level @ grid.world_T_level[:3, :3].T


def clearance(grid: OccupancyGrid, settings: OccupancyConfig, room: RoomSource = ROOM) -> np.ndarray:
    """(H, W) least distance, m, from the cell's axis to the room between the heights that count; NaN if unknown."""
    known = grid.cells != UNKNOWN_CELL
    heights = np.arange(settings.min_height_m + 0.01, settings.max_height_m, 0.03)
    up = grid.world_T_level[:3, 2]
    points = centres(grid)[known][:, None] + heights[:, None] * up
    found = np.full(grid.cells.shape, np.nan)
    found[known] = room.scene.sdf(torch.from_numpy(points).float()).amin(dim=1).numpy()
    return found


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(ROOM)


@pytest.fixture(scope="module")
def built(frames: list[Frame]) -> tuple[OccupancyMapper, SemanticMapper]:
    return build(frames, OccupancyConfig())


def check(grid: OccupancyGrid, settings: OccupancyConfig, clearances: np.ndarray) -> None:
    free, occupied = grid.cells == FREE, grid.cells == OCCUPIED
    assert free.sum() * grid.resolution_m**2 > 5.0
    assert (clearances[free] > 0).mean() > 0.985
    assert (clearances[free] > -grid.resolution_m).mean() > 0.995
    assert (clearances[occupied] < grid.resolution_m).mean() > 0.97


def test_free_is_free_and_occupied_is_occupied(built):
    grid = built[0].grid()
    check(grid, OccupancyConfig(), clearance(grid, OccupancyConfig()))
    assert abs(grid.floor_m) < 0.02
    np.testing.assert_array_equal(grid.world_T_level, np.eye(4))
    # Beyond the walls nobody looked.
    inside = np.einsum("ij,hwj->hwi", ROOM.scene.world_T_room[:3, :3].T, centres(grid) - ROOM.scene.world_T_room[:3, 3])
    outside = (np.abs(inside[..., :2]) > np.array(ROOM.scene.room_size[:2]) / 2 + 0.4).any(axis=2)
    assert outside.sum() > 1000 and (grid.cells[outside] == UNKNOWN_CELL).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", MEASURED)
def test_the_figures_of_the_documentation_hold(seed: int) -> None:
    room = RoomSource(seed, frames=100, stride=6, shading=False)
    grid = build(list(room), OccupancyConfig())[0].grid()
    found = clearance(grid, OccupancyConfig(), room)
    assert (found[grid.cells == FREE] > 0).mean() > 0.985
    assert (found[grid.cells == OCCUPIED] < grid.resolution_m).mean() > 0.975


def test_following_the_map_gives_the_same_as_looking_once(built, frames):
    followed, _ = build(frames, OccupancyConfig(), every=7)
    once, step_by_step = built[0].grid(), followed.grid()
    np.testing.assert_array_equal(step_by_step.cells, once.cells)
    assert step_by_step.floor_m == once.floor_m


def test_up_is_found_where_no_axis_points_there(frames):
    """As a map that starts at a tilted camera: its first optical frame is the world."""
    R = Rotation.from_euler("xyz", [-112.0, 15.0, 31.0], degrees=True).as_matrix()
    settings = OccupancyConfig(up="auto")
    occupancy, _ = build([turned(frame, R) for frame in frames], settings)
    grid = occupancy.grid()
    up = grid.world_T_level[:3, 2]
    assert np.degrees(np.arccos(up @ R[:, 2])) < 0.5
    # Seen from the room, the grid is as right as if the world had been level.
    seen = replace(grid, world_T_level=np.block([[R.T @ grid.world_T_level[:3, :3], np.zeros((3, 1))], [0, 0, 0, 1]]))
    check(grid, settings, clearance(seen, settings))


def test_up_can_be_given(frames):
    R = Rotation.from_euler("x", -90.0, degrees=True).as_matrix()  # z of the room becomes y
    occupancy, _ = build([turned(frame, R) for frame in frames[:5]], OccupancyConfig(up="y"))
    grid = occupancy.grid()
    np.testing.assert_allclose(grid.world_T_level[:3, 2], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(grid.world_T_level[:3, 0], [1, 0, 0], atol=1e-12)
    assert (grid.cells == FREE).any() and abs(grid.floor_m) < 0.02


def test_the_robots_radius_is_kept(built):
    plain = built[0].grid()
    wide = OccupancyMapper(built[1], OccupancyConfig(robot_radius_m=0.3)).grid()
    grown = (wide.cells == OCCUPIED) & (plain.cells != OCCUPIED)
    assert grown.any() and (wide.cells[plain.cells == OCCUPIED] == OCCUPIED).all()
    places = centres(plain)[..., :2]
    obstacles, sample = places[plain.cells == OCCUPIED], np.random.default_rng(0).integers(0, grown.sum(), 300)
    nearest = np.linalg.norm(places[grown][sample, None] - obstacles, axis=2).min(axis=1)
    assert nearest.max() <= 0.3 + 1e-6
    left = places[wide.cells == FREE][::7]
    assert np.linalg.norm(left[:, None] - obstacles, axis=2).min() > 0.3 - 1e-6


def test_a_lower_robot_fits_below_more(built):
    tall, flat = built[0].grid(), OccupancyMapper(built[1], OccupancyConfig(max_height_m=0.4)).grid()
    assert (flat.cells == OCCUPIED).sum() < (tall.cells == OCCUPIED).sum()


def test_the_grid_only_grows_and_keeps_its_raster(frames):
    occupancy, mapper = build(frames[:3], OccupancyConfig())
    before = occupancy.grid()
    assert before.changed(None) is None
    assert before.changed(occupancy.grid()) == (0, 0, 0, 0)
    for frame in frames[3:12]:
        mapper.segmenter._source.__self__[frame.stamp_ns] = frame.labels
        occupancy.changes.add(mapper.integrate(frame).blocks)
        grid = occupancy.grid()
        for axis in (0, 1):
            shift = (before.origin_m[axis] - grid.origin_m[axis]) / grid.resolution_m
            size = 1 - axis
            assert shift == round(shift) >= 0  # exactly: Nav2's static layer warns of anything else
            assert np.fmod(grid.origin_m[axis], np.float32(grid.resolution_m)) == 0
            assert grid.cells.shape[size] >= before.cells.shape[size] + shift
        box = grid.changed(before)
        if box is not None:
            x, y, width, height = box
            patched = before.cells.copy()
            patched[y : y + height, x : x + width] = grid.cells[y : y + height, x : x + width]
            np.testing.assert_array_equal(patched, grid.cells)
        before = grid


def test_without_a_floor_there_is_no_grid_and_it_says_why(frames):
    no_floor = [replace(frame, labels=np.where(frame.labels == 1, 255, frame.labels)) for frame in frames[:3]]
    for settings, remedy in (
        (OccupancyConfig(), "set occupancy.floor_height_m"),
        (OccupancyConfig(up="auto"), "set occupancy.up"),
    ):
        occupancy, _ = build(no_floor, settings)
        assert occupancy.grid() is None
        assert "labelled floor" in occupancy.why and remedy in occupancy.why
    occupancy, _ = build(no_floor, OccupancyConfig(floor_height_m=[0.0]))
    grid = occupancy.grid()
    # Obstacles are there, but what nobody called floor is not driven on.
    assert occupancy.why == "" and (grid.cells == OCCUPIED).any() and not (grid.cells == FREE).any()


def test_a_stray_pose_does_not_fill_the_memory(frames):
    away = np.eye(4)
    away[:3, 3] = (5_000.0, 0, 0)
    stray = replace(frames[3], stamp_ns=1, world_T_cam=away @ frames[3].world_T_cam)
    # Twice, because surface counts from the second measurement on.
    occupancy, _ = build([*frames[:3], stray, stray], OccupancyConfig(max_size_m=50.0))
    grid = occupancy.grid()
    assert max(grid.cells.shape) * grid.resolution_m <= 50.0 + 1e-3
    assert (grid.cells == FREE).any()
    assert occupancy.left_out > 100


def test_a_reset_map_gives_no_grid_of_before(frames):
    occupancy, mapper = build(frames[:2], OccupancyConfig())
    assert occupancy.grid() is not None
    mapper.reset()
    assert occupancy.grid() is None


@pytest.mark.parametrize("text", ["w", "0 0", "0 0 0", "up", "nan 0 1", "--z"])
def test_other_directions_are_refused(text: str):
    with pytest.raises(ValueError, match="expected auto, an axis such as z or -y, or three numbers"):
        OccupancyConfig(up=text)


def test_heights_must_ascend():
    with pytest.raises(ValueError, match="expected them to ascend"):
        OccupancyConfig(min_height_m=2.0)
