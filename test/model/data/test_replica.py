"""Renderings of Replica, in the two layouts that are in use."""

import numpy as np
import pytest
from data_sets import replica_labels, room_frames, write_nice_slam, write_semantic_nerf

from gnesf_model.data.replica import ReplicaRendering, find_renderings, room_of
from gnesf_model.data.source import open_source
from gnesf_model.frame import Camera
from gnesf_model.labels import UNKNOWN, LabelMapping, LabelSpace

FRAMES = room_frames(count=3)


def test_a_rendering_of_semantic_nerf(tmp_path):
    source = open_source(write_semantic_nerf(tmp_path / "room_0" / "Sequence_1", FRAMES))
    assert (source.name, len(source), source.label_space) == ("room_0_Sequence_1", 3, "replica")
    for number, (frame, wanted) in enumerate(zip(source, FRAMES, strict=True)):
        np.testing.assert_array_equal(frame.rgb, wanted.rgb)
        np.testing.assert_allclose(frame.depth, wanted.depth, atol=1e-6)
        np.testing.assert_allclose(frame.world_T_cam, wanted.world_T_cam, atol=1e-9)
        assert frame.camera == Camera(128, 96, 64.0, 64.0, 63.5, 47.5)  # 90 degrees wide
        assert frame.stamp_ns == 1_000_000_000 + round(number * 1e9 / 30)
        ids = replica_labels(wanted)
        np.testing.assert_array_equal(frame.labels, np.where(ids == 0, UNKNOWN, ids - 1))
    assert not source.drops


def test_a_rendering_of_nice_slam(tmp_path):
    folder = write_nice_slam(tmp_path / "room0", FRAMES, camera=FRAMES[0].camera)
    source = open_source(folder)
    assert (source.name, source.label_space) == ("room0", None)
    for frame, wanted in zip(source, FRAMES, strict=True):
        assert frame.camera == wanted.camera and frame.labels is None
        assert np.abs(frame.rgb.astype(int) - wanted.rgb).mean() < 8
        np.testing.assert_allclose(frame.depth, wanted.depth, atol=1e-4)
    (tmp_path / "cam_params.json").unlink()
    assert next(iter(open_source(folder))).camera.fx == 64.0
    np.testing.assert_allclose(next(iter(open_source(folder))).depth, FRAMES[0].depth, atol=1e-4)


def test_numbers_not_names_order_the_frames(tmp_path):
    many = [FRAMES[n % 3] for n in range(12)]
    source = ReplicaRendering(write_semantic_nerf(tmp_path / "room_0", many))
    for number, frame in enumerate(source):
        np.testing.assert_allclose(frame.world_T_cam, many[number].world_T_cam, atol=1e-9)
    assert len(list(ReplicaRendering(tmp_path / "room_0", every=5))) == 3


def test_frames_that_cannot_be_used_are_counted(tmp_path):
    folder = write_semantic_nerf(tmp_path / "room_0", [*FRAMES, *FRAMES])
    poses = np.loadtxt(folder / "traj_w_c.txt")[:5]
    poses[1] *= 2
    np.savetxt(folder / "traj_w_c.txt", poses)
    (folder / "depth/depth_2.png").unlink()
    (folder / "semantic_class/semantic_class_3.png").write_bytes((folder / "depth/depth_3.png").read_bytes())
    source = ReplicaRendering(folder)
    assert len(list(source)) == 2
    assert source.drops == {"no_pose": 1, "bad_pose": 1, "no_depth": 1, "unreadable_image": 1}
    assert source.last_message["no_pose"].startswith("rgb_5.png: the trajectory has 5 lines")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda f: (f / "traj.txt").write_text("1 0 0 0 0 1 0 0\n"), "16 numbers a line"),
        (lambda f: (f / "traj.txt").write_text("pose\n"), "16 numbers a line"),
        (lambda f: (f.parent / "cam_params.json").write_text("{}"), "no 'camera' with"),
        (lambda f: (f.parent / "cam_params.json").write_text("[" * 100), "no 'camera' with"),
        (
            lambda f: (f.parent / "cam_params.json").write_text(
                '{"camera": {"w": 9, "h": 9, "fx": 9, "fy": 9, "cx": 4, "cy": 4, "scale": 0}}'
            ),
            "scale 0",
        ),
    ],
)
def test_a_rendering_that_cannot_be_used_is_refused(tmp_path, spoil, text):
    folder = write_nice_slam(tmp_path / "room0", FRAMES[:1])
    spoil(folder)
    with pytest.raises(ValueError, match=text):
        open_source(folder)


def test_renderings_and_their_rooms_are_found(tmp_path):
    for name in ("room_0/Sequence_1", "room_0/Sequence_2", "office_3/imap/00"):
        write_semantic_nerf(tmp_path / name, FRAMES[:1])
    found = find_renderings(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        "office_3/imap/00",
        "room_0/Sequence_1",
        "room_0/Sequence_2",
    ]
    assert [room_of(p) for p in found] == ["office_3", "room_0", "room_0"]
    assert [room_of(p) for p in find_renderings(tmp_path / "room_0")] == ["room_0", "room_0"]
    with pytest.raises(FileNotFoundError, match="holds no rendering of Replica: rgb/"):
        find_renderings(tmp_path / "room_0/Sequence_1/rgb")


def test_nineteen_of_the_twenty_classes_have_a_counterpart():
    replica, scannet = LabelSpace.load("replica"), LabelSpace.load("scannet20")
    reached = LabelMapping.between(replica, scannet).matrix.any(axis=1)
    assert [n for n, there in zip(scannet.names, reached, strict=True) if not there] == ["shower curtain"]
    assert len(replica) == 101 and replica.first_id == 1
    # Ids that are known from Replica's info_semantic.json.
    assert [replica.names[n - 1] for n in (20, 40, 80, 93, 101)] == [
        "chair",
        "floor",
        "table",
        "wall",
        "set-of-clothing",
    ]
