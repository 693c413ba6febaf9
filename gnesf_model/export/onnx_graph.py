"""A torch network as an ONNX file, and whether that computes the same."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

OPSET = 17
"""Of the files: TensorRT 8.6 (JetPack 6) and onnxruntime 1.17 read it."""
TOLERANCE = 1e-3
"""Largest difference of a value between torch and onnxruntime, relative to the largest value."""


def write_graph(
    network: nn.Module,
    examples: tuple[torch.Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: dict[str, dict[int, str]] | None = None,
) -> float:
    """Write a network as `path` and compare the two on `examples`; a file that differs is not left behind.

    Args:
        network: gives a tensor or a tuple of tensors, float32 on the CPU.
        examples: its arguments; their sizes are those of the file where `dynamic` does not name them.
        path: ends in .onnx; its folder exists.
        inputs, outputs: names.
        dynamic: name -> {axis: its name}, for the sizes that may differ.

    Returns:
        Largest difference, relative to the largest value.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
        ValueError: the network has an operation that ONNX has not.
        RuntimeError: the file does not compute what the network does.
        OSError: it cannot be written.
    """
    _check_libraries()
    if path.suffix != ".onnx":
        raise ValueError(f"{path} is to be an ONNX file: expected a name that ends in .onnx")
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.onnx")
    # That through TorchScript: the one through torch.export needs onnxscript, too, and is not the same in every torch.
    options = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    network = network.eval()
    try:
        with warnings.catch_warnings(), nullcontext() if dynamic else _FixedSizes():
            warnings.simplefilter("ignore")  # of sizes that become constants, which is what is wanted
            try:
                torch.onnx.export(
                    network, examples, str(beside), input_names=list(inputs), output_names=list(outputs),
                    dynamic_axes=dynamic, opset_version=OPSET, **options,
                )  # fmt: skip
            except (torch.onnx.OnnxExporterError, RuntimeError) as error:
                raise ValueError(f"the network cannot be written as ONNX: {str(error).splitlines()[0]}") from error
        difference = compare(network, examples, beside, inputs)
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"{path} was not written: the ONNX file differs from the network by {difference:.2g} of its largest "
                f"value, at most {TOLERANCE} expected"
            )
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return difference


def compare(network: nn.Module, arguments: tuple[torch.Tensor, ...], path: Path, inputs: Sequence[str]) -> float:
    """Largest difference between a network and its ONNX file, relative to the largest value of each output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in zip(inputs, arguments)})
    with torch.inference_mode():
        expected = network(*arguments)
    expected = (expected,) if isinstance(expected, torch.Tensor) else expected
    differences = [np.abs(a - b.numpy()).max() / max(float(b.abs().max()), 1e-6) for a, b in zip(found, expected)]
    return float(max(differences))


class _FixedSizes(TorchFunctionMode):
    """Writes down what the exporter cannot, where all sizes are known: they are numbers, not values of the graph."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.linspace:  # with a traced size it would be in double precision, which has no kernels
            args = (float(args[0]), float(args[1]), int(args[2]), *args[3:])
        elif func is F.adaptive_avg_pool2d:
            return _pooled(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _pooled(x: torch.Tensor, output_size: int | tuple[int | None, int | None]) -> torch.Tensor:
    """`adaptive_avg_pool2d` as two products: ONNX has none whose cells differ in size."""
    sizes = (output_size, output_size) if isinstance(output_size, int) else output_size
    rows, columns = (
        F.adaptive_avg_pool1d(torch.eye(int(n))[None], int(size or n))[0] for n, size in zip(x.shape[-2:], sizes)
    )
    return rows.T @ x @ columns


def _check_libraries() -> None:
    try:
        import onnx  # noqa: F401  torch's exporter needs it
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"writing ONNX files needs {error.name}; install it with: {sys.executable} -m pip install onnx onnxruntime"
        ) from error
