"""Files that name other files do not reach out of their folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.segment import build_segmenter


@pytest.mark.parametrize("where", ["../secret/{}", "/{root}/secret/{}", "bag/../../secret/{}"])
def test_paths_stay_inside_their_folder(tmp_path: Path, where: str) -> None:
    """The recording beside the bag is whole, and readable: what keeps it from being read is its place."""
    write_bag(RoomSource(1, frames=2, width=32, height=24, shading=False), tmp_path / "secret")
    bag = Path(shutil.copytree(tmp_path / "secret", tmp_path / "bag"))
    assert len(list(BagSource(bag))) == 2
    (file,) = bag.glob("*.mcap")
    file.unlink()
    described = yaml.safe_load((bag / "metadata.yaml").read_text())
    information = described["rosbag2_bagfile_information"]
    information["relative_file_paths"] = [where.format(file.name, root=str(tmp_path).lstrip("/"))]
    information.pop("files", None)
    (bag / "metadata.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(OSError, match="cannot be read as a ROS 2 bag"):
        BagSource(bag)


@pytest.mark.parametrize("where", ["../secret.bin", "{root}/secret.bin", "link.bin"])
def test_a_network_reads_no_weights_from_elsewhere(tmp_path: Path, where: str) -> None:
    pytest.importorskip("onnxruntime", minversion="1.20", reason="older ones do not look where external data lies")
    onnx = pytest.importorskip("onnx", reason="needs the extra 'dev', which writes the network")
    helper, kind = onnx.helper, onnx.TensorProto
    (tmp_path / "net").mkdir()
    (tmp_path / "secret.bin").write_bytes(np.zeros(3, np.float32).tobytes())
    (tmp_path / "net" / "link.bin").symlink_to(tmp_path / "secret.bin")
    weights = kind(name="W", data_type=kind.FLOAT, dims=[1, 3, 1, 1], data_location=kind.EXTERNAL)
    weights.external_data.add(key="location", value=where.format(root=tmp_path))
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "W"], ["logits"])],
        "net",
        [helper.make_tensor_value_info("image", kind.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", kind.FLOAT, [1, 3, 8, 8])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "net" / "net.onnx").write_bytes(model.SerializeToString())
    described = {
        "file": "net.onnx",
        "input": {"name": "image", "layout": "NCHW", "range": [0, 1], "colour": "RGB", "size": [8, 8]},
        "output": {"name": "logits", "layout": "NCHW"},
        "labels": ["wall", "floor", "cabinet"],
    }
    (tmp_path / "net" / "net.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(ValueError, match="is not an ONNX network that onnxruntime loads"):
        build_segmenter(str(tmp_path / "net" / "net.onnx"), labels="native", device="cpu")
