"""A person walks through a procedural room: what must never be in the map, and what must leave it again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnesf_model.build import build_voting
from gnesf_model.config import Config, OccupancyConfig, VolumeConfig
from gnesf_model.data.procrooms import RoomSource, Scene
from gnesf_model.data.procrooms.materials import Material
from gnesf_model.data.procrooms.primitives import Kind, Primitive
from gnesf_model.frame import Frame, FrameDropped
from gnesf_model.geometry import pixel_rays
from gnesf_model.labels import LabelClass, LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.occupancy import OCCUPIED, OccupancyMapper
from gnesf_model.segment.oracle import OracleSegmenter

ROOMS = LabelSpace.load("scannet20")
PERSON, OTHERFURNITURE = 20, ROOMS.index("otherfurniture")
SPACE = LabelSpace("rooms_and_people", (*ROOMS.classes, LabelClass(PERSON, "person", (255, 0, 0), "dynamic")))
HEIGHT_M, RADIUS_M = 1.7, 0.22


def still_camera(frames: int = 60) -> tuple[RoomSource, list[Frame]]:
    """A camera in a corner of a room that looks over its floor and stays there."""
    room = RoomSource(3, frames=frames, stride=6, shading=False, width=240, height=180)
    first = max(room, key=lambda f: (f.labels == ROOMS.index("floor")).sum())
    return room, [replace(first, stamp_ns=1_000_000_000 + i * 100_000_000) for i in range(frames)]


def person_at(frame: Frame, place: np.ndarray, label: int) -> Frame:
    """The frame with a person, a capsule, standing at `place` (3,) on the floor."""
    pose = np.eye(4)
    pose[:3, 3] = place + np.array([0, 0, HEIGHT_M / 2])
    shape = Primitive(Kind.CAPSULE, (RADIUS_M, RADIUS_M, HEIGHT_M / 2 - RADIUS_M), pose, label, 0)
    scene = Scene([shape], [], [Material("plain", (0.5, 0.1, 0.1))])
    rays = pixel_rays(frame.camera) @ torch.from_numpy(frame.world_T_cam[:3, :3].T).float()
    hits = scene.cast(torch.from_numpy(frame.world_T_cam[:3, 3]).float(), rays)
    depth = hits.t.numpy().astype(np.float32)
    front = (depth < frame.depth) | (np.isfinite(depth) & (frame.depth == 0))
    rgb = np.where(front[..., None], np.array([200, 40, 40], np.uint8), frame.rgb)
    return replace(
        frame,
        rgb=rgb,
        depth=np.where(front, depth, frame.depth),
        labels=np.where(front, label, frame.labels).astype(np.uint8),
    )


def walkway(room: RoomSource, frame: Frame) -> list[np.ndarray]:
    """20 places on free floor, in view, where the person stands one after the other."""
    floor = (frame.labels == ROOMS.index("floor")) & (frame.depth > 1.2) & (frame.depth < 3.5)
    v, u = np.nonzero(floor)
    camera = frame.camera
    depth = frame.depth[v, u]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(depth)], axis=1)
    points = rays * depth[:, None] @ frame.world_T_cam[:3, :3].T + frame.world_T_cam[:3, 3]
    points[:, 2] = 0.0
    chest = torch.from_numpy(points + np.array([0, 0, 0.9])).float()
    points = points[(room.scene.sdf(chest) > RADIUS_M + 0.1).numpy()]
    across = points @ frame.world_T_cam[:3, 0]
    order = np.argsort(across)
    return [points[order[i]] for i in np.linspace(0.1 * len(order), 0.9 * len(order), 20).astype(int)]


def build(frames: list[Frame], **volume: float) -> tuple[SemanticMapper, OccupancyMapper]:
    images = {frame.stamp_ns: frame.labels for frame in frames}
    config = Config(device="cpu", volume=VolumeConfig(**volume))
    mapper = SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE))
    return mapper, OccupancyMapper(mapper, OccupancyConfig())


def near(mapper: SemanticMapper, places: list[np.ndarray]) -> int:
    """Surface points where the person was, above the floor."""
    points = mapper.surface().points
    points = points[(points[:, 2] > 0.15) & (points[:, 2] < HEIGHT_M)]
    distance = np.linalg.norm(points[:, None, :2] - np.array(places)[:, :2], axis=2).min(axis=1)
    return int((distance < RADIUS_M + 0.05).sum())


def integrate(mapper: SemanticMapper, occupancy: OccupancyMapper, frames: list[Frame]) -> None:
    for frame in frames:
        occupancy.changes.add(mapper.integrate(frame).blocks)


@pytest.fixture(scope="module")
def scene() -> tuple[list[Frame], list[np.ndarray]]:
    room, frames = still_camera()
    return frames, walkway(room, frames[0])


def test_who_is_labelled_a_person_never_enters_the_map(scene):
    frames, places = scene
    walking = [person_at(frames[i], place, PERSON) for i, place in enumerate(places)]
    assert min((frame.labels == PERSON).sum() for frame in walking) > 300
    empty, empty_grid = build(frames[:20])
    integrate(empty, empty_grid, frames[:20])
    mapper, occupancy = build(walking)
    integrate(mapper, occupancy, walking)
    # Cells of 4 pixels along the outline are person and background: what little leaks is gone at the next look.
    assert near(mapper, places) < 0.1 * near_if_mapped(scene)
    rest = frames[20:25]
    mapper.segmenter._source.__self__.update({frame.stamp_ns: frame.labels for frame in rest})
    integrate(mapper, occupancy, rest)
    assert near(mapper, places) == near(empty, places) == 0
    labels = mapper.surface().labels
    assert not (labels == PERSON).any()


def near_if_mapped(scene) -> int:
    frames, places = scene
    standing = [person_at(frame, places[0], OTHERFURNITURE) for frame in frames[:10]]
    mapper, occupancy = build(standing)
    integrate(mapper, occupancy, standing)
    return near(mapper, [places[0]])


def test_who_was_mistaken_for_furniture_decays_when_the_place_is_seen_free(scene):
    frames, places = scene
    place = places[10]
    standing = [person_at(frame, place, OTHERFURNITURE) for frame in frames[:10]]
    away = frames[10:40]
    mapper, occupancy = build([*standing, *away])
    integrate(mapper, occupancy, standing)
    there = near(mapper, [place])
    assert there > 200
    assert (cells_around(occupancy, place) == OCCUPIED).sum() > 10
    integrate(mapper, occupancy, away[:6])
    assert near(mapper, [place]) < 0.2 * there  # faster than it came
    integrate(mapper, occupancy, away[6:])
    assert near(mapper, [place]) == 0
    assert not (cells_around(occupancy, place) == OCCUPIED).any()


def test_what_went_away_decays_where_only_what_is_beyond_the_range_is_seen(scene):
    """A box before a hall: when it is gone, nothing that is left can be mapped."""
    frames, _ = scene
    box = [replace(frame, depth=np.full_like(frame.depth, 2.0)) for frame in frames[:10]]
    hall = [replace(frame, depth=np.full_like(frame.depth, 50.0)) for frame in frames[10:40]]
    mapper, occupancy = build(frames)
    with pytest.raises(FrameDropped, match="50 m in the median"):
        mapper.integrate(hall[0])
    integrate(mapper, occupancy, box)
    assert len(mapper.surface().points) > 200
    with pytest.raises(FrameDropped, match="50 m in the median"):  # once there is nothing left to look through
        integrate(mapper, occupancy, hall)
    assert mapper.frames > len(box)
    assert len(mapper.surface().points) == 0


def test_without_clearing_it_would_stay(scene):
    frames, places = scene
    place = places[10]
    standing = [person_at(frame, place, OTHERFURNITURE) for frame in frames[:10]]
    mapper, occupancy = build([*standing, *frames[10:40]], clearing_weight=0.0)
    integrate(mapper, occupancy, standing)
    there = near(mapper, [place])
    integrate(mapper, occupancy, frames[10:40])
    assert near(mapper, [place]) > 0.5 * there


@pytest.mark.parametrize("voting", ["average", "learned"])
def test_what_takes_the_place_of_something_gone_does_not_inherit_its_votes(scene, voting):
    """A chair is carried away, and a cabinet put where it stood: nothing of the chair speaks for it."""
    frames, places = scene
    chair, cabinet = ROOMS.index("chair"), ROOMS.index("cabinet")
    before = [person_at(frame, places[10], chair) for frame in frames[:15]]
    away = frames[15:45]
    after = [person_at(frame, places[10], cabinet) for frame in frames[45:50]]
    images = {frame.stamp_ns: frame.labels for frame in (*before, *away, *after)}
    every = {"keyframes.min_translation_m": 0.0, "keyframes.min_rotation_deg": 0.0}
    given = {"device": "cpu", "semantics.voting": voting, "semantics.neighbours": "none"}
    config = Config.from_flat({**given, **every})
    mapper = SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE), build_voting(config)[0])
    there, known = [], []
    for part in (before, away, after):
        for frame in part:
            mapper.integrate(frame)
        surface = mapper.surface()
        distance = np.linalg.norm(surface.points[:, :2] - places[10][:2], axis=1)
        inside = (distance < RADIUS_M + 0.05) & (surface.points[:, 2] > 0.15) & (surface.points[:, 2] < HEIGHT_M)
        there.append(surface.labels[inside])
        rest = surface.labels[distance > RADIUS_M + 0.3]
        known.append((rest != 255).mean())
    was, gone, now = there
    assert min(known) > known[0] - 0.002, "what still stands keeps its votes"
    assert len(was) > 200 and (was == chair).mean() > 0.9
    assert len(gone) == 0
    # What is unknown lies within it, where the free space ends that was seen while nothing stood there.
    assert (now == cabinet).sum() > 0.8 * len(was) and (now == chair).sum() < 0.02 * len(was)


def test_what_still_stands_is_not_cleared(scene):
    """An unchanged view leaves the map as it is, bit by bit: nothing measured is looked through."""
    frames, _ = scene
    cleared, a = build(frames[:12])
    integrate(cleared, a, frames[:12])
    plain, b = build(frames[:12], clearing_weight=0.0)
    integrate(plain, b, frames[:12])
    np.testing.assert_array_equal(cleared.surface().points, plain.surface().points)


def cells_around(occupancy: OccupancyMapper, place: np.ndarray) -> np.ndarray:
    """The cells within the person's radius of a place, in the grid as it is now."""
    grid = occupancy.grid()
    height, width = grid.cells.shape
    x = grid.origin_m[0] + (np.arange(width) + 0.5) * grid.resolution_m - place[0]
    y = grid.origin_m[1] + (np.arange(height) + 0.5) * grid.resolution_m - place[1]
    return grid.cells[np.hypot(x, y[:, None]) < RADIUS_M]
