"""What the views around a new view say of its points: against the truth, NumPy, a field made otherwise, and CUDA."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gnesf_model.config import Config, VolumeConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.field_tables import surface_points
from gnesf_model.evaluation.novel_views import (
    EVERY_VARIANT,
    NO_VISIBILITY,
    PROBABILITIES,
    VARIANTS,
    blended_colors,
    encoded,
    labels_along_rays,
    observed,
    variant_labels,
)
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.rendering import SdfGeometry
from gnesf_model.field.surfaces import MeasuredSurface
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Frame
from gnesf_model.geometry import pixel_rays
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.segment.segmenter import STRIDE, Segmentation, grid_size

LABELS = LabelSpace.load("scannet20")
OPTIONS = FieldOptions(widths=(4, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4), direct_classes=20, colors=True)
INPUTS = ("features", "encoding", "displacement", "statistics")
HELD_OUT, EVERY = 3, (slice(2, None, 4),) * 2


def field_of(options: FieldOptions = OPTIONS) -> NeuralSemanticField:
    """Its votes differ from view to view and hang on every input; with larger weights all would be at the bound."""
    torch.manual_seed(3)
    field = NeuralSemanticField(options).eval()
    with torch.no_grad():
        for name, parameter in field.named_parameters():
            if name.startswith(("voting", "logit_voting", "volume")):
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return field


@pytest.fixture(scope="module")
def field() -> NeuralSemanticField:
    return field_of()


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(RoomSource(4, frames=8, stride=8, width=128, height=96, shading=False))


def kept(frames: list[Frame]) -> list[Frame]:
    return [frame for number, frame in enumerate(frames) if number != HELD_OUT]


def oracle(frames: list[Frame]) -> OracleSegmenter:
    return OracleSegmenter({frame.stamp_ns: frame.labels for frame in frames}.__getitem__, LABELS)


def drawn(frames: list[Frame]) -> list[Segmentation]:
    """Each view says something else of every patch of 4 x 4 cells, and leaves some of it unnamed."""
    rng, said = np.random.default_rng(0), []
    for frame in frames:
        rows, columns = grid_size(*frame.rgb.shape[:2])
        patches = (-(-rows // 4), -(-columns // 4))
        shares = rng.dirichlet(np.full(len(LABELS), 0.05), patches) * rng.uniform(0.75, 1, (*patches, 1))
        shares = shares.repeat(4, axis=0).repeat(4, axis=1)[:rows, :columns]
        probabilities = torch.from_numpy(shares).float().permute(2, 0, 1).contiguous()
        said.append(Segmentation(probabilities, torch.zeros(rows, columns), LABELS))
    return said


@pytest.fixture(scope="module")
def views(field: NeuralSemanticField, frames: list[Frame]) -> SourceViews:
    """Of a segmenter that guesses."""
    with torch.inference_mode():
        return observed(field, kept(frames), drawn(kept(frames)), 0)


@pytest.fixture(scope="module")
def points(frames: list[Frame]) -> torch.Tensor:
    return surface_points(frames[HELD_OUT], frames[HELD_OUT].depth, EVERY)


def seen_by(frames: list[Frame], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, K, 2) of points, and which view sees which (N, K): not more than 5 cm behind its depth image."""
    pixels, seen = [], []
    for frame in frames:
        camera, at = frame.camera, (points - frame.world_T_cam[:3, 3]) @ frame.world_T_cam[:3, :3]
        z = np.where(at[:, 2] > 1e-3, at[:, 2], np.nan)
        u, v = camera.fx * at[:, 0] / z + camera.cx, camera.fy * at[:, 1] / z + camera.cy
        inside = (u > -0.5) & (v > -0.5) & (u < camera.width - 0.5) & (v < camera.height - 0.5)
        columns, rows = (np.where(inside, x, 0).round().astype(int) for x in (u, v))
        depth = frame.depth[rows, columns]
        seen.append(inside & (depth > 0) & (at[:, 2] <= depth + 0.05))
        pixels.append(np.stack([u, v], -1))
    return np.stack(pixels), np.stack(seen)


