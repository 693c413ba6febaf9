"""A coloured mesh as visualization_msgs/Marker, serialised without an object per vertex.

A marker of 100 000 triangles has 300 000 points and as many colours; as Python objects they take seconds. The
sequences are therefore written as arrays into the CDR stream (OMG DDS-XTypes, 7.4.3: little endian, each
number aligned to its size from the end of the 4-byte head) of a marker without any, and published as bytes.
"""

from __future__ import annotations

import struct

import numpy as np
from geometry_msgs.msg import Pose, Quaternion, Vector3
from rclpy.serialization import serialize_message
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints

_HEAD = 4
_LITTLE_ENDIAN_CDR = b"\x00\x01"


def mesh_message(mesh: LabelledPoints, labels: LabelSpace, head: Header) -> bytes:
    """Serialised visualization_msgs/Marker (TRIANGLE_LIST), coloured by class (unknown: grey).

    Args:
        mesh: vertices and faces.
        labels: has the colours.
        head: frame and stamp.

    Raises:
        RuntimeError: this middleware serialises in another byte order.
    """
    marker = Marker(
        header=head,
        ns="gnesf",
        id=0,
        type=Marker.TRIANGLE_LIST,
        action=Marker.ADD if len(mesh.faces) else Marker.DELETE,
        pose=Pose(orientation=Quaternion(w=1.0)),
        scale=Vector3(x=1.0, y=1.0, z=1.0),
        color=ColorRGBA(r=0.5, g=0.5, b=0.5, a=1.0),
    )
    empty = serialize_message(marker)
    if empty[:2] != _LITTLE_ENDIAN_CDR:
        raise RuntimeError(f"messages are serialised as {empty[:2].hex()}, expected little-endian CDR (0001)")
    place = _points_offset(marker)
    if empty[place : place + 8] != bytes(8):
        raise RuntimeError(
            "visualization_msgs/Marker is not laid out as expected: points and colors are not at their place"
        )
    corners = mesh.faces.reshape(-1)
    palette = np.concatenate([labels.colors.astype(np.float32) / 255.0, np.ones((256, 1), np.float32)], axis=1)
    palette[len(labels) :, :3] = 0.5
    count = struct.pack("<I", len(corners))
    padding = bytes(-(place + 4 - _HEAD) % 8) if len(corners) else b""
    points = mesh.points[corners].astype("<f8").tobytes()
    colors = palette[mesh.labels[corners]].astype("<f4").tobytes()
    return b"".join([empty[:place], count, padding, points, count, colors, empty[place + 8 :]])


def _points_offset(marker: Marker) -> int:
    """Where the length of `points` is in a serialised marker."""
    at = 8  # stamp
    for text in (marker.header.frame_id, marker.ns):
        at = _aligned(at, 4) + 4 + len(text.encode()) + 1
    at = _aligned(at, 4) + 3 * 4  # id, type, action
    at = _aligned(at, 8) + (7 + 3) * 8  # pose, scale
    at += 4 * 4 + 8 + 1  # color, lifetime, frame_locked
    return _HEAD + _aligned(at, 4)


def _aligned(at: int, size: int) -> int:
    return at + -at % size
