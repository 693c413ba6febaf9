"""Any semantic or mask-classification checkpoint of the transformers library."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gnesf_model.device import torch_device
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.image_processor import ImageProcessor
from gnesf_model.segment.network import ClassOutput, Normalisation, Resampler
from gnesf_model.segment.recognise import not_recognised, recognise
from gnesf_model.segment.segmenter import Segmentation, check_rgb

logger = logging.getLogger(__name__)

_MASK_MODELS = ("mask2former", "maskformer")
_MIN_MASS = 0.05
"""Class mass below which a pixel that no query claims is left partly unknown, not scaled up."""
_IN_CACHE = re.compile(r"[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]")
"""Where the hub's cache keeps the files of a commit."""


class TransformersSegmenter:
    """Runs a checkpoint by hub id or from a folder: safetensors only, no code of its own.

    Mask2Former and MaskFormer: p(c) = sum_q softmax(class logits)_qc sigmoid(mask logits)_q, the
    no-object class left out, divided by its sum over c. Semantic networks (SegFormer and others):
    softmax of the logits. Logits are resampled to the stride-4 grid first. float32 on the CPU,
    float16 autocast on CUDA.

    Args:
        name: hub id, or folder with config.json, model.safetensors and preprocessor_config.json.
        labels: space of the output; None keeps the network's own.
        device: 'auto', 'cpu' or 'cuda'.
        revision: commit of a hub id; a branch, a tag or None is warned of, for it may name another network tomorrow.
        input_size: (height, width) at which the network runs; None: as stored with it.
        network_labels: label space of its channels; None: recognised from the class names.

    Raises:
        OSError: nothing loadable there (offline, no such id, no safetensors); says the remedy.
        ValueError: another kind of network, missing weights, classes which no label space knows.
        RuntimeError: 'cuda' without CUDA.
        ImportError: transformers is not installed.
    """

    def __init__(
        self,
        name: str | Path,
        labels: LabelSpace | None = None,
        *,
        device: str = "auto",
        revision: str | None = None,
        input_size: tuple[int, int] | None = None,
        network_labels: LabelSpace | None = None,
    ) -> None:
        self._name = f"the network {name}"
        self._device = torch_device(device)
        source = {} if Path(name).is_dir() else {"revision": _commit(str(name), revision)}
        config = _load_config(str(name), source)
        self._output = ClassOutput(
            self._name,
            _own_labels(self._name, config, labels, network_labels),
            labels,
            self._device,
        )
        self._skip_first = self._output.has_unlabelled_first(int(config.num_labels))
        self.labels = self._output.labels
        try:
            values = _load_processor(str(name), source)
            self._processor = ImageProcessor.parse(values, config.model_type, input_size)
        except ValueError as error:
            raise ValueError(f"{self._name}: preprocessor_config.json: {error}") from error
        # float32 also where the file has half precision: a CPU has no fast one, and CUDA gets it by autocast.
        model = _load_model(str(name), config, source).float().to(self._device)
        self.scores = ClassScores(model, by_masks=config.model_type in _MASK_MODELS).eval()
        self._resample = Resampler()

    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        """Segmentation (see there) of an (H, W, 3) uint8 image; `stamp_ns` is not used.

        Raises:
            ValueError: the image is something else.
            RuntimeError: the network's output is not finite.
        """
        height, width = check_rgb(rgb).shape[:2]
        image = self._processor.normalisation.apply(rgb, self.input_size(height, width))
        pixels = torch.from_numpy(image)[None].to(self._device)
        half = torch.autocast(self._device.type, dtype=torch.float16, enabled=self._device.type == "cuda")
        with torch.inference_mode(), half:
            outputs = self.scores.model(pixel_values=pixels)
        if self.scores.by_masks:
            masks = self._resample(outputs.masks_queries_logits[0], height, width)
            probabilities = mask_probabilities(outputs.class_queries_logits[0].float(), masks)
        else:
            probabilities = self._resample(outputs.logits[0], height, width).softmax(dim=0)
        return self._output.segmentation(probabilities[1:] if self._skip_first else probabilities)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of `height` x `width` goes through the network."""
        return self._processor.input_size(height, width)

    @property
    def own_labels(self) -> LabelSpace:
        """Label space of the network's channels."""
        return self._output.own

    @property
    def normalisation(self) -> Normalisation:
        """From pixels to the network's input."""
        return self._processor.normalisation


