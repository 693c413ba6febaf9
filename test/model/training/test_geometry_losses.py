"""Geometry from colour: what it learns by is what the depth images say, and it learns from it."""

import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs lightning, which only training needs")

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.cells import Lattice, box_cells
from gnesf_model.field.encoding_volume import CELL_SIZES_M, cells_in_sight
from gnesf_model.field.model import FieldOptions
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Camera
from gnesf_model.training.corruption import occluded
from gnesf_model.training.field import FieldModule
from gnesf_model.training.field_data import VoteExamples
from gnesf_model.training.field_recipe import FieldRecipe
from gnesf_model.training.geometry_losses import TrueRays, fused_distance
from gnesf_model.training.noisy_segmenter import NoisySegmenter
from gnesf_model.training.room_sequences import RoomSequence

SMALL = FieldOptions(widths=(8, 16, 16, 24), features=(12, 12, 12), encoding=(8, 8, 8), direct_classes=20)
CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)


@pytest.fixture(scope="module")
def sequence() -> RoomSequence:
    source = RoomSource(11, frames=12, stride=15, width=128, height=96, shading=False)
    return RoomSequence.render(source, lambda rgb: NoisySegmenter((128, 96))(rgb, 0.1, 0))


def recipe(**changes) -> FieldRecipe:
    fixed = {"rooms": 1, "views": 12, "sources": (9, 9), "merge": 0.0, "shift_m": 0.0, "turn_deg": 0.0, "occlude": 0.0}
    return FieldRecipe(**{**fixed, "points": 400, "telling": 400, "drop": 0.0, "learn": "geometry", **changes})


def views_at(depths: list[float], shifts: list[float]) -> SourceViews:
    """Cameras that look along z at a wall, each measuring another depth of it."""
    poses = [np.eye(4) for _ in depths]
    for pose, shift in zip(poses, shifts):
        pose[0, 3] = shift
    depth = torch.stack([torch.full((48, 64), value) for value in depths])
    return SourceViews.make([CAMERA] * len(depths), poses, torch.zeros(len(depths), 0, 12, 16), depth=depth)


def test_the_distance_is_the_one_that_a_tsdf_of_the_depth_images_holds():
    z = torch.tensor([0.5, 1.9, 2.0, 2.05, 2.1, 2.3, 2.6])
    points = torch.stack([torch.zeros(7), torch.zeros(7), z], dim=1)
    distance, known = fused_distance(views_at([2.0], [0.0]), points, 0.24)
    assert known.tolist() == [True] * 5 + [False, False], "what lies far behind the wall was never looked at"
    torch.testing.assert_close(distance[:5], ((2.0 - z[:5]) / 0.24).clamp_max(1), atol=1e-5, rtol=0)
    # Two views that disagree by 4 cm: the mean; a third that looks elsewhere, and one without depth, say nothing.
    several = views_at([2.0, 2.04, 2.5, 0.0], [0.0, 0.1, 5.0, 0.0])
    mean, seen = fused_distance(several, points[:5], 0.24)
    torch.testing.assert_close(mean[1:5], (2.02 - z[1:5]) / 0.24, atol=1e-5, rtol=0)
    assert seen.all() and float(mean[0]) == 1
    assert not fused_distance(several.select([]), points, 0.24)[1].any()


def test_cells_in_sight_are_those_that_a_view_sees():
    world = np.eye(4)
    world[:3, 3] = (300.0, -20.0, 5.0)  # any origin
    views = views_at([2.0, 2.0], [0.0, 0.7])
    moved = replace(views, cam_T_world=views.cam_T_world @ torch.from_numpy(np.linalg.inv(world)).float())
    lattice = Lattice.world(torch.zeros(1))
    found = cells_in_sight(moved, lattice, 1.5)
    near = box_cells((1863, -135, 20), (40, 40, 40))
    place = moved.project(lattice.centres(near, CELL_SIZES_M[0]))
    expected = near[(place.inside & (place.depth < 1.5)).any(0)]
    assert {tuple(c) for c in found.tolist()} == {tuple(c) for c in expected.tolist()}
    assert len(found) == len(found.unique(dim=0)) > 100
    assert len(cells_in_sight(views.select([]), lattice, 1.5)) == 0


def test_rays_end_at_the_points():
    points = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 3.0]])
    rays = TrueRays.to_points(torch.tensor([0.0, 0.0, 0.0]), points, torch.tensor([4, 255]))
    torch.testing.assert_close(rays.depth, torch.tensor([3.0, 3.0]))
    torch.testing.assert_close(rays.origins + rays.depth[:, None] * rays.directions, points)


