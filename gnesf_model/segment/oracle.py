"""A segmenter which knows the answer: label images, by stamp. For tests and for upper bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from gnesf_model.device import single_thread
from gnesf_model.labels import UNKNOWN, LabelMapping, LabelSpace
from gnesf_model.resources import read_yaml
from gnesf_model.segment.segmenter import STRIDE, Segmentation, check_rgb

LabelSource = Callable[[int], np.ndarray]
"""stamp_ns -> (H, W) uint8 label image of that stamp; raises KeyError where there is none."""

CLASSES_FILE = "classes.yaml"
"""Beside the label images: `labels: NAME`, or a whole label space."""


class OracleSegmenter:
    """Probabilities from label images: the fraction of each label within the 4x4 block.

    255 (unknown) counts for no class. `dynamic` is the fraction of source classes of kind dynamic.

    Args:
        source: label image (H, W) uint8 of a stamp, in the space `own`.
        own: label space of the images.
        labels: space of the output; None keeps `own`.
        device: where the probabilities are put.

    Raises:
        ValueError: no mapping from `own` to `labels`.
    """

    def __init__(
        self,
        source: LabelSource,
        own: LabelSpace,
        labels: LabelSpace | None = None,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        mapping = LabelMapping.between(own, labels or own)
        self.labels = mapping.target
        self._source = source
        self._own = own
        self._device = torch.device(device)
        self._matrix = torch.from_numpy(mapping.matrix)
        self._is_dynamic = torch.from_numpy(own.of_kind("dynamic"))

    @single_thread()
    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        """Segmentation (see there) of the image taken at `stamp_ns`, in nanoseconds.

        Raises:
            ValueError: no stamp, no label image for it, a wrong shape, type or label value.
        """
        height, width = check_rgb(rgb).shape[:2]
        if stamp_ns is None:
            raise ValueError("stamp_ns is None; the oracle segmenter finds its labels by stamp")
        try:
            image = self._source(int(stamp_ns))
        except KeyError as error:
            raise ValueError(f"the oracle has no labels for stamp_ns {stamp_ns}: {error.args[0]}") from None
        fractions = self._fractions(image, height, width, stamp_ns)
        dynamic = fractions[self._is_dynamic].sum(dim=0)
        probabilities = torch.einsum("ts,shw->thw", self._matrix, fractions)
        return Segmentation(probabilities.to(self._device), dynamic.to(self._device), self.labels)

    def _fractions(self, image: np.ndarray, height: int, width: int, stamp_ns: int) -> torch.Tensor:
        """(C_own, h, w) fraction of each label among the pixels of each block."""
        if image.shape != (height, width) or image.dtype != np.uint8:
            raise ValueError(
                f"labels at stamp_ns {stamp_ns} are {image.shape} {image.dtype}; expected "
                f"{(height, width)} uint8, the size of the image"
            )
        wrong = (image >= len(self._own)) & (image != UNKNOWN)
        if wrong.any():
            raise ValueError(
                f"labels at stamp_ns {stamp_ns} contain {int(image[wrong][0])}; expected "
                f"0..{len(self._own) - 1} of '{self._own.name}', or {UNKNOWN} for unknown"
            )
        present = np.unique(image[image != UNKNOWN])
        one_hot = torch.from_numpy(image[None] == present[:, None, None]).float()
        pad = (0, -width % STRIDE, 0, -height % STRIDE)
        inside = functional.pad(torch.ones(1, 1, height, width), pad)
        fractions = torch.zeros(len(self._own), -(-height // STRIDE), -(-width // STRIDE))
        if len(present):
            share = functional.avg_pool2d(functional.pad(one_hot[None], pad), STRIDE) / functional.avg_pool2d(
                inside, STRIDE
            )
            fractions[torch.from_numpy(present.astype(np.int64))] = share[0]
        return fractions


class LabelFolder:
    """Label images in a folder, found by stamp: the file name is the number of nanoseconds.

    Args:
        folder: holds `<stamp_ns>.png` (8-bit, one channel), with or without leading zeros, and
            `classes.yaml`: either `labels: scannet20` or a whole label space.
        labels: label space of the images; None reads `classes.yaml`.

    Raises:
        OSError: no such folder, no label image in it, no readable classes.yaml.
        ValueError: classes.yaml is not a label space; two files of one stamp.
    """

    def __init__(self, folder: str | Path, labels: LabelSpace | None = None) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise OSError(f"oracle label folder {self.folder} does not exist")
        self.labels = labels or self._read_space()
        self._files: dict[int, Path] = {}
        for path in sorted(self.folder.glob("*.png")):
            if not (path.stem.isascii() and path.stem.isdecimal()):
                continue
            other = self._files.setdefault(int(path.stem), path)
            if other != path:
                raise ValueError(f"{path} and {other} have the same stamp; expected one of them")
        if not self._files:
            raise OSError(
                f"oracle label folder {self.folder} holds no label image; expected "
                "<stamp_ns>.png, for example 1700000000000000000.png"
            )

    def __call__(self, stamp_ns: int) -> np.ndarray:
        """(H, W) uint8 label image. Raises KeyError if there is none, OSError if unreadable."""
        path = self._files.get(stamp_ns)
        if path is None:
            raise KeyError(
                f"{self.folder} has {len(self._files)} label images, stamps {min(self._files)} to {max(self._files)}"
            )
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise OSError(f"cannot read the label image {path}; expected an 8-bit PNG")
        return image

    def _read_space(self) -> LabelSpace:
        path = self.folder / CLASSES_FILE
        if not path.is_file():
            raise OSError(f"{path} does not exist; write 'labels: scannet20' (the label space of the images) into it")
        data = read_yaml(path)
        if isinstance(data, dict) and set(data) == {"labels"}:
            data = data["labels"]
        if isinstance(data, str):
            return LabelSpace.load(data)
        return LabelSpace.from_dict(data, str(path))
