"""The YAML file beside an ONNX network: what goes in, what comes out, what the channels mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnesf_model.labels import LabelSpace
from gnesf_model.resources import check_keys, read_yaml
from gnesf_model.segment.network import Normalisation, check_input_size

_TOP = {"file", "input", "output", "labels"}
_MAPS = {"maps", "to_nyu40", "to_scannet20"}
_INPUT = {"name", "layout", "range", "colour", "size"}
_INPUT_MORE = {"multiple_of", "mean", "std", "process_size"}
_OUTPUT = {"name", "layout"}
_OUTPUT_MORE = {"kind", "stride"}
_LAYOUTS = ("NCHW", "NHWC")


@dataclass(frozen=True)
class Sidecar:
    """Contents of the sidecar.

    `size` is the fixed (height, width) of the input, or None where it is dynamic; then both sides
    are multiples of `multiple_of`, and `process_size` is used where given, else the image's own
    size. `stride` is input pixels per output cell, None if not stated.
    """

    path: Path
    input_name: str
    input_layout: str
    normalisation: Normalisation
    size: tuple[int, int] | None
    multiple_of: int
    process_size: tuple[int, int] | None
    output_name: str
    output_layout: str
    probabilities: bool
    stride: int | None
    labels: LabelSpace

    @classmethod
    def of(cls, onnx_file: Path, labels: LabelSpace | None = None) -> Sidecar:
        """Read the sidecar of `onnx_file`: the same path with .yaml (or .yml).

        Args:
            labels: replaces the label space which the sidecar names.

        Raises:
            OSError: there is none.
            ValueError: a field is missing, unknown or wrong; names the file, field and value.
        """
        for suffix in (".yaml", ".yml"):
            path = onnx_file.with_suffix(suffix)
            if path.is_file():
                break
        else:
            raise OSError(
                f"{onnx_file} has no sidecar {onnx_file.with_suffix('.yaml').name} beside it; it "
                "says how the network's input and output are laid out (see docs/models.md)"
            )
        data = read_yaml(path)
        try:
            return cls._parse(path, onnx_file, data, labels)
        except ValueError as error:
            message = str(error)
            raise ValueError(message if str(path) in message else f"{path}: {message}") from error

    @classmethod
    def _parse(cls, path: Path, onnx_file: Path, data: Any, labels: LabelSpace | None) -> Sidecar:
        check_keys(data, _TOP, _MAPS)
        if data["file"] != onnx_file.name:
            raise ValueError(f"file is {data['file']!r}; expected '{onnx_file.name}'")
        source, result = data["input"], data["output"]
        check_keys(source, _INPUT, _INPUT_MORE, "input: ")
        check_keys(result, _OUTPUT, _OUTPUT_MORE, "output: ")
        size, process_size = source["size"], source.get("process_size")
        if size == "dynamic":
            fixed = None
        elif process_size is not None:
            raise ValueError("input: process_size needs 'size: dynamic'")
        else:
            fixed = _size("size", size, "'dynamic' or [height, width]")
        return cls(
            path=path,
            input_name=_text("input: name", source["name"]),
            input_layout=_one_of("input: layout", source["layout"], _LAYOUTS),
            normalisation=_normalisation(source),
            size=fixed,
            multiple_of=_positive("input: multiple_of", source.get("multiple_of", 1)),
            process_size=None if process_size is None else _size("process_size", process_size, "[height, width]"),
            output_name=_text("output: name", result["name"]),
            output_layout=_one_of("output: layout", result["layout"], _LAYOUTS),
            probabilities=_one_of("output: kind", result.get("kind", "logits"), ("logits", "probabilities"))
            == "probabilities",
            stride=None if "stride" not in result else _positive("output: stride", result["stride"]),
            labels=labels or _labels(data, path, onnx_file.stem),
        )


def _normalisation(source: dict[str, Any]) -> Normalisation:
    low, high = _numbers("input: range", source["range"], 2)
    if not low < high:
        raise ValueError(f"input: range is {source['range']!r}; expected [low, high], low < high")
    mean = _numbers("input: mean", source.get("mean", [0, 0, 0]), 3)
    std = _numbers("input: std", source.get("std", [1, 1, 1]), 3)
    if min(std) <= 0:
        raise ValueError(f"input: std is {source['std']!r}; expected numbers above 0")
    bgr = _one_of("input: colour", source["colour"], ("RGB", "BGR")) == "BGR"
    return Normalisation.make((high - low) / 255.0, low, mean, std, bgr)


def _labels(data: dict[str, Any], sidecar: Path, network: str) -> LabelSpace:
    """Label space of the channels, with the sidecar's own maps in place of the space's.

    A relative path is looked for beside the sidecar first, then in the working directory.
    """
    maps: dict[str, dict[str, str | None]] = dict(data.get("maps") or {})
    for target in ("nyu40", "scannet20"):
        if f"to_{target}" in data:
            maps[target] = _by_name(f"to_{target}", data[f"to_{target}"], LabelSpace.load(target))
    labels = data["labels"]
    if isinstance(labels, list):
        return LabelSpace.from_names(labels, network, maps)
    if not isinstance(labels, str):
        raise ValueError(f"labels is {labels!r}; expected a label space or a list of class names")
    beside = sidecar.parent / labels
    is_file = beside.suffix in (".yaml", ".yml") and beside.is_file()
    space = LabelSpace.load(beside if is_file else labels)
    if not maps:
        return space
    return LabelSpace(space.name, space.classes, space.first_id, maps, space.origin)


def _by_name(key: str, mapping: Any, target: LabelSpace) -> dict[str, str | None]:
    """Source name -> target name, where the target may be given as the data set's own number."""
    if not isinstance(mapping, dict):
        raise ValueError(f"{key} is {mapping!r}; expected {{class: {target.name} id or name}}")
    named: dict[str, str | None] = {}
    for source, value in mapping.items():
        if isinstance(value, int) and not isinstance(value, bool):
            index = value - target.first_id
            if not 0 <= index < len(target):
                last = len(target) - 1 + target.first_id
                raise ValueError(f"{key}: {source}: {value}; expected a number in {target.first_id}..{last}")
            value = target.names[index]
        elif value is not None:
            value = target.names[target.index(value)]
        named[source] = value
    return named


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r}; expected a text")
    return value


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected {' or '.join(choices)}")
    return value


def _positive(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    return value


def _numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
    ):
        raise ValueError(f"{name} is {value!r}; expected {count} numbers")
    return tuple(float(v) for v in value)


def _size(name: str, value: Any, expected: str) -> tuple[int, int]:
    try:
        return check_input_size(_numbers(name, value, 2)) or (0, 0)
    except ValueError:
        raise ValueError(f"input: {name} is {value!r}; expected {expected} in pixels") from None
