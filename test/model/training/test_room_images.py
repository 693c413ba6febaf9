"""Rendered pictures of rooms: resumable, the same each time, never mixed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from gnesf_model.training.rendered_rooms import write_settings
from gnesf_model.training.room_images import SETTINGS_FILE, RoomImageFolder, RoomImages, class_shares

SMALL = RoomImages(first_seed=3, rooms=2, views=2, width=64, height=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rooms")
    SMALL.render(path, "cpu")
    return path


def test_pictures_and_labels_are_those_of_the_room(folder: Path) -> None:
    images = RoomImageFolder(folder)
    assert len(images) == 4
    frame = SMALL.source(4)[1]
    rgb, labels = images[3]
    np.testing.assert_array_equal(rgb, frame.rgb)
    np.testing.assert_array_equal(labels, frame.labels)


def test_what_is_missing_is_rendered_again_and_the_same(folder: Path) -> None:
    (lost, _), (_, kept) = SMALL.files(folder, 3)
    before, when = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    other = SMALL.files(folder, 4)[0][0].stat().st_mtime_ns
    SMALL.render(folder, "cpu")
    assert lost.read_bytes() == before
    assert SMALL.files(folder, 4)[0][0].stat().st_mtime_ns == other, "a whole room is left alone"
    assert kept.stat().st_mtime_ns >= when


def test_processes_render_the_same(folder: Path, tmp_path: Path) -> None:
    SMALL.render(tmp_path, "cpu", workers=2)
    for (mine, _), (theirs, _) in zip(SMALL.files(tmp_path, 3), SMALL.files(folder, 3)):
        assert mine.read_bytes() == theirs.read_bytes()


def test_folders_of_other_pictures_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"width 64.*expected width 32"):
        RoomImages(first_seed=3, rooms=2, views=2, width=32, height=48).render(folder, "cpu")
    with pytest.raises(FileNotFoundError, match="not a folder of rendered rooms"):
        RoomImageFolder(folder / "color")


def test_an_unreadable_picture_is_named(folder: Path, tmp_path: Path) -> None:
    SMALL.render(tmp_path, "cpu")
    color, _ = SMALL.files(tmp_path, 3)[0]
    color.write_bytes(b"no picture")
    with pytest.raises(OSError, match=color.name):
        RoomImageFolder(tmp_path)[0]


def test_settings_are_written_whole_and_only_when_they_change(folder: Path) -> None:
    path = folder / SETTINGS_FILE
    file, when = path.stat().st_ino, path.stat().st_mtime_ns
    SMALL.render(folder, "cpu")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (file, when)
    write_settings(path, {"other": 1})
    assert path.stat().st_ino != file, "renamed into place: a reader sees the old file or the new one"
    write_settings(path, asdict(SMALL))
    assert not list(folder.glob("*.part"))
    assert len(RoomImageFolder(folder)) == 4


def test_class_shares_see_all_views_of_the_rooms() -> None:
    """Views of a room take turns: a stride that is a multiple of them would see the first of each alone."""
    pictures = [(np.zeros((2, 2, 3), np.uint8), np.full((2, 2), index % 4, np.uint8)) for index in range(8000)]
    np.testing.assert_allclose(class_shares(pictures, classes=4), 0.25, atol=0.06)


def test_class_shares_leave_the_unlabelled_out() -> None:
    labels = np.full((10, 10), 255, np.uint8)
    labels[:2], labels[2:3] = 0, 5
    shares = class_shares([(cv2.merge([labels] * 3), labels)], classes=20)
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[5] == pytest.approx(1 / 3)
    assert shares.sum() == pytest.approx(1)