def sampled(grid: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(K, C) of a stride-4 grid (C, h, w) at pixels (K, 2), bilinearly; beyond the outermost centres it goes on."""
    place = (np.nan_to_num(pixels) - (STRIDE - 1) / 2) / STRIDE
    rows, columns = grid.shape[1:]
    x, y = place[:, 0].clip(0, columns - 1), place[:, 1].clip(0, rows - 1)
    x0, y0 = (np.minimum(np.floor(a).astype(int), n - 2) for a, n in ((x, columns), (y, rows)))
    right, below = x - x0, y - y0
    return sum(
        grid[:, y0 + j, x0 + i].T * ((right if i else 1 - right) * (below if j else 1 - below))[:, None]
        for i in (0, 1)
        for j in (0, 1)
    )


def test_averaged_is_the_mean_over_the_views_that_see_a_point(field, frames, views, points):
    found = variant_labels(field, views, encoded(field, views, points), points, ["averaged"])["averaged"]
    sources = kept(frames)
    pixels, seen = seen_by(sources, points.numpy().astype(np.float64))
    each = np.stack([sampled(s.probabilities.numpy().astype(np.float64), p) for s, p in zip(drawn(sources), pixels)])
    mean = (each * seen[..., None]).sum(0) / np.maximum(seen.sum(0), 1)[:, None]
    unnamed, order = 1 - mean.sum(1), np.sort(mean, axis=1)
    expected = np.where((mean.max(1) >= unnamed) & (mean.max(1) > 0), mean.argmax(1), UNKNOWN)
    margin = np.minimum(order[:, -1] - order[:, -2], np.abs(order[:, -1] - unnamed))
    sure = (margin > 1e-3) | ~seen.any(0)
    assert sure.mean() > 0.95 and 0.02 < (expected == UNKNOWN).mean() < 0.6 and len(np.unique(expected)) > 15
    # A point on the edge of a pixel, or 5 cm behind the surface, may be seen by one and not by the other.
    assert (found == expected)[sure].mean() > 0.995


def test_with_a_segmenter_that_knows_every_variant_is_right_where_views_look(field, frames, points):
    """Whatever a field without training weighs the views by: they agree."""
    sources, segmenter = kept(frames), oracle(frames)
    with torch.inference_mode():
        views = observed(field, sources, [segmenter(frame.rgb, frame.stamp_ns) for frame in sources], 0)
    votes = [name for name in EVERY_VARIANT if VARIANTS.get(name, {}).get("outcome") != "direct"]
    found = variant_labels(field, views, encoded(field, views, points), points, votes)
    truth = frames[HELD_OUT].labels[EVERY][frames[HELD_OUT].depth[EVERY] > 0]
    _, seen = seen_by(sources, points.numpy().astype(np.float64))
    judged = seen.any(0) & (truth != UNKNOWN)
    right = {name: (labels == truth)[judged].mean() for name, labels in found.items()}
    assert judged.sum() > 300 and set(found) == set(votes) and len(votes) == len(EVERY_VARIANT) - 1
    worse = right.pop(NO_VISIBILITY)
    assert min(right.values()) > 0.93, right
    assert worse < min(right.values()), "what stands in front is taken for what is behind"
    hidden = ~seen.any(0)
    assert all((labels[hidden] == UNKNOWN).all() for name, labels in found.items() if name != NO_VISIBILITY)


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_left_out_changes_labels_as_a_field_without_it_would(name, field, frames, views, points):
    encoding, variant = encoded(field, views, points), f"{PROBABILITIES}, without {name}"
    found = variant_labels(field, views, encoding, points, [PROBABILITIES, variant])
    assert (found[variant] != found[PROBABILITIES]).mean() > 0.05
    without = field_of(replace(OPTIONS, voting=replace(OPTIONS.voting, **{f"use_{name}": False})))
    without.load_state_dict(field.state_dict())
    alone = variant_labels(without, views, encoding, points, [PROBABILITIES])[PROBABILITIES]
    np.testing.assert_array_equal(found[variant], alone)


def everything(field: NeuralSemanticField, frames: list[Frame], device: str) -> dict[str, np.ndarray]:
    """Each function's results, points and directions being on the CPU as the tables have them."""
    field.to(device)
    frame, points = frames[HELD_OUT], surface_points(frames[HELD_OUT], frames[HELD_OUT].depth, EVERY)
    config = Config(device=device, volume=VolumeConfig(voxel_size_m=0.06, min_weight=0.5))
    mapper = SemanticMapper(config, oracle(frames))
    for source in kept(frames):
        mapper.integrate(source)
    views = observed(field, kept(frames), drawn(kept(frames)), 0)
    assert not views.features[0].requires_grad, "nothing is learned from scores"
    encoding = encoded(field, views, points)
    surface = MeasuredSurface(mapper.grid, mapper.truncation_m, config.volume.min_weight)
    geometry = SdfGeometry(surface, surface.tr_m)
    directions = pixel_rays(frame.camera, "cpu")[EVERY].reshape(-1, 3)
    colors, seen = blended_colors(field, views, encoding, frame.world_T_cam, points)
    rays = labels_along_rays(field, views, encoding, geometry, frame.world_T_cam, directions, 5.0)
    return {**variant_labels(field, views, encoding, points), "rays": rays, "colors": colors, "seen": seen}


@pytest.mark.gpu
def test_cpu_and_cuda_say_the_same_of_new_views(frames):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cpu, cuda = (everything(field_of(), frames, device) for device in ("cpu", "cuda"))
    assert all(isinstance(values, np.ndarray) for values in cuda.values())
    # Convolutions on CUDA may round to TF32: what two classes nearly share may go to the other one.
    for name, values in cpu.items():
        assert values.shape == cuda[name].shape and values.dtype == cuda[name].dtype
        if name == "colors":
            assert np.abs(values.astype(int) - cuda[name]).mean() < 2
        else:
            assert (values == cuda[name]).mean() > 0.97, name


def test_everything_that_is_compared_with_cuda_is_there(field, frames):
    found = everything(field, frames, "cpu")
    assert set(found) == {*EVERY_VARIANT, "rays", "colors", "seen"}
    assert (found["rays"] != UNKNOWN).mean() > 0.3 and found["seen"].mean() > 0.5
    assert found["colors"][found["seen"]].std() > 10 and not found["colors"][~found["seen"]].any()


class Arrived(Exception):
    """Points came to where the views are to be asked, on the device that it says."""


def arrived(points: torch.Tensor, *more: object) -> torch.Tensor:
    raise Arrived(points.device.type)


@pytest.mark.parametrize("function", ["encoded", "variant_labels", "blended_colors", "labels_along_rays"])
def test_points_go_to_the_device_of_the_views(function, frames):
    """As they do on a machine with a GPU, told by a device that holds no numbers."""

    class Views:
        intrinsics, probabilities = torch.zeros(3, 4, device="meta"), torch.zeros(3, 1, 1, 20, device="meta")
        project = staticmethod(arrived)

        def __len__(self) -> int:
            return 3

    volume = SimpleNamespace(around=lambda views, lattice, points, levels: arrived(points))
    field = SimpleNamespace(volume=volume, options=OPTIONS, look=None)
    along = SdfGeometry(arrived, 0.01)
    points, pose = torch.rand(5, 3), frames[0].world_T_cam
    with pytest.raises(Arrived, match="meta"):
        {
            "encoded": lambda: encoded(field, Views(), points),
            "variant_labels": lambda: variant_labels(field, Views(), None, points),
            "blended_colors": lambda: blended_colors(field, Views(), None, pose, points),
            "labels_along_rays": lambda: labels_along_rays(field, Views(), None, along, pose, points, 5.0),
        }[function]()
