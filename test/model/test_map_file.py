"""Maps as files: what is read is what was written, and what is not sound changes nothing."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save_file

from gnesf_model import map_file
from gnesf_model.config import Config, SemanticsConfig, VolumeConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.map_file import MapFileError, is_map, load_map, save_map
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter

SPACE = LabelSpace.load("scannet20")
LARGE = LabelSpace.load("ade20k150")
VOLUME = VolumeConfig(voxel_size_m=0.08)
CONFIG = Config(device="cpu", volume=VOLUME)
FRAMES = 12


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(RoomSource(1, frames=FRAMES, width=160, height=120, shading=False, stride=6))


def mapper(frames: list[Frame], config: Config = CONFIG, space: LabelSpace = SPACE) -> SemanticMapper:
    images = {frame.stamp_ns: frame.labels for frame in frames}
    return SemanticMapper(config, OracleSegmenter(images.__getitem__, space))


def mapped(frames: list[Frame], count: int, **how: object) -> SemanticMapper:
    made = mapper(frames, **how)
    for frame in frames[:count]:
        made.integrate(frame)
    return made


@pytest.fixture(scope="module")
def full(frames: list[Frame]) -> SemanticMapper:
    """Every frame in one go; not to be changed."""
    return mapped(frames, FRAMES)


@pytest.fixture(scope="module")
def saved(full: SemanticMapper, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "room.map"
    save_map(path, full)
    return path


def assert_equal(one: SemanticMapper, other: SemanticMapper) -> None:
    """Bit by bit, and in the same order."""
    a, b = one.contents(), other.contents()
    assert (a.frames, a.keyframes) == (b.frames, b.keyframes)
    np.testing.assert_equal(a.last_poses, b.last_poses)
    for mine, theirs in ((a.blocks, b.blocks), (a.votes, b.votes)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert torch.equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("space", [SPACE, LARGE], ids=lambda space: space.name)
def test_mapping_goes_on_as_if_it_had_not_been_interrupted(frames, tmp_path, space) -> None:
    """Both layouts of votes: every class, and the strongest ones of many."""
    whole = mapped(frames, FRAMES, space=space)
    half = mapped(frames, FRAMES // 2, space=space)
    size = save_map(tmp_path / "half", half)
    assert size == (tmp_path / "half").stat().st_size
    resumed = mapper(frames, space=space)
    said = load_map(tmp_path / "half", resumed)
    assert (said["frames"], said["keyframes"]) == (FRAMES // 2, half.keyframes.count)
    assert_equal(resumed, half)
    for frame in frames[FRAMES // 2 :]:
        resumed.integrate(frame)
    assert_equal(resumed, whole)
    mine, theirs = resumed.surface(), whole.surface()
    np.testing.assert_array_equal(mine.points, theirs.points)
    np.testing.assert_array_equal(mine.labels, theirs.labels)


def test_an_empty_map_is_a_map(frames, full, tmp_path) -> None:
    save_map(tmp_path / "empty", mapper(frames))
    other = mapped(frames, 2)
    load_map(tmp_path / "empty", other)
    assert_equal(other, mapper(frames))
    for frame in frames:
        other.integrate(frame)
    assert_equal(other, full)


def test_saving_again_replaces_a_map_and_leaves_nothing_beside_it(frames, full, tmp_path) -> None:
    save_map(tmp_path / "room", mapped(frames, 2))
    save_map(tmp_path / "room", full)
    assert [path.name for path in tmp_path.iterdir()] == ["room"]
    (tmp_path / "other").touch()  # with the usual permissions
    assert (tmp_path / "room").stat().st_mode == (tmp_path / "other").stat().st_mode
    loaded = mapper(frames)
    load_map(tmp_path / "room", loaded)
    assert_equal(loaded, full)


def refused(path: Path, made: SemanticMapper, words: str) -> None:
    """Loading says `words`, and the map is as it was."""
    before = made.contents()
    copies = {name: tensor.clone() for name, tensor in (before.blocks | before.votes).items()}
    with pytest.raises(MapFileError, match=words):
        load_map(path, made)
    after = made.contents()
    assert (after.frames, after.keyframes) == (before.frames, before.keyframes)
    for name, tensor in (after.blocks | after.votes).items():
        assert torch.equal(tensor, copies[name]), name


@pytest.fixture
def running(frames) -> SemanticMapper:
    return mapped(frames, 3)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999999])
def test_a_cut_file_is_refused(saved, running, tmp_path, share) -> None:
    whole = saved.read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / "cut", running, "not a map|damaged")


def test_a_flipped_bit_is_found_wherever_it_is(saved, running, tmp_path) -> None:
    whole = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    # Every kind of place: the length, the header with every array's name and offsets, and the arrays.
    places = [0, 7, *range(8, header, 97), *np.linspace(header, len(whole) - 1, 12).astype(int).tolist()]
    for place in places:
        whole[place] ^= 1
        (tmp_path / "flipped").write_bytes(whole)
        refused(tmp_path / "flipped", running, "not a map|damaged|version|cannot be used|no array")
        whole[place] ^= 1


def header_of(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def rewritten(saved: Path, target: Path, change: Callable[[dict, dict], None]) -> Path:
    """The map with its arrays or description changed and the checksum made to match, as a hostile author would."""
    arrays = {name: array.copy() for name, array in load(saved.read_bytes()).items()}
    metadata = dict(header_of(saved)["__metadata__"])
    described = json.loads(metadata["map"])
    change(arrays, described)
    metadata["map"] = json.dumps(described, sort_keys=True)
    metadata["sha256"] = map_file._digest(metadata["map"], arrays)
    save_file(arrays, target, metadata)
    return target


def test_rewriting_alone_changes_nothing(saved, frames, full, tmp_path) -> None:
    loaded = mapper(frames)
    load_map(rewritten(saved, tmp_path / "same", lambda arrays, described: None), loaded)
    assert_equal(loaded, full)


def put(name: str, index: tuple, value: float) -> Callable[[dict, dict], None]:
    def change(arrays: dict, described: dict) -> None:
        arrays[name][index] = value

    return change


def drop(name: str) -> Callable[[dict, dict], None]:
    return lambda arrays, described: arrays.pop(name)


def make(name: str, how: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict, dict], None]:
    def change(arrays: dict, described: dict) -> None:
        arrays[name] = how(arrays[name])

    return change


def describe(**what: object) -> Callable[[dict, dict], None]:
    return lambda arrays, described: described.update(what)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("blocks.tsdf", (0, 0), np.nan), "tsdf holds NaN"),
        (put("blocks.tsdf", (0, 0), 1.5), "distance is beyond 1"),
        (put("blocks.weight", (0, 0), -1), "weight is negative"),
        (put("blocks.weight", (0, 0), np.inf), "weight holds NaN or infinity"),
        (put("blocks.row", (0, 0), 10**6), "voxels and votes do not match"),
        (put("blocks.row", (0, 0), -2), "voxels and votes do not match"),
        (put("blocks.coords", (0, 0), 2**30), "does not fit"),
        (make("blocks.coords", lambda c: np.zeros_like(c)), "coordinates occur twice"),
        (put("votes.votes", (0, 0), -1), "votes are negative"),
        (put("votes.total", (0,), np.nan), "total holds NaN"),
        (put("last_poses", (0, 0, 0), 2), "not a rigid transform"),
        (make("last_poses", lambda p: np.concatenate([p, p])), "poses and cameras do not match"),
        (describe(cameras=[]), "poses and cameras do not match"),
        (make("blocks.tsdf", lambda t: t.astype(np.float64)), "expected torch.float32"),
        (make("blocks.tsdf", lambda t: t[:, :64].copy()), "expected torch.float32 with rows of"),
        (make("blocks.tsdf", lambda t: t[:-1].copy()), "different numbers of rows"),
        (make("votes.votes", lambda v: v[:, :-1].copy()), "expected torch.float32 with rows of"),
        (drop("blocks.weight"), "no array 'blocks.weight'"),
        (describe(voxel_size_m=0.04), "voxel_size_m 0.04, the running configuration 0.08: set volume.voxel_size_m"),
        (describe(truncation_m=0.1), "truncation_m 0.1"),
        (describe(voxel_size_m="0.08"), "description is wrong"),
        (describe(frames=-1), "a count is negative"),
        (describe(frames=True), "frames is True"),
        (describe(classes=[{"color": [0, 0, 0]}]), "description is wrong"),
    ],
)
def test_impossible_content_is_refused_even_with_a_matching_checksum(saved, running, tmp_path, change, words) -> None:
    refused(rewritten(saved, tmp_path / "bad", change), running, words)


def test_another_voxel_size_or_label_space_is_refused(saved, frames, tmp_path) -> None:
    coarse = mapped(frames, 2, config=replace(CONFIG, volume=VolumeConfig(voxel_size_m=0.16)))
    refused(saved, coarse, "voxel_size_m 0.08, the running configuration 0.16")
    refused(saved, mapped(frames, 2, space=LARGE), "the 20 classes of 'scannet20'.*the 150 of 'ade20k150'")
    other = LabelSpace.from_names([*SPACE.names[:-1], "robot"])
    refused(saved, mapped(frames, 2, space=other), f"class 19 is '{SPACE.names[-1]}' there and 'robot' here")


def test_settings_that_do_not_shape_the_map_may_differ(saved, frames, full) -> None:
    config = replace(CONFIG, semantics=SemanticsConfig(max_votes=3.0), volume=replace(VOLUME, max_depth_m=3.0))
    other = mapper(frames, config)
    load_map(saved, other)
    assert_equal(other, full)
    other.integrate(frames[0])


def test_a_map_larger_than_the_memory_is_refused(saved, frames) -> None:
    small = mapped(frames, 2)
    small.grid.max_blocks = 5
    with pytest.raises(MapFileError, match="does not fit: the map holds 0 blocks"):
        load_map(saved, small)
    assert small.frames == 2


def test_a_file_larger_than_the_memory_is_not_read(saved, frames, tmp_path) -> None:
    """Sixteen gigabytes that take no space on the disk: a program that reads them first dies of it."""
    huge = tmp_path / "huge"
    huge.write_bytes(saved.read_bytes())
    os.truncate(huge, 16 << 30)
    refused(huge, mapped(frames, 2), "holds 17180 MB, volume.max_map_memory_mb allows")


def with_header(saved: Path, target: Path, change: Callable[[dict], None]) -> Path:
    data = saved.read_bytes()
    header = header_of(saved)
    change(header)
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + int.from_bytes(data[:8], "little") :])
    return target


def grow_shape(header: dict) -> None:
    header["blocks.tsdf"]["shape"][0] = 2**40


def grow_everything(header: dict) -> None:
    entry = header["blocks.tsdf"]
    entry["shape"] = [2**40, 512]
    entry["data_offsets"][1] = entry["data_offsets"][0] + 2**51


def set_version(header: dict) -> None:
    header["__metadata__"]["version"] = "2"


def set_format(header: dict) -> None:
    header["__metadata__"]["format"] = "pt"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (grow_shape, "damaged or was not written to its end"),
        (grow_everything, "damaged or was not written to its end"),
        (set_version, "version '2', this program reads version 1"),
        (set_format, "its format is 'pt'"),
        (lambda header: header.pop("__metadata__"), "not a map"),
        (lambda header: header["__metadata__"].pop("sha256"), "has no 'sha256'"),
    ],
    ids=["shape", "offsets", "version", "format", "no metadata", "no checksum"],
)
def test_headers_that_lie_are_refused(saved, running, tmp_path, change, words) -> None:
    refused(with_header(saved, tmp_path / "lies", change), running, words)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", bytes(8), b"\xff" * 64, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 4000) + b"[" * 4000],
    ids=["empty", "one byte", "zeros", "ones", "length", "brackets"],
)  # fmt: skip
def test_other_files_are_refused_and_never_overwritten(running, tmp_path, content) -> None:
    other = tmp_path / "notes.txt"
    other.write_bytes(content)
    refused(other, running, "not a map")
    assert not is_map(other)
    with pytest.raises(MapFileError, match="is not a map, so it is not overwritten"):
        save_map(other, running)
    assert other.read_bytes() == content


def test_places_that_cannot_be_written_or_read_are_named(running, tmp_path) -> None:
    with pytest.raises(OSError, match=r"cannot be saved as .*nowhere.*: No such file or directory"):
        save_map(tmp_path / "nowhere" / "room", running)
    with pytest.raises(OSError, match=r"cannot be read: No such file or directory"):
        load_map(tmp_path / "nowhere", running)
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for good
    for action in (save_map, load_map):
        with pytest.raises(MapFileError, match="is a pipe"):
            action(tmp_path / "pipe", running)
        with pytest.raises(MapFileError, match="is a folder"):
            action(tmp_path, running)


def test_without_permission_the_error_says_so(running, tmp_path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="Permission denied"):
            save_map(tmp_path / "room", running)
    finally:
        tmp_path.chmod(0o700)


SAVER = """
import os, sys, time
sys.path[:0] = [{here!r}, {root!r}]
from test_map_file import *
frames = list(RoomSource(1, frames=2, width=160, height=120, shading=False, stride=6))
made = mapped(frames, 2)
{before}
try:
    save_map({path!r}, made)
