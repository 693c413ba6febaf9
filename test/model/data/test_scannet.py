"""Scans of ScanNet, as downloaded and extracted, in the layout of the data set."""

import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from data_sets import (
    CROP,
    NYU40_IDS,
    TABLE,
    encoded,
    room_frames,
    write_extracted_scan,
    write_labels_ply,
    write_sens_scan,
    write_table,
)
from recording import assert_same

from gnesf_model.data.scannet import ScanNetScan, find_scans, room_of
from gnesf_model.data.source import open_source
from gnesf_model.evaluation.ground_truth import GroundTruth
from gnesf_model.labels import UNKNOWN, LabelSpace

FRAMES = room_frames(count=4)


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path)
    return tmp_path


def expected_labels(frame):
    labels = np.where(frame.labels == UNKNOWN, UNKNOWN, NYU40_IDS[np.minimum(frame.labels, 19)] - 1)
    labels[:CROP] = labels[-CROP:] = UNKNOWN
    return labels


def test_a_downloaded_scan_gives_colour_and_labels_where_depth_is(root):
    source = open_source(write_sens_scan(root / "scans" / "scene0000_00", FRAMES))
    assert (source.name, len(source), source.label_space) == ("scene0000_00", 4, "nyu40")
    found = list(source)
    for number, (frame, wanted) in enumerate(zip(found, FRAMES, strict=True)):
        inside = slice(CROP, -CROP)
        np.testing.assert_array_equal(frame.rgb[inside], wanted.rgb[inside])
        np.testing.assert_allclose(frame.depth[inside], wanted.depth[inside], atol=1e-6)
        assert not frame.depth[:CROP].any() and not frame.depth[-CROP:].any()  # colour does not reach there
        np.testing.assert_array_equal(frame.labels, expected_labels(wanted))
        np.testing.assert_allclose(frame.world_T_cam, wanted.world_T_cam, atol=2e-6)
        np.testing.assert_allclose(frame.camera.K, wanted.camera.K, rtol=1e-6)
        assert frame.stamp_ns == 1_000_000_000 + round(number * 1e9 / 30)
    assert not source.drops and next(iter(source)).stamp_ns == found[0].stamp_ns  # again


def test_extracted_and_downloaded_are_the_same(root):
    sens = write_sens_scan(root / "a" / "scene0000_00", FRAMES, kinds=(2, 1))
    extracted = write_extracted_scan(root / "b" / "scene0000_00", FRAMES)
    for folder in (root / "a", root / "b"):
        shutil.copy(root / TABLE, folder / TABLE)
    a, b = list(ScanNetScan(sens)), list(open_source(extracted))
    for x in a + b:  # text has the intrinsics with six decimals, .sens with 24 bits
        np.testing.assert_allclose(x.camera.K, FRAMES[0].camera.K, atol=1e-5)
    assert_same([replace(f, camera=a[0].camera) for f in b], a)
    assert [f.stamp_ns for f in ScanNetScan(sens, every=3)] == [a[0].stamp_ns, a[3].stamp_ns]


def test_labels_reach_the_twenty_classes(root):
    scan = write_sens_scan(root / "scene0000_00", FRAMES)
    truth = GroundTruth("nyu40", LabelSpace.load("scannet20"))
    for frame, wanted in zip(map(truth, ScanNetScan(scan)), FRAMES, strict=True):
        np.testing.assert_array_equal(frame.labels[CROP:-CROP], wanted.labels[CROP:-CROP])


def test_raw_ids_without_a_class_are_unknown(root):
    scan = write_extracted_scan(root / "scene0000_00", FRAMES)
    raw = np.zeros((2 * (96 - 2 * CROP), 256), np.uint16)
    raw[:40], raw[40:80], raw[80:120] = 7, 1200, 65535  # no NYU40 class; NYU40's 40; an id that the table lacks
    (scan / "label-filt/0.png").write_bytes(encoded(raw))
    labels = next(iter(ScanNetScan(scan))).labels
    assert set(labels[CROP : CROP + 20].ravel()) == {UNKNOWN} and set(labels[CROP + 20 : CROP + 40].ravel()) == {39}
    assert set(labels[CROP + 40 :].ravel()) == {UNKNOWN}


