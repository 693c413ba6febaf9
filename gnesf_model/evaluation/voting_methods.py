"""Several ways of fusing views, side by side on the same surface with the same segmentations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.online import LearnedFusion
from gnesf_model.field.spatial_voting import SpatialVoting
from gnesf_model.fusion import UniformFusion, ViewFusion, ViewSamples
from gnesf_model.mapper import SemanticMapper
from gnesf_model.sampling import nearest_pixels
from gnesf_model.surface_classes import SurfaceClasses
from gnesf_model.volume.raycast import raycast
from gnesf_model.volume.surface import surface_points
from gnesf_model.volume.votes import VoteTable

AVERAGED, VOTED, WHOLE = "averaged", "voted", "voted + neighbours"
"""Every view the same; learned weights; and learned votes of neighbours."""
EVERY_FRAME = "averaged, every frame"
"""The others take keyframes alone; this one needs a map of its own."""
MAJORITY = "majority"
"""Each view names one class."""


@dataclass(frozen=True)
class Method:
    """A way from views to classes.

    Attributes:
        weights: name of how views are weighted.
        spatial: how neighbours vote; None: they do not.
    """

    weights: str
    spatial: SpatialVoting | None = None


def methods_of(field: NeuralSemanticField) -> dict[str, Method]:
    """What the tables compare."""
    geometric = SpatialVoting(field.options.spatial, learned=False)
    return {
        MAJORITY: Method(MAJORITY),
        AVERAGED: Method(AVERAGED),
        "nearer counts more": Method("nearer counts more"),
        VOTED: Method(VOTED),
        "averaged + geometric neighbours": Method(AVERAGED, geometric),
        "averaged + neighbours": Method(AVERAGED, field.spatial),
        "voted + geometric neighbours": Method(VOTED, geometric),
        WHOLE: Method(VOTED, field.spatial),
    }


class DistanceFusion(UniformFusion):
    """Hand-made baseline: a view counts 1 / z^2."""

    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """(M,)."""
        return samples.depth.square().clamp_min(1e-2).reciprocal()


class VotesSideBySide:
    """A `ViewFusion` that keeps a vote table for each way of weighting views; the mapper's own votes are averages.

    Args:
        field: trained.
        classes: of the label space.
        max_votes: as `VoteTable`.
        image_side_px: as `LearnedFusion`.
        device: where everything lives.
    """

    def __init__(
        self,
        field: NeuralSemanticField,
        classes: int,
        *,
        max_votes: float,
        image_side_px: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._fusions: dict[str, ViewFusion] = {
            AVERAGED: UniformFusion(),
            MAJORITY: UniformFusion(),
            "nearer counts more": DistanceFusion(),
            VOTED: LearnedFusion(field, image_side_px=image_side_px, device=device),
        }
        self.tables = {
            name: VoteTable(classes, max_votes=max_votes, max_rows=1 << 30, device=device) for name in self._fusions
        }

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return sum(part.memory_bytes for part in (*self._fusions.values(), *self.tables.values()))

    def bytes_per_block(self, block_size_m: float, rows: int) -> int:
        """None: a comparison is not held to the map's budget."""
        return 0

    def clear(self) -> None:
        """Forget every view."""
        for part in (*self._fusions.values(), *self.tables.values()):
            part.clear()

    def forget(self, rows: torch.Tensor) -> None:
        """Take back the votes of rows (M,) in every table."""
        for name, fusion in self._fusions.items():
            fusion.forget(rows)
            self.tables[name].forget(rows)

    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """Ones (M,); the votes of every way are cast."""
        u, v = nearest_pixels(samples.pixels, samples.frame.camera)
        rgb = torch.from_numpy(samples.frame.rgb).to(u.device)[v, u].float()
        for name, fusion in self._fusions.items():
            table, rows = self.tables[name], samples.rows
            table.allocate(max(int(rows.max()) + 1 - table.count, 0) if len(rows) else 0)
            seen = replace(samples, mean=table.distribution(rows), total=table.total(rows))
            said = _decided(samples.probabilities) if name == MAJORITY else samples.probabilities
            table.add(rows, said, fusion.weights(seen), rgb)
        return torch.ones_like(samples.depth)


class MethodLabels:
    """What each method says of a finished map.

    Args:
        mapper: whose fusion is `votes`.
        votes: after all views.
        methods: by name.
        every: a mapper of the same frames in which each of them votes alike, for `EVERY_FRAME`; None: without.
    """

    def __init__(
        self,
        mapper: SemanticMapper,
        votes: VotesSideBySide,
        methods: dict[str, Method],
        every: SemanticMapper | None = None,
    ) -> None:
        self._mapper, self._every = mapper, every
        self._classes = {
            name: SurfaceClasses(
                lambda: mapper.grid,
                lambda table=votes.tables[method.weights]: table,
                method.spatial,
                mapper.config.volume.min_weight,
            )
            for name, method in methods.items()
        }

    @property
    def names(self) -> list[str]:
        """Of the methods."""
        return [*self._classes, *([] if self._every is None else [EVERY_FRAME])]

    @torch.inference_mode()
    def surface(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Surface points (N, 3) and their labels (N,) uint8 by method."""
        grid = self._mapper.grid
        every = torch.arange(grid.count, device=grid.device)
        found = surface_points(grid, every, self._mapper.config.volume.min_weight)
        labels = self._labels(found.rows)
        if self._every is not None:  # the same geometry, and so the same points
            labels[EVERY_FRAME] = self._every.surface().labels
        return found.points.cpu().numpy(), labels

    @torch.inference_mode()
    def view(self, camera, world_T_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Depth (H, W) m, colours (H, W, 3) uint8, and labels (H, W) uint8 by method, of what a camera sees."""
        volume = self._mapper.config.volume
        cast = raycast(
            self._mapper.grid,
            camera,
            world_T_cam,
            truncation_m=self._mapper.truncation_m,
            min_depth_m=volume.min_depth_m,
            max_depth_m=volume.max_depth_m,
            min_weight=volume.min_weight,
        )
        labels = {name: found.reshape(cast.rows.shape) for name, found in self._labels(cast.rows.view(-1)).items()}
        if self._every is not None:
            labels[EVERY_FRAME] = self._every.render(camera, world_T_cam).labels
        colors = self._mapper.votes.color(cast.rows.view(-1)).view(*cast.rows.shape, 3)
        return cast.depth.cpu().numpy(), colors.cpu().numpy(), labels

    def _labels(self, rows: torch.Tensor) -> dict[str, np.ndarray]:
        return {name: classes.labels(rows)[0].cpu().numpy() for name, classes in self._classes.items()}


def _decided(probabilities: torch.Tensor) -> torch.Tensor:
    """(M, C) 1 for the class of each row, none where unknown is likelier."""
    best, label = probabilities.max(dim=1)
    named = best >= 1 - probabilities.sum(dim=1)
    return torch.nn.functional.one_hot(label, probabilities.shape[1]).to(probabilities.dtype) * named[:, None]
