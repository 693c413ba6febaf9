"""Geometry from colour by the paper's way, eq. 2: signed distance and density from M of nine views without depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gnesf_model.evaluation.novel_views import labels_along_rays
from gnesf_model.field.cells import CellIndex, Lattice, grouped_cells
from gnesf_model.field.encoding_volume import CELL_SIZES_M, Encoding, cells_in_sight
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.rendering import DensityGeometry, Sampling, SdfGeometry, render_depth
from gnesf_model.field.surfaces import PredictedSurface
from gnesf_model.field.viewpoints import nearest_views
from gnesf_model.field.views import SourceViews
from gnesf_model.frame import Camera

WINDOW = 9
"""Views that M is made of, as many as in the paper."""
SIGNED_DISTANCE, DENSITY = "signed distance of M", "density of M"
_DEPTH_STRIDE = 4
"""Views' depth is rendered at every fourth row and column, to tell what they see."""


@torch.inference_mode()
def encoded_surface(field: NeuralSemanticField, views: SourceViews, far_m: float) -> np.ndarray:
    """Points (N, 3) in the world of the surface in M: where the signed distance changes its sign between fine cells.

    Args:
        views: in the order in which they came; every `WINDOW` of them give M, and their distances are averaged.
        far_m: cells further from every view are not made.
    """
    cells, totals = [], []
    for window in torch.arange(len(views)).split(WINDOW):
        encoding = _encoded(field, views.select(window), far_m)
        fine, head = encoding.levels[-1], field.volume.heads[-1]
        cells.append(fine.cells)
        totals.append(torch.stack([fine.views * head.distance(fine.encoding), fine.views], dim=1))
    distinct, place = grouped_cells(torch.cat(cells))
    summed = totals[0].new_zeros(len(distinct), 2).index_add(0, place, torch.cat(totals))
    distance = summed[:, 0] / summed[:, 1].clamp_min(1)
    size, lattice, index = CELL_SIZES_M[-1], Lattice.world(distance), CellIndex(distinct)
    centres, found = lattice.centres(distinct, size), [distance.new_zeros(0, 3)]
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.int64, device=distinct.device)
        step[axis] = 1
        row = index.find(distinct + step)
        other = distance[row.clamp_min(0)]
        crosses = (row >= 0) & ((distance > 0) != (other > 0))
        share = distance[crosses] / (distance[crosses] - other[crosses])
        found.append(centres[crosses] + (share * size)[:, None] * step)
    return torch.cat(found).cpu().numpy()


@torch.inference_mode()
def encoded_view_labels(
    field: NeuralSemanticField,
    views: SourceViews,
    world_T_cam: np.ndarray,
    directions: torch.Tensor,
    far_m: float,
) -> dict[str, np.ndarray]:
    """Labels (R,) uint8 of a new view by eq. 5, from nothing but colour: by density (eq. 7) and by signed distance.

    Args:
        views: the `WINDOW` nearest ones give M and vote.
        world_T_cam: (4, 4) of the new view.
        directions: (R, 3) in its optical frame, with depth 1.
        far_m: where cells and rays end.
    """
    poses = np.linalg.inv(views.cam_T_world.double().cpu().numpy())
    window = nearest_views(world_T_cam, poses, WINDOW).tolist()
    around = views.select(window)
    encoding = _encoded(field, around, far_m)
    surface = PredictedSurface(field.volume, encoding)
    by_distance, sampling = SdfGeometry(surface, surface.tr_m), Sampling(far_m=far_m)
    (width, height), device, once = around.size, around.intrinsics.device, replace(sampling, fine=0)
    cameras = (Camera(width, height, *row).strided(_DEPTH_STRIDE) for row in around.intrinsics.tolist())
    depth = [render_depth(c, poses[n], by_distance, once, device=device) for c, n in zip(cameras, window)]
    wide = torch.stack(depth).repeat_interleave(_DEPTH_STRIDE, 1).repeat_interleave(_DEPTH_STRIDE, 2)
    around = replace(around, depth=wide[:, :height, :width].contiguous())
    ways = {DENSITY: DensityGeometry(surface.density), SIGNED_DISTANCE: by_distance}
    return {
        name: labels_along_rays(field, around, encoding, geometry, world_T_cam, directions, far_m)
        for name, geometry in ways.items()
    }


def _encoded(field: NeuralSemanticField, views: SourceViews, far_m: float) -> Encoding:
    lattice = Lattice.world(views.intrinsics)
    return field.volume(replace(views, depth=None), lattice, cells_in_sight(views, lattice, far_m))
