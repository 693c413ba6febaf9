"""Checkpoints of the transformers library, made here with small random weights."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from gnesf_model.labels import LabelMapping, LabelSpace
from gnesf_model.segment import build_segmenter
from gnesf_model.segment.image_processor import ImageProcessor
from gnesf_model.segment.recognise import recognise

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SCANNET20 = LabelSpace.load("scannet20")


def label_names(space):
    """id2label as published checkpoints spell it: with synonyms, spaces and capitals."""
    special = {"windowpane": "window ", "bed": "bed ", "door": "Door, double door", "rug": "rug"}
    names = [special.get(name, name) for name in LabelSpace.load(space).names]
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


def save(model, folder, **processor):
    values = {"do_resize": True, "image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 255}
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(values | processor))
    return str(folder)


def mask2former(space="coco_panoptic", **labels):
    torch.manual_seed(1)
    backbone = transformers.SwinConfig(
        embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone.to_dict(), hidden_dim=32, feature_size=32, mask_feature_size=32,
        encoder_layers=1, decoder_layers=2, encoder_feedforward_dim=32, dim_feedforward=32,
        num_attention_heads=2, num_queries=12, init_std=0.4, **(labels or label_names(space)),
    )  # fmt: skip
    return transformers.Mask2FormerForUniversalSegmentation(config)


def segformer(space="ade20k150", **labels):
    torch.manual_seed(2)
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 16, 24], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16, initializer_range=0.5, **(labels or label_names(space)),
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config)


def image(height, width):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalised(rgb):
    pixels = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    return ((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


def mapped(probabilities, space):
    matrix = torch.from_numpy(LabelMapping.between(LabelSpace.load(space), SCANNET20).matrix)
    return torch.einsum("ts,shw->thw", matrix, probabilities)


def test_mask2former_is_the_formula_on_its_raw_outputs(tmp_path):
    model = mask2former()
    path = save(model, tmp_path, size={"height": 64, "width": 96}, size_divisor=32)
    rgb = image(64, 96)
    with torch.inference_mode():
        raw = model(pixel_values=normalised(rgb))
    classes = raw.class_queries_logits[0].softmax(dim=-1)[:, :-1]
    masks = raw.masks_queries_logits[0].sigmoid()
    mass = sum(classes[q][:, None, None] * masks[q][None] for q in range(len(masks)))
    expected = mass / mass.sum(dim=0).clamp(min=0.05)
    native = build_segmenter(path, labels="native", device="cpu")(rgb)
    assert native.probabilities.shape == (133, 16, 24)
    torch.testing.assert_close(native.probabilities, expected, atol=1e-5, rtol=1e-4)
    dynamic = torch.from_numpy(native.labels.of_kind("dynamic"))
    torch.testing.assert_close(native.dynamic, expected[dynamic].sum(dim=0), atol=1e-5, rtol=1e-4)
    result = build_segmenter(path, device="cpu")(rgb)
    assert result.labels == SCANNET20 and (result.probabilities.sum(dim=0) < 1).all()
    expected = mapped(expected, "coco_panoptic")
    torch.testing.assert_close(result.probabilities, expected, atol=1e-5, rtol=1e-4)


def test_pixels_which_no_query_claims_stay_unknown():
    from gnesf_model.segment.transformers_segmenter import mask_probabilities

    class_logits = torch.tensor([[9.0, 0.0, 0.0]])
    mask_logits = torch.tensor([[[9.0, -9.0]]])
    total = mask_probabilities(class_logits, mask_logits).sum(dim=0)
    assert float(total[0, 0]) == pytest.approx(1.0) and float(total[0, 1]) < 0.01


def test_segformer_is_the_softmax_of_its_logits(tmp_path):
    model = segformer()
    path = save(model, tmp_path, size={"height": 64, "width": 96})
    rgb = image(64, 96)
    with torch.inference_mode():
        logits = model(pixel_values=normalised(rgb)).logits[0]
    assert logits.shape == (150, 16, 24)
    result = build_segmenter(path, device="cpu")(rgb)
    expected = mapped(logits.softmax(dim=0), "ade20k150")
    torch.testing.assert_close(result.probabilities, expected, atol=1e-5, rtol=1e-4)
    again = build_segmenter(path, device="cpu")(rgb, stamp_ns=5)
    assert torch.equal(result.probabilities, again.probabilities), "the same image, the same map"
    again.probabilities.mul_(0.5)  # callers may write into it


def test_image_of_another_size_and_forced_input_size(tmp_path):
    path = save(segformer(), tmp_path, size={"height": 64, "width": 64})
    segmenter = build_segmenter(path, device="cpu")
    assert segmenter(image(50, 70)).probabilities.shape == (20, 13, 18)
    assert segmenter.input_size(50, 70) == (64, 64)
    assert build_segmenter(path, device="cpu", input_size=[96, 128]).input_size(5, 7) == (96, 128)


def test_unknown_classes_need_a_label_space(tmp_path):
    names = {i: f"thing {i}" for i in range(3)}
    path = save(segformer(id2label=names, label2id={}), tmp_path / "net", size=32)
    with pytest.raises(ValueError, match=r"'thing 0', 'thing 1', 'thing 2'.*segmenter.labels"):
        build_segmenter(path, device="cpu")
    native = build_segmenter(path, labels="native", device="cpu")
    assert native.labels.names == ("thing 0", "thing 1", "thing 2")
    space = tmp_path / "mine.yaml"
    space.write_text(
        "name: mine\nclasses:\n"
        "  - {name: a, color: [1, 1, 1], kind: other}\n"
        "  - {name: b, color: [2, 2, 2], kind: dynamic}\n"
        "  - {name: c, color: [3, 3, 3], kind: other}\n"
        "maps: {scannet20: {a: chair}}\n"
    )
    own = build_segmenter(path, device="cpu", segmenter_labels=str(space))
    result = own(image(32, 32))
    assert (result.probabilities[4] > 0).all() and (result.dynamic > 0).all()
    with pytest.raises(ValueError, match=r"has 3 class channels.*150 classes"):
        build_segmenter(path, device="cpu", segmenter_labels="ade20k150")


def test_weights_without_a_segmentation_head_are_refused(tmp_path):
    config = segformer().config
    transformers.SegformerForImageClassification(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32}')
    with pytest.raises(ValueError, match=r"lacks .* weights.*decode_head.*random"):
        build_segmenter(str(tmp_path), device="cpu")


def test_nan_weights_never_give_a_map(tmp_path):
    model = segformer()
    with torch.no_grad():
        model.decode_head.classifier.bias[3] = float("nan")
    segmenter = build_segmenter(save(model, tmp_path, size=32), device="cpu")
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        segmenter(image(32, 32))


def test_pickled_weights_are_refused(tmp_path):
    model = segformer()
    path = save(model, tmp_path, size=32)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="Pickled weights"):
        build_segmenter(path, device="cpu")


def test_truncated_weights_are_refused(tmp_path):
    path = save(segformer(), tmp_path, size=32)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(OSError, match="cannot load the network"):
        build_segmenter(path, device="cpu")


def test_another_kind_of_network_is_refused(tmp_path):
    model = transformers.BertModel(transformers.BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, **label_names("scannet20"),
    ))  # fmt: skip
    path = save(model, tmp_path, size=32)
    with pytest.raises(ValueError, match="is a 'bert'; expected mask2former"):
        build_segmenter(path, device="cpu")


def test_missing_parts_and_names(tmp_path):
    path = save(segformer(), tmp_path, size=32)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: the file does not exist"):
        build_segmenter(path, device="cpu")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        build_segmenter(path, device="cpu")
    with pytest.raises(OSError, match="does not exist; expected"):
        build_segmenter("/no/such/folder")
    with pytest.raises(OSError, match="does not exist; expected"):
        build_segmenter("weights.pt")
    with pytest.raises(ValueError, match="Pickled weights"):
        (tmp_path / "weights.pt").write_bytes(b"")
        build_segmenter(str(tmp_path / "weights.pt"))


def test_hub_id_offline_says_what_to_do(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"cannot load the network 'nobody/nothing'.*hf download"):
        build_segmenter("nobody/nothing", device="cpu")


COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache without a connection: owner/net, whose branch main is at COMMIT."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    net = tmp_path / "hub" / "models--owner--net"
    (net / "refs").mkdir(parents=True)
    (net / "refs" / "main").write_text(COMMIT)
    folder = net / "snapshots" / COMMIT
    save(segformer(), folder, size=64)
    return folder


def test_a_hub_id_without_its_commit_is_warned_of_with_the_commit(hub, caplog):
    for revision in (None, "main"):
        caplog.clear()
        build_segmenter("owner/net", device="cpu", revision=revision)
        (text,) = [r.getMessage() for r in caplog.records if "not pinned" in r.getMessage()]
        assert f"segmenter_revision) to {COMMIT}" in text
    caplog.clear()
    pinned = build_segmenter("owner/net", device="cpu", revision=COMMIT)
    assert not [r for r in caplog.records if "pinned" in r.getMessage()]
    rgb = image(48, 64)
    assert torch.equal(pinned(rgb).probabilities, build_segmenter(str(hub), device="cpu")(rgb).probabilities)


def test_another_commit_than_the_one_that_is_here_is_not_loaded(hub):
    with pytest.raises(OSError, match=f"hf download owner/net --revision {OTHER}"):
        build_segmenter("owner/net", device="cpu", revision=OTHER)


def test_pickled_weights_of_a_hub_id_are_refused(hub):
    (hub / "model.safetensors").unlink()
    torch.save(segformer().state_dict(), hub / "pytorch_model.bin")
    with pytest.raises(OSError, match="Pickled weights .* are refused"):
        build_segmenter("owner/net", device="cpu", revision=COMMIT)


@pytest.mark.parametrize("space", ["scannet20", "nyu40", "ade20k150", "coco_panoptic"])
def test_spaces_are_recognised_by_their_names(space):
    names = list(label_names(space)["id2label"].values())
    assert recognise(names) == LabelSpace.load(space)
    assert recognise(names[::-1]) is None
    assert recognise([*names[:-1], "something else"]) is None
    unlabelled_first = recognise(["unlabelled", *names])
    assert unlabelled_first == (LabelSpace.load("nyu40") if space == "nyu40" else None)


@pytest.mark.parametrize(
    ("values", "model_type", "size"),
    [
        ({"size": {"height": 512, "width": 640}}, "segformer", (512, 640)),
        ({"size": 512}, "segformer", (512, 512)),
        ({}, "mask2former", (800, 1088)),
        ({"size": {"shortest_edge": 384, "longest_edge": 384}}, "mask2former", (288, 384)),
        ({"size": {"shortest_edge": 640, "longest_edge": 2560}}, "mask2former", (640, 864)),
        ({"size": 640, "max_size": 2560}, "maskformer", (640, 864)),
        ({"do_resize": False, "size_divisor": 32}, "segformer", (480, 640)),
        ({"size": 700, "crop_size": {"height": 512, "width": 512}, "do_center_crop": True}, "beit",
         (512, 512)),
    ],
)  # fmt: skip
def test_input_sizes_are_those_of_the_library(values, model_type, size):
    """Sizes as transformers' own processors give them for a 480 x 640 image."""
    processor = ImageProcessor.parse(values, model_type, None)
    assert processor.input_size(480, 640) == size


def test_processor_values_which_are_wrong():
    for values, message in (
        ({"size": "big"}, "size is 'big'"),
        ({}, "size is None"),
        ({"size": 8, "image_mean": [0.5]}, "image_mean is"),
        ({"size": 8, "image_std": [1, 0, 1]}, "image_std is"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageProcessor.parse(values, "segformer", None)


def test_without_transformers_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=re.escape(f"{sys.executable} -m pip install transformers safetensors")):
        build_segmenter("owner/network", device="cpu")


def test_a_package_without_its_network_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("gnesf_model.segment.build.weights_dir", lambda: tmp_path)
    with pytest.raises(OSError, match="the package lacks its network: reinstall it, or name another"):
        build_segmenter("bundled", device="cpu")
