"""A network for tests: one convolution with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml


def small_network(path: Path, channels: int, labels: str | list[str]) -> Path:
    """Write it as ONNX, with a sidecar that names its label space; skips where the library is missing."""
    onnx = pytest.importorskip("onnx", reason="needs the extra 'dev', which writes the network")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(size=(channels, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "W"], ["logits"], strides=[8, 8])],
        "toy",
        [helper.make_tensor_value_info("image", kind, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", kind, [1, channels, "oh", "ow"])],
        [onnx.numpy_helper.from_array(weights, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    description = {
        "file": path.name,
        "input": {
            "name": "image",
            "layout": "NCHW",
            "range": [0, 1],
            "colour": "RGB",
            "size": "dynamic",
            "multiple_of": 8,
        },
        "output": {"name": "logits", "layout": "NCHW", "stride": 8},
        "labels": labels,
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return path
