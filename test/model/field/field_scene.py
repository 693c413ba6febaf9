"""A small scene of random views, in double precision for the tests against a reference."""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from gnesf_model.field.cells import Lattice
from gnesf_model.field.model import FieldOptions, NeuralSemanticField, PointVotes
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Camera

CAMERA = Camera(66, 50, 60.0, 58.0, 31.0, 26.0)


def look_at(origin, target=(0.0, 0.0, 0.0)) -> np.ndarray:
    """(4, 4) pose of a camera at `origin` that looks at `target`, rolled by an arbitrary angle."""
    origin = np.asarray(origin, float)
    forward = np.asarray(target, float) - origin
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.3, 0.5, -0.8])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = origin
    return pose


def random_views(count=5, classes=4, dtype=torch.float64, seed=0, depth=False, features=(8, 6, 5)) -> SourceViews:
    rng = np.random.default_rng(seed)
    poses = [look_at(rng.normal(size=3) * 0.4 + (0, 0, -3)) for _ in range(count)]
    probabilities = torch.from_numpy(rng.dirichlet(np.ones(classes), (count, 13, 17))).permute(0, 3, 1, 2)
    probabilities = probabilities * torch.from_numpy(rng.uniform(0.7, 1.0, (count, 1, 13, 17)))
    maps = tuple(
        torch.from_numpy(rng.normal(size=(count, d, -(-50 // s), -(-66 // s)))).to(dtype)
        for d, s in zip(features, (4, 8, 16))
    )
    image = torch.from_numpy(rng.uniform(2.5, 3.5, (count, 50, 66))).to(dtype) if depth else None
    return SourceViews.make([CAMERA] * count, poses, probabilities.to(dtype), maps, image)


def random_points(count=40, dtype=torch.float64, seed=1, spread=0.5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 3)) * spread).to(dtype)


def turned_world(seed=3) -> np.ndarray:
    """(4, 4) of another world frame: another origin, another up."""
    other_T_world = np.eye(4)
    other_T_world[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    other_T_world[:3, 3] = (7.0, -3.0, 11.0)
    return other_T_world


def moved_views(views: SourceViews, other_T_world: np.ndarray) -> SourceViews:
    move = torch.from_numpy(np.linalg.inv(other_T_world)).to(views.cam_T_world)
    return replace(views, cam_T_world=views.cam_T_world @ move)


def moved_points(points: torch.Tensor, other_T_world: np.ndarray) -> torch.Tensor:
    move = torch.from_numpy(other_T_world).to(points)
    return points @ move[:3, :3].T + move[:3, 3]


def randomised(module: torch.nn.Module, seed: int = 0, scale: float = 0.3) -> torch.nn.Module:
    """Every parameter random, so that zero-initialised layers do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter) * scale)
    return module


SMALL = FieldOptions(widths=(4, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4))


def small_field(trained: bool = True, **changes) -> NeuralSemanticField:
    torch.manual_seed(0)
    field = NeuralSemanticField(replace(SMALL, **changes)).double()
    if trained:
        randomised(field.voting)
    return field.eval()


def voted(field, points, views, encoding=None, visible=None, repeats=None, **variant) -> PointVotes:
    """All views at once, as in the paper."""
    return field.vote(field.look(points, views, encoding, visible, repeats), **variant)


def streamed(field, points, views, encoding=None, visible=None, repeats=None) -> PointVotes:
    """One view after the other, as in the mapper."""
    return field.stream(field.look(points, views, encoding, visible, repeats))


def encoding_of(field, views, points):
    return field.volume.around(views, Lattice.world(points), points)


def visibility(views, points, seed=5):
    return torch.from_numpy(np.random.default_rng(seed).random((len(views), len(points))) < 0.7)