def taught(module: FieldModule) -> set[str]:
    """Parts of the field that a gradient has reached."""
    names = (n for n, p in module.field.named_parameters() if p.grad is not None and p.grad.abs().max() > 0)
    return {".".join(n.split(".")[: 4 if n.startswith("volume.heads") else 1]) for n in names}


def test_only_with_geometry_do_density_and_distance_learn(sequence):
    heads = {f"volume.heads.{level}.to_{what}" for level in range(3) for what in ("distance", "density", "occupancy")}
    found = {}
    for learn in ("geometry", "votes"):
        torch.manual_seed(0)
        module = FieldModule(asdict(recipe(learn=learn)), SMALL)
        module.log = module.log_dict = lambda *a, **k: None
        assert module.field.options.geometry == (learn == "geometry"), "what is written says what was learned"
        module.training_step(VoteExamples([sequence], module.recipe, (1, 1))[0], 0).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
        found[learn] = taught(module)
    assert heads <= found["geometry"] and {"encoder", "voting", "spatial"} <= found["geometry"]
    # The distance of the coarse level is an input of the next one, which the votes read.
    assert found["votes"] & heads <= {"volume.heads.0.to_distance"}


def test_an_example_without_surface_teaches_votes_nothing_and_geometry_neither(sequence):
    module = FieldModule(asdict(recipe()), SMALL)
    module.log = module.log_dict = lambda *a, **k: None
    blind = replace(sequence, depth=np.zeros_like(sequence.depth))
    loss = module.training_step(VoteExamples([blind], module.recipe, (1, 1))[0], 0)
    assert loss.isfinite()
    module.eval()
    with torch.no_grad():
        module.validation_step(VoteExamples([blind], module.recipe, (1, 1))[0], 0)


def test_geometry_is_learned_from_colour(sequence, monkeypatch):
    """A corner of a room and 45 steps, half a minute of one core: what the rays meet comes to where it is."""
    monkeypatch.setattr("gnesf_model.training.field._REACH_M", 0.8)
    monkeypatch.setattr("gnesf_model.training.field._RAYS", 128)
    torch.manual_seed(0)
    module = FieldModule(asdict(recipe()), SMALL)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **k: logged.update({name: float(value)})
    example = VoteExamples([sequence], module.recipe, (0, 0))[0]

    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    first, start = {}, time.process_time()
    for _ in range(45):
        losses = module._geometry_losses(example, module._views(example))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        last = {name: float(loss.detach()) for name, loss in losses.items()}
        first = first or last
    assert time.process_time() - start < 200, "seconds of processor time"
    for name, share in (("occupancy", 0.5), ("distance", 0.4), ("depth", 0.75)):
        assert last[name] < share * first[name], (name, first[name], last[name])
    assert last["rendered"] < first["rendered"]
    module.eval()
    with torch.no_grad():
        module.validation_step(example, 0)
    module.on_validation_epoch_end()
    assert logged["val_sdf_met"] > 0.5 and logged["val_density_met"] > 0.5, logged


def test_something_in_the_way_hides_a_part_of_a_view_and_is_taken_for_something():
    rng = np.random.default_rng(0)
    rgb, said = np.full((48, 64, 3), 90, np.uint8), np.full((5, 12, 16), 0.2, np.float32)
    shares = []
    for _ in range(40):
        image, named = occluded(rgb, said, rng)
        assert image.shape == rgb.shape and image.dtype == np.uint8 and named.shape == said.shape
        np.testing.assert_allclose(named.sum(0), 1, atol=1e-5)
        other = (named != said).any(0)
        assert (image != rgb).any(2)[::4, ::4][~other].sum() == 0, "what is named otherwise is what looks otherwise"
        assert len(np.unique(named[:, other].argmax(0))) == 1
        shares.append(other.mean())
    assert min(shares) > 0.04 and max(shares) < 0.3
    assert (rgb == 90).all() and (said == np.float32(0.2)).all(), "the originals stay"


def test_views_are_occluded_as_often_as_the_recipe_says(sequence):
    def hidden(share: float, learn: str) -> int:
        examples = VoteExamples([sequence] * 12, recipe(occlude=share, learn=learn, invented=0.0), (0, 0))
        shown = [(view * 255).round().byte() for example in examples for view in example.images]
        known = {torch.from_numpy(rgb).permute(2, 0, 1).contiguous().numpy().tobytes() for rgb in sequence.rgb}
        return sum(view.numpy().tobytes() not in known for view in shown) / len(shown)

    assert hidden(0.0, "geometry") == hidden(0.5, "colors") == 0
    assert 0.3 < hidden(0.5, "votes") < 0.7
    assert hidden(1.0, "geometry") == 1
    with pytest.raises(ValueError, match="occlude is 1.5"):
        recipe(occlude=1.5)
