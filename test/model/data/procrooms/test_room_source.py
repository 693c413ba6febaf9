"""Frames of a room: what is in the images is where the geometry says."""

import itertools

import numpy as np
import pytest
import torch

from gnesf_model import geometry
from gnesf_model.data.procrooms import RoomSource, Scene
from gnesf_model.data.procrooms.materials import Material
from gnesf_model.data.procrooms.primitives import Kind, Primitive
from gnesf_model.data.procrooms.render import Renderer
from gnesf_model.data.procrooms.scene import SceneObject
from gnesf_model.frame import Camera, Frame


@pytest.fixture(scope="module", params=[0, 5])
def source(request) -> RoomSource:
    return RoomSource(request.param, frames=30, width=160, height=120, stride=15)


def test_depth_ends_on_the_surface_and_nothing_is_before_it(source):
    for index in (0, 11, 29):
        images = source.images(index)
        pose = torch.from_numpy(source.poses[index])
        assert (images.depth > 0).all()
        points = geometry.transform(pose, geometry.backproject(images.depth, source.camera).double())
        assert source.scene.sdf(points).abs().max() < 1e-4
        eye = pose[:3, 3]
        for share in (0.2, 0.5, 0.8, 0.95, 0.995):
            assert source.scene.sdf(eye + share * (points - eye)).min() > 0


def test_labels_normals_and_depth_are_of_the_same_surface(source):
    images, pose = source.images(7), source.poses[7]
    labels = source.scene.labels[images.primitive.numpy()]
    np.testing.assert_array_equal(images.labels.numpy(), labels)
    points = geometry.transform(torch.from_numpy(pose), geometry.backproject(images.depth, source.camera).double())
    _, nearest = source.scene.nearest(points)
    touching = source.scene.labels[nearest.numpy()] != labels  # only where two surfaces meet
    assert touching.mean() < 0.01
    view = points.numpy() - pose[:3, 3]
    assert ((images.normals.numpy() * view).sum(2) < 0).all()
    inner = images.primitive[1:-1, 1:-1]
    flat = torch.ones_like(inner, dtype=torch.bool)
    for dv, du in itertools.product((0, 1, 2), repeat=2):
        flat &= images.primitive[dv : dv + inner.shape[0], du : du + inner.shape[1]] == inner
    across = np.cross((points[1:-1, 2:] - points[1:-1, :-2]).numpy(), (points[2:, 1:-1] - points[:-2, 1:-1]).numpy())
    across /= np.linalg.norm(across, axis=2, keepdims=True)
    agreement = -(across * images.normals.numpy()[1:-1, 1:-1]).sum(2)[flat.numpy()]
    assert np.quantile(np.abs(agreement), 0.1) > 0.99


def test_pixels_are_where_the_projection_says():
    """A small ball, seen: its pixels surround the projection of its centre, its depth is that of its front."""
    centre, radius = np.array([0.31, -0.17, 2.0]), 0.05
    pose = np.eye(4)
    pose[:3, 3] = centre
    ball = Primitive(Kind.ELLIPSOID, (radius,) * 3, pose, 5, 0)
    scene = Scene([ball], [SceneObject("ball", 0, 1)], [Material("plain", (1, 1, 1))], room_size=(1, 1, 1))
    camera = Camera(200, 150, 400.0, 420.0, 90.25, 70.5)
    images = Renderer(scene, shading=False).render(camera, np.eye(4))
    v, u = (images.labels == 5).nonzero(as_tuple=True)
    pixel, _ = geometry.project(torch.from_numpy(centre), camera)
    assert abs(u.double().mean() - pixel[0]) < 0.15
    assert abs(v.double().mean() - pixel[1]) < 0.15
    assert (images.depth[images.labels == 255] == 0).all()
    assert abs(float(images.depth[v, u].min()) - (2.0 - radius)) < 1e-3


def test_a_source_yields_valid_frames_again_and_again(source):
    assert len(source) == 30
    assert source.label_space == "scannet20"
    assert source.name == f"rooms:{source.seed}"
    frames = list(itertools.islice(source, 2))
    again = next(iter(source))
    assert all(isinstance(frame, Frame) for frame in frames)
    assert frames[1].stamp_ns - frames[0].stamp_ns == 500_000_000
    assert frames[0].rgb.tobytes() == again.rgb.tobytes()
    assert frames[0].rgb.std() > 10
    assert not source.drops


