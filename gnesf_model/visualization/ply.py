"""Clouds and meshes as PLY files that CloudCompare, MeshLab and Open3D open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints


def write_ply(path: str | Path, surface: LabelledPoints, labels: LabelSpace) -> None:
    """Write a cloud or a mesh as binary PLY, coloured by class.

    Vertex properties: x y z (float, m), red green blue (uchar, the class's colour), label (uchar, 255 = unknown),
    confidence (float), image_red image_green image_blue (uchar, the mean image colour, where it is known).

    Raises:
        OSError: the file cannot be written.
    """
    faces = np.zeros((0, 3), np.int32) if surface.faces is None else surface.faces
    mesh = trimesh.Trimesh(surface.points, faces, process=False)
    # Colours, too, are attributes: trimesh has no vertex colours for a mesh without vertices.
    attributes = mesh.vertex_attributes
    colors = labels.colors[surface.labels]
    for channel, name in enumerate(("red", "green", "blue")):
        attributes[name] = colors[:, channel]
    attributes["label"] = surface.labels
    attributes["confidence"] = surface.confidence
    if surface.colors is not None:
        for channel, name in enumerate(("image_red", "image_green", "image_blue")):
            attributes[name] = surface.colors[:, channel]
    Path(path).write_bytes(mesh.export(file_type="ply", include_attributes=True))
