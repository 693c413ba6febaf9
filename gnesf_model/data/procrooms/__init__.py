"""Procedural rooms: endless indoor scenes with exact colour, depth, labels, poses and signed distance.

primitives    boxes, cylinders, ellipsoids, capsules: exact rays and distances
culling       which primitives can matter to a group of neighbouring rays
scene         a set of primitives with labels and materials: `cast` and `sdf`
furniture/    one assembly of primitives per piece of furniture
layout, groups, room   where the pieces stand, and which belong together; `make_room(seed)`
materials, render   colour of a point; images of a camera
walk          a handheld walk through the free space
source        `RoomSource`: all of it as frames
"""

from gnesf_model.data.procrooms.room import make_room
from gnesf_model.data.procrooms.scene import Scene
from gnesf_model.data.procrooms.source import RoomSource

__all__ = ["RoomSource", "Scene", "make_room"]
