"""Weights of a field in a file: safetensors in half precision, the options beside them in its header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.spatial_voting import SpatialOptions
from gnesf_model.field.voting import VotingOptions

_KEY = "gnesf_field"
_WIDEST = 1024
"""Wider layers than this are refused before they are made."""


def save_field(field: NeuralSemanticField, path: Path) -> None:
    """Write weights and options."""
    from safetensors.torch import save_file

    weights = {name: value.detach().half().contiguous().cpu() for name, value in field.state_dict().items()}
    save_file(weights, str(path), metadata={_KEY: json.dumps(asdict(field.options))})


def load_field(path: Path, device: torch.device | str = "cpu") -> NeuralSemanticField:
    """The field that `save_field` wrote, float32, to be used (`eval`).

    Raises:
        OSError: no such file, or it is no safetensors file.
        ValueError: it holds no field, or other weights than its options say.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            options = _options((file.metadata() or {}).get(_KEY), path)
            field = NeuralSemanticField(options)
            expected = {name: list(value.shape) for name, value in field.state_dict().items()}
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            if wrong:
                raise ValueError(
                    f"{path} has {wrong[0]} with shape {found.get(wrong[0])}, expected {expected.get(wrong[0])} "
                    f"({len(wrong)} differ): it is of another version"
                )
            field.load_state_dict({name: file.get_tensor(name).float() for name in expected})
    except SafetensorError as error:
        raise OSError(f"{path} is no readable safetensors file ({error})") from error
    if not all(value.isfinite().all() for value in field.state_dict().values()):
        raise ValueError(f"{path} holds weights that are not finite")
    return field.to(device).eval()


def _options(text: str | None, path: Path) -> FieldOptions:
    if text is None:
        raise ValueError(f"{path} says nothing of a field in its header: it was not written by save_field")
    try:
        values = json.loads(text)
        for name in ("widths", "features", "encoding"):
            values[name] = tuple(values[name])
        values["voting"] = VotingOptions(**values["voting"])
        values["spatial"] = SpatialOptions(**values["spatial"])
        options = FieldOptions(**values)
        sizes = (*options.widths, *options.features, *options.encoding, options.voting.hidden, options.voting.summary)
        sizes += (options.direct_classes, options.spatial.hidden, options.spatial.neighbours)
        if not all(type(n) is int and 0 <= n <= _WIDEST for n in sizes):
            raise ValueError(f"sizes are {sizes}, expected at most {_WIDEST}")
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} has options that this version does not know: {error}") from error
    return options
