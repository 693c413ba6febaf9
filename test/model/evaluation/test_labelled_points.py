"""Ground truth in 3D against a dictionary that is filled pixel by pixel, and damaged point files."""

import io
import tracemalloc
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pytest

from gnesf_model.evaluation import labelled_points
from gnesf_model.evaluation.labelled_points import PointCollector, agreement, load_labelled_points, nearest_labels
from gnesf_model.frame import Camera, Frame
from gnesf_model.geometry import pose_from_quaternion
from gnesf_model.labels import UNKNOWN

CAMERA = Camera(16, 12, 15.0, 14.0, 7.3, 5.8)
VOXEL = 0.1


def make_frame(seed: int, origin=(0.0, 0.0, 0.0), camera: Camera = CAMERA) -> Frame:
    rng = np.random.default_rng(seed)
    size = (camera.height, camera.width)
    depth = rng.uniform(0.5, 1.0, size).astype(np.float32)
    depth[rng.random(size) < 0.2] = 0.0
    labels = rng.choice([0, 1, 2, UNKNOWN], size).astype(np.uint8)
    q = rng.normal(size=4) * [0.2, 0.2, 0.2, 0] + [0, 0, 0, 1]
    pose = pose_from_quaternion(rng.uniform(-0.1, 0.1, 3) + origin, q / np.linalg.norm(q))
    return Frame(seed, np.zeros((*size, 3), np.uint8), camera, pose, depth, labels)


def flat_frame(labels: np.ndarray, depth_m: float = 1.0) -> Frame:
    """A wall one voxel large in front of a camera with as many pixels as `labels`."""
    height, width = labels.shape
    camera = Camera(width, height, 1000.0, 1000.0, 0.0, 0.0)
    depth = np.full(labels.shape, depth_m, np.float32)
    return Frame(0, np.zeros((height, width, 3), np.uint8), camera, np.eye(4), depth, labels.astype(np.uint8))


def reference(frames):
    """Voxel -> (mean point, counts of its labels)."""
    found = defaultdict(list)
    for frame in frames:
        camera = frame.camera
        for v, u in np.ndindex(camera.height, camera.width):
            z, label = float(frame.depth[v, u]), int(frame.labels[v, u])
            if z > 0 and label != UNKNOWN:
                point = np.array([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z, 1.0])
                point = (frame.world_T_cam @ point)[:3]
                found[tuple(np.floor(point / VOXEL).astype(int))].append((point, label))
    return {
        voxel: (np.mean([p for p, _ in seen], axis=0), Counter(label for _, label in seen))
        for voxel, seen in found.items()
    }


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (500_000.0, 5_000_000.0, 100.0)])
def test_equals_a_dictionary(origin):
    frames = [make_frame(seed, origin) for seed in range(5)]
    collector = PointCollector(VOXEL)
    for frame in frames:
        collector.add(frame)
    points, labels = collector.points()
    assert points.shape == (len(labels), 3) and labels.dtype == np.uint8
    expected = reference(frames)
    got = {tuple(np.floor(p / VOXEL).astype(int)): (p, label) for p, label in zip(points, labels, strict=True)}
    # A point on the border of two voxels may fall into either in float32.
    common = got.keys() & expected.keys()
    assert len(common) > 0.99 * max(len(got), len(expected))
    same = 0
    for voxel in common:
        point, label = got[voxel]
        mean, counts = expected[voxel]
        same += np.abs(point - mean).max() < 1e-4 and label == min(counts, key=lambda c: (-counts[c], c))
    assert same > 0.97 * len(common)


def test_the_majority_wins_and_the_lower_class_on_a_tie():
    for image, winner in (([[3, 1], [3, 3]], 3), ([[7, 2], [2, 7]], 2), ([[255, 5], [255, 255]], 5)):
        collector = PointCollector(VOXEL)
        collector.add(flat_frame(np.array(image)))
        points, labels = collector.points()
        assert labels.tolist() == [winner] and len(points) == 1


def test_votes_of_many_frames_add_up():
    collector = PointCollector(VOXEL)
    for image in ([[0, 0]], [[1, 1]], [[1, 0]], [[1, 255]]):
        collector.add(flat_frame(np.array(image)))
    assert collector.points()[1].tolist() == [1]


def test_nothing_to_collect():
    collector = PointCollector(VOXEL)
    frame = make_frame(0)
    collector.add(Frame(0, frame.rgb, CAMERA, frame.world_T_cam, frame.depth, None))
    collector.add(Frame(0, frame.rgb, CAMERA, frame.world_T_cam, None, frame.labels))
    collector.add(flat_frame(np.full((2, 2), UNKNOWN)))
    points, labels = collector.points()
    assert points.shape == (0, 3) and labels.shape == (0,)


def test_points_far_from_the_others_are_refused():
    collector = PointCollector(VOXEL)
    collector.add(make_frame(0))
    with pytest.raises(ValueError, match="lies 50 km from the first camera, at most 13.1 km are expected"):
        collector.add(make_frame(1, origin=(50_000.0, 0.0, 0.0)))


def test_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr(labelled_points, "_MERGE_ROWS", 3000)
    camera = Camera(64, 48, 60.0, 60.0, 32.0, 24.0)
    frame = make_frame(0, camera=camera)
    collector = PointCollector(VOXEL)
    for _ in range(20):
        collector.add(frame)
    few = len(collector.points()[0])
    tracemalloc.start()
    for _ in range(300):
        collector.add(frame)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(collector.points()[0]) == few
    assert held < 1e6 and peak < 3e6  # 300 frames of 2000 pixels would be 24 MB


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