except OSError as error:
    print(error, flush=True)
"""


def saver(path: Path, before: str) -> subprocess.Popen:
    """A process that saves a small map."""
    here = Path(__file__).resolve()
    code = SAVER.format(here=str(here.parent), root=str(here.parents[2]), path=str(path), before=before)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_when_the_disk_is_full_the_old_file_stays_whole(saved, frames, full, tmp_path) -> None:
    path = tmp_path / "room"
    path.write_bytes(saved.read_bytes())
    limit = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    out, _ = saver(path, limit).communicate(timeout=60)
    assert "cannot be saved as" in out
    assert "File too large" in out
    assert [entry.name for entry in tmp_path.iterdir()] == ["room"]
    loaded = mapper(frames)
    load_map(path, loaded)
    assert_equal(loaded, full)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_ends_while_saving_leaves_the_old_file_whole(saved, frames, full, tmp_path, number) -> None:
    path = tmp_path / "room"
    path.write_bytes(saved.read_bytes())
    # It stops where everything is written and not yet on the disk, until the signal comes.
    process = saver(path, "map_file.os.fsync = lambda descriptor: (print('saving', flush=True), time.sleep(60))")
    try:
        assert process.stdout.readline() == "saving\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(30) == -number
    finally:
        process.kill()
    loaded = mapper(frames)
    load_map(path, loaded)
    assert_equal(loaded, full)
