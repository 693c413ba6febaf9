"""Depth from images: what the network's answer means, and what `ViewDepth` makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnesf_model.field.depth_network import DepthNetwork, DepthOptions
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.field.weights import load_depth, load_field, save_depth
from gnesf_model.frame import Camera, Frame, FrameDropped

SMALL = DepthOptions(
    widths=(4, 8, 8, 8), matching=6, groups=2, context=(4, 4, 4), planes=16, evidence=4, hidden=(16, 8, 8)
)
FIRST = "first_view", "it is the first keyframe"


@pytest.fixture
def network() -> DepthNetwork:
    torch.manual_seed(0)
    return DepthNetwork(SMALL).eval()


def frame(x: float, width: int = 64, height: int = 48, jumps: int = 0) -> Frame:
    pose = np.eye(4)
    pose[0, 3] = x
    rgb = np.random.default_rng(int(100 * x)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    camera = Camera(width, height, 0.9 * width, 0.9 * width, (width - 1) / 2, (height - 1) / 2)
    return Frame(int(1e9 * (1 + x)), rgb, camera, pose, pose_jumps=jumps)


def nothing(sensor: ViewDepth, frame: Frame, reason: str, text: str) -> None:
    with pytest.raises(FrameDropped, match=text) as drop:
        sensor.add(frame)
    assert drop.value.reason == reason


def sure_of(network: DepthNetwork, plane: float, height: int = 12, width: int = 16) -> torch.Tensor:
    """Log-probabilities that say one (fractional) plane everywhere."""
    below = int(plane)
    p = torch.full((SMALL.planes, height, width), 1e-9)
    p[below], p[below + 1] = 1 - (plane - below), plane - below
    return p.clamp_min(1e-9).log()


def test_depth_is_the_mean_around_the_likeliest_plane(network):
    depth, confidence = network.depth(sure_of(network, 7.25))
    expected = network.planes[7] ** 0.75 * network.planes[8] ** 0.25
    torch.testing.assert_close(depth, expected.expand(12, 16), rtol=1e-4, atol=0)
    torch.testing.assert_close(confidence, torch.ones(12, 16), rtol=1e-4, atol=0)
    # Two answers far apart: the likelier one, not their mean, and as sure as it is likely.
    p = torch.full((SMALL.planes, 1, 1), 1e-9)
    p[2], p[12] = 0.4, 0.6
    depth, confidence = network.depth(p.log())
    assert depth.item() == pytest.approx(network.planes[12].item(), rel=1e-4)
    assert confidence.item() == pytest.approx(0.6, abs=1e-4)


def test_the_loss_is_least_at_the_truth_and_counts_only_what_is_known(network):
    truth = torch.full((12, 16), float(network.planes[7] ** 0.75 * network.planes[8] ** 0.25))
    right, wrong = network.loss(sure_of(network, 7.25), truth), network.loss(sure_of(network, 9.25), truth)
    assert right < 0.6 < wrong
    half = truth.clone()
    half[:6] = 0
    torch.testing.assert_close(network.loss(sure_of(network, 7.25), half), right)
    assert network.loss(sure_of(network, 7.25), torch.zeros(12, 16)) == 0
    far = network.loss(sure_of(network, 14.0), torch.full((12, 16), 1000.0))
    assert far.isfinite()


def test_probabilities_of_every_cell_for_any_size_and_number_of_views(network):
    for width, height in ((64, 48), (70, 50), (36, 84)):
        frames = [frame(x, width, height) for x in (0.0, 0.2, 0.4)]
        images = torch.rand(3, 3, height, width)
        views = network.describe(images, [f.camera for f in frames], [f.world_T_cam for f in frames])
        for sources in (views[1:], views[1:2], []):
            p = network(views[0], sources)
            assert p.shape == (16, -(-height // 4), -(-width // 4))
            torch.testing.assert_close(p.exp().sum(0), torch.ones(p.shape[1:]))


def test_gradients_are_finite(network):
    views = network.describe(torch.rand(2, 3, 48, 64), [frame(0).camera] * 2, [frame(0).world_T_cam, np.eye(4)])
    network.loss(network(views[0], [views[1]]), torch.rand(12, 16) * 4).backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in grads.values())
    assert grads["encoder.stem.0.weight"].abs().max() > 0


def test_a_keyframe_without_parallax_has_no_depth(network):
    sensor = ViewDepth(network, side_px=64, min_confidence=0.0)
    nothing(sensor, frame(0.0), *FIRST)
    # The camera has hardly moved.
    nothing(sensor, frame(0.01), "no_parallax", "none of the 1 keyframes before stands 0.04 m apart")
    depth = sensor.add(frame(0.3))
    assert depth.shape == (48, 64) and depth.dtype == np.float32 and depth.flags.c_contiguous
    assert np.isfinite(depth).all() and (depth >= 0).all() and depth.max() <= SMALL.farthest_m * 1.001
    sensor.clear()
    nothing(sensor, frame(0.6), *FIRST)


def test_views_from_before_a_pose_jump_are_forgotten(network):
    sensor = ViewDepth(network, side_px=64, min_confidence=0.0)
    nothing(sensor, frame(0.0), *FIRST)
    nothing(sensor, frame(0.3, jumps=1), *FIRST)
    assert sensor.add(frame(0.6, jumps=1)).any()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_image_of_one_colour_says_nothing_of_depth(network, value):
    """A lens that is covered is no wall in front of the robot; and nothing is compared with such an image."""
    sensor = ViewDepth(network, side_px=64, min_confidence=0.0)
    nothing(sensor, frame(0.0), *FIRST)
    rng = np.random.default_rng(0)
    for x in (0.3, 0.6):
        noise = rng.normal(value, 2, frame(x).rgb.shape)
        covered = replace(frame(x), rgb=noise.clip(0, 255).astype(np.uint8))
        nothing(sensor, covered, "no_contrast", "is the lens covered")
    sensor.clear()
    nothing(sensor, covered, "no_contrast", "")
    nothing(sensor, frame(0.9), *FIRST)


def test_what_is_not_sure_and_what_lies_between_surfaces_has_no_depth(network, monkeypatch):
    """A step in depth down the middle, the lower half unsure."""
    wanted, sure = torch.full((12, 16), 2.0), torch.ones(12, 16)
    wanted[:, 8:] = 3.0
    sure[6:] = 0.2
    monkeypatch.setattr(network, "depth", lambda p: (wanted, sure))
    sensor = ViewDepth(network, side_px=64)
    nothing(sensor, frame(0.0, 128, 96), *FIRST)
    depth = sensor.add(frame(0.3, 128, 96))
    assert depth.shape == (96, 128)
    assert (depth[56:] == 0).all()
    np.testing.assert_allclose(depth[:40, 70:], 3, rtol=1e-6)
    np.testing.assert_allclose(depth[:40, :58], 2, rtol=1e-6)
    assert (depth[:40, 62:66] == 0).all(), "no surface between the two"
    assert set(np.unique(depth.round(4)).tolist()) == {0, 2, 3}


def test_a_slanted_plane_is_not_a_staircase(network, monkeypatch):
    camera = frame(0.0).camera
    u = torch.arange(64.0).expand(48, 64)
    exact = 1 / (0.3 + 0.002 * u)  # the inverse of a plane's depth is linear in the pixels
    cells = 1 / (0.3 + 0.002 * (4 * torch.arange(16.0) + 1.5)).expand(12, 16)
    monkeypatch.setattr(network, "depth", lambda p: (cells, torch.ones(12, 16)))
    sensor = ViewDepth(network, side_px=0)
    nothing(sensor, frame(0.0), *FIRST)
    depth = torch.from_numpy(sensor.add(replace(frame(0.3), camera=camera)))
    inner = depth[4:-4, 4:-4]
    torch.testing.assert_close(inner, exact[4:-4, 4:-4], rtol=1e-4, atol=0)


def test_weights_come_back_and_others_are_refused(network, tmp_path):
    path = tmp_path / "depth.safetensors"
    save_depth(network, path)
    loaded = load_depth(path)
    assert loaded.options == SMALL and not loaded.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="says nothing of a field"):
        load_field(path)
    from safetensors.torch import load_file, save_file

    weights = load_file(str(path))
    for text, message in (
        ('{"planes": 1000000000}', "options that this version does not know"),
        ('{"hidden": [0, 1, 1]}', "options that this version does not know"),
        ("[]", "options that this version does not know"),
    ):
        save_file(weights, str(path), metadata={"gnesf_depth": text})
        with pytest.raises(ValueError, match=message):
            load_depth(path)
