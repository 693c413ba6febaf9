"""ONNX networks with their sidecars: small ones made here, and two real ones where present."""

import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.device import set_cpu_threads
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.segment import argmax_labels, build_segmenter
from gnesf_model.segment.sidecar import Sidecar

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'dev', which writes the networks")

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
NYU40_OF_SCANNET20 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]


def network(
    folder,
    classes=3,
    *,
    weights=None,
    bias=None,
    size=("h", "w"),
    stride=8,
    log=False,
    labels=("wall", "floor", "person"),
    **sidecar,
):
    """A network that averages blocks of `stride` pixels and mixes the channels, with a sidecar."""
    weights = np.eye(classes, 3) if weights is None else weights
    bias = np.zeros(classes) if bias is None else bias
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[stride] * 2, strides=[stride] * 2),
        helper.make_node("Conv", ["pooled", "W", "B"], ["mixed"]),
        helper.make_node("Log" if log else "Identity", ["mixed"], ["logits"]),
    ]
    weights = np.asarray(weights, np.float32).reshape(classes, 3, 1, 1)
    constants = [
        onnx.numpy_helper.from_array(weights, "W"),
        onnx.numpy_helper.from_array(np.asarray(bias, np.float32), "B"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", kind, [1, 3, *size])],
        [helper.make_tensor_value_info("logits", kind, [1, classes, "oh", "ow"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path = folder / "toy.onnx"
    onnx.save(model, str(path))
    description = {
        "file": "toy.onnx",
        "input": {
            "name": "image",
            "layout": "NCHW",
            "range": [0, 1],
            "colour": "RGB",
            "size": "dynamic" if size == ("h", "w") else list(size),
            "multiple_of": 8,
        },
        "output": {"name": "logits", "layout": "NCHW", "stride": stride},
        "labels": list(labels) if isinstance(labels, (tuple, list)) else labels,
        "to_scannet20": {"wall": 0, "floor": "floor"},
    }
    if not isinstance(labels, (tuple, list)):
        del description["to_scannet20"]
    for key, value in sidecar.items():
        if value is None:
            description.pop(key, None)
        elif isinstance(value, dict) and key in ("input", "output"):
            description[key].update(value)
        else:
            description[key] = value
    path.with_suffix(".yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return str(path)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_probabilities_are_the_softmax_of_the_resampled_logits(tmp_path):
    segmenter = build_segmenter(network(tmp_path), device="cpu", cpu_threads=1)
    image = noise(48, 64)
    result = segmenter(image)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    logits = torch.nn.functional.avg_pool2d(pixels, 8)
    expected = torch.nn.functional.interpolate(logits, size=(12, 16), mode="bilinear", align_corners=False)[0].softmax(
        dim=0
    )
    torch.testing.assert_close(result.probabilities[:2], expected[:2], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(result.dynamic, expected[2], atol=1e-6, rtol=1e-5)
    assert not result.probabilities[2:].any(), "person has no place in ScanNet-20"
    assert result.labels == LabelSpace.load("scannet20")
    assert segmenter.providers == ["CPUExecutionProvider"]


def test_a_label_space_beside_the_sidecar_is_found_from_anywhere(tmp_path, monkeypatch):
    nets, elsewhere = tmp_path / "nets", tmp_path / "elsewhere"
    for folder, names in ((nets, ("wall", "floor", "person")), (elsewhere, ("floor", "wall", "person"))):
        folder.mkdir()
        classes = [{"name": name, "color": [i, 0, 0], "kind": "other"} for i, name in enumerate(names)]
        text = yaml.safe_dump({"name": "own", "classes": classes})
        (folder / "own.yaml").write_text(text, encoding="utf-8")
    path = network(nets, labels="own.yaml")
    monkeypatch.chdir(elsewhere)
    assert Sidecar.of(Path(path)).labels.names == ("wall", "floor", "person")
    (nets / "own.yaml").unlink()
    assert Sidecar.of(Path(path)).labels.names == ("floor", "wall", "person")


def test_without_onnxruntime_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    path = network(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=re.escape(f"{sys.executable} -m pip install onnxruntime")):
        build_segmenter(path, device="cpu")


def test_there_is_no_half_cell_shift(tmp_path):
    """p(wall) is the red channel, a ramp: each cell must hold the ramp at pixel 4j + 1.5."""
    for stride in (1, 2, 4, 8):
        path = network(
            tmp_path,
            2,
            weights=[[1, 0, 0], [-1, 0, 0]],
            bias=[0, 1],
            stride=stride,
            labels=["wall", "floor"],
            output={"kind": "probabilities"},
        )
        image = np.zeros((64, 128, 3), np.uint8)
        image[..., 0] = np.arange(128) * 2
        result = build_segmenter(path, device="cpu")(image)
        centre = 4 * np.arange(32) + 1.5
        inside = slice(1, -1)
        np.testing.assert_allclose(
            result.probabilities[0, :, inside] * 127.5,
            np.broadcast_to(centre, (16, 32))[:, inside],
            atol=1e-3,
            err_msg=f"stride {stride}",
        )


def test_odd_sizes_and_forced_sizes(tmp_path):
    path = network(tmp_path)
    result = build_segmenter(path, device="cpu")(noise(45, 67))
    assert tuple(result.probabilities.shape[1:]) == (12, 17)
    segmenter = build_segmenter(path, device="cpu", input_size=[33, 71])
    assert segmenter.input_size(480, 640) == (32, 72)
    assert segmenter(noise(45, 67)).probabilities.shape == (20, 12, 17)
    path = network(tmp_path, input={"process_size": [64, 96]})
    assert build_segmenter(path, device="cpu").input_size(480, 640) == (64, 96)


def test_fixed_size(tmp_path):
    path = network(tmp_path, size=(32, 40))
    segmenter = build_segmenter(path, device="cpu")
    assert segmenter.input_size(480, 640) == (32, 40)
    assert segmenter(noise(48, 64)).probabilities.shape == (20, 12, 16)
    with pytest.raises(ValueError, match=r"accepts only \[32, 40\]"):
        build_segmenter(path, device="cpu", input_size=[64, 64])


def test_nyu40_with_a_channel_for_unlabelled(tmp_path):
    bias = np.full(41, -20.0)
    bias[0], bias[6] = 1.0, 1.0
    path = network(tmp_path, 41, weights=np.zeros((41, 3)), bias=bias, labels="nyu40")
    result = build_segmenter(path, device="cpu")(noise(16, 16))
    sofa = LabelSpace.load("scannet20").index("sofa")
    assert torch.allclose(result.probabilities[sofa], torch.tensor(0.5), atol=1e-4)
    assert torch.allclose(result.probabilities.sum(dim=0), torch.tensor(0.5), atol=1e-4)


def test_native_labels_and_own_map(tmp_path):
    path = network(tmp_path, to_scannet20=None, to_nyu40={"wall": 6, "floor": None})
    native = build_segmenter(path, labels="native", device="cpu")
    assert native.labels.names == ("wall", "floor", "person")
    assert native.labels.kinds == ("structure", "floor", "dynamic")
    result = build_segmenter(path, device="cpu")(noise(16, 16))
    sofa = LabelSpace.load("scannet20").index("sofa")
    assert (result.probabilities[sofa] > 0).all()
    assert torch.equal(result.probabilities.sum(dim=0), result.probabilities[sofa])


def test_labels_given_by_the_user_replace_those_of_the_sidecar(tmp_path):
    path = network(tmp_path, 20, weights=np.zeros((20, 3)), labels=[f"c{i}" for i in range(20)],
                   to_scannet20=None)  # fmt: skip
    with pytest.raises(ValueError, match="no mapping"):
        build_segmenter(path, device="cpu")
    result = build_segmenter(path, device="cpu", segmenter_labels="scannet20")(noise(8, 8))
    assert torch.allclose(result.probabilities, torch.tensor(0.05))


def test_infinite_output_names_the_network(tmp_path):
    path = network(tmp_path, log=True)
    segmenter = build_segmenter(path, device="cpu")
    with pytest.raises(RuntimeError, match=r"toy\.onnx gave NaN or infinite"):
        segmenter(np.zeros((16, 16, 3), np.uint8))


def test_nan_weights_are_found_while_loading(tmp_path):
    path = network(tmp_path, bias=[np.nan, 0, 0])
    with pytest.raises(ValueError, match="NaN"):
        build_segmenter(path, device="cpu")


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({"labels": ["wall", "floor"]}, "has 3 class channels.*2 classes"),
        ({"labels": "nyu40", "to_scannet20": None}, "expected 40 channels"),
        ({"labels": "nyu"}, "no label space 'nyu'"),
        ({"labels": 3, "to_scannet20": None}, "labels is 3"),
        ({"labels": ["wall", "wall", "floor"]}, "given twice"),
        ({"to_scannet20": {"wal": 0}}, "'wal'.*did you mean 'wall'"),
        ({"to_scannet20": {"wall": 20}}, "expected a number in 0..19"),
        ({"to_nyu40": {"wall": 0}}, "expected a number in 1..40"),
        ({"file": "other.onnx"}, "file is 'other.onnx'"),
        ({"input": None}, "input is missing"),
        ({"outputs": {}}, "unknown field outputs"),
        ({"input": {"name": "pixels"}}, "name is 'pixels'.*has image"),
        ({"output": {"name": "mask"}}, "name is 'mask'.*has logits"),
        ({"input": {"layout": "CHW"}}, "layout is 'CHW'; expected NCHW or NHWC"),
        ({"input": {"layout": "NHWC"}}, "toy.onnx failed on an input"),
        ({"input": {"range": [1, 0]}}, "low < high"),
        ({"input": {"range": "0..1"}}, "expected 2 numbers"),
        ({"input": {"colour": "rgb"}}, "expected RGB or BGR"),
        ({"input": {"size": 512}}, r"size is 512; expected 'dynamic' or \[height, width\]"),
        ({"input": {"multiple_of": 0}}, "multiple_of is 0"),
        ({"input": {"std": [1, 0, 1]}}, "numbers above 0"),
        ({"output": {"kind": "labels"}}, "expected logits or probabilities"),
        ({"output": {"stride": 4}}, "expected stride 4"),
        ({"output": {"kind": "probabilities"}, "input": {"range": [0, 9]}}, "If they are logits"),
    ],
)
def test_a_sidecar_which_does_not_fit_is_refused_while_loading(tmp_path, sidecar, message):
    path = network(tmp_path, **sidecar)
    with pytest.raises((ValueError, OSError), match=message):
        build_segmenter(path, device="cpu")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(OSError, match=r"ONNX file .* does not exist"):
        build_segmenter(str(tmp_path / "none.onnx"))
    path = Path(network(tmp_path))
    path.write_bytes(b"not a network")
    with pytest.raises(ValueError, match=r"toy\.onnx is not an ONNX network"):
        build_segmenter(str(path), device="cpu")
    path.with_suffix(".yaml").write_text("input: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"toy\.yaml is not valid YAML"):
        build_segmenter(str(path), device="cpu")
    path.with_suffix(".yaml").unlink()
    with pytest.raises(OSError, match=r"no sidecar toy\.yaml"):
        build_segmenter(str(path), device="cpu")


def test_options_are_checked(tmp_path):
    path = network(tmp_path)
    with pytest.raises(ValueError, match="device is 'tpu'"):
        build_segmenter(path, device="tpu")
    with pytest.raises(ValueError, match="cpu_threads is 0"):
        build_segmenter(path, device="cpu", cpu_threads=0)
    with pytest.raises(OSError, match="no label space 'scannet'"):
        build_segmenter(path, labels="scannet")


@pytest.mark.skipif(
    not (DATA / "weights").is_dir() or not (DATA / "nyuv2").is_dir(),
    reason="the real networks and photographs are not beside the checkout (../shared/data)",
)
@pytest.mark.parametrize(
    ("name", "input_size", "accuracy", "miou"),
    [("mosaic_ade32", None, 0.70, 0.33), ("enet_scannet_nyu40", [512, 656], 0.60, 0.33)],
)
def test_real_networks_on_real_photographs(name, input_size, accuracy, miou):
    """12 NYU photographs; a peer measured 0.745 / 0.376 and 0.637 / 0.376 on these and 6 others."""
    path = str(DATA / "weights" / f"{name}.onnx")
    segmenter = build_segmenter(path, device="cpu", input_size=input_size)
    to_index = np.full(256, UNKNOWN, np.uint8)
    to_index[NYU40_OF_SCANNET20] = np.arange(20)
    confusion = np.zeros((20, 256), np.int64)
    for file in sorted((DATA / "nyuv2" / "rgb").glob("*.png")):
        rgb = np.ascontiguousarray(cv2.imread(str(file))[:, :, ::-1])
        raw = cv2.imread(str(DATA / "nyuv2" / "label_scannet20" / file.name), cv2.IMREAD_UNCHANGED)
        truth = to_index[raw]
        labels = argmax_labels(segmenter(rgb))[0].repeat(4, axis=0).repeat(4, axis=1)
        known = truth != UNKNOWN
        np.add.at(confusion, (truth[known], labels[: raw.shape[0], : raw.shape[1]][known]), 1)
    hits = np.diagonal(confusion)
    union = confusion.sum(axis=1) + confusion[:, :20].sum(axis=0) - hits
    present = confusion.sum(axis=1) > 0
    assert hits.sum() / confusion.sum() > accuracy
    assert (hits[present] / union[present]).mean() > miou


def test_cpu_threads_bounds_the_threads_of_the_session_as_well(tmp_path):
    """As the node's parameter comes to it; torch and OpenCV are in test_device.py."""
    path = network(tmp_path)

    def started(count: int) -> int:
        """Threads that this process has more once the network is loaded and has run."""
        before = len(os.listdir("/proc/self/task"))
        kept.append(build_segmenter(path, device="cpu", cpu_threads=count))
        return len(os.listdir("/proc/self/task")) - before

    kept: list[object] = []
    try:
        mapper = build_mapper(Config.from_flat({"device": "cpu", "cpu_threads": 1, "segmenter.model": path}))
        assert mapper.segmenter._session.get_session_options().intra_op_num_threads == 1
        # The thread that asks is one of them; torch has one from here on.
        assert [started(1), started(4)] == [0, 3]
    finally:
        set_cpu_threads(0)