XYZ = np.array([[0.0, 0, 0], [1, 2, 3]])


def test_a_good_file(tmp_path):
    for compress in (np.savez, np.savez_compressed):
        compress(tmp_path / "p.npz", xyz=XYZ.astype(np.float32), label=np.array([3, 255]), n_obs=np.arange(2))
        points, labels = load_labelled_points(tmp_path / "p.npz")
        assert points.dtype == np.float64 and labels.dtype == np.uint8
        np.testing.assert_array_equal(points, XYZ)
        assert labels.tolist() == [3, 255]


@pytest.mark.parametrize(
    "arrays, text",
    [
        ({"xyz": XYZ}, "label.npy"),
        ({"label": np.zeros(2, np.uint8)}, "xyz.npy"),
        ({"xyz": XYZ, "label": np.zeros(3, np.uint8)}, r"xyz .2, 3. and label .3,."),
        ({"xyz": XYZ.T, "label": np.zeros(3, np.uint8)}, r"xyz .3, 2. and label"),
        ({"xyz": XYZ[0], "label": np.zeros(3, np.uint8)}, r"xyz .3,. and label"),
        ({"xyz": XYZ * np.nan, "label": np.zeros(2, np.uint8)}, "not finite"),
        ({"xyz": XYZ, "label": np.array([0, 256])}, "outside 0..255"),
        ({"xyz": XYZ, "label": np.array([-1, 0])}, "outside 0..255"),
        ({"xyz": XYZ, "label": np.array([0.5, np.nan])}, "label is of type float64, expected whole numbers"),
        ({"xyz": XYZ.astype(str), "label": np.zeros(2, np.uint8)}, "xyz is of type <U.*, expected numbers"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, text):
    with pytest.raises(ValueError, match=text) as error:
        load_labelled_points(write(tmp_path / "p.npz", **arrays))
    assert "p.npz" in str(error.value)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickled_objects_are_never_loaded(tmp_path):
    path = write(tmp_path / "p.npz", xyz=np.array([[Trap()] * 3] * 2, object), label=np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="xyz is of type object, expected numbers"):
        load_labelled_points(path)


def archive(path, shape, data=b"", dtype="<f4"):
    """An archive whose array xyz has a header of its own."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    label = io.BytesIO()
    np.save(label, np.zeros(2, np.uint8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xyz.npy", header.getvalue() + data)
        file.writestr("label.npy", label.getvalue())
    return path


@pytest.mark.parametrize("shape", [(100, 3), (10**12, 3), (10**30, 3)])
def test_sizes_without_data_take_no_memory(tmp_path, shape):
    with pytest.raises(ValueError, match="xyz claims"):
        load_labelled_points(archive(tmp_path / "p.npz", shape))


def test_more_points_than_anyone_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled_points, "MAX_POINTS", 10)
    with pytest.raises(ValueError, match="at most 10 points"):
        load_labelled_points(archive(tmp_path / "p.npz", (11, 3), bytes(11 * 12)))


def test_files_that_are_something_else(tmp_path):
    good = write(tmp_path / "good.npz", xyz=XYZ, label=np.zeros(2, np.uint8)).read_bytes()
    for name, data in {
        "empty": b"",
        "text": b"x y z\n1 2 3\n",
        "cut": good[: len(good) // 2],
        "flipped": good.replace(XYZ.tobytes(), bytes(len(XYZ.tobytes()))),
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}.npz: .*; expected an .npz with xyz"):
            load_labelled_points(tmp_path / f"{name}.npz")
    np.save(tmp_path / "plain.npy", XYZ)
    with pytest.raises(ValueError, match="expected an .npz with xyz"):
        load_labelled_points(tmp_path / "plain.npy")
    with pytest.raises(FileNotFoundError):
        load_labelled_points(tmp_path / "none.npz")


def test_nearest_labels():
    surface = np.array([[0.0, 0, 0], [1, 0, 0]])
    points = np.array([[0.1, 0, 0], [0.9, 0, 0], [0.5, 0.5, 0], [1.0, 0, 0.2001]])
    found = nearest_labels(points, surface, np.array([4, 9], np.uint8), 0.2)
    assert found.tolist() == [4, 9, 255, 255]
    assert nearest_labels(points, surface[:0], np.zeros(0, np.uint8), 0.2).tolist() == [255] * 4
    assert nearest_labels(points[:0], surface, np.array([4, 9], np.uint8), 0.2).shape == (0,)


def test_nearest_labels_equal_a_slow_search():
    rng = np.random.default_rng(0)
    surface, points = rng.random((300, 3)), rng.random((200, 3)) * 1.4
    labels = rng.integers(0, 20, 300).astype(np.uint8)
    distance = np.linalg.norm(points[:, None] - surface, axis=2)
    expected = np.where(distance.min(axis=1) <= 0.1, labels[distance.argmin(axis=1)], 255)
    np.testing.assert_array_equal(nearest_labels(points, surface, labels, 0.1), expected)


def test_agreement_of_clouds():
    points = np.random.default_rng(0).uniform(0, 1, (1000, 3))
    labels = np.arange(1000).astype(np.uint8) % 5
    assert agreement(points, labels, points + 1e-4, labels) == (1.0, 1.0)
    near, equal = agreement(points, labels, points[:800], labels[:800])
    assert abs(near - 0.8) < 0.01 and equal == 1.0
    changed = labels.copy()
    changed[:100] = 9
    assert agreement(points, labels, points, changed) == (1.0, 0.9)
    assert agreement(points, labels, points[:0], labels[:0]) == (0.0, 0.0)
