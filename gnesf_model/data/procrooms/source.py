"""`RoomSource`: a procedural room as a source of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch

from gnesf_model.data.procrooms.color_sensor import ColorSensor, camera_twist
from gnesf_model.data.procrooms.depth_sensor import SENSORS, facing_ratio
from gnesf_model.data.procrooms.looks import with_looks
from gnesf_model.data.procrooms.render import Images, Renderer
from gnesf_model.data.procrooms.room import make_room
from gnesf_model.data.procrooms.walk import RATE_HZ, walk
from gnesf_model.frame import Camera, Frame

FIRST_STAMP_NS = 1_000_000_000
"""Stamp of the first frame: not zero, which many tools take for "no stamp"."""

FOCAL_PER_WIDTH = 0.85
"""Focal length over image width: 61 degrees across, as common RGB-D cameras have."""

SIZES = ((320, 240), (320, 180), (424, 240), (480, 270), (480, 360), (640, 360), (640, 480))
"""Image sizes that `sampled_camera` draws from."""

TRAJECTORIES = ("handheld", "robot")


class RoomSource:
    """Frames of a walk through the room of a seed.

    Without further arguments everything is exact: sharp colour, depth and labels of the same surface. What
    cameras do to pictures is asked for; `as_recorded` draws all of it.

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
        depth_noise: bool | str = False,
        stride: int = 3,
        max_depth_m: float = 8.0,
        shading: bool = True,
        device: torch.device | str = "cpu",
        *,
        rooms: int = 1,
        looks: str = "natural",
        trajectory: str = "handheld",
        color: ColorSensor | None = None,
        camera: Camera | None = None,
    ) -> None:
        """Make the room and the walk; images are rendered when they are asked for.

        Args:
            seed: of the room and the walk, >= 0.
            frames: how many.
            width, height: image size in pixels.
            depth_noise: depth as of a sensor of that name in `depth_sensor.SENSORS` (True: structured light)
                instead of exact.
            stride: keep every stride-th tick of the walk at 30 Hz; 3 gives 10 Hz.
            max_depth_m: depth beyond is 0, as of a sensor's range.
            shading: False renders bare material colours, about three times faster.
            device: where to render.
            rooms: how many; several make a flat, joined by doorways.
            looks: colours, patterns and lights: ``natural``; ``varied`` widely, for training; ``permuted``: each
                class has those of another.
            trajectory: ``handheld``, or ``robot``: on wheels, with the camera on a mast.
            color: what the colour camera does to the picture; None = nothing.
            camera: intrinsics instead of width and height and the usual focal length.

        Raises:
            ValueError: seed < 0, a number of rooms that is not 1 to 40, frames < 1, stride < 1, max_depth_m <= 0,
                unknown looks, an unknown sensor or trajectory.
        """
        for what, value in (("frames", frames), ("stride", stride)):
            if value < 1:
                raise ValueError(f"{what} is {value}, expected at least 1")
        if not max_depth_m > 0:
            raise ValueError(f"max_depth_m is {max_depth_m}, expected metres > 0")
        sensor = "structured_light" if depth_noise is True else depth_noise
        if sensor and sensor not in SENSORS:
            raise ValueError(f"depth_noise is {depth_noise!r}, expected True, False or one of {', '.join(SENSORS)}")
        if trajectory not in TRAJECTORIES:
            raise ValueError(f"trajectory is {trajectory!r}, expected one of {', '.join(TRAJECTORIES)}")
        self.name = f"rooms:{seed}" if rooms == 1 else f"{rooms} rooms:{seed}"
        self.drops: Counter[str] = Counter()
        self.last_message: dict[str, str] = {}
        self.seed, self.stride = seed, stride
        self.depth_noise, self.max_depth_m = sensor, max_depth_m
        self.color = color
        focal = FOCAL_PER_WIDTH * width
        self.camera = camera or Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        self.scene = with_looks(make_room(seed, rooms), looks, seed)
        # One tick more than there are frames: the velocity at the last one.
        self._track = walk(self.scene, seed, (frames - 1) * stride + 2, robot=trajectory == "robot")
        self.poses = self._track[:-1:stride]
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        odd = 3.0 if looks == "varied" else 1.0
        warm = rng.uniform(-0.06, 0.06) * odd
        self.renderer = Renderer(
            self.scene,
            device,
            shading=shading,
            antialias=shading,
            exposure=float(rng.uniform(0.85, 1.15)) ** odd,
            white_balance=(1 + warm, 1.0, 1 - warm),
        )

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @classmethod
    def as_recorded(
        cls,
        seed: int,
        frames: int = 150,
        size: tuple[int, int] | None = None,
        stride: int = 3,
        rooms: int = 1,
        looks: str = "natural",
        device: torch.device | str = "cpu",
    ) -> RoomSource:
        """A room as some camera would record it: intrinsics, trajectory and both sensors drawn from the seed.

        Args:
            size: width and height in pixels; None draws one of `SIZES`.
        """
        rng = np.random.Generator(np.random.PCG64([seed, 4]))
        return cls(
            seed,
            frames,
            camera=sampled_camera(rng, size),
            trajectory=TRAJECTORIES[int(rng.random() < 0.5)],
            color=ColorSensor.sampled(rng),
            depth_noise=list(SENSORS)[int(rng.integers(len(SENSORS)))],
            max_depth_m=float(rng.uniform(4.0, 8.0)),
            stride=stride,
            rooms=rooms,
            looks=looks,
            device=device,
        )

    def __getitem__(self, index: int) -> Frame:
        """Frame number `index`, rendered now.

        Raises:
            IndexError: no such frame.
        """
        index = range(len(self))[index]
        return self.frame(index, self.images(index))

    def frame(self, index: int, images: Images) -> Frame:
        """Frame number `index` as its sensors record `images`, which are those of `images(index)`."""
        exact = images.depth.cpu().numpy()
        rgb = images.rgb.cpu().numpy()
        depth = self._depth(index, images, exact)
        if self.color:
            rng = np.random.Generator(np.random.PCG64([self.seed, 5, index]))
            rgb = self.color.apply(rgb, exact, self.camera, self._twist(index), rng)
        return Frame(
            stamp_ns=self.stamp_ns(index),
            rgb=rgb,
            camera=self.camera,
            world_T_cam=self.poses[index],
            depth=depth,
            labels=images.labels.cpu().numpy(),
        )

    def stamp_ns(self, index: int) -> int:
        """Stamp of frame `index` in nanoseconds."""
        return FIRST_STAMP_NS + round(index * self.stride * 1e9 / RATE_HZ)

    def images(self, index: int) -> Images:
        """All images of frame `index`: also normals, primitives and depth without range limit; no sensor."""
        gain = 1.0
        if self.color:
            sequence = np.random.Generator(np.random.PCG64([self.seed, 6]))
            gain = self.color.gain(sequence, index * self.stride / RATE_HZ)
        return self.renderer.render(self.camera, self.poses[index], gain)

    def _twist(self, index: int) -> np.ndarray:
        """(6,) velocity of the camera in its own frame: m/s, then rad/s."""
        tick = index * self.stride
        before = max(tick - 1, 0)
        return camera_twist(self._track[before], self._track[tick + 1], (tick + 1 - before) / RATE_HZ)

    def _depth(self, index: int, images: Images, depth: np.ndarray) -> np.ndarray:
        if self.depth_noise:
            rng = np.random.Generator(np.random.PCG64([self.seed, 3, index]))
            facing = facing_ratio(images.normals.cpu().numpy(), self.camera, self.poses[index])
            brightness = (images.rgb.cpu().numpy().mean(2) / 255) ** 2.2
            gloss = np.append(self.scene.gloss, 0.0)[images.primitive.cpu().numpy()]
            depth = SENSORS[self.depth_noise](depth, facing, brightness, gloss, self.camera, rng)
        return np.where(depth <= self.max_depth_m, depth, np.float32(0))


def sampled_camera(rng: np.random.Generator, size: tuple[int, int] | None = None) -> Camera:
    """A pinhole camera between 48 and 85 degrees across, its principal point a little off the middle.

    Args:
        size: width and height in pixels; None draws one of `SIZES`.
    """
    drawn = SIZES[int(rng.integers(len(SIZES)))]
    width, height = drawn if size is None else size
    focal = float(rng.uniform(0.55, 1.12)) * width
    off = rng.uniform(-0.02, 0.02, 2)
    return Camera(width, height, focal, focal, (width - 1) / 2 + off[0] * width, (height - 1) / 2 + off[1] * height)