def test_frames_that_cannot_be_used_are_counted(root):
    scan = write_extracted_scan(root / "scene0000_00", FRAMES, lost=(1,))
    (scan / "label-filt/2.png").write_bytes(encoded(np.zeros((10, 10), np.uint16)))
    (scan / "depth/3.png").unlink()
    source = ScanNetScan(scan)
    assert len(list(source)) == 1
    assert source.drops == {"bad_pose": 1, "label_size": 1, "no_depth": 1}
    assert source.last_message["bad_pose"].startswith("frame 1:")
    downloaded = ScanNetScan(write_sens_scan(root / "scene0000_01", FRAMES, lost=(0, 2), depth_data={1: b"x"}))
    assert len(list(downloaded)) == 1 and downloaded.drops == {"bad_pose": 2, "bad_depth": 1}


def test_without_the_table_labels_are_left_out_with_a_warning(tmp_path, caplog):
    source = ScanNetScan(write_sens_scan(tmp_path / "scene0000_00", FRAMES[:1]))
    assert source.label_space is None and next(iter(source)).labels is None
    assert TABLE in caplog.text
    (tmp_path / TABLE).write_text("id\tcategory\n1\twall\n")
    with pytest.raises(ValueError, match="columns id and nyu40id"):
        ScanNetScan(tmp_path / "scene0000_00")


def test_a_damaged_zip_is_refused_and_a_damaged_image_counted(root):
    scan = write_sens_scan(root / "scene0000_00", FRAMES[:2])
    path = scan / "scene0000_00_2d-label-filt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("label-filt/0.png", b"nothing")
    source = ScanNetScan(scan)
    (frame,) = source
    assert source.drops == {"unreadable_image": 1} and frame.labels is None  # the second has no label image
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="is damaged.*download it again"):
        ScanNetScan(scan)


def test_the_labelled_mesh_is_read(root):
    scan = write_sens_scan(root / "scene0000_00", FRAMES[:1])
    assert not ScanNetScan(scan).has_labelled_points
    path = scan / "scene0000_00_vh_clean_2.labels.ply"
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_labels_ply(path, points, np.array([1, 40, 0, 149, 39]))
    found, labels = ScanNetScan(scan).labelled_points()
    np.testing.assert_array_equal(found, points)
    assert labels.tolist() == [0, 39, UNKNOWN, UNKNOWN, 38]
    for damaged in (path.read_bytes()[:400], b"ply\n", path.read_bytes().replace(b"vertex 5", b"vertex 900000000")):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is no mesh with a label per vertex"):
            ScanNetScan(scan).labelled_points()


def test_scans_are_found_and_a_split_chooses(root):
    for name in ("scene0011_00", "scene0011_01", "scene0015_00"):
        write_sens_scan(root / "scans" / name, FRAMES[:1])
    names = [p.name for p in find_scans(root)]
    assert names == [p.name for p in find_scans(root / "scans")] == ["scene0011_00", "scene0011_01", "scene0015_00"]
    assert find_scans(root / "scans" / names[0]) == [root / "scans" / names[0]]
    assert [room_of(name) for name in names] == ["scene0011", "scene0011", "scene0015"]
    split = root / "scannetv2_val.txt"
    split.write_text("scene0015_00\nscene0011_01\n")
    assert [p.name for p in find_scans(root, split)] == ["scene0015_00", "scene0011_01"]
    split.write_text("scene0015_00\nscene0700_00\n")
    with pytest.raises(FileNotFoundError, match="of the 2 scans.*lacks 1: scene0700_00"):
        find_scans(root, split)
    with pytest.raises(FileNotFoundError, match="holds no scan of ScanNet"):
        find_scans(root / "none_here")


def test_what_does_not_apply_or_is_missing_is_refused(root):
    scan = write_sens_scan(root / "scene0000_00", FRAMES[:1])
    with pytest.raises(ValueError, match="has its own ground truth.*leave out --labels"):
        open_source(scan, labels_dir=root)
    with pytest.raises(ValueError, match="leave out --pose-dir"):
        open_source(scan, pose_dir="pose_refined")
    shutil.copy(scan / "scene0000_00.sens", scan / "other.sens")
    with pytest.raises(ValueError, match="holds 2 .sens files"):
        open_source(scan)
    extracted = write_extracted_scan(root / "scene0000_01", FRAMES[:1])
    shutil.rmtree(extracted / "pose")
    with pytest.raises(FileNotFoundError, match="pose does not exist: export"):
        open_source(extracted)
