"""Folders and the one way to open a recording."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from recording import CAMERA, ListSource, assert_same, make_frames

from gnesf_model.config import InputConfig
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.rgbd_folder import RgbdFolder
from gnesf_model.data.source import open_source
from gnesf_model.frame import Frame, FrameDropped

KITCHEN = Path(__file__).parents[4] / "shared/data/redkitchen"
needs_kitchen = pytest.mark.skipif(not KITCHEN.is_dir(), reason="shared/data/redkitchen is not beside the checkout")


def write_folder(folder: Path, frames: list[Frame], stems: list[str] | None = None) -> Path:
    """An RGB-D folder with lossless colour."""
    stems = stems or [str(f.stamp_ns) for f in frames]
    for name in ("color", "depth", "pose", "label"):
        (folder / name).mkdir(parents=True)
    np.savetxt(folder / "intrinsics.txt", CAMERA.K)
    for stem, frame in zip(stems, frames, strict=True):
        cv2.imwrite(str(folder / f"color/{stem}.png"), frame.rgb[..., ::-1])
        cv2.imwrite(str(folder / f"depth/{stem}.png"), np.rint(frame.depth * 1000).astype(np.uint16))
        np.savetxt(folder / f"pose/{stem}.txt", frame.world_T_cam, fmt="%.17g")
        if frame.labels is not None:
            cv2.imwrite(str(folder / f"label/{stem}.png"), frame.labels)
    return folder


FRAMES = make_frames(5, labels=True)
NAMES = ["000000", "000001", "000002", "000003", "000004"]


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_folder(tmp_path / "scene", FRAMES)


@pytest.fixture
def numbered(tmp_path) -> Path:
    return write_folder(tmp_path / "scene", FRAMES, NAMES)


def test_folder_gives_its_frames_again_and_again(folder):
    source = open_source(folder)
    assert (source.name, len(source), source.label_space) == ("scene", 5, "scannet20")
    for _ in range(2):
        assert_same(list(source), FRAMES)
    assert not source.drops


def test_folder_and_bag_of_it_give_the_same_frames(folder, tmp_path):
    source = open_source(str(folder))
    write_bag(source, tmp_path / "bag", labels_dir=tmp_path / "labels")
    assert_same(list(open_source(tmp_path / "bag", labels_dir=tmp_path / "labels")), list(source))


def test_short_names_are_frame_numbers_at_30_hz_from_one_second(numbered):
    assert [f.stamp_ns for f in RgbdFolder(numbered)] == [
        1_000_000_000,
        1_033_333_333,
        1_066_666_667,
        1_100_000_000,
        1_133_333_333,
    ]


def test_timestamps_file_wins_and_orders_the_frames(numbered):
    lines = [f"{name} {stamp}" for name, stamp in zip(NAMES, (50, 40, 30, 20, 10), strict=True)]
    (numbered / "timestamps.txt").write_text("\n".join(lines) + "\n\n")
    frames = list(RgbdFolder(numbered))
    assert [f.stamp_ns for f in frames] == [10, 20, 30, 40, 50]
    np.testing.assert_array_equal(frames[0].rgb, FRAMES[4].rgb)


def test_other_poses_and_labels_can_be_named(folder, tmp_path):
    shutil.move(folder / "pose", folder / "pose_refined")
    shutil.move(folder / "label", tmp_path / "truth")
    with pytest.raises(FileNotFoundError, match=r"--pose-dir.*pose_refined"):
        open_source(folder)
    assert open_source(folder, pose_dir="pose_refined").label_space is None
    assert_same(list(open_source(folder, pose_dir="pose_refined", labels_dir=tmp_path / "truth")), FRAMES)


def test_depth_unit_is_taken_from_the_configuration(folder):
    (frame, *_) = RgbdFolder(folder, InputConfig(depth_unit_m=0.0002))
    np.testing.assert_allclose(frame.depth, FRAMES[0].depth * 0.2, rtol=1e-6)


def test_folder_without_depth_or_labels(folder):
    shutil.rmtree(folder / "depth")
    shutil.rmtree(folder / "label")
    (frame, *_) = source = RgbdFolder(folder)
    assert (frame.depth, frame.labels, source.label_space) == (None, None, None)


def _edit_pose(path: Path, change) -> None:
    pose = np.loadtxt(path)
    change(pose)
    np.savetxt(path, pose)


SPOILS = {
    "unreadable colour": ("unreadable_image", lambda f: (f / "color/000002.png").write_bytes(b"\x89PNG\r\n\x1a\n")),
    "truncated colour": (
        "unreadable_image",
        lambda f: (f / "color/000002.png").write_bytes((f / "color/000002.png").read_bytes()[:60]),
    ),
    "NaN pose": ("bad_pose", lambda f: _edit_pose(f / "pose/000002.txt", lambda p: p.__setitem__((0, 3), np.nan))),
    "-inf pose of ScanNet": ("bad_pose", lambda f: np.savetxt(f / "pose/000002.txt", np.full((4, 4), -np.inf))),
    "scaled pose": ("bad_pose", lambda f: _edit_pose(f / "pose/000002.txt", lambda p: p.__imul__(1.1))),
    "pose of words": ("bad_pose", lambda f: (f / "pose/000002.txt").write_text("lost\n")),
    "no pose": ("no_pose", lambda f: (f / "pose/000002.txt").unlink()),
    "no depth": ("no_depth", lambda f: (f / "depth/000002.png").unlink()),
    "depth of another size": (
        "depth_size",
        lambda f: cv2.imwrite(str(f / "depth/000002.png"), np.zeros((12, 16), np.uint16)),
    ),
    "8-bit depth": ("bad_depth", lambda f: cv2.imwrite(str(f / "depth/000002.png"), np.zeros((24, 32), np.uint8))),
    "labels of another size": (
        "label_size",
        lambda f: cv2.imwrite(str(f / "label/000002.png"), np.zeros((12, 16), np.uint8)),
    ),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_bad_frame_is_counted_with_its_file_and_the_rest_go_on(numbered, name):
    reason, spoil = SPOILS[name]
    spoil(numbered)
    source = RgbdFolder(numbered)
    got = [f.stamp_ns for f in source]
    assert len(got) == 4
    assert 1_066_666_667 not in got
    assert source.drops == {reason: 1}
    assert "000002" in source.last_message[reason]


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (lambda f: shutil.rmtree(f / "pose"), FileNotFoundError, "--pose-dir"),
        (lambda f: (f / "intrinsics.txt").unlink(), FileNotFoundError, "3x3 camera matrix"),
        (lambda f: (f / "intrinsics.txt").write_text("1 2\n3 4\n"), ValueError, "3x3 camera matrix"),
        (lambda f: (f / "intrinsics.txt").write_text("f=525\n"), ValueError, "3x3 camera matrix"),
        (lambda f: np.savetxt(f / "intrinsics.txt", np.zeros((3, 3))), FrameDropped, "fx, fy > 0"),
        (lambda f: (f / "color/frame-a.png").write_bytes(b""), ValueError, "not named by a number"),
        (lambda f: (f / "color/0.png").write_bytes(b""), ValueError, "same stamp"),
        (lambda f: (f / "timestamps.txt").write_text("000000 1.5\n"), ValueError, r"timestamps.txt:1.*stamp in ns"),
        (lambda f: [p.unlink() for p in (f / "color").iterdir()], FileNotFoundError, "holds no .jpg or .png"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_when_opened(numbered, spoil, error, text):
    spoil(numbered)
    with pytest.raises(error, match=text):
        open_source(numbered)


def test_anything_else_is_refused_with_what_was_found(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "images").mkdir(parents=True)
    (tmp_path / "movie.mp4").write_bytes(b"")
    accepted = "expected a folder with color/, depth/, pose/"
    with pytest.raises(ValueError, match=f"an empty folder, {accepted}"):
        open_source(tmp_path / "empty")
    with pytest.raises(ValueError, match="a folder with images/, expected"):
        open_source(tmp_path / "other")
    with pytest.raises(ValueError, match=r"a file of type \.mp4, expected.*rooms:SEED"):
        open_source(tmp_path / "movie.mp4")
    with pytest.raises(FileNotFoundError, match="does not exist, expected"):
        open_source(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"rooms:x.*whole number"):
        open_source("rooms:x")


def test_bags_are_recognised_by_folder_and_by_file(tmp_path):
    write_bag(ListSource(FRAMES), tmp_path / "bag")
    assert isinstance(open_source(tmp_path / "bag"), BagSource)
    assert isinstance(open_source(tmp_path / "bag" / "bag.mcap"), BagSource)


def test_what_does_not_apply_is_refused(tmp_path):
    write_bag(ListSource(FRAMES), tmp_path / "bag")
    with pytest.raises(ValueError, match=r"bag has no folder of poses, and 'pose_refined' was named.*--pose-dir"):
        open_source(tmp_path / "bag", pose_dir="pose_refined")
    with pytest.raises(ValueError, match="rooms:3 has no folder of poses"):
        open_source("rooms:3", pose_dir="pose_refined")
    with pytest.raises(ValueError, match=r"rooms:3 has its own ground truth.*--labels"):
        open_source("rooms:3", labels_dir=tmp_path)


def test_a_procedural_room_is_a_source_whose_bag_is_exact(tmp_path):
    source = open_source("rooms:3")
    assert source.label_space == "scannet20"
    first = next(iter(source))
    assert first.depth is not None
    assert first.labels is not None
    one = ListSource([first], source.label_space)
    write_bag(one, tmp_path / "bag", labels_dir=tmp_path / "labels")
    assert_same(list(open_source(tmp_path / "bag", labels_dir=tmp_path / "labels")), [first])


@needs_kitchen
def test_kitchen_as_a_bag_gives_the_frames_of_the_folder(tmp_path):
    frames = [f for f, _ in zip(open_source(KITCHEN, pose_dir="pose_refined"), range(10))]
    write_bag(ListSource(frames, "scannet20"), tmp_path / "bag", labels_dir=tmp_path / "labels")
    assert_same(list(open_source(tmp_path / "bag", labels_dir=tmp_path / "labels")), frames)
