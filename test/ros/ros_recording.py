"""The recording that the node tests play."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.pose_chain import LINK_T_OPTICAL
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame

FRAMES, WIDTH, HEIGHT = 24, 160, 120
REMAPS = {f"{name}/{topic}": f"/camera/{name}/{topic}" for name, topic in (
    ("color", "image_raw"), ("color", "camera_info"), ("depth", "image_raw"),
)}  # fmt: skip
OPTICAL = "camera_color_optical_frame"


class ColourOnly:
    """A walk through a room, its depth left out."""

    label_space = "scannet20"

    def __init__(self) -> None:
        self._room = RoomSource(1, frames=FRAMES, width=WIDTH, height=HEIGHT, stride=4, shading=False)
        self.name, self.drops, self.last_message = self._room.name, Counter(), {}

    def __len__(self) -> int:
        return FRAMES

    def __iter__(self) -> Iterator[Frame]:
        return (replace(frame, depth=None) for frame in self._room)


def make(folder: Path) -> Path:
    """Write the bag and its labels."""
    write_bag(
        RoomSource(1, frames=FRAMES, width=WIDTH, height=HEIGHT, shading=False),
        folder / "bag",
        body_T_camera=tilted_camera(),
        labels_dir=folder / "labels",
    )
    return folder


def tilted_camera() -> np.ndarray:
    """base_link_T_optical of a camera 0.3 m ahead and 1.1 m up that looks down by 20 degrees."""
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("y", 20.0, degrees=True).as_matrix()
    tilt[:3, 3] = (0.3, 0.05, 1.1)
    return tilt @ LINK_T_OPTICAL
