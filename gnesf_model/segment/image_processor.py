"""Reads how a transformers checkpoint wants its images, without PIL or torchvision.

transformers' own image processors need PIL or torchvision; what they do is stored as plain values
beside the weights, and done here with OpenCV: resize, rescale, normalise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gnesf_model.segment.network import Normalisation

_IMAGENET_MEAN = [0.485, 0.456, 0.406]
_IMAGENET_STD = [0.229, 0.224, 0.225]
_MASK_MODELS = ("mask2former", "maskformer")


@dataclass(frozen=True)
class ImageProcessor:
    """Size and scale of the network's input.

    One of `fixed` (height, width), `shortest_edge` (with `longest_edge` as the limit, 0 = none) or
    neither (the image's own size) holds; the result is then rounded up to `multiple_of`, as
    transformers does.
    """

    normalisation: Normalisation
    fixed: tuple[int, int] | None = None
    shortest_edge: int = 0
    longest_edge: int = 0
    multiple_of: int = 1

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the network's input for an image of `height` x `width` pixels."""
        size = self.fixed or (height, width)
        if self.shortest_edge:
            short, long = min(height, width), max(height, width)
            edge = float(self.shortest_edge)
            if self.longest_edge and edge * long / short > self.longest_edge:
                edge = self.longest_edge * short / long
            scaled = (round(edge), int(edge * long / short))
            size = scaled if height <= width else (scaled[1], scaled[0])
        rows, columns = (-(-side // self.multiple_of) * self.multiple_of for side in size)
        return rows, columns

    @classmethod
    def parse(cls, values: dict[str, Any], model_type: str, input_size: tuple[int, int] | None) -> ImageProcessor:
        """From the values of preprocessor_config.json.

        Args:
            values: contents of the file.
            model_type: of the network, for example 'segformer'; decides what old files leave out.
            input_size: (height, width) used instead of the stored size.

        Raises:
            ValueError: a stored value is missing or has an unknown form.
        """
        multiple = 32 if model_type in _MASK_MODELS else 1
        for key in ("size_divisor", "size_divisibility", "ensure_multiple_of"):
            multiple = max(multiple, int(values.get(key) or 1))
        sizes: dict[str, Any] = {"multiple_of": multiple}
        if input_size is not None:
            sizes["fixed"] = input_size
        elif values.get("do_resize", True):
            sizes.update(_stored_size(values, model_type))
        return cls(_normalisation(values), **sizes)


def _normalisation(values: dict[str, Any]) -> Normalisation:
    factor = float(values.get("rescale_factor") or 1 / 255)
    if values.get("do_rescale", True) is False:
        factor = 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if values.get("do_normalize", True):
        mean = values.get("image_mean") or _IMAGENET_MEAN
        std = values.get("image_std") or _IMAGENET_STD
    for key, numbers in (("image_mean", mean), ("image_std", std)):
        if len(numbers) != 3 or not all(isinstance(v, (int, float)) for v in numbers):
            raise ValueError(f"{key} is {numbers!r}; expected three numbers, one per channel")
    if min(std) <= 0:
        raise ValueError(f"image_std is {std!r}; expected numbers above 0")
    bgr = bool(values.get("do_flip_channel_order", False))
    return Normalisation.make(factor, 0.0, tuple(mean), tuple(std), bgr)


def _stored_size(values: dict[str, Any], model_type: str) -> dict[str, Any]:
    """Fields `fixed`, or `shortest_edge` and `longest_edge`, from the forms that files have."""
    size = values.get("size")
    if values.get("do_center_crop") and values.get("crop_size"):
        size = values["crop_size"]  # the whole image at the size of the crop: nothing is lost
    if size is None and model_type in _MASK_MODELS:
        size = {"shortest_edge": 800, "longest_edge": 1333}
    limit = values.get("max_size") or 0
    if isinstance(size, int) and (limit or model_type in _MASK_MODELS):
        size = {"shortest_edge": size, "longest_edge": limit}
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if isinstance(size, dict):
        found = {key: value for key, value in size.items() if value is not None}
        if all(isinstance(value, int) and value >= 0 for value in found.values()):
            if "height" in found and "width" in found:
                return {"fixed": (found["height"], found["width"])}
            if "shortest_edge" in found:
                longest = found.get("longest_edge", limit)
                return {"shortest_edge": found["shortest_edge"], "longest_edge": longest}
    raise ValueError(
        f"size is {values.get('size')!r}; expected {{height, width}} or {{shortest_edge}}. Give "
        "the size at which the network runs (option segmenter.input_size)"
    )
