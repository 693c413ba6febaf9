"""A map that outgrows its memory goes on on a disk, and is the same map."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.map_file import load_map, save_map
from gnesf_model.mapper import MapContents, SemanticMapper
from gnesf_model.segment.segmenter import Segmentation, grid_size
from gnesf_model.volume import map_disk
from gnesf_model.volume.block_grid import BlockGrid
from gnesf_model.volume.limits import MapFull
from gnesf_model.volume.map_disk import MapDisk
from gnesf_model.volume.table import Column, Table

ROOMS, VIEWS, APART_M = 30, 3, 12.0


class Stripes:
    """Names columns of the image by turns: what it says depends on nothing but the size."""

    labels = LabelSpace.load("scannet20")

    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        rows, columns = grid_size(*rgb.shape[:2])
        said = torch.full((len(self.labels), rows, columns), 0.01)
        said[torch.arange(columns) // 8 % 20, :, torch.arange(columns)] = 0.8
        return Segmentation(said, torch.zeros(rows, columns), self.labels)


def walk() -> Iterator[Frame]:
    """Through rooms that stand side by side, and at the end back into the first."""
    source = RoomSource(3, frames=VIEWS, width=96, height=72, shading=False)
    views = list(source)
    for number, room in enumerate([*range(ROOMS), 0]):
        for step, view in enumerate(views):
            pose = view.world_T_cam.copy()
            pose[0, 3] += APART_M * room
            yield replace(view, world_T_cam=pose, stamp_ns=(number * VIEWS + step + 1) * 500_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if map_disk._file_system(tmp_path) in map_disk._IN_MEMORY:
        pytest.skip(f"{tmp_path} lies in memory, not on a disk")
    return tmp_path


def config(**settings: object) -> Config:
    shape = {"volume.voxel_size_m": 0.03, "volume.min_weight": 1.0, "keyframes.min_translation_m": 0.0}
    return Config.from_flat({**shape, "device": "cpu", **settings})


def mapped_bytes(folder: Path) -> int:
    """What this process holds in memory of files without a name in a folder, as the kernel counts it."""
    smaps = Path("/proc/self/smaps").read_text()
    found = re.findall(
        rf"^[0-9a-f]+-[0-9a-f]+ rw-s .*{re.escape(str(folder))}.*\(deleted\)\n(?:.*\n)*?Rss: +(\d+) kB", smaps, re.M
    )
    return 1024 * sum(map(int, found))


def content(mapper: SemanticMapper) -> dict[str, torch.Tensor]:
    held: MapContents = mapper.contents()
    return {**held.blocks, **{f"votes.{name}": rows for name, rows in held.votes.items()}}


@pytest.mark.slow
@pytest.mark.timeout(3000)  # two minutes of work; a busy machine takes ten times that
def test_thirty_rooms_in_a_tenth_of_the_memory_are_the_same_map(folder: Path) -> None:
    free = build_mapper(config(), Stripes())
    for frame in walk():
        free.integrate(frame)
    whole = sum(t.numel() * t.element_size() for t in content(free).values())
    cap_mb = whole / 10 / 1e6
    bound = build_mapper(config(**{"volume.disk_dir": str(folder), "volume.max_map_memory_mb": cap_mb}), Stripes())
    most = 0
    for frame in walk():
        bound.integrate(frame)
        most = max(most, mapped_bytes(folder))
    assert 0.5 * cap_mb * 1e6 < most < 1.1 * cap_mb * 1e6, f"{most / 1e6:.1f} MB in memory, allowed {cap_mb:.1f}"
    assert bound.memory_bytes < 1.3 * cap_mb * 1e6
    assert not list(folder.iterdir()), "nothing stays behind, however the process ends"
    wanted, found = content(free), content(bound)
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name
    one, other = free.surface(), bound.surface()
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.confidence, other.confidence)
    bound.integrate(next(walk()))
    assert mapped_bytes(folder) < 1.3 * cap_mb * 1e6, "what a look at the whole map has read goes out again"


def test_a_map_on_a_disk_is_saved_loaded_and_emptied_like_any_other(folder: Path) -> None:
    on_disk = {"volume.disk_dir": str(folder), "volume.max_map_memory_mb": 16.0}
    frames = [frame for _, frame in zip(range(6), walk(), strict=False)]
    first, second = (build_mapper(config(**on_disk), Stripes()) for _ in range(2))
    for frame in frames:
        first.integrate(frame)
    save_map(folder / "a.map", first)
    load_map(folder / "a.map", second)
    for name, tensor in content(first).items():
        assert torch.equal(tensor, content(second)[name]), name
    second.reset()
    assert len(second.surface().points) == 0
    second.integrate(frames[0])
    assert len(second.surface().points) > 100


def test_what_was_seen_longest_ago_goes_first_and_comes_back(folder: Path) -> None:
    disk = MapDisk(folder, memory_bytes=1 << 20, disk_bytes=1 << 26)
    table = Table({"a": Column(torch.float32, 512, 7.0), "b": Column(torch.int32, 8)}, disk=disk)
    rows = 4 * (1 << 20) // table.bytes_per_row
    for first in range(0, rows, 64):
        here = torch.arange(first, min(first + 64, rows))
        table.reserve(int(here[-1]) + 1, rows)
        table.seen(here)
        assert (table.columns["a"][here] == 7).all(), "a new row holds what it is filled with"
        table.columns["a"][here] = here[:, None].float()
        table.columns["b"][here] = here[:, None].int()
        disk.end_frame()
        assert table.memory_bytes <= 1 << 20
    assert disk.used_bytes >= 4 << 20
    assert 0 < mapped_bytes(folder) <= 1.3 * (1 << 20)
    every = torch.arange(rows)
    assert torch.equal(table.columns["a"][:rows, 5], every.float())
    assert torch.equal(table.columns["b"][:rows, 3], every.int())


def test_a_grid_on_a_disk_reserves_no_more_than_it_may(folder: Path) -> None:
    disk = MapDisk(folder, memory_bytes=1 << 20, disk_bytes=2 << 20)
    grid = BlockGrid(0.05, {"tsdf": (torch.float32, 1.0)}, max_blocks=1 << 30, disk=disk)
    line = torch.arange(4000)[:, None] * torch.tensor([1, 0, 0])
    held = 0
    with pytest.raises(MapFull, match=r"no more than 2 MB are allowed: raise volume\.max_map_disk_mb"):
        for part in line.split(100):
            grid.allocate(part)
            held += len(part)
    assert grid.count == held >= 800
    assert (grid.find(line[:held]) == torch.arange(held)).all()
    assert (grid.find(line[held:]) == -1).all()


def test_a_full_disk_drops_the_frame_and_the_map_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MapDisk(folder, memory_bytes=1 << 20, disk_bytes=1 << 26)
    grid = BlockGrid(0.05, {"tsdf": (torch.float32, 1.0)}, max_blocks=1 << 20, disk=disk)
    line = torch.arange(2000)[:, None] * torch.tensor([1, 0, 0])
    grid.allocate(line[:10])
    before = grid.count

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(map_disk.os, "posix_fallocate", full)
        with pytest.raises(MapFull, match="has no room for the map .No space left on device.: free some"):
            grid.allocate(line)
    assert grid.count == before
    grid.allocate(line)
    assert (grid.voxels["tsdf"][: grid.count] == 1).all()


def test_a_folder_that_is_no_disk_is_refused(folder: Path) -> None:
    limits = {"memory_bytes": 1 << 20, "disk_bytes": 1 << 20}
    with pytest.raises(OSError, match="which is no folder: make it"):
        MapDisk(folder / "nowhere", **limits)
    memory = next((p for p in (Path("/dev/shm"), Path("/run")) if map_disk._file_system(p) == "tmpfs"), None)
    if memory is None:
        pytest.skip("no tmpfs is mounted here")
    with pytest.raises(ValueError, match=r"lies in memory \(tmpfs\): name a folder on a disk"):
        MapDisk(memory, **limits)


def test_a_mapper_without_the_disk_that_its_settings_name_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="other commands keep all in memory"):
        SemanticMapper(config(**{"volume.disk_dir": str(folder)}), Stripes())
