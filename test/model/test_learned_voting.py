"""The mapper with the field's votes: what the configuration builds, and what reset and loading leave behind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnesf_model.build import build_field, build_mapper, build_voting
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.online import LearnedFusion
from gnesf_model.field.weights import save_field
from gnesf_model.fusion import UniformFusion
from gnesf_model.labels import UNKNOWN, LabelMapping, LabelSpace
from gnesf_model.map_file import load_map, save_map
from gnesf_model.segment import build_segmenter
from gnesf_model.segment.oracle import OracleSegmenter


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small field whose votes differ from each other."""
    torch.manual_seed(0)
    field = NeuralSemanticField(FieldOptions(widths=(4, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4)))
    with torch.no_grad():
        for parameter in (*field.voting.parameters(), *field.spatial.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape))
    path = tmp_path_factory.mktemp("field") / "field.safetensors"
    save_field(field, path)
    return path


@pytest.fixture(scope="module")
def frames():
    return list(RoomSource(4, frames=6, stride=15, width=128, height=96, shading=False))


@pytest.fixture(scope="module")
def segmenter():
    return build_segmenter("bundled", device="cpu", input_size=(96, 128))


def config(weights, **changes) -> Config:
    values = {"device": "cpu", "volume.voxel_size_m": 0.06, "semantics.field": str(weights)}
    return Config.from_flat({**values, "semantics.voting": "learned", "semantics.neighbours": "learned", **changes})


def labels_of(mapper):
    surface = mapper.surface()
    return surface.points, surface.labels, surface.confidence


def test_the_configuration_says_how_views_and_neighbours_vote(weights):
    fusion, spatial = build_voting(config(weights))
    assert isinstance(fusion, LearnedFusion) and spatial.pair is not None
    fusion, spatial = build_voting(config(weights, **{"semantics.voting": "average"}))
    assert isinstance(fusion, UniformFusion) and spatial.pair is not None
    nothing = {"semantics.voting": "average", "semantics.field": "does/not/exist.safetensors"}
    fusion, spatial = build_voting(config(weights, **nothing, **{"semantics.neighbours": "geometric"}))
    assert isinstance(fusion, UniformFusion) and spatial.pair is None
    fusion, spatial = build_voting(config(weights, **nothing, **{"semantics.neighbours": "none"}))
    assert spatial is None, "no weights are read where nothing learned is asked for"
    with pytest.raises(OSError):
        build_voting(config(weights, **{"semantics.field": "does/not/exist.safetensors"}))
    for name, value in (("voting", "majority"), ("neighbours", "both")):
        with pytest.raises(ValueError, match=f"semantics.{name} is '{value}', expected one of"):
            config(weights, **{f"semantics.{name}": value})


def test_after_a_reset_the_same_frames_give_the_same_map(weights, frames, segmenter):
    mapper = build_mapper(config(weights), segmenter)
    for frame in frames:
        mapper.integrate(frame)
    first, memory = labels_of(mapper), mapper.memory_bytes
    plain = build_mapper(config(weights, **{"semantics.voting": "average"}), segmenter)
    for frame in frames:
        plain.integrate(frame)
    assert not np.array_equal(labels_of(plain)[2], first[2]), "the votes must differ for this to mean something"
    assert memory > plain.memory_bytes + 100_000, "what the votes remember is counted"
    mapper.reset()
    assert mapper.memory_bytes < memory / 2
    for frame in frames:
        mapper.integrate(frame)
    for before, after in zip(first, labels_of(mapper)):
        np.testing.assert_array_equal(before, after)


def test_a_loaded_map_goes_on_without_what_belonged_to_the_old_one(weights, frames, segmenter, tmp_path):
    """Rows of the file are other voxels than those of the map that it replaces."""
    mapper = build_mapper(config(weights), segmenter)
    for frame in frames[:3]:
        mapper.integrate(frame)
    save_map(tmp_path / "half.gnesf", mapper)
    before = labels_of(mapper)
    ways = []
    for earlier in ((), frames[3:]):
        other = build_mapper(config(weights), segmenter)
        for frame in earlier:
            other.integrate(frame)
        load_map(tmp_path / "half.gnesf", other)
        for loaded, saved in zip(labels_of(other), before):
            np.testing.assert_array_equal(loaded, saved)
        for frame in frames[3:]:
            other.integrate(frame)
        ways.append(labels_of(other))
    for one, two in zip(*ways):
        np.testing.assert_array_equal(one, two)


