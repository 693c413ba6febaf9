"""The one way to a segmenter: from what the user wrote to something that segments."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from gnesf_model.device import torch_device
from gnesf_model.labels import LabelSpace
from gnesf_model.resources import weights_dir
from gnesf_model.segment.network import check_input_size
from gnesf_model.segment.oracle import LabelFolder, OracleSegmenter
from gnesf_model.segment.segmenter import Segmenter

BUNDLED = "bundled"
"""Names the segmenter that comes with the package: trained on procedural rooms, for demonstrations."""

FOR_DEMONSTRATION = (
    "the bundled segmenter was trained on procedural rooms alone, for demonstrations: on real images name a pretrained "
    "network with segmenter.model (docs/models.md)"
)

logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".yaml", ".yml")


def build_segmenter(
    spec: str,
    *,
    labels: str = "scannet20",
    device: str = "auto",
    revision: str | None = None,
    labels_dir: Path | None = None,
    segmenter_labels: str | None = None,
    input_size: Sequence[float] | None = None,
    cpu_threads: int | None = None,
) -> Segmenter:
    """The segmenter which `spec` names, ready to segment.

    Args:
        spec: 'bundled'; a path ending in .onnx (with its YAML sidecar beside it); a folder with
            config.json (a transformers checkpoint); 'oracle:DIR', or 'oracle' with `labels_dir` (label
            images by stamp); anything else is the hub id of a transformers checkpoint.
        labels: label space of the output: a shipped name, the path of a YAML file, or 'native' for
            the network's own.
        device: 'auto' (CUDA where present), 'cpu' or 'cuda'.
        revision: of a hub id.
        labels_dir: folder of label images for 'oracle'.
        segmenter_labels: label space of the network's channels or the oracle's images, by name or
            path, where it is not recognised or stated; None or '' for that.
        input_size: (height, width) at which the network runs; None or empty for its own choice.
        cpu_threads: threads of onnxruntime on the CPU.

    Raises:
        ValueError: an option is wrong, or the network does not fit its description or labels.
        OSError: a file, folder or hub id is missing or unreadable.
        RuntimeError: 'cuda' where there is none.
        ImportError: the library for this kind of network is not installed.
    """
    target = None if labels == "native" else LabelSpace.load(labels)
    own = LabelSpace.load(segmenter_labels) if segmenter_labels else None
    size = check_input_size(input_size)
    if spec == BUNDLED:
        folder = weights_dir() / "segmenter"
        if not (folder / "config.json").is_file():
            raise OSError(
                f"{folder} does not exist: the package lacks its network: reinstall it, or name another with "
                "segmenter.model"
            )
        logger.warning("%s", FOR_DEMONSTRATION)
        spec = str(folder)
    kind, _, rest = spec.partition(":")
    if kind == "oracle":
        folder = rest or labels_dir
        if not folder:
            raise ValueError(
                "segmenter.model names no network: give bundled, an ONNX file, a checkpoint folder or a hub id, or "
                "write oracle:DIR for label images by stamp"
            )
        source = LabelFolder(folder, own)
        return OracleSegmenter(source, source.labels, target, device=torch_device(device))
    path = Path(spec).expanduser()
    if path.suffix.lower() == ".onnx":
        from gnesf_model.segment.onnx_segmenter import OnnxSegmenter

        return OnnxSegmenter(
            path,
            target,
            device=device,
            input_size=size,
            network_labels=own,
            cpu_threads=cpu_threads,
        )
    _check_checkpoint(spec, path)
    from gnesf_model.segment.transformers_segmenter import TransformersSegmenter

    return TransformersSegmenter(
        path if path.is_dir() else spec,
        target,
        device=device,
        revision=revision or None,
        input_size=size,
        network_labels=own,
    )


def _check_checkpoint(spec: str, path: Path) -> None:
    """Raise unless `spec` is a checkpoint folder or can be a hub id."""
    expected = "expected bundled, a .onnx file, a folder with config.json, oracle:DIR or a hub id"
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"segmenter folder {path} holds no config.json; {expected}")
    elif path.is_file():
        raise ValueError(
            f"segmenter is the file {path}; {expected}. Pickled weights (.pt, .pth, .bin) are not "
            "loaded: export them to ONNX or safetensors"
        )
    elif not _HUB_ID.fullmatch(spec) or path.suffix.lower() in _WEIGHTS:
        raise OSError(f"segmenter '{spec}' does not exist; {expected}")
