"""The recording that the node tests play."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.pose_chain import LINK_T_OPTICAL
from gnesf_model.data.procrooms import RoomSource

FRAMES, WIDTH, HEIGHT = 24, 160, 120
REMAPS = {f"{name}/{topic}": f"/camera/{name}/{topic}" for name, topic in (
    ("color", "image_raw"), ("color", "camera_info"), ("depth", "image_raw"),
)}  # fmt: skip
OPTICAL = "camera_color_optical_frame"


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
