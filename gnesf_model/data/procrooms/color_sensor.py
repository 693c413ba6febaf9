"""Colour as a cheap camera delivers it: exposure that drifts, a rolling shutter, blur, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from gnesf_model.frame import Camera

BLUR_SAMPLES = 5
GAMMA = 2.2


@dataclass(frozen=True)
class ColorSensor:
    """What a camera does to a picture; all zero leaves it as it is.

    Attributes:
        exposure_stops: half range of the slow drift of an automatic exposure, in factors of two.
        shutter_s: how long the shutter is open: blur of moving views.
        readout_s: time from the first row to the last of a rolling shutter; depth, labels and pose are those
            of the middle row, as in a recording that ignores it.
        defocus_px: standard deviation of the lens' blur.
        noise: standard deviation of linear light at half of white; grows with the root of the light.
        jpeg_quality: 1 to 100; 0 = no compression.
    """

    exposure_stops: float = 0.0
    shutter_s: float = 0.0
    readout_s: float = 0.0
    defocus_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 0

    def __post_init__(self) -> None:
        for name in ("exposure_stops", "shutter_s", "readout_s", "defocus_px", "noise", "jpeg_quality"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number >= 0")
        if self.jpeg_quality > 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}, expected 0 (none) to 100")

    @classmethod
    def sampled(cls, rng: np.random.Generator) -> ColorSensor:
        """A camera between a good one and a bad one."""
        bad = rng.random(6)
        return cls(
            exposure_stops=float(0.5 * bad[0]),
            shutter_s=float(0.002 + 0.02 * bad[1] ** 2),
            readout_s=float(0.03 * bad[2]),
            defocus_px=float(0.9 * bad[3] ** 2),
            noise=float(0.03 * bad[4] ** 2),
            jpeg_quality=int(98 - 48 * bad[5]),
        )

    def gain(self, rng: np.random.Generator, time_s: float) -> float:
        """Factor on the light at a time of the sequence; `rng` must be the same for all of its frames."""
        rate, phase = rng.uniform(0.05, 0.4, 3), rng.uniform(0, 2 * np.pi, 3)
        return float(2 ** (self.exposure_stops * np.sin(2 * np.pi * rate * time_s + phase).mean()))

    def apply(
        self, rgb: np.ndarray, depth: np.ndarray, camera: Camera, twist: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The picture as this sensor delivers it.

        Args:
            rgb: (H, W, 3) uint8, sharp.
            depth: (H, W) metres, 0 = none; says how pixels move with the camera.
            twist: (6,) velocity of the camera in its own frame: m/s, then rad/s.
            rng: draws the noise.

        Returns:
            (H, W, 3) uint8.
        """
        if self.shutter_s or self.readout_s:
            rgb = self._exposed(rgb, depth, camera, twist)
        if self.defocus_px > 0.2:
            rgb = cv2.GaussianBlur(rgb, (0, 0), self.defocus_px)
        if self.noise:
            light = (rgb / np.float32(255)) ** np.float32(GAMMA)
            sigma = self.noise * np.sqrt(2 * light + 0.02)
            light = light + sigma * rng.standard_normal(light.shape, dtype=np.float32)
            rgb = np.rint(255 * light.clip(0, 1) ** (1 / GAMMA)).astype(np.uint8)
        if self.jpeg_quality:
            _, code = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
            rgb = np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])
        return rgb

    def _exposed(self, rgb: np.ndarray, depth: np.ndarray, camera: Camera, twist: np.ndarray) -> np.ndarray:
        """Mean of the picture over the time that each row is exposed."""
        flow = pixel_velocity(depth, camera, twist)
        height, width = depth.shape
        v, u = np.mgrid[:height, :width].astype(np.float32)
        row_time = self.readout_s * ((v + 0.5) / height - 0.5)
        total = np.zeros(rgb.shape, np.float32)
        times = self.shutter_s * ((np.arange(BLUR_SAMPLES) + 0.5) / BLUR_SAMPLES - 0.5) if self.shutter_s else [0.0]
        for time in times:
            late = (row_time + np.float32(time))[..., None] * flow
            total += cv2.remap(
                rgb, u - late[..., 0], v - late[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        return np.rint(total / len(times)).astype(np.uint8)


def pixel_velocity(depth: np.ndarray, camera: Camera, twist: np.ndarray) -> np.ndarray:
    """(H, W, 2) float32 px/s: how the pixels of still things move while the camera does.

    After Longuet-Higgins and Prazdny, "The interpretation of a moving retinal image", 1980.

    Args:
        depth: (H, W) metres, 0 = infinitely far.
        twist: (6,) velocity of the camera in its own frame: m/s, then rad/s.
    """
    height, width = depth.shape
    x = ((np.arange(width) - camera.cx) / camera.fx).astype(np.float32)[None]
    y = ((np.arange(height) - camera.cy) / camera.fy).astype(np.float32)[:, None]
    near = np.where(depth > 0, 1 / np.maximum(depth, np.float32(0.05)), np.float32(0))
    vx, vy, vz, wx, wy, wz = np.asarray(twist, np.float32)
    u = (x * vz - vx) * near + x * y * wx - (1 + x * x) * wy + y * wz
    v = (y * vz - vy) * near + (1 + y * y) * wx - x * y * wy - x * wz
    return np.stack([u * camera.fx, v * camera.fy], axis=2).astype(np.float32)


def camera_twist(before: np.ndarray, after: np.ndarray, seconds: float) -> np.ndarray:
    """(6,) velocity in the camera's frame between two poses world_T_cam (4, 4): m/s, then rad/s."""
    step = np.linalg.inv(before) @ after
    rotation, _ = cv2.Rodrigues(step[:3, :3])
    return np.concatenate([step[:3, 3], rotation[:, 0]]) / seconds
