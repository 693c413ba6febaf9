"""Image features F_i: a small U-Net, finest features at stride 4."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gnesf_model.field.views import FEATURE_STRIDES

_COARSEST = FEATURE_STRIDES[-1]


class ImageEncoder(nn.Module):
    """U-Net-based CNN of the paper's section 3.1.

    Every step down is a 4 x 4 convolution of stride 2, whose outputs lie at the centres of 2 x 2 pixels. So cell (i, j)
    of a map describes the pixels that `views.bilinear` takes it to describe; 3 x 3 kernels would put it beside them.
    Normalisation is within one image: a view's features do not depend on the other views, and are computed once.

    Args:
        widths: channels at strides 2, 4, 8 and 16.
        channels: of the maps F_i at strides 4, 8 and 16.
    """

    def __init__(
        self, widths: tuple[int, int, int, int] = (16, 32, 64, 128), channels: tuple[int, ...] = (32, 32, 48)
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.stem = _Step(3, w2)
        self.down4 = nn.Sequential(_Step(w2, w4), _Residual(w4))
        self.down8 = nn.Sequential(_Step(w4, w8), _Residual(w8))
        self.down16 = nn.Sequential(_Step(w8, w16), _Residual(w16))
        self.up8 = _Up(w16, w8)
        self.up4 = _Up(w8, w4)
        self.heads = nn.ModuleList(nn.Conv2d(w, c, 1) for w, c in zip((w4, w8, w16), channels))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Feature maps (N, D_l, ceil(H / s), ceil(W / s)) at `FEATURE_STRIDES` of images (N, 3, H, W) in 0..1."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % _COARSEST, 0, -height % _COARSEST), mode="replicate")
        x4 = self.down4(self.stem(padded * 4 - 2))
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y8 = self.up8(x16, x8)
        y4 = self.up4(y8, x4)
        maps = (head(y) for head, y in zip(self.heads, (y4, y8, x16)))
        return tuple(m[:, :, : -(-height // s), : -(-width // s)] for m, s in zip(maps, FEATURE_STRIDES))


def image_tensor(rgb: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """(3, H, W) float32 in 0..1 of an (H, W, 3) uint8 image."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1).float().div_(255.0)


class _Step(nn.Sequential):
    """Half the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), _norm(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _norm(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _norm(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


class _Up(nn.Module):
    """Twice the resolution, with the features of the way down beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inputs, outputs, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(2 * outputs, outputs, 3, padding=1, bias=False), _norm(outputs), nn.ReLU(inplace=True)
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        up = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.mix(torch.cat([up, skip], dim=1))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // 8), channels)
