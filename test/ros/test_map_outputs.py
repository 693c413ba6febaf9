"""When what is made from the map is made, and what becomes of it when the map or the settings change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from gnesf_msgs.msg import VoxelBlocks
from nav_msgs.msg import OccupancyGrid
from ros_harness import Peer, new_domain
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import Marker

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints, SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.voxels import voxel_blocks
from gnesf_ros import map_outputs, outlet, qos
from gnesf_ros.map_outputs import MapOutputs
from gnesf_ros.optional_messages import optional
from gnesf_ros.outlet import Pace

SETTINGS = {f"node.{name}_period_s": 0.05 for name in ("cloud", "grid", "mesh", "voxels", "tsdf")} | {"device": "cpu"}


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(RoomSource(2, frames=8, stride=30, shading=False, width=160, height=120))


@dataclass
class Desk:
    """A map, its outputs, and somebody who listens."""

    mapper: SemanticMapper
    outputs: MapOutputs
    speaker: Peer
    listener: Peer
    config: Config

    def take(self, frame: Frame) -> None:
        self.outputs.changed(self.mapper.integrate(frame).blocks)
        self.outputs.frame(frame, "camera")

    def publish_until(self, messages: list[Any], count: int) -> None:
        """As the idle worker does it."""

        def look() -> bool:
            self.outputs.publish(7)
            return len(messages) >= count

        self.listener.wait(look, f"{count} messages")


@pytest.fixture
def desk(frames: list[Frame]) -> Iterator[Desk]:
    domain = new_domain()
    speaker, listener = Peer(domain), Peer(domain)
    images = {frame.stamp_ns: frame.labels for frame in frames}
    config = Config.from_flat(SETTINGS)
    mapper = SemanticMapper(config, OracleSegmenter(images.__getitem__, LabelSpace.load("scannet20")))
    try:
        yield Desk(mapper, MapOutputs(speaker.node, mapper, config), speaker, listener, config)
    finally:
        speaker.close()
        listener.close()


def grid_topic(desk: Desk) -> str:
    return f"/{desk.speaker.node.get_name()}/occupancy_grid"


def test_the_same_map_is_not_sent_twice_and_another_one_is(desk: Desk, frames: list[Frame]) -> None:
    grids = desk.listener.listen(OccupancyGrid, grid_topic(desk), qos.latched())
    for frame in frames[:4]:
        desk.take(frame)
    desk.publish_until(grids, 1)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert desk.outputs.publish(7) == {}
    for frame in frames[4:]:
        desk.take(frame)
    desk.publish_until(grids, 2)
    assert (np.array(grids[-1].data) == 0).sum() > (np.array(grids[0].data) == 0).sum()


def test_a_reset_map_has_an_unknown_grid_no_mesh_and_no_blocks(desk: Desk, frames: list[Frame]) -> None:
    name = desk.speaker.node.get_name()
    grids = desk.listener.listen(OccupancyGrid, grid_topic(desk), qos.latched())
    meshes = desk.listener.listen(Marker, f"/{name}/semantic_mesh", qos.latched())
    voxels = desk.listener.listen(VoxelBlocks, f"/{name}/semantic_voxels", qos.output())
    for frame in frames[:4]:
        desk.take(frame)
    for messages in (grids, meshes, voxels):
        desk.publish_until(messages, 1)
    assert (np.array(grids[-1].data) == 0).any() and len(voxels[-1].coords)
    desk.mapper.reset()
    counts = [len(messages) + 1 for messages in (grids, meshes, voxels)]
    for messages, count in zip((grids, meshes, voxels), counts):
        desk.publish_until(messages, count)
    assert set(grids[-1].data) == {-1}
    assert meshes[-1].action == Marker.DELETE
    assert voxels[-1].reset and not len(voxels[-1].coords)


def test_other_settings_show_at_once(desk: Desk, frames: list[Frame]) -> None:
    grids = desk.listener.listen(OccupancyGrid, grid_topic(desk), qos.latched())
    for frame in frames:
        desk.take(frame)
    desk.publish_until(grids, 1)
    lower = replace(desk.config.occupancy, max_height_m=0.3, up="-y")  # up cannot change any more
    desk.outputs.adjust(replace(desk.config, occupancy=lower))
    desk.publish_until(grids, 2)
    assert grids[-1].header.frame_id == grids[0].header.frame_id == "odom"
    assert (np.array(grids[-1].data) == 100).sum() < (np.array(grids[0].data) == 100).sum()


def test_another_min_weight_is_another_surface(desk: Desk, frames: list[Frame]) -> None:
    meshes = desk.listener.listen(Marker, f"/{desk.speaker.node.get_name()}/semantic_mesh", qos.latched())
    grids = desk.listener.listen(OccupancyGrid, grid_topic(desk), qos.latched())
    for frame in frames:
        desk.take(frame)
    desk.publish_until(meshes, 1)
    desk.publish_until(grids, 1)
    config = replace(desk.config, volume=replace(desk.config.volume, min_weight=4.0))
    desk.mapper.adjust(config)
    desk.outputs.adjust(config)
    desk.publish_until(meshes, 2)
    desk.publish_until(grids, 2)
    assert len(meshes[-1].points) < len(meshes[0].points)
    assert (np.array(grids[-1].data) >= 0).sum() < (np.array(grids[0].data) >= 0).sum()


def test_every_camera_has_its_own_view_of_the_map(desk: Desk, frames: list[Frame]) -> None:
    views = desk.listener.listen(Image, f"/{desk.speaker.node.get_name()}/semantic_map/image_raw")
    desk.listener.wait(lambda: desk.outputs._views["semantic_map/image_raw"].wanted, "the match")
    desk.mapper.integrate(frames[0])
    for name in ("front", "rear", "front", "rear"):
        desk.outputs.frame(replace(frames[0], source=name), name)
    desk.listener.wait(lambda: len(views) >= 2, "a view of each")
    assert {view.header.frame_id for view in views} == {"front", "rear"}


@pytest.mark.skipif(optional("map_msgs", "OccupancyGridUpdate") is None, reason="map_msgs is not installed")
def test_who_takes_the_updates_has_the_same_grid(desk: Desk, frames: list[Frame]) -> None:
    kind = optional("map_msgs", "OccupancyGridUpdate")
    grids = desk.listener.listen(OccupancyGrid, grid_topic(desk), qos.latched())
    updates = desk.listener.listen(kind, f"{grid_topic(desk)}_updates", qos.output())
    for frame in frames:
        desk.take(frame)
    desk.publish_until(grids, 1)
    # Something now stands on the floor, within the grid: a box of another size could not be told as an update.
    height, width = frames[-1].depth.shape
    depth = frames[-1].depth.copy()
    depth[height * 2 // 3 :, width // 3 : width * 2 // 3] *= 0.6
    for _ in range(4):
        desk.take(replace(frames[-1], depth=depth))
    desk.publish_until(grids, 2)
    before, after = (np.array(grid.data).reshape(grid.info.height, grid.info.width) for grid in grids[:2])
    assert before.shape == after.shape and (before != after).any()
    (update,) = desk.listener.wait(lambda: updates, "the update")
    assert update.width * update.height < before.size, "what changed, and not all of it"
    cells = np.array(update.data).reshape(update.height, update.width)
    before[update.y : update.y + update.height, update.x : update.x + update.width] = cells
    np.testing.assert_array_equal(before, after)
    assert update.header.frame_id == grids[-1].header.frame_id


def test_a_pace_waits_for_its_period_and_for_a_change() -> None:
    pace = Pace(lambda: 1000.0)
    assert pace.due(1)
    pace.begin()
    assert not pace.due(1)  # what failed is tried again later
    pace.again()
    assert pace.due(1)
    slow, fast = Pace(lambda: 1000.0), Pace(lambda: 0.0)
    for each in (slow, fast):
        each.begin()
        each.done(1)
    assert not slow.due(2) and not fast.due(1) and fast.due(2)


def test_a_large_map_comes_bit_by_bit_and_each_message_has_its_number(
    desk: Desk, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once would not fit a subscriber's queue, and what was lost would never be known."""
    monkeypatch.setattr(map_outputs, "_BLOCKS_PER_MESSAGE", 8)
    voxels = desk.listener.listen(VoxelBlocks, f"/{desk.speaker.node.get_name()}/semantic_voxels", qos.output())
    for frame in frames:
        desk.take(frame)
    blocks = desk.mapper.grid.count
    assert blocks > 100
    desk.listener.wait(lambda: desk.outputs._voxels.wanted, "the match")
    desk.outputs.publish(7)
    desk.listener.wait(lambda: len(voxels) >= 2, "the first messages")
    time.sleep(0.3)
    assert len(voxels) == 2, "the others wait for the next time"
    held = lambda: {tuple(c) for m in voxels for c in np.array(m.coords).reshape(-1, 3).tolist()}  # noqa: E731
    desk.listener.wait(lambda: desk.outputs.publish(7) is not None and len(held()) == blocks, "the whole map")
    first, *rest = voxels
    assert first.reset and not any(message.reset for message in rest)
    assert [message.sequence for message in voxels] == list(range(len(voxels)))


