"""PLY files, read back by the libraries that people read them with."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.visualization.ply import write_ply

SPACE = LabelSpace.load("scannet20")
COUNT = 50


@pytest.fixture
def cloud():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 20, COUNT).astype(np.uint8)
    labels[:5] = UNKNOWN
    return LabelledPoints(
        points=rng.uniform(-5, 5, (COUNT, 3)).astype(np.float32),
        labels=labels,
        confidence=rng.random(COUNT).astype(np.float32),
        colors=rng.integers(0, 256, (COUNT, 3)).astype(np.uint8),
    )


@pytest.fixture
def mesh(cloud):
    return replace(cloud, faces=np.array([[0, 1, 2], [2, 1, 3], [10, 49, 30]], np.int32))


def vertices(path):
    """Vertex properties by name, from the header and bytes of a binary PLY."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    kinds = {"float": "<f4", "uchar": "u1"}
    start = next(i for i, line in enumerate(lines) if line.startswith("element vertex"))
    fields = []
    for line in lines[start + 1 :]:
        if not line.startswith("property"):
            break
        _, kind, name = line.split()
        fields.append((name, kinds[kind]))
    return np.frombuffer(body, np.dtype(fields), count=int(lines[start].split()[2]))


def test_every_property_of_a_cloud_is_in_the_file(tmp_path, cloud):
    write_ply(tmp_path / "cloud.ply", cloud, SPACE)
    found = vertices(tmp_path / "cloud.ply")
    for axis, name in enumerate("xyz"):
        np.testing.assert_array_equal(found[name], cloud.points[:, axis])
    for channel, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(found[name], SPACE.colors[cloud.labels][:, channel])
        np.testing.assert_array_equal(found[f"image_{name}"], cloud.colors[:, channel])
    np.testing.assert_array_equal(found["label"], cloud.labels)
    np.testing.assert_array_equal(found["confidence"], cloud.confidence)


def test_open3d_reads_cloud_and_mesh(tmp_path, cloud, mesh):
    try:
        import open3d as o3d
    except (ImportError, OSError) as error:  # not installed, or a system library of it is missing
        pytest.skip(f"open3d cannot be imported: {error}")
    write_ply(tmp_path / "cloud.ply", cloud, SPACE)
    write_ply(tmp_path / "mesh.ply", mesh, SPACE)
    read = o3d.t.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    np.testing.assert_array_equal(read.point.positions.numpy(), cloud.points)
    np.testing.assert_array_equal(read.point.colors.numpy(), SPACE.colors[cloud.labels])
    np.testing.assert_array_equal(read.point["label"].numpy().ravel(), cloud.labels)
    np.testing.assert_array_equal(read.point["confidence"].numpy().ravel(), cloud.confidence)
    legacy = o3d.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    assert len(legacy.points) == len(legacy.colors) == COUNT
    triangles = o3d.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))
    np.testing.assert_array_equal(np.asarray(triangles.triangles), mesh.faces)
    np.testing.assert_allclose(np.asarray(triangles.vertices), mesh.points, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(triangles.vertex_colors) * 255, SPACE.colors[mesh.labels], atol=0.51)


def test_trimesh_reads_cloud_and_mesh(tmp_path, cloud, mesh):
    write_ply(tmp_path / "cloud.ply", cloud, SPACE)
    write_ply(tmp_path / "mesh.ply", mesh, SPACE)
    read = trimesh.load(tmp_path / "cloud.ply", process=False)
    np.testing.assert_array_equal(read.vertices, cloud.points)
    read = trimesh.load(tmp_path / "mesh.ply", process=False)
    np.testing.assert_array_equal(read.vertices, mesh.points)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], SPACE.colors[mesh.labels])


@pytest.mark.parametrize("faces", [None, np.zeros((0, 3), np.int32)])
def test_an_empty_map_is_an_empty_file(tmp_path, cloud, faces):
    none = LabelledPoints(cloud.points[:0], cloud.labels[:0], cloud.confidence[:0], cloud.colors[:0], faces)
    write_ply(tmp_path / "none.ply", none, SPACE)
    assert len(vertices(tmp_path / "none.ply")) == 0


def test_the_same_map_gives_the_same_bytes(tmp_path, mesh):
    for name in ("a.ply", "b.ply"):
        write_ply(tmp_path / name, mesh, SPACE)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path, cloud):
    with pytest.raises(OSError):
        write_ply(tmp_path / "nowhere" / "cloud.ply", cloud, SPACE)
