"""A transformers checkpoint as an ONNX network with the sidecar that `OnnxSegmenter` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from gnesf_model.export.onnx_graph import write_graph
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.transformers_segmenter import TransformersSegmenter

IMAGE_PX = (480, 640)
"""Height and width of the images for which a checkpoint's own input size is taken."""


def export_segmenter(segmenter: TransformersSegmenter, path: Path) -> tuple[tuple[int, int], float]:
    """Write the network as `path`, its sidecar as the same name with .yaml, and where need be its label space.

    The size of the input is fixed, as TensorRT likes it: that at which the segmenter takes images of `IMAGE_PX`.

    Args:
        segmenter: on the CPU, with its own label space.
        path: ends in .onnx; its folder exists. What is there is replaced.

    Returns:
        (height, width) of the input, and the difference, as `write_graph`.

    Raises:
        ImportError, ValueError, RuntimeError, OSError: as `write_graph`.
    """
    size = segmenter.input_size(*IMAGE_PX)
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 4 - 2
    difference = write_graph(segmenter.scores, (noise,), path, ["image"], ["scores"])
    normalisation = segmenter.normalisation
    described = {
        "file": path.name,
        "input": {
            "name": "image",
            "layout": "NCHW",
            # Pixel values as they are; mean and std, in the same unit, do the rest.
            "range": [0, 255],
            "colour": "BGR" if normalisation.bgr else "RGB",
            "size": list(size),
            "mean": [-offset / scale for scale, offset in zip(normalisation.scale, normalisation.offset)],
            "std": [1 / scale for scale in normalisation.scale],
        },
        "output": {"name": "scores", "layout": "NCHW", "kind": segmenter.scores.kind},
        "labels": _labels(segmenter.own_labels, path),
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    return size, difference


def _labels(space: LabelSpace, path: Path) -> str:
    """How the sidecar names the label space: as it is shipped, or as a file beside it that is written here."""
    try:
        shipped = LabelSpace.load(space.name)
    except (ValueError, OSError):
        shipped = None
    if shipped == space:
        return space.name
    described: dict[str, Any] = {
        "name": space.name,
        "classes": [{"name": c.name, "color": list(c.color), "kind": c.kind} for c in space.classes],
    }
    if space.first_id:
        described["first_id"] = space.first_id
    if space.maps:
        described["maps"] = {target: dict(mapping) for target, mapping in space.maps.items()}
    beside = path.with_suffix(".labels.yaml")
    beside.write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    return beside.name