def test_what_takes_long_rests_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud of a large map takes a part of the worker's time, however large; a small one keeps its period."""
    now = 100.0
    monkeypatch.setattr(outlet.time, "monotonic", lambda: now)
    share = 0.2
    pace = Pace(lambda: 1.0, lambda: share)
    for took, rest in ((0.1, 1.0), (0.6, 2.4)):
        pace.begin()
        now += took
        pace.done(now)
        assert pace.rest_s == pytest.approx(rest)
        assert not pace.due("new") and not pace.due(now)
        now += rest - 0.01
        assert not pace.due("new")
        now += 0.02
        assert pace.due("new")
    share = 1.0
    assert pace.rest_s == 1.0  # a live change holds at once
    share = 0.2
    pace.begin()  # and fails: what it took before says nothing
    now += 1.01
    assert pace.due("new")


def test_an_output_that_takes_long_says_how_long_it_rests(
    desk: Desk, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = desk.speaker.node.get_name()
    clouds = desk.listener.listen(PointCloud2, f"/{name}/semantic_cloud", qos.latched())
    surface = desk.mapper.surface

    def slow_surface() -> LabelledPoints:
        time.sleep(0.3)
        return surface()

    monkeypatch.setattr(desk.mapper, "surface", slow_surface)
    desk.take(frames[0])
    desk.publish_until(clouds, 1)
    assert desk.outputs.resting_s["cloud"] >= 1.2  # of 0.3 s, a fifth of the time; the period is 0.05 s
    desk.take(frames[1])
    assert "cloud" not in desk.outputs.publish(frames[1].stamp_ns), "it rests"
    desk.outputs.restarted()
    assert "cloud" in desk.outputs.publish(frames[1].stamp_ns), "another map is shown at once"


def test_a_gpu_without_memory_for_one_output_keeps_the_others(
    desk: Desk, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be made is named, tried again, and lacks nothing then."""
    name = desk.speaker.node.get_name()
    grids = desk.listener.listen(OccupancyGrid, grid_topic(desk), qos.latched())
    voxels = desk.listener.listen(VoxelBlocks, f"/{name}/semantic_voxels", qos.output())
    short = True

    def blocks(mapper, slots):
        if short:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return voxel_blocks(mapper, slots)

    monkeypatch.setattr(map_outputs, "voxel_blocks", blocks)
    for frame in frames:
        desk.take(frame)
    desk.publish_until(grids, 1)
    desk.listener.wait(lambda: desk.outputs._voxels.wanted, "the match")
    desk.outputs.publish(7)
    trouble = desk.outputs.looks.trouble
    assert "no memory left to make the voxels from the map" in trouble and "volume.max_map_memory_mb" in trouble
    assert not voxels
    short = False
    desk.publish_until(voxels, 1)
    assert desk.outputs.looks.trouble == ""
    assert voxels[0].reset and len(voxels[0].coords) == 3 * desk.mapper.grid.count
