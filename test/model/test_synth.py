"""`gnesf synth`: what is written is what the room is, read back by the ordinary readers."""

import numpy as np
import pytest

from gnesf_model.cli import main
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.source import open_source


def synth(out, *more: str) -> int:
    return main(["synth", "--seed", "2", "--frames", "3", "--size", "64", "48", "--out", str(out), *more])


@pytest.mark.parametrize("name", ["room", "room.mcap"])
def test_a_written_room_reads_back(tmp_path, name):
    out = tmp_path / name
    more = ["--labels-out", str(tmp_path / "gt")] if name.endswith(".mcap") else []
    assert synth(out, *more) == 0
    labels = tmp_path / "gt" if more else None
    frames = list(open_source(out, labels_dir=labels))
    expected = list(RoomSource(2, frames=3, width=64, height=48))
    assert len(frames) == len(expected) == 3
    for frame, truth in zip(frames, expected):
        assert frame.stamp_ns == truth.stamp_ns
        assert np.abs(frame.depth - truth.depth).max() < 6e-4
        assert np.abs(frame.world_T_cam - truth.world_T_cam).max() < 1e-6
        assert np.abs(frame.camera.K - truth.camera.K).max() < 1e-6
        assert np.abs(frame.rgb.astype(int) - truth.rgb).mean() < 6
        np.testing.assert_array_equal(frame.labels, truth.labels)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "gt"] if more else [name])


def test_a_recorded_room_has_the_size_that_is_asked_for(tmp_path):
    assert synth(tmp_path / "room", "--recorded", "--looks", "varied") == 0
    frames = list(open_source(tmp_path / "room"))
    assert [frame.rgb.shape for frame in frames] == [(48, 64, 3)] * 3
    exact = RoomSource.as_recorded(2, 3, (64, 48))
    np.testing.assert_allclose(frames[1].world_T_cam, exact.poses[1], atol=1e-6)
    assert np.abs(frames[1].rgb.astype(int) - exact[1].rgb).mean() > 5  # other colours


def test_a_recorded_room_has_a_size_of_its_own(tmp_path):
    """Drawn from the seed, as the rest of its camera is; without --recorded it is always the same."""
    command = ["synth", "--seed", "2", "--frames", "1", "--out"]
    drawn = RoomSource.as_recorded(2, 1).camera
    assert (drawn.width, drawn.height) != (320, 240), "or this test shows nothing"
    assert main([*command, str(tmp_path / "recorded"), "--recorded"]) == 0
    assert main([*command, str(tmp_path / "exact")]) == 0
    shapes = [next(iter(open_source(tmp_path / name))).rgb.shape for name in ("recorded", "exact")]
    assert shapes == [(drawn.height, drawn.width, 3), (240, 320, 3)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_a_bag_that_is_not_finished_leaves_nothing_in_the_way(tmp_path, monkeypatch, error):
    out = tmp_path / "room.mcap"
    with monkeypatch.context() as patch:
        exact = RoomSource.__getitem__
        patch.setattr(RoomSource, "__getitem__", lambda self, i: exact(self, i) if i < 2 else _raise(error))
        assert synth(out) != 0
    assert list(tmp_path.iterdir()) == []
    assert synth(out) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["room.mcap"]


def _raise(error):
    raise error


def test_what_a_killed_process_left_is_named_and_kept(tmp_path, caplog):
    left = tmp_path / "room.mcap.part"
    left.mkdir()
    (left / "some").touch()
    assert synth(tmp_path / "room.mcap") == 2
    assert f"{left} exists already" in caplog.text and "remove that folder" in caplog.text
    assert (left / "some").exists()


def test_several_rooms_make_a_flat(tmp_path, caplog):
    assert synth(tmp_path / "flat", "--rooms", "2") == 0
    (first, *_) = open_source(tmp_path / "flat")
    exact = RoomSource(2, frames=3, width=64, height=48, rooms=2)
    assert exact.scene.name == "flat 2"
    np.testing.assert_array_equal(first.labels, exact[0].labels)
    assert synth(tmp_path / "none", "--rooms", "0") == 2
    assert "flat of 0 rooms" in caplog.text


def test_nothing_is_overwritten_and_nonsense_is_refused(tmp_path, caplog):
    (tmp_path / "kept").write_text("mine")
    assert synth(tmp_path) == 2
    assert "not empty" in caplog.text
    assert (tmp_path / "kept").read_text() == "mine"
    (tmp_path / "a.mcap").write_text("mine")
    assert synth(tmp_path / "a.mcap") == 2
    assert "exists already" in caplog.text
    assert synth(tmp_path / "new", "--labels-out", str(tmp_path / "gt")) == 2
    assert "is for bags" in caplog.text
    assert synth(tmp_path / "new", "--recorded", "--trajectory", "robot") == 2
    assert "leave out" in caplog.text
    assert not (tmp_path / "new").exists()
