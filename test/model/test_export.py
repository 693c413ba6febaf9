"""Networks as ONNX files compute what the networks do, and the mapper takes them as they are."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.image_encoder import ImageEncoder
from gnesf_model.field.model import NeuralSemanticField
from gnesf_model.field.voting import VoteInputs
from gnesf_model.field.weights import load_field, save_field
from gnesf_model.frame import Frame
from gnesf_model.segment import argmax_labels, build_segmenter

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
from gnesf_model.export.field import ENCODER, VOTE_INPUTS, VOTING, vote_examples  # noqa: E402
from gnesf_model.export.onnx_graph import write_graph  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled network, by the command."""
    path = tmp_path_factory.mktemp("nets") / "bundled.onnx"
    assert main(["export", "onnx", "segmenter", "bundled", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def view() -> Frame:
    return next(iter(RoomSource(2_000_000, frames=1, width=320, height=240)))


def test_the_exported_segmenter_gives_the_labels_of_the_checkpoint(exported: Path, view: Frame) -> None:
    checkpoint, file = build_segmenter("bundled", device="cpu"), build_segmenter(str(exported), device="cpu")
    assert file.labels == checkpoint.labels
    assert file.input_size(240, 320) == checkpoint.input_size(240, 320) == (192, 256)
    ours, theirs = checkpoint(view.rgb), file(view.rgb)
    torch.testing.assert_close(theirs.probabilities, ours.probabilities, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(theirs.dynamic, ours.dynamic, atol=1e-4, rtol=1e-3)
    labels = argmax_labels(ours)[0]
    assert len(np.unique(labels)) > 2
    assert (argmax_labels(theirs)[0] == labels).mean() > 0.999


def test_it_maps_at_once(exported: Path, view: Frame) -> None:
    from gnesf_model.build import build_mapper

    made = build_mapper(Config.from_flat({"device": "cpu", "segmenter.model": str(exported)}))
    assert made.integrate(view).keyframe is not None


def test_the_file_needs_nothing_beside_itself_but_the_sidecar(exported: Path) -> None:
    assert sorted(path.name for path in exported.parent.iterdir()) == ["bundled.onnx", "bundled.yaml"]
    onnx.checker.check_model(str(exported), full_check=True)
    kinds = {value.type.tensor_type.elem_type for value in onnx.load(str(exported)).graph.value_info}
    assert onnx.TensorProto.DOUBLE not in kinds, "TensorRT has no double precision"


transformers = pytest.importorskip("transformers", reason="transformers is not installed")
CLASSES = ["pallet", "forklift", "Wall", "concrete floor"]
WAREHOUSE = {
    "name": "warehouse",
    "classes": [
        {"name": name, "color": [40 * i, 9, 9], "kind": kind}
        for i, (name, kind) in enumerate(zip(CLASSES, ("furniture", "dynamic", "structure", "floor")))
    ],
    "maps": {"scannet20": {"pallet": "otherfurniture", "Wall": "wall", "concrete floor": "floor"}},
}


def saved(model: nn.Module, folder: Path) -> Path:
    model.eval().save_pretrained(folder)
    values = {"size": {"height": 64, "width": 96}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps({**values, "do_flip_channel_order": True}))
    return folder


def segformer(folder: Path) -> Path:
    torch.manual_seed(2)
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 16, 24], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        initializer_range=0.3, id2label=dict(enumerate(CLASSES)), label2id={n: i for i, n in enumerate(CLASSES)},
    )  # fmt: skip
    return saved(transformers.SegformerForSemanticSegmentation(config), folder)


def mask2former(folder: Path) -> Path:
    torch.manual_seed(1)
    backbone = transformers.SwinConfig(
        embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone.to_dict(), hidden_dim=32, feature_size=32, mask_feature_size=32, encoder_layers=1,
        decoder_layers=2, encoder_feedforward_dim=32, dim_feedforward=32, num_attention_heads=2, num_queries=6,
        init_std=0.4, id2label=dict(enumerate(CLASSES)), label2id={n: i for i, n in enumerate(CLASSES)},
    )  # fmt: skip
    return saved(transformers.Mask2FormerForUniversalSegmentation(config), folder)


@pytest.mark.parametrize("made", [segformer, pytest.param(mask2former, marks=pytest.mark.slow)])
def test_checkpoints_of_both_kinds_with_classes_of_their_own(made, tmp_path: Path) -> None:
    """Logits and masks; the label space goes along with its kinds, colours and way into the map."""
    folder, space = made(tmp_path / "net"), tmp_path / "warehouse.yaml"
    space.write_text(yaml.safe_dump(WAREHOUSE))
    out = tmp_path / "out" / "net.onnx"
    out.parent.mkdir()
    assert main(["export", "onnx", "segmenter", str(folder), str(out), "--labels", str(space)]) == 0
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for labels in ("scannet20", "native"):
        ours = build_segmenter(str(folder), labels=labels, segmenter_labels=str(space), device="cpu")(rgb)
        theirs = build_segmenter(str(out), labels=labels, device="cpu")(rgb)
        assert [(c.name, c.kind, c.color) for c in theirs.labels.classes] == [
            (c.name, c.kind, c.color) for c in ours.labels.classes
        ]
        torch.testing.assert_close(theirs.probabilities, ours.probabilities, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(theirs.dynamic, ours.dynamic, atol=1e-4, rtol=1e-3)
        assert float(theirs.dynamic.max()) > 0.05


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> tuple[NeuralSemanticField, Path]:
    """A field with votes that differ, and the folder of its export by the command."""
    torch.manual_seed(0)
    made = NeuralSemanticField()
    nn.init.normal_(made.voting.last.weight)
    folder = tmp_path_factory.mktemp("field")
    save_field(made, folder / "field.safetensors")
    assert main(["export", "onnx", "field", str(folder / "field.safetensors"), str(folder / "onnx")]) == 0
    return load_field(folder / "field.safetensors"), folder / "onnx"


def ran(path: Path, names: list[str], values: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in zip(names, values)})


@pytest.mark.parametrize("size", [(1, 64, 96), (3, 120, 160), (1, 33, 47)])
def test_the_image_encoder_at_any_size(field, size) -> None:
    network, folder = field
    images = torch.rand(size[0], 3, *size[1:])
    with torch.inference_mode():
        expected = network.encoder(images)
    for found, wanted in zip(ran(folder / ENCODER, ["images"], (images,)), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("views", "points"), [(1, 1), (9, 300), (1, 20_000)])
def test_the_voting_network_for_any_number_of_views_and_points(field, views, points) -> None:
    network, folder = field
    values = vote_examples(network, views, points)
    with torch.inference_mode():
        expected = network.voting(VoteInputs(*values))
    (found,) = ran(folder / VOTING, list(VOTE_INPUTS), values)
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-3)
    assert points == 1 or found.std() > 1e-3
    assert not any("Random" in node.op_type for node in onnx.load(str(folder / VOTING)).graph.node)


def test_what_cannot_be_exported_is_said_and_leaves_nothing_behind(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.ERROR, "gnesf")

    class Fickle(nn.Module):
        """Another result each time."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.rand_like(x)

    class Sorted(nn.Module):
        """An operation that ONNX does not have."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(x)[1]

    x = (torch.rand(4, 4),)
    with pytest.raises(RuntimeError, match="differs from the network by"):
        write_graph(Fickle(), x, tmp_path / "net.onnx", ["x"], ["y"])
    with pytest.raises(ValueError, match="cannot be written as ONNX"):
        write_graph(Sorted(), x, tmp_path / "net.onnx", ["x"], ["y"])
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        write_graph(ImageEncoder(), x, tmp_path / "net.engine", ["x"], ["y"])
    assert main(["export", "onnx", "field", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert main(["export", "onnx", "segmenter", "bundled", str(tmp_path / "none" / "net.onnx")]) == 2
    assert "none" in caplog.text
    assert not list(tmp_path.rglob("*.onnx"))
