"""Many rooms on one picture: `python -m gnesf_model.data.procrooms.contact_sheet FILE.jpg`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from gnesf_model.data.procrooms.floor import NOT_LOOKED_AT, Floor
from gnesf_model.data.procrooms.looks import with_looks
from gnesf_model.data.procrooms.render import Renderer
from gnesf_model.data.procrooms.room import make_room
from gnesf_model.data.procrooms.scene import Scene
from gnesf_model.data.procrooms.splits import SPLITS
from gnesf_model.frame import Camera

COLUMNS = 4
EYE_M, PITCH_RAD = 1.65, np.deg2rad(-14)
CAPTION_PX = 16
PLACES = 32
TELLING = ("bed", "sofa", "desk", "counter", "refrigerator", "toilet", "bathtub", "washbasin", "conference table")
COMMON = ("window", "curtain", "picture", "door", "plant", "towel", "mirror")
"""Things that tell a room from another, and things that all rooms have."""


class Room(NamedTuple):
    """What `make_room` and `with_looks` need."""

    seed: int
    rooms: int = 1
    looks: str = "natural"


TEST = SPLITS["test"].start
ROOMS = (
    *(Room(seed) for seed in range(14)),
    *(Room(seed) for seed in (19, 26, 20, 27)),
    *(Room(TEST + seed) for seed in (7, 11)),
    *(Room(seed, looks="varied") for seed in (22, 23)),
    *(Room(seed, rooms=3) for seed in (1, 4)),
)
"""Two of each kind and some more; two with held-out furniture, two in other looks, two flats."""


def contact_sheet(rooms: Sequence[Room] = ROOMS, width: int = 320, height: int = 240) -> np.ndarray:
    """(H, W, 3) uint8 RGB: one telling view of each room, with its name below."""
    tiles = [_tile(room, width, height) for room in rooms]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % COLUMNS)
    return np.concatenate([np.concatenate(tiles[k : k + COLUMNS], 1) for k in range(0, len(tiles), COLUMNS)])


def _tile(room: Room, width: int, height: int) -> np.ndarray:
    scene = with_looks(make_room(room.seed, room.rooms), room.looks, room.seed)
    rgb = Renderer(scene).render(_camera(width, height), telling_view(scene)).rgb.numpy()
    text = scene.name + ("" if room.looks == "natural" else f", {room.looks}")
    strip = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (4, CAPTION_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([rgb, strip])


def _camera(width: int, height: int) -> Camera:
    return Camera(width, height, 0.56 * width, 0.56 * width, (width - 1) / 2, (height - 1) / 2)


def telling_view(scene: Scene) -> np.ndarray:
    """world_T_cam (4, 4) of the place and direction from which most things are well in view."""
    rng = np.random.Generator(np.random.PCG64(0))
    cells = Floor(scene).xy
    camera = _camera(64, 48)
    renderer = Renderer(scene, shading=False, antialias=False)
    thing_of = np.zeros(len(scene.primitives) + 1, dtype=int)  # of nothing and of bare room: 0
    for number, thing in enumerate(scene.objects, start=1):
        if thing.name not in NOT_LOOKED_AT:
            thing_of[thing.first : thing.last] = number
    worth = np.array([2.0 if t.name in TELLING else 0.4 if t.name in COMMON else 1.0 for t in scene.objects])
    best, best_score = np.eye(4), -np.inf
    for x, y in cells[rng.permutation(len(cells))[:PLACES]]:
        for yaw in np.arctan2(-y, -x) + np.deg2rad([-50, 0, 50]):
            pose = scene.world_T_room @ _pose(float(x), float(y), float(yaw))
            images = renderer.render(camera, pose)
            share = np.bincount(thing_of[images.primitive.numpy()].ravel(), minlength=len(scene.objects) + 1)[1:]
            share = share / images.primitive.numel()
            near = float((images.depth < 1.0).float().mean())
            score = worth @ np.sqrt(np.minimum(share, 0.12)) - 2 * max(near - 0.05, 0) - 3 * max(share.max() - 0.3, 0)
            if score > best_score:
                best, best_score = pose, score
    return best


def _pose(x: float, y: float, yaw: float) -> np.ndarray:
    forward = np.array([np.cos(yaw) * np.cos(PITCH_RAD), np.sin(yaw) * np.cos(PITCH_RAD), np.sin(PITCH_RAD)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = (x, y, EYE_M)
    return pose


def main(path: str) -> int:
    """Write the sheet as JPEG; returns the exit status."""
    torch.set_num_threads(1)
    if not cv2.imwrite(path, contact_sheet()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82]):
        raise OSError(f"cannot write {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
