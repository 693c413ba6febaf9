"""Spatial voting on the map of a room whose segmenter errs."""

import numpy as np
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.spatial_voting import SpatialVoting, SurfacePatch
from gnesf_model.field.surfaces import MeasuredSurface, surface_normals
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.volume.surface import surface_points


class Blotchy:
    """The truth, but for blotches of 16 pixels of other classes, new ones in each image."""

    def __init__(self, oracle: OracleSegmenter) -> None:
        self.oracle, self.labels = oracle, oracle.labels
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, rgb, stamp_ns=None):
        found = self.oracle(rgb, stamp_ns)
        p = found.probabilities
        shape = (-(-p.shape[1] // 4), -(-p.shape[2] // 4))
        wrong = torch.rand(shape, generator=self.generator) < 0.25
        other = torch.randint(len(p), shape, generator=self.generator)
        other, wrong = (
            t.repeat_interleave(4, 0).repeat_interleave(4, 1)[: p.shape[1], : p.shape[2]] for t in (other, wrong)
        )
        p[:, wrong] = 0.3 * p[:, wrong] + 0.7 * torch.nn.functional.one_hot(other[wrong], len(p)).T.float()
        return found


def test_neighbours_mend_a_map_and_edges_stay():
    room = RoomSource(4, frames=4, stride=25, width=160, height=120, shading=False)
    frames = list(room)
    oracle = OracleSegmenter({f.stamp_ns: f.labels for f in frames}.__getitem__, LabelSpace.load("scannet20"))
    mapper = SemanticMapper(Config.from_flat({"device": "cpu", "volume.min_weight": 0.5}), Blotchy(oracle))
    for frame in frames:
        mapper.integrate(frame)
    surface = surface_points(mapper.grid, torch.arange(mapper.grid.count), 0.5)
    distance, primitive = room.scene.nearest(surface.points)
    points = surface.points
    truth = torch.from_numpy(np.asarray(room.scene.labels).astype(np.int64))[primitive]
    votes, distribution = mapper.votes.total(surface.rows), mapper.votes.distribution(surface.rows)
    patch = SurfacePatch(
        points,
        surface_normals(MeasuredSurface(mapper.grid, mapper.truncation_m), points),
        mapper.votes.color(surface.rows).float() / 255,
    )
    assert float((patch.normals.norm(dim=1) > 0.5).float().mean()) > 0.9
    spatial = SpatialVoting(learned=False)
    smooth = spatial(patch, distribution, spatial.neighbours(points), votes)
    fair = (votes > 0) & (distance.abs() < 0.02) & (truth < 20)
    before, after = ((d.argmax(1) == truth)[fair].float().mean().item() for d in (distribution, smooth))
    assert before < 0.95, "there must be something to mend"
    assert after > before + 0.25 * (1 - before)
