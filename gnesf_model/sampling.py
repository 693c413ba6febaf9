"""Reading stride-4 probabilities at points of the surface."""

from __future__ import annotations

import torch

from gnesf_model.frame import Camera, Frame
from gnesf_model.geometry import backproject, invert, project, transform
from gnesf_model.segment.segmenter import STRIDE
from gnesf_model.volume.tsdf import DepthView

_ELSEWHERE = 1e-3
"""What a cell on another surface counts: nothing beside one that fits, and all where none does."""


def sample_beside_edges(
    probabilities: torch.Tensor,
    view: DepthView,
    pixels: torch.Tensor,
    depth: torch.Tensor,
    tolerance_m: float,
    shift: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bilinear samples (M, C), S_i(x) of eq. 4, that do not reach across the edge of an object.

    A cell of the stride-4 grid is 4 pixels wide: beside an outline, plain interpolation mixes the object
    with what lies behind it. Cells whose measured depth is not that of the point are left out.

    Args:
        probabilities: (C, h, w) at stride 4.
        view: the depth image.
        pixels: (M, 2) pixels (u, v) of the points.
        depth: (M,) depth of the points in the view, m.
        tolerance_m: a cell this far from a point in depth lies on another surface.
        shift: (M, 2) how many pixels further (u, v) the depth image has the point, where it was taken at another
            moment; None: nowhere else.
    """
    classes, height, width = probabilities.shape
    table = probabilities.permute(1, 2, 0).reshape(-1, classes)
    last_u, last_v = view.camera.width - 1, view.camera.height - 1
    cell = (pixels - (STRIDE - 1) / 2) / STRIDE
    base = cell.floor()
    fraction = cell - base
    base = base.long()
    total = torch.zeros_like(depth)
    sampled = torch.zeros(len(depth), classes, device=depth.device)
    for down in (0, 1):
        for right in (0, 1):
            j = (base[:, 0] + right).clamp(0, width - 1)
            i = (base[:, 1] + down).clamp(0, height - 1)
            weight = fraction[:, 0] if right else 1 - fraction[:, 0]
            weight = weight * (fraction[:, 1] if down else 1 - fraction[:, 1])
            middle = STRIDE // 2
            v, u = i * STRIDE + middle, j * STRIDE + middle
            if shift is not None:
                v, u = v + shift[:, 1].round().long(), u + shift[:, 0].round().long()
                v, u = v.clamp_min(0), u.clamp_min(0)
            there = view.depth[v.clamp_max(last_v), u.clamp_max(last_u)]
            weight = weight * torch.where((there - depth).abs() <= tolerance_m, 1.0, _ELSEWHERE)
            sampled += table[i * width + j] * weight[:, None]
            total += weight
    return sampled / total.clamp_min(1e-9)[:, None]


def nearest_pixels(pixels: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Column and row (M,) int64 of pixels (M, 2), those outside moved to the border."""
    u = pixels[:, 0].round().long().clamp(0, camera.width - 1)
    v = pixels[:, 1].round().long().clamp(0, camera.height - 1)
    return u, v


def inside_image(pixels: torch.Tensor, depth: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Which of the points (M,) lie in the image."""
    u, v = pixels.unbind(-1)
    return (depth > 0) & (u > -0.5) & (v > -0.5) & (u < camera.width - 0.5) & (v < camera.height - 0.5)


def seen_from_color(moving: torch.Tensor, depth: torch.Tensor, frame: Frame) -> torch.Tensor:
    """Which pixels (H, W) of a depth image, taken at another moment, show what the colour image's pixels say.

    Args:
        moving: (H, W) bool, of the colour image.
        depth: (H, W) metres.
    """
    color_T_depth = torch.from_numpy(invert(frame.world_T_cam) @ frame.world_T_depth).float().to(depth.device)
    pixels, z = project(transform(color_T_depth, backproject(depth, frame.camera)).view(-1, 3), frame.camera)
    u, v = nearest_pixels(pixels, frame.camera)
    return (moving[v, u] & (z > 0)).view(depth.shape)
