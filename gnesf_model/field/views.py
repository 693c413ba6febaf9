"""The source views: cameras, features F_i and class probabilities S_i, and what they show of points in space.

Tensors over views and points have the views first: (N, K, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from gnesf_model.field.precision import full_precision
from gnesf_model.frame import Camera
from gnesf_model.segment.segmenter import STRIDE

FEATURE_STRIDES = (4, 8, 16)
"""Pixels per cell of the feature maps, finest first."""


@dataclass(frozen=True)
class Projections:
    """K points in N views.

    Attributes:
        pixels: (N, K, 2) pixels (u, v); meaningless where not `inside`.
        displacement: (N, K, 3) d_i = x - o_i of eq. 3 in m, in the axes of view i, so that it does not depend on how
            the world is turned. Its third component is the depth.
        inside: (N, K) in front of the camera and within the image.
    """

    pixels: torch.Tensor
    displacement: torch.Tensor
    inside: torch.Tensor

    @property
    def depth(self) -> torch.Tensor:
        """(N, K) depth along the optical axis, m."""
        return self.displacement[..., 2]


@dataclass(frozen=True, eq=False)
class SourceViews:
    """N posed images of one size.

    Attributes:
        size: (width, height) of the images in pixels.
        intrinsics: (N, 4) fx, fy, cx, cy in pixels.
        cam_T_world: (N, 4, 4); points of the world in the optical frames.
        probabilities: (N, h, w, C) S_i at stride 4, entries >= 0, sums at most 1; the remainder is unknown.
        features: maps (N, h, w, D) of `FEATURE_STRIDES`; empty where nothing needs them.
        depth: (N, H, W) float32 m, 0 where there is none; None without a depth sensor.
        images: (N, H', W', 3) colours in 0..1 of the same pictures in any resolution; None where nothing needs them.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    size: tuple[int, int]
    intrinsics: torch.Tensor
    cam_T_world: torch.Tensor
    probabilities: torch.Tensor
    features: tuple[torch.Tensor, ...] = ()
    depth: torch.Tensor | None = None
    images: torch.Tensor | None = None

    def __post_init__(self) -> None:
        n, (width, height) = len(self.intrinsics), self.size
        shapes = {
            "intrinsics": (self.intrinsics, (n, 4)),
            "cam_T_world": (self.cam_T_world, (n, 4, 4)),
            "probabilities": (self.probabilities, (n, *_grid(height, width, STRIDE), self.probabilities.shape[-1])),
        }
        for stride, map_ in zip(FEATURE_STRIDES, self.features):
            shapes[f"features at stride {stride}"] = (map_, (n, *_grid(height, width, stride), map_.shape[-1]))
        if self.depth is not None:
            shapes["depth"] = (self.depth, (n, height, width))
        if self.images is not None:
            columns = self.images.shape[2]
            shapes["images"] = (self.images, (n, round(columns * height / width), columns, 3))
        for name, (tensor, expected) in shapes.items():
            if tuple(tensor.shape) != expected:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, expected {expected} for {n} views of {width} x {height}"
                )

    @classmethod
    def make(
        cls,
        cameras: Sequence[Camera],
        world_T_cam: Sequence[np.ndarray],
        probabilities: torch.Tensor,
        features: tuple[torch.Tensor, ...] = (),
        depth: torch.Tensor | None = None,
        images: torch.Tensor | None = None,
    ) -> SourceViews:
        """Views from cameras, (4, 4) poses and maps with channels first: (N, C, h, w), as networks give them.

        Raises:
            ValueError: cameras of several sizes; shapes that do not fit.
        """
        sizes = {(camera.width, camera.height) for camera in cameras}
        if len(sizes) > 1:
            raise ValueError(f"the views have sizes {sorted(sizes)}, expected one: resize them first")
        device, dtype = probabilities.device, probabilities.dtype
        intrinsics = [[c.fx, c.fy, c.cx, c.cy] for c in cameras]
        poses = [np.linalg.inv(np.asarray(pose, np.float64)) for pose in world_T_cam]
        count = len(intrinsics)
        return cls(
            size=sizes.pop() if sizes else (STRIDE * probabilities.shape[3], STRIDE * probabilities.shape[2]),
            intrinsics=torch.tensor(intrinsics, dtype=dtype, device=device).view(count, 4),
            cam_T_world=torch.from_numpy(np.stack(poses) if count else np.zeros((0, 4, 4))).to(device, dtype),
            probabilities=probabilities.permute(0, 2, 3, 1).contiguous(),
            features=tuple(map_.permute(0, 2, 3, 1).contiguous() for map_ in features),
            depth=depth,
            images=None if images is None else images.permute(0, 2, 3, 1).contiguous(),
        )

    def __len__(self) -> int:
        return len(self.intrinsics)

    def select(self, views: Sequence[int] | torch.Tensor) -> SourceViews:
        """Some of the views, by index, in that order."""
        index = torch.as_tensor(views, dtype=torch.int64, device=self.intrinsics.device)
        return replace(
            self,
            intrinsics=self.intrinsics[index],
            cam_T_world=self.cam_T_world[index],
            probabilities=self.probabilities[index],
            features=tuple(map_[index] for map_ in self.features),
            depth=None if self.depth is None else self.depth[index],
            images=None if self.images is None else self.images[index],
        )

    @property
    @full_precision
    def origins(self) -> torch.Tensor:
        """(N, 3) camera centres o_i in the world, m."""
        R, t = self.cam_T_world[:, :3, :3], self.cam_T_world[:, :3, 3]
        return -(R.transpose(1, 2) @ t[:, :, None])[:, :, 0]

    @full_precision
    def project(self, points: torch.Tensor) -> Projections:
        """The pixels pi_i(x) of points (K, 3) in the world, m."""
        R, t = self.cam_T_world[:, :3, :3], self.cam_T_world[:, :3, 3]
        local = torch.einsum("nij,kj->nki", R, points) + t[:, None]
        z = local[..., 2]
        front = z > 1e-3
        scale = 1.0 / torch.where(front, z, torch.ones_like(z))
        fx, fy, cx, cy = self.intrinsics.T[:, :, None]
        u = local[..., 0] * scale * fx + cx
        v = local[..., 1] * scale * fy + cy
        width, height = self.size
        inside = front & (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
        return Projections(torch.stack([u, v], dim=-1), local, inside)

    def sample_probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        """S_i(x) (N, K, C) at pixels (N, K, 2), bilinear."""
        return bilinear(self.probabilities, pixels, STRIDE)

    def sample_features(self, pixels: torch.Tensor, level: int = 0) -> torch.Tensor:
        """F_i(x) (N, K, D) at pixels (N, K, 2), bilinear, from the map of stride `FEATURE_STRIDES[level]`."""
        return bilinear(self.features[level], pixels, FEATURE_STRIDES[level])

    def sample_colors(self, pixels: torch.Tensor) -> torch.Tensor:
        """Colours (N, K, 3) in 0..1 at pixels (N, K, 2), bilinear.

        Raises:
            ValueError: the views have no images.
        """
        if self.images is None:
            raise ValueError("the views have no images: give them to `SourceViews.make`")
        return bilinear(self.images, pixels, self.size[0] / self.images.shape[2])

    def sample_depth(self, pixels: torch.Tensor) -> torch.Tensor:
        """Depth (N, K) of the nearest pixels, 0 where there is none.

        Raises:
            ValueError: the views have no depth.
        """
        if self.depth is None:
            raise ValueError("the views have no depth images: give them depth, or take visibility from an SDF")
        width, height = self.size
        u = pixels[..., 0].round().clamp(0, width - 1).long()
        v = pixels[..., 1].round().clamp(0, height - 1).long()
        return self.depth.flatten(1).gather(1, v * width + u)


def bilinear(maps: torch.Tensor, pixels: torch.Tensor, stride: float) -> torch.Tensor:
    """Samples (N, K, D) of maps (N, h, w, D) at pixels (N, K, 2) of the images.

    Cell (i, j) describes the stride x stride pixels around (stride j + (stride - 1) / 2, ...) (docs/architecture.md).
    Beyond the outermost centres the border's values hold. Channels last: a sample is four contiguous rows.
    """
    views, height, width, channels = maps.shape
    cell = (pixels.detach() - (stride - 1) / 2) / stride
    x = cell[..., 0].clamp(0, width - 1)
    y = cell[..., 1].clamp(0, height - 1)
    # The last column's left neighbour takes the weight 0 where x is whole.
    j, i = x.floor().clamp_max(max(width - 2, 0)), y.floor().clamp_max(max(height - 2, 0))
    fx, fy = (x - j).unsqueeze(-1).to(maps.dtype), (y - i).unsqueeze(-1).to(maps.dtype)
    right, down = int(width > 1), int(height > 1) * width
    base = torch.arange(views, device=maps.device)[:, None] * (height * width)
    corner = (base + i.long() * width + j.long()).view(-1)
    table = maps.reshape(-1, channels)
    shape = (*pixels.shape[:2], channels)

    def at(offset: int) -> torch.Tensor:
        return table.index_select(0, corner + offset).view(shape)

    top = torch.lerp(at(0), at(right), fx)
    bottom = torch.lerp(at(down), at(down + right), fx)
    return torch.lerp(top, bottom, fy)


def _grid(height: int, width: int, stride: int) -> tuple[int, int]:
    return -(-height // stride), -(-width // stride)