class ClassScores(nn.Module):
    """A network of transformers that gives one map of class scores, as a sidecar describes it, whatever its kind.

    Args:
        model: of transformers.
        by_masks: whether it classifies masks.
    """

    def __init__(self, model: nn.Module, by_masks: bool) -> None:
        super().__init__()
        self.model, self.by_masks = model, by_masks

    @property
    def kind(self) -> str:
        """`logits` or, of networks that classify masks, `probabilities`."""
        return "probabilities" if self.by_masks else "logits"

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores (1, C, h, w) of an image (1, 3, H, W), at the resolution at which the network gives them."""
        outputs = self.model(pixel_values=pixels)
        if self.by_masks:
            return mask_probabilities(outputs.class_queries_logits[0], outputs.masks_queries_logits[0])[None]
        return outputs.logits


def mask_probabilities(class_logits: torch.Tensor, mask_logits: torch.Tensor) -> torch.Tensor:
    """Class probabilities (C, h, w) of a mask-classification network.

    Args:
        class_logits: (Q, C + 1) float32, the last one for 'no object'.
        mask_logits: (Q, h, w) float32.

    A pixel's probabilities sum to 1, or less where all queries together claim less than 5 %.
    """
    classes = class_logits.softmax(dim=-1)[:, :-1]
    mass = torch.einsum("qc,qhw->chw", classes, mask_logits.sigmoid())
    return mass / mass.sum(dim=0).clamp(min=_MIN_MASS)


def _own_labels(network: str, config: Any, labels: LabelSpace | None, given: LabelSpace | None) -> LabelSpace:
    if given is not None:
        return given
    names = [str(config.id2label[index]) for index in range(int(config.num_labels))]
    space = recognise(names)
    if space is not None:
        return space
    if labels is None:
        return LabelSpace.from_names(names)
    raise not_recognised(network, names)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "networks by hub id or folder need the transformers library; install it with: "
            f"{sys.executable} -m pip install transformers safetensors"
        ) from error
    return transformers


def _commit(name: str, revision: str | None) -> str:
    """The commit of a hub id from which every file is loaded, with a warning where the caller did not name it."""
    _transformers()
    from transformers.utils import cached_file

    try:
        path = cached_file(name, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise _unavailable(name, error, revision) from error
    found = _IN_CACHE.search(str(path))
    if found is None:  # a cache of another form; the revision is what is left to go by
        return revision or "main"
    commit = found.group(1)
    if revision != commit:
        logger.warning(
            "the network '%s' is not pinned: its %s is commit %s now, and may be another tomorrow: set "
            "segmenter.revision (launch argument segmenter_revision) to %s, or copy the checkpoint's folder",
            name, f"revision '{revision}'" if revision else "newest version", commit, commit,
        )  # fmt: skip
    return commit


def _load_config(name: str, source: dict[str, str]) -> Any:
    try:
        config = _transformers().AutoConfig.from_pretrained(name, trust_remote_code=False, **source)
    except (OSError, ValueError, KeyError) as error:
        raise _unavailable(name, error) from error
    return config


def _load_processor(name: str, source: dict[str, str]) -> dict[str, Any]:
    """Contents of preprocessor_config.json, or the image part of processor_config.json."""
    from transformers.utils import cached_file

    for file in ("preprocessor_config.json", "processor_config.json"):
        try:
            path = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **source)
        except OSError as error:
            raise _unavailable(name, error) from error
        if path is None:
            continue
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        values = values.get("image_processor", values) if isinstance(values, dict) else None
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object in {path}")
        return values
    raise ValueError(
        "the file does not exist; it says how images are scaled. Save the image processor beside "
        "the weights (image_processor.save_pretrained(folder))"
    )


def _load_model(name: str, config: Any, source: dict[str, str]) -> torch.nn.Module:
    """The network with all its weights, from safetensors."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as SEMANTIC,
    )

    transformers = _transformers()
    if config.model_type in _MASK_MODELS:
        auto = transformers.AutoModelForUniversalSegmentation
    elif config.model_type in SEMANTIC:
        auto = transformers.AutoModelForSemanticSegmentation
    else:
        raise ValueError(
            f"the network {name} is a '{config.model_type}'; expected {', '.join((*_MASK_MODELS, *SEMANTIC))}"
        )
    transformers.utils.logging.disable_progress_bar()  # a second of loading needs none
    try:
        model, report = auto.from_pretrained(
            name,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **source,
        )
    except Exception as error:  # also safetensors' own error, which has no base class
        raise _unavailable(name, error) from error
    missing = sorted(str(key) for key in report["missing_keys"])
    missing += sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise ValueError(
            f"the network {name} lacks {len(missing)} weights of a segmentation network, first "
            f"{missing[0]}; its predictions would be random. Use a checkpoint which was trained "
            f"for segmentation (this one is for {getattr(config, 'architectures', None)})"
        )
    return model


def _unavailable(name: str, error: Exception, revision: str | None = None) -> OSError:
    if Path(name).is_dir():
        remedy = "The folder needs config.json, model.safetensors and preprocessor_config.json"
    else:
        pinned = f" --revision {revision}" if revision else ""
        remedy = (
            f"A hub id needs a connection once: run 'hf download {name}{pinned}' where there is one, or "
            "copy the checkpoint's folder to this machine and name the folder"
        )
    return OSError(
        f"cannot load the network '{name}': {' '.join(str(error).split())[:400]} - {remedy}. "
        "Pickled weights (.bin, .pt) are refused; save them anew with model.save_pretrained(folder)"
    )
