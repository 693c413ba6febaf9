"""Depth of a view from the views around it: what `geometry: rgb` puts into the TSDF in place of measured depth.

A plane sweep over learned features, then a small network that reads the cost volume and the image. The paper's own way
(SDF from the encoding volume, `geometry_head`) needs 3D convolutions over a whole window for each keyframe; that depth
maps fused into a TSDF are better and cheaper is the finding of SimpleRecon (Sayed et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gnesf_model.field.image_encoder import ImageEncoder
from gnesf_model.field.option_checks import check_number, check_whole
from gnesf_model.field.plane_sweep import SweepView, depth_planes, matching_cost, normalised
from gnesf_model.field.views import FEATURE_STRIDES
from gnesf_model.frame import Camera

_SPREAD = 2
"""Planes to either side of the likeliest one that count as the same answer."""
_SHARPNESS = 10.0
_NEAREST_M, _FARTHEST_M, _MOST_PLANES = 1e-3, 1000.0, 1024


@dataclass(frozen=True)
class DepthOptions:
    """Sizes of the network.

    Attributes:
        widths: channels of the image encoder at strides 2, 4, 8, 16.
        matching, groups: channels of the features that are compared, and groups of them.
        context: channels of what else the image says, at strides 4, 8, 16.
        planes: hypotheses of the depth.
        nearest_m, farthest_m: of them.
        evidence: channels of the 3D convolutions.
        hidden: channels of the 2D network at strides 4, 8, 16.
    """

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    matching: int = 18
    groups: int = 6
    context: tuple[int, int, int] = (24, 32, 48)
    planes: int = 64
    nearest_m: float = 0.4
    farthest_m: float = 8.0
    evidence: int = 8
    hidden: tuple[int, int, int] = (64, 80, 96)

    def __post_init__(self) -> None:
        if type(self.matching) is not int or type(self.groups) is not int or self.groups < 1:
            raise ValueError(
                f"matching is {self.matching!r} in {self.groups!r} groups, expected whole numbers, 1 or more"
            )
        if self.matching % self.groups:
            raise ValueError(f"matching is {self.matching} in {self.groups} groups, expected groups of one size")
        check_whole("planes", self.planes, 2, _MOST_PLANES)
        check_number("nearest_m", self.nearest_m, _NEAREST_M, _FARTHEST_M)
        check_number("farthest_m", self.farthest_m, _NEAREST_M, _FARTHEST_M)
        if self.nearest_m >= self.farthest_m:
            raise ValueError(f"planes from {self.nearest_m} to {self.farthest_m} m, expected ascending ones")


class DepthNetwork(nn.Module):
    """Log-probabilities of the depth planes for every cell (stride 4) of a view."""

    def __init__(self, options: DepthOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or DepthOptions()
        c4, c8, c16 = o.context
        h4, h8, h16 = o.hidden
        self.encoder = ImageEncoder(o.widths, (o.matching + c4, c8, c16))
        self.first = nn.Conv3d(o.groups + 2, o.evidence, 3, padding=1)
        self.second = nn.Conv3d(o.evidence, o.evidence, 3, padding=1)
        self.last = nn.Linear(o.evidence, 1)
        self.at4 = _Mix(o.planes + c4, h4)
        self.down8 = nn.Conv2d(h4, h8, 4, 2, 1)
        self.at8 = _Mix(h8 + c8, h8)
        self.down16 = nn.Conv2d(h8, h16, 4, 2, 1)
        self.at16 = _Mix(h16 + c16, h16)
        self.up8 = _Mix(h16 + h8, h8)
        self.up4 = _Mix(h8 + h4, h4)
        self.out = nn.Conv2d(h4, o.planes, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("planes", depth_planes(o.nearest_m, o.farthest_m, o.planes), persistent=False)

    def describe(
        self, images: torch.Tensor, cameras: Sequence[Camera], world_T_cam: Sequence[np.ndarray]
    ) -> list[DescribedView]:
        """Features of images (N, 3, H, W) in 0..1, each encoded once, whichever views it will serve."""
        maps4, maps8, maps16 = self.encoder(images)
        matching = normalised(maps4[:, : self.options.matching], self.options.groups)
        context = maps4[:, self.options.matching :]
        stride = FEATURE_STRIDES[0]
        return [
            DescribedView(
                SweepView(camera.strided(stride), np.asarray(pose, np.float64), matching[n]),
                (context[n], maps8[n], maps16[n]),
            )
            for n, (camera, pose) in enumerate(zip(cameras, world_T_cam))
        ]

    def forward(self, reference: DescribedView, sources: Sequence[DescribedView]) -> torch.Tensor:
        """(D, h, w) log-probabilities of the planes for the reference's cells."""
        cost, share = matching_cost(
            reference.sweep, [source.sweep for source in sources], self.planes, self.options.groups
        )
        place = torch.linspace(-1, 1, len(self.planes)).to(share)[:, None, None].expand_as(share)
        hidden = F.relu(self.first(torch.cat([cost, share[None], place[None]])[None]))
        hidden = F.relu(hidden + self.second(hidden))[0]
        evidence = _SHARPNESS * cost.mean(0) + self.last(hidden.movedim(0, -1))[..., 0]
        context4, context8, context16 = (c[None] for c in reference.context)
        x4 = self.at4(torch.cat([evidence[None], context4], dim=1))
        x8 = self.at8(torch.cat([_fit(self.down8(_even(x4)), context8), context8], dim=1))
        x16 = self.at16(torch.cat([_fit(self.down16(_even(x8)), context16), context16], dim=1))
        y8 = self.up8(torch.cat([_resized(x16, x8), x8], dim=1))
        y4 = self.up4(torch.cat([_resized(y8, x4), x4], dim=1))
        return (evidence + self.out(y4)[0]).log_softmax(0)

    def depth(self, log_probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Depth (h, w) in m, the mean around the likeliest plane, and the probability (h, w) of that neighbourhood."""
        probabilities = log_probabilities.exp()
        best = probabilities.argmax(0, keepdim=True)
        offsets = torch.arange(-_SPREAD, _SPREAD + 1, device=best.device)[:, None, None]
        around = best + offsets
        inside = (around >= 0) & (around < len(self.planes))
        around = around.clamp(0, len(self.planes) - 1)
        mass = probabilities.gather(0, around) * inside
        confidence = mass.sum(0)
        mean = (mass * self.planes.log()[around]).sum(0) / confidence.clamp_min(1e-6)
        return mean.exp(), confidence

    def loss(self, log_probabilities: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Cross entropy to the two planes around the true depth (h, w), and the error of the logarithm; 0 m: not known.

        Depth beyond the planes counts as the last one.
        """
        known = depth > 0
        if not known.any():
            return log_probabilities.sum() * 0.0
        planes = self.planes.log()
        step = planes[1] - planes[0]
        truth = depth[known].log()
        place = ((truth - planes[0]) / step).clamp(0, len(planes) - 1 - 1e-4)
        below = place.floor().long()
        part = place - below
        found = log_probabilities[:, known]
        columns = torch.arange(found.shape[1], device=found.device)
        entropy = -((1 - part) * found[below, columns] + part * found[below + 1, columns])
        mean = self.depth(log_probabilities)[0][known].log()
        return entropy.mean() + 4.0 * F.smooth_l1_loss(mean, planes[0] + place * step, beta=0.05)


@dataclass(frozen=True, eq=False)
class DescribedView:
    """A view as `DepthNetwork.describe` sees it.

    Attributes:
        sweep: what is compared.
        context: maps (C, h, w) at strides 4, 8, 16.
    """

    sweep: SweepView
    context: tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class _Mix(nn.Module):
    """Two 3 x 3 convolutions, the second beside a short cut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm1 = nn.GroupNorm(max(1, outputs // 8), outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(max(1, outputs // 8), outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.first(x)))
        return F.relu(x + self.norm2(self.second(x)))


def _even(x: torch.Tensor) -> torch.Tensor:
    """With a last row and column repeated where there is an odd number, so that strides fit those of the encoder."""
    return F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")


def _fit(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x[:, :, : like.shape[2], : like.shape[3]]


def _resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Twice as large, cut to the size of another map."""
    return _fit(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), like)
