"""Labels after the neighbours' votes: the same, however often and in whatever pieces they were computed."""

import numpy as np
import pytest
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.spatial_voting import SpatialOptions, SpatialVoting
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.segmenter import Segmentation, grid_size
from gnesf_model.volume import surface

SPACE = LabelSpace.load("scannet20")


class Speckled:
    """Wall or table, at random, for every patch of 16 pixels."""

    labels = SPACE

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, rgb, stamp_ns=None):
        h, w = grid_size(*rgb.shape[:2])
        said = torch.randint(0, 2, (-(-h // 4), -(-w // 4)), generator=self.generator) * 6
        said = said.repeat_interleave(4, 0).repeat_interleave(4, 1)[:h, :w]
        p = torch.nn.functional.one_hot(said, len(SPACE)).permute(2, 0, 1).float() * 0.9
        return Segmentation(p, torch.full((h, w), 0.1), SPACE)


@pytest.fixture(scope="module")
def frames():
    return list(RoomSource(4, frames=8, stride=25, width=160, height=120, shading=False))


def mapper_with(spatial, **settings) -> SemanticMapper:
    values = {"device": "cpu", "volume.voxel_size_m": 0.06, **settings}
    return SemanticMapper(Config.from_flat(values), Speckled(), spatial=spatial)


def geometric() -> SpatialVoting:
    return SpatialVoting(SpatialOptions(radius_m=0.15, rounds=2), learned=False)


def everything(mapper):
    surface = mapper.surface()
    return surface.points, surface.labels, surface.confidence


def test_looking_often_gives_what_looking_once_gives(frames):
    often, once = mapper_with(geometric()), mapper_with(geometric())
    for frame in frames:
        often.integrate(frame)
        often.surface()
        once.integrate(frame)
    (points, labels, confidence), (points_once, labels_once, confidence_once) = everything(often), everything(once)
    np.testing.assert_array_equal(points, points_once)
    np.testing.assert_array_equal(labels, labels_once)
    np.testing.assert_allclose(confidence, confidence_once, atol=1e-6)
    plain = mapper_with(None)
    for frame in frames:
        plain.integrate(frame)
    _, alone, _ = everything(plain)
    assert np.isin(alone, [0, 6, 255]).all() and 0.02 < (alone != labels).mean() < 0.5, "neighbours change something"


class Unsure:
    """Sees a chair everywhere, and much else: of 150 classes the map keeps 16."""

    labels = LabelSpace.load("ade20k150")

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, rgb, stamp_ns=None):
        h, w = grid_size(*rgb.shape[:2])
        logits = torch.randn(len(self.labels), h, w, generator=self.generator)
        logits[self.labels.index("chair")] += 4.0
        return Segmentation(logits.softmax(0), torch.zeros(h, w), self.labels)


def test_neighbours_do_not_take_what_is_not_kept_of_many_classes_for_unknown(frames):
    chair, config = Unsure.labels.index("chair"), Config.from_flat({"device": "cpu", "volume.voxel_size_m": 0.06})
    found = {}
    for name, spatial in (("none", None), ("neighbours", geometric())):
        mapper = SemanticMapper(config, Unsure(), spatial=spatial)
        for frame in frames:
            mapper.integrate(frame)
        found[name] = mapper.surface()
    alone, together = found["none"], found["neighbours"]
    assert 0.05 < np.median(alone.confidence) < 0.5
    assert (together.labels == chair).mean() >= (alone.labels == chair).mean() > 0.9
    assert np.median(together.confidence) == pytest.approx(np.median(alone.confidence), rel=0.1)


def test_an_update_names_every_block_whose_labels_it_may_have_changed(frames):
    mapper = mapper_with(geometric())
    for frame in frames[:-1]:
        mapper.integrate(frame)
    before = mapper.surface()
    update = mapper.integrate(frames[-1])
    after = mapper.surface()
    untouched = ~np.isin(before.blocks, update.blocks.numpy())
    same = ~np.isin(after.blocks, update.blocks.numpy())
    assert 0 < untouched.sum() < len(untouched)
    for name in ("points", "labels", "confidence"):
        np.testing.assert_array_equal(getattr(before, name)[untouched], getattr(after, name)[same])
    part = mapper.surface(update.blocks)
    assert len(part.labels) == (~same).sum()


def test_every_view_of_the_map_says_the_same(frames):
    mapper = mapper_with(geometric())
    for frame in frames:
        mapper.integrate(frame)
    surface, mesh = mapper.surface(), mapper.mesh()
    seen = mapper.render(frames[0].camera, frames[0].world_T_cam)
    for labels in (surface.labels, mesh.labels, seen.labels[seen.depth > 0]):
        share = np.bincount(labels, minlength=256)[[0, 6]] / len(labels)
        assert share.sum() > 0.9
    from scipy.spatial import cKDTree

    _, row = cKDTree(surface.points).query(mesh.points)
    assert (surface.labels[row] == mesh.labels).mean() > 0.9


def test_what_shapes_the_surface_makes_labels_void(frames):
    mapper = mapper_with(geometric())
    for frame in frames:
        mapper.integrate(frame)
    mapper.surface()
    mapper.adjust(Config.from_flat({**mapper.config.to_flat(), "volume.min_weight": 4.0}))
    fresh = mapper_with(geometric(), **{"volume.min_weight": 4.0})
    for frame in frames:
        fresh.integrate(frame)
    np.testing.assert_array_equal(everything(mapper)[1], everything(fresh)[1])
    contents = mapper.contents()
    other = mapper_with(geometric(), **{"volume.min_weight": 4.0})
    other.integrate(frames[0])
    other.surface()
    other.replace(contents)
    np.testing.assert_array_equal(everything(other)[1], everything(mapper)[1])
    mapper.reset()
    assert len(mapper.surface().points) == 0 and mapper.classes.memory_bytes == 0


def test_rows_that_are_no_surface_have_the_votes_of_their_own(frames):
    mapper = mapper_with(geometric())
    mapper.integrate(frames[0])
    rows = torch.arange(mapper.votes.count)
    label, share = mapper.classes.labels(rows)
    alone, alone_share = mapper.votes.labels(rows)
    apart = mapper.classes._share[: len(rows)] < 0
    assert apart.any() and torch.equal(label[apart], alone[apart]) and torch.equal(share[apart], alone_share[apart])
    label, share = mapper.classes.labels(torch.tensor([-1]))
    assert int(label) == 255 and float(share) == 0


def test_in_whatever_order_the_surface_is_gone_through_it_is_the_same_to_the_last_bit(frames, monkeypatch):
    found = []
    for chunk in (2048, 7):
        monkeypatch.setattr(surface, "_CHUNK_BLOCKS", chunk)
        mapper = mapper_with(geometric())
        for frame in frames:
            mapper.integrate(frame)
            if chunk == 7:
                mapper.surface()
        found.append(mapper.surface())
    one, two = ({tuple(p): (a, c) for p, a, c in zip(s.points, s.labels, s.confidence)} for s in found)
    assert one == two and len(one) > 1000
