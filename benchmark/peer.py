"""The pipeline that one would otherwise write: Open3D's VoxelBlockGrid, and class probabilities averaged per voxel.

After Open3D's own example of integrating further properties: the blocks in front of the camera, their voxels projected
into the image, those within the truncation band averaged with what the image says there. Geometry and colour are
Open3D's `integrate`; the probabilities live in an attribute of the same grid, which torch works on in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.dlpack import from_dlpack, to_dlpack

from gnesf_model.labels import UNKNOWN

SIDE_VOX = 8


class AveragingPipeline:
    """Geometry, colour and averaged class probabilities in one voxel grid; integrate, then look.

    Args:
        K: (3, 3) intrinsics of depth and colour.
        size: (height, width) of the images.
        classes: C of the probabilities.
        voxel_m, truncation_vox, max_depth_m: as everywhere.
        max_blocks: room that is made beforehand: growing later would copy everything.
    """

    def __init__(
        self,
        K: np.ndarray,
        size: tuple[int, int],
        classes: int,
        *,
        voxel_m: float,
        truncation_vox: float,
        max_depth_m: float,
        max_blocks: int,
    ) -> None:
        import open3d as o3d
        import open3d.core as o3c

        self._o3d, self._o3c = o3d, o3c
        self.voxel_m, self.truncation_vox, self.max_depth_m = voxel_m, truncation_vox, max_depth_m
        self.size, self.classes = size, classes
        self._K, self._K_torch = o3c.Tensor(K), torch.from_numpy(K).float()
        device, real = o3c.Device("CPU:0"), o3c.float32
        names, channels = ("tsdf", "weight", "color", "probability", "views"), ((1), (1), (3), (classes), (1))
        self.grid = o3d.t.geometry.VoxelBlockGrid(names, (real,) * 5, channels, voxel_m, SIDE_VOX, max_blocks, device)

    def integrate(self, rgb: np.ndarray, depth: np.ndarray, pose: np.ndarray, probabilities: torch.Tensor) -> int:
        """Add one frame; gives the number of blocks it touched.

        Args:
            rgb: (H, W, 3) uint8.
            depth: (H, W) uint16 millimetres.
            pose: (4, 4) world_T_cam.
            probabilities: (C, h, w) float32 at stride 4.
        """
        o3c, image = self._o3c, self._o3d.t.geometry.Image
        depth_image = image(o3c.Tensor(depth))
        color_image = image(o3c.Tensor(rgb))
        cam_T_world = np.linalg.inv(pose)
        extrinsic = o3c.Tensor(cam_T_world)
        limits = 1000.0, self.max_depth_m, self.truncation_vox
        blocks = self.grid.compute_unique_block_coordinates(depth_image, self._K, extrinsic, *limits)
        self.grid.integrate(blocks, depth_image, color_image, self._K, self._K, extrinsic, *limits)
        self._average(blocks, depth, cam_T_world, probabilities)
        return len(blocks)

    def _average(self, blocks: Any, depth: np.ndarray, cam_T_world: np.ndarray, probabilities: torch.Tensor) -> None:
        slots, _ = self.grid.hashmap().find(blocks)
        places, indices = self.grid.voxel_coordinates_and_flattened_indices(slots)
        place, index = from_dlpack(places.to_dlpack()), from_dlpack(indices.to_dlpack())
        turned = torch.from_numpy(cam_T_world).float()
        pixel = (place @ turned[:3, :3].T + turned[:3, 3]) @ self._K_torch.T
        z = pixel[:, 2]
        pixel = pixel[:, :2] / z[:, None]
        height, width = self.size
        u, v = pixel.round().long().unbind(1)
        inside = ((z > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)).nonzero()[:, 0]
        measured = torch.from_numpy(depth.astype(np.float32) / 1000)[v[inside], u[inside]]
        near = (measured > 0) & (measured < self.max_depth_m)
        near &= (measured - z[inside]).abs() <= self.truncation_vox * self.voxel_m
        seen = inside[near]
        # Pixel centres at integers, cells of 4 x 4 pixels: what align_corners=False means at a quarter of the size.
        at = (pixel[seen] + 0.5) * torch.tensor([2 / width, 2 / height]) - 1
        found = F.grid_sample(probabilities[None], at[None, None], padding_mode="border", align_corners=False)[
            0, :, 0
        ].T
        self._attribute("probability").index_add_(0, index[seen], found)
        self._attribute("views").index_add_(0, index[seen], torch.ones(len(seen), 1))

    def look(self, min_weight: float) -> tuple[np.ndarray, np.ndarray]:
        """The surface: points (N, 3) float32 m, and the class (N,) uint8 of the voxel that each lies in."""
        points = self.grid.extract_point_cloud(min_weight).point.positions
        # Open3D's voxels have their centres at whole multiples of their edge.
        place = from_dlpack(points.to_dlpack())
        voxel = (place / self.voxel_m).round().long()
        block = torch.div(voxel, SIDE_VOX, rounding_mode="floor")
        slots, found = self.grid.hashmap().find(self._o3c.Tensor.from_dlpack(to_dlpack(block.int())))
        i, j, k = (voxel - block * SIDE_VOX).unbind(1)
        index = from_dlpack(slots.to(self._o3c.int64).to_dlpack()) * SIDE_VOX**3 + i + SIDE_VOX * (j + SIDE_VOX * k)
        named = torch.from_numpy(found.numpy())
        votes = self._attribute("probability")[torch.where(named, index, 0)]
        label = torch.where(named & (votes.sum(1) > 0), votes.argmax(1), UNKNOWN)
        return place.numpy(), label.to(torch.uint8).numpy()

    def _attribute(self, name: str) -> torch.Tensor:
        """(voxels, channels) of all voxels; torch's view of Open3D's memory."""
        table = from_dlpack(self.grid.attribute(name).to_dlpack())
        return table.view(-1, table.shape[-1])
