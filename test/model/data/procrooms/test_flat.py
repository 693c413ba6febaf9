"""Several rooms joined by doorways: closed, connected, one floor under all of them."""

import numpy as np
import pytest
import torch
from probes import assert_nothing_intersects, random_points, volume_points

from gnesf_model.data.procrooms import RoomSource, make_room
from gnesf_model.data.procrooms.flat import plan_flat
from gnesf_model.data.procrooms.floor import Floor, _rooms_of
from gnesf_model.data.procrooms.scene import Scene


@pytest.fixture(scope="module", params=[(0, 2), (1, 5)])
def flat(request) -> Scene:
    return make_room(*request.param)


def test_nothing_intersects_and_all_is_inside(flat):
    assert_nothing_intersects(flat)
    half = np.asarray(flat.room_size)[:2] / 2
    flat_T_world = np.linalg.inv(flat.world_T_room)
    for thing in flat.objects:
        if thing.name not in ("floor", "wall", "ceiling"):
            local = volume_points(flat, thing).numpy() @ flat_T_world[:3, :3].T + flat_T_world[:3, 3]
            assert (np.abs(local[:, :2]) <= half + 0.01).all(), thing.name
            assert local[:, 2].min() > -1e-6
            assert local[:, 2].max() <= flat.room_size[2] + 1e-6


def test_distance_is_1_lipschitz_and_rays_end_where_it_is_zero(flat):
    a, b = random_points(flat, 8000, 1), random_points(flat, 8000, 2)
    assert ((flat.sdf(a) - flat.sdf(b)).abs() - (a - b).norm(dim=1)).max() < 1e-9
    for x0, y0, x1, y1 in flat.rooms:
        eye = torch.from_numpy(flat.world_T_room @ ((x0 + x1) / 2, (y0 + y1) / 2, 2.2, 1.0))[:3]
        d = torch.randn(1024, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        hits = flat.cast(eye, d)
        assert (hits.primitive >= 0).all()  # also through the doorways
        assert flat.sdf(eye + hits.t[:, None] * d).abs().max() < 1e-9


def test_every_room_can_be_walked_to(flat):
    floor = Floor(flat)
    assert set(_rooms_of(flat, floor.xy).tolist()) == set(range(len(flat.rooms)))


def test_a_robot_passes_doorways_and_keeps_clear():
    source = RoomSource(5, frames=1600, width=32, height=24, stride=1, rooms=2, trajectory="robot")
    poses, scene = source.poses, source.scene
    assert scene.sdf(torch.from_numpy(poses[:, :3, 3])).min() > 0.15
    xy = (poses[:, :3, 3] - scene.world_T_room[:3, 3]) @ scene.world_T_room[:3, :3]
    assert len(set(_rooms_of(scene, xy[:, :2]).tolist())) == 2


def test_lamps_light_their_own_room():
    source = RoomSource(0, frames=1, width=64, height=48, rooms=2)
    assert len(source.scene.lights) == 4
    assert source[0].rgb.mean() > 40
    assert {light.room for light in source.scene.lights} == set(source.scene.rooms)


@pytest.mark.parametrize("rooms", [2, 3, 4, 7, 12])
def test_plans_fill_a_rectangle_with_rooms_that_do_not_overlap(rooms):
    for seed in range(3):
        cells = plan_flat(np.random.default_rng(seed), rooms)
        corners = np.array([cell.rectangle for cell in cells])
        assert len(cells) == rooms
        low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
        np.testing.assert_allclose(low, -high)
        grown = corners + np.array([-0.1, -0.1, 0.1, 0.1])  # with their halves of the walls they fill it
        np.testing.assert_allclose((grown[:, 2:] - grown[:, :2]).prod(1).sum(), (high - low + 0.2).prod())
        assert sum(door.framed for cell in cells for door in cell.doorways) >= rooms - 1


@pytest.mark.parametrize("rooms", [0, -1, 41])
def test_impossible_flats_are_refused(rooms):
    with pytest.raises(ValueError, match=f"flat of {rooms} rooms"):
        make_room(0, rooms)


@pytest.mark.slow
def test_dozens_of_flats_exist():
    for seed in range(40):
        assert len(make_room(seed, 2 + seed % 9).rooms) == 2 + seed % 9
