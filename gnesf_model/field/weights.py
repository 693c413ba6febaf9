"""Weights of the field and of its depth network in files: safetensors in half precision, options in the header."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from gnesf_model.field.depth_network import DepthNetwork, DepthOptions
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.spatial_voting import SpatialOptions
from gnesf_model.field.voting import VotingOptions

Network = TypeVar("Network", bound=nn.Module)

_FIELD, _DEPTH = "field", "depth network"
_WIDEST = 1024
"""Wider layers than this are refused before they are made."""


def save_field(field: NeuralSemanticField, path: Path) -> None:
    """Write weights and options."""
    _save(field, path, _FIELD)


def load_field(path: Path, device: torch.device | str = "cpu") -> NeuralSemanticField:
    """The field that `save_field` wrote, float32, to be used (`eval`).

    Raises:
        OSError: no such file, or it is no safetensors file.
        ValueError: it holds no field, or other weights than its options say.
    """
    return _load(path, _FIELD, lambda values: NeuralSemanticField(_field_options(values)), device)


def save_depth(network: DepthNetwork, path: Path) -> None:
    """Write weights and options."""
    _save(network, path, _DEPTH)


def load_depth(path: Path, device: torch.device | str = "cpu") -> DepthNetwork:
    """The network that `save_depth` wrote, float32, to be used (`eval`).

    Raises:
        OSError: no such file, or it is no safetensors file.
        ValueError: it holds no such network, or other weights than its options say.
    """
    return _load(path, _DEPTH, lambda values: DepthNetwork(_depth_options(values)), device)


def _key(kind: str) -> str:
    """Entry of the header that holds the options."""
    return f"gnesf_{kind.split()[0]}"


def _save(network: nn.Module, path: Path, kind: str) -> None:
    from safetensors.torch import save_file

    weights = {name: value.detach().half().contiguous().cpu() for name, value in network.state_dict().items()}
    save_file(weights, str(path), metadata={_key(kind): json.dumps(asdict(network.options))})


def _load(path: Path, kind: str, make: Callable[[dict[str, Any]], Network], device: torch.device | str) -> Network:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(_key(kind))
            if text is None:
                raise ValueError(
                    f"{path} says nothing of a {kind} in its header: `gnesf train` did not write it as one"
                )
            with torch.device("meta"):  # shapes alone: the header may claim more than there is
                expected = {n: list(v.shape) for n, v in _made(make, text, path).state_dict().items()}
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            if wrong:
                raise ValueError(
                    f"{path} has {wrong[0]} with shape {found.get(wrong[0])}, expected {expected.get(wrong[0])} "
                    f"({len(wrong)} differ): it is of another version"
                )
            network = _made(make, text, path)
            network.load_state_dict({name: file.get_tensor(name).float() for name in expected})
    except SafetensorError as error:
        raise OSError(f"{path} is no readable safetensors file ({error})") from error
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise ValueError(f"{path} holds weights that are not finite")
    return network.to(device).eval()


def _made(make: Callable[[dict[str, Any]], Network], text: str, path: Path) -> Network:
    try:
        return make(json.loads(text))
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} has options that this version does not know: {error}") from error


def _field_options(values: dict[str, Any]) -> FieldOptions:
    for name in ("widths", "features", "encoding"):
        values[name] = tuple(values[name])
    values["voting"] = VotingOptions(**values["voting"])
    values["spatial"] = SpatialOptions(**values["spatial"])
    options = FieldOptions(**values)
    sizes = (*options.widths, *options.features, *options.encoding, options.voting.hidden, options.voting.summary)
    _check_sizes(*sizes, options.direct_classes, options.spatial.hidden, options.spatial.neighbours)
    return options


def _depth_options(values: dict[str, Any]) -> DepthOptions:
    for name in ("widths", "context", "hidden"):
        values[name] = tuple(values[name])
    options = DepthOptions(**values)
    sizes = (*options.widths, *options.context, *options.hidden)
    _check_sizes(*sizes, options.matching, options.groups, options.planes, options.evidence, least=1)
    return options


def _check_sizes(*sizes: int, least: int = 0) -> None:
    if not all(type(n) is int and least <= n <= _WIDEST for n in sizes):
        raise ValueError(f"sizes are {sizes}, expected {least} to {_WIDEST}")