def test_the_budget_of_the_map_holds_what_the_votes_remember(weights, segmenter):
    blocks = {
        voting: build_mapper(config(weights, **{"semantics.voting": voting}), segmenter).grid.max_blocks
        for voting in ("average", "learned")
    }
    assert 0.3 * blocks["average"] < blocks["learned"] < blocks["average"]


def erring_oracle(frames, target: LabelSpace) -> OracleSegmenter:
    """Knows the labels, save that in every image a quarter of the 16 x 16 blocks are of some other class."""
    own = LabelSpace.load("scannet20")
    own = replace(own, maps={"nyu40": {name: name for name in own.names}})
    rng, images = np.random.default_rng(0), {}
    for frame in frames:
        blocks = rng.random((6, 8)) < 0.25
        wrong = np.where(blocks, rng.integers(0, len(own), (6, 8)), UNKNOWN).repeat(16, 0).repeat(16, 1)
        images[frame.stamp_ns] = np.where((wrong != UNKNOWN) & (frame.labels != UNKNOWN), wrong, frame.labels).astype(
            np.uint8
        )
    return OracleSegmenter(images.__getitem__, own, own if target.names == own.names else target)


def test_one_field_maps_twenty_classes_and_forty(weights):
    """The paper's point: nothing in the votes counts classes. Whoever swaps the segmenter keeps the weights, and gets
    the same map under other numbers."""
    room = RoomSource(5, frames=8, stride=15, width=128, height=96, shading=False)  # a bathroom
    frames, surfaces = list(room), {}
    spaces = {name: LabelSpace.load(name) for name in ("scannet20", "nyu40")}
    for voting in ("learned", "average"):
        for name, space in spaces.items():
            both = {"semantics.voting": voting, "semantics.neighbours": "learned" if voting == "learned" else "none"}
            mapper = build_mapper(config(weights, **both, **{"semantics.labels": name}), erring_oracle(frames, space))
            for frame in frames:
                mapper.integrate(frame)
            assert mapper.labels.names == space.names
            surfaces[voting, name] = mapper.surface()
    twenty, forty = surfaces["learned", "scannet20"], surfaces["learned", "nyu40"]
    own = replace(spaces["scannet20"], maps={"nyu40": {name: name for name in spaces["scannet20"].names}})
    renamed = LabelMapping.between(own, spaces["nyu40"]).lookup
    np.testing.assert_array_equal(forty.points, twenty.points)
    # Sums over more columns round differently, and where two classes are as strong either may win.
    assert (forty.labels == renamed[twenty.labels]).mean() > 0.995
    np.testing.assert_allclose(forty.confidence, twenty.confidence, atol=0.005)
    plain = surfaces["average", "nyu40"]
    assert (forty.labels != plain.labels).mean() > 0.01, "the votes must say something for this to mean something"
    _, nearest = room.scene.nearest(torch.from_numpy(forty.points))
    truth = renamed[room.scene.labels[nearest.numpy()]]
    beyond = (truth > 20) & (truth != UNKNOWN)
    assert len(np.unique(truth[beyond])) > 1, "classes that the map of twenty has no number for"
    assert (forty.labels == truth)[beyond].mean() > 0.6


def test_the_bundled_field_is_there_with_the_heads_of_the_ablation():
    options = build_field(Config()).options
    assert options.direct_classes == 20 and options.colors and options.voting.bound == 2.0


@pytest.mark.parametrize("far_m", [0.0, 90_112.0, 300_032.0])
def test_votes_are_the_same_however_far_from_the_origin_of_the_map(weights, frames, segmenter, far_m):
    """Maps in coordinates of a country: a whole number of voxels and blocks away nothing may change but the place."""
    found = []
    for shift in (0.0, far_m):
        mapper = build_mapper(config(weights, **{"volume.voxel_size_m": 0.0625}), segmenter)
        for frame in frames:
            pose = frame.world_T_cam.copy()
            pose[0, 3] += shift
            mapper.integrate(replace(frame, world_T_cam=pose))
        found.append((mapper.votes.count, mapper.votes.total(torch.arange(mapper.votes.count)).sort().values))
    (near_count, near), (far_count, far) = found
    assert abs(near_count - far_count) < 0.02 * near_count
    quantiles = torch.linspace(0, 1, 21)
    torch.testing.assert_close(far.quantile(quantiles), near.quantile(quantiles), rtol=0.03, atol=0.03)
