"""`RoomSource`: a procedural room as a source of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch

from gnesf_model.data.procrooms.depth_sensor import measured_depth
from gnesf_model.data.procrooms.render import Images, Renderer
from gnesf_model.data.procrooms.room import make_room
from gnesf_model.data.procrooms.walk import RATE_HZ, walk
from gnesf_model.frame import Camera, Frame

FIRST_STAMP_NS = 1_000_000_000
"""Stamp of the first frame: not zero, which many tools take for "no stamp"."""

FOCAL_PER_WIDTH = 0.85
"""Focal length over image width: 61 degrees across, as common RGB-D cameras have."""


class RoomSource:
    """Frames of a handheld walk through the room of a seed.

    Attributes:
        name: ``rooms:SEED``.
        label_space: name of the label space of the frames' labels, ``scannet20``.
        drops, last_message: frames that could not be used, by reason; always empty here.
        scene: the room itself, for exact checks (`Scene.sdf`, `Scene.cast`).
        camera: the camera of every frame.
        poses: (frames, 4, 4) float64 world_T_cam.
        renderer: makes the images.
    """

    label_space = "scannet20"

    def __init__(
        self,
        seed: int,
        frames: int = 150,
        width: int = 320,
        height: int = 240,
        depth_noise: bool = False,
        stride: int = 3,
        max_depth_m: float = 8.0,
        shading: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make the room and the walk; images are rendered when they are asked for.

        Args:
            seed: of the room and the walk, >= 0.
            frames: how many.
            width, height: image size in pixels.
            depth_noise: depth as of a structured-light sensor instead of exact.
            stride: keep every stride-th tick of the walk at 30 Hz; 3 gives 10 Hz.
            max_depth_m: depth beyond is 0, as of a sensor's range.
            shading: False renders bare material colours, about three times faster.
            device: where to render.

        Raises:
            ValueError: seed < 0, frames < 1, stride < 1 or max_depth_m <= 0.
        """
        for what, value in (("frames", frames), ("stride", stride)):
            if value < 1:
                raise ValueError(f"{what} is {value}, expected at least 1")
        if not max_depth_m > 0:
            raise ValueError(f"max_depth_m is {max_depth_m}, expected metres > 0")
        self.name = f"rooms:{seed}"
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self.seed, self.stride = seed, stride
        self.depth_noise, self.max_depth_m = depth_noise, max_depth_m
        focal = FOCAL_PER_WIDTH * width
        self.camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        self.scene = make_room(seed)
        self.poses = walk(self.scene, seed, (frames - 1) * stride + 1)[::stride]
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        warm = rng.uniform(-0.06, 0.06)
        self.renderer = Renderer(
            self.scene,
            device,
            shading=shading,
            antialias=shading,
            exposure=float(rng.uniform(0.85, 1.15)),
            white_balance=(1 + warm, 1.0, 1 - warm),
        )

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        """Frame number `index`, rendered now.

        Raises:
            IndexError: no such frame.
        """
        index = range(len(self))[index]
        images = self.images(index)
        return Frame(
            stamp_ns=self.stamp_ns(index),
            rgb=images.rgb.cpu().numpy(),
            camera=self.camera,
            world_T_cam=self.poses[index],
            depth=self._depth(index, images),
            labels=images.labels.cpu().numpy(),
        )

    def stamp_ns(self, index: int) -> int:
        """Stamp of frame `index` in nanoseconds."""
        return FIRST_STAMP_NS + round(index * self.stride * 1e9 / RATE_HZ)

    def images(self, index: int) -> Images:
        """All images of frame `index`: also normals, primitives and depth without range limit."""
        return self.renderer.render(self.camera, self.poses[index])

    def _depth(self, index: int, images: Images) -> np.ndarray:
        depth = images.depth.cpu().numpy()
        if self.depth_noise:
            rng = np.random.Generator(np.random.PCG64([self.seed, 3, index]))
            depth = measured_depth(depth, images.normals.cpu().numpy(), self.camera, self.poses[index], rng)
        return np.where(depth <= self.max_depth_m, depth, np.float32(0))
