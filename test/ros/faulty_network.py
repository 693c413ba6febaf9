"""A real ONNX network that fails on some images: it gives NaN for black ones, and cannot run on pure red ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper


def write(path: Path) -> Path:
    """The network and its sidecar; classes wall, floor and cabinet for red, green and blue, at stride 8."""
    node, made = helper.make_node, numpy_helper.from_array
    nodes = [
        # 0 / 0 where everything is black.
        node("ReduceMean", ["image"], ["brightness"], keepdims=0),
        node("Div", ["brightness", "brightness"], ["one"]),
        # The second entry of an array of one, where everything is red.
        node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        node("MatMul", ["means", "red"], ["redness"]),
        node("Cast", ["redness"], ["entry"], to=TensorProto.INT64),
        node("Gather", ["array", "entry"], ["nothing"]),
        node("AveragePool", ["image"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Mul", ["cells", "one"], ["scaled"]),
        node("Add", ["scaled", "nothing"], ["logits"]),
    ]
    constants = [
        made(np.array([[1.0], [-1.0], [-1.0]], np.float32), "red"),
        made(np.zeros(1, np.float32), "array"),
    ]
    graph = helper.make_graph(
        nodes,
        "faulty",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, "y", "x"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    described = {
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
        "labels": ["wall", "floor", "cabinet"],
        "maps": {"scannet20": {"wall": "wall", "floor": "floor", "cabinet": "cabinet"}},
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    return path