def test_the_same_seed_gives_the_same_bytes_and_a_longer_walk_starts_alike():
    short = RoomSource(4, frames=3, width=96, height=72, depth_noise=True)
    long = RoomSource(4, frames=40, width=96, height=72, depth_noise=True)
    for index in range(3):
        a, b = short[index], long[index]
        assert a.stamp_ns == b.stamp_ns
        for name in ("rgb", "depth", "labels", "world_T_cam"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name


def test_bytes_do_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    try:
        images = []
        for count in (1, 2):
            torch.set_num_threads(count)
            images.append(RoomSource(1, frames=1, width=96, height=72)[0].rgb.tobytes())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert images[0] == images[1]


@pytest.mark.gpu
@pytest.mark.parametrize("seed", [0, 5])
def test_cpu_and_cuda_render_the_same_room(seed):
    """To float tolerance: along outlines a ray may meet the other surface, and light may differ by a step of 8 bits."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for index in (0, 3):
        a, b = (
            RoomSource(seed, frames=4, width=160, height=120, stride=15, device=device)[index]
            for device in ("cpu", "cuda")
        )
        assert a.world_T_cam.tobytes() == b.world_T_cam.tobytes(), "where the camera goes is decided on the CPU"
        same = a.labels == b.labels
        assert same.mean() > 0.998
        assert (np.abs(a.depth - b.depth) < 1e-3)[same].mean() > 0.998
        assert (np.abs(a.rgb.astype(int) - b.rgb) <= 2).all(2).mean() > 0.99


@pytest.mark.parametrize("seed", range(7))
def test_the_camera_keeps_clear_moves_like_a_hand_and_sees_the_room(seed):
    source = RoomSource(seed, frames=450, width=24, height=18, stride=1, shading=False)
    poses = source.poses
    assert source.scene.sdf(torch.from_numpy(poses[:, :3, 3])).min() > 0.15
    moves = [geometry.motion(a, b) for a, b in itertools.pairwise(poses)]
    assert max(m[0] for m in moves) * 30 < 1.0  # m/s
    assert max(m[1] for m in moves) * 30 < 75.0  # degrees/s
    assert np.abs(poses[:, 2, 0]).max() < 0.1  # the horizon stays about level
    assert (poses[:, 2, 1] < 0).all()  # image down is world down
    seen = {label for index in range(0, 450, 15) for label in np.unique(source.images(index).labels)}
    in_room = set(source.scene.labels.tolist())
    assert len(seen) >= 0.8 * len(in_room)


def test_depth_beyond_the_range_is_no_measurement():
    near = RoomSource(0, frames=1, width=64, height=48, max_depth_m=2.0)[0].depth
    exact = RoomSource(0, frames=1, width=64, height=48)[0].depth
    assert (near[exact > 2.0] == 0).all()
    np.testing.assert_array_equal(near[exact <= 2.0], exact[exact <= 2.0])


def test_depth_noise_grows_with_distance_and_leaves_holes():
    exact = RoomSource(0, frames=1, shading=False)
    noisy = RoomSource(0, frames=1, shading=False, depth_noise=True)
    a, b = exact[0].depth, noisy[0].depth
    error = np.abs(b - a)[b > 0]
    assert 0.001 < np.median(error) < 0.02
    assert 0.005 < (b == 0).mean() - (a == 0).mean() < 0.2
    far = a[b > 0] > np.median(a)
    assert np.median(error[far]) > np.median(error[~far])


@pytest.mark.parametrize("seed", [0, 5])
def test_a_robot_looks_where_it_drives_and_keeps_its_height(seed):
    source = RoomSource(seed, frames=1200, width=32, height=24, stride=1, trajectory="robot")
    poses = source.poses
    assert source.scene.sdf(torch.from_numpy(poses[:, :3, 3])).min() > 0.15
    assert np.ptp(poses[:, 2, 3]) < 0.01
    velocity = np.diff(poses[:, :2, 3], axis=0) * 30
    speed = np.linalg.norm(velocity, axis=1)
    assert speed.max() < 0.6
    driving = speed > 0.25
    assert driving.mean() > 0.05
    ahead = poses[1:, :2, 2] / np.linalg.norm(poses[1:, :2, 2], axis=1, keepdims=True)
    assert ((velocity * ahead).sum(1)[driving] / speed[driving]).min() > np.cos(np.deg2rad(15))
    handheld = RoomSource(seed, frames=3, width=32, height=24)
    assert not np.allclose(handheld.poses, poses[:9:3])


def test_a_recorded_room_differs_in_what_cameras_do_and_only_in_that():
    made = [RoomSource.as_recorded(1, frames=2, size=(96, 72)) for _ in range(2)]
    a, b = (source[1] for source in made)
    assert a.rgb.tobytes() == b.rgb.tobytes()
    assert a.depth.tobytes() == b.depth.tobytes()
    exact = made[0].images(1)
    np.testing.assert_array_equal(a.labels, exact.labels.numpy())
    assert 0.3 < np.abs(a.rgb.astype(int) - exact.rgb.numpy()).mean() < 15
    error = np.abs(a.depth - exact.depth.numpy())[a.depth > 0]
    assert 0 < np.median(error) < 0.03
    cameras = {RoomSource.as_recorded(seed, frames=1).camera for seed in range(6)}
    assert len(cameras) == 6


@pytest.mark.parametrize("bad", [{"depth_noise": "sonar"}, {"trajectory": "drone"}])
def test_unknown_sensors_and_trajectories_are_named(bad):
    with pytest.raises(ValueError, match=rf"is '{next(iter(bad.values()))}', expected .*one of"):
        RoomSource(0, frames=1, **bad)


@pytest.mark.parametrize("bad", [{"frames": 0}, {"stride": 0}, {"max_depth_m": 0.0}, {"seed": -2}])
def test_nonsense_is_refused_with_the_value(bad):
    with pytest.raises(ValueError, match=rf"is {next(iter(bad.values()))}"):
        RoomSource(**{"seed": 0, **bad})


def test_rooms_open_like_any_recording():
    from gnesf_model.data.source import open_source

    source = open_source("rooms:2")
    assert isinstance(source, RoomSource)
    assert len(source) == 150
