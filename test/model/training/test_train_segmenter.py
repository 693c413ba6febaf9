"""`gnesf train segmenter`: what it writes can be used, and an interrupted training ends as if it had not been."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("lightning", reason="the extra `train` is not installed")

from gnesf_model.cli import main
from gnesf_model.segment import build_segmenter
from gnesf_model.training.loop import CHECKPOINTS
from gnesf_model.training.recipe import RECIPES, check_devices
from gnesf_model.training.segmenter import small_network, train_segmenter
from gnesf_model.training.segmenter_data import PassSampler

TINY = RECIPES["cpu"].with_changes(
    rooms=3, views=2, validation_rooms=1, epochs=2, small_epochs=1, width=96, height=64, batch=2
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train_segmenter(TINY, out, rendered=images, device="cpu")
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "segmenter" / "model.safetensors")


def test_the_network_is_a_small_half_precision_checkpoint_that_segments(trained: Path) -> None:
    file = trained / "segmenter" / "model.safetensors"
    assert file.stat().st_size <= 8e6
    assert {tensor.dtype for tensor in weights(trained).values() if tensor.is_floating_point()} == {torch.float16}
    assert not list((trained / "segmenter").glob("*.bin")), "no pickle"
    segmenter = build_segmenter(str(trained / "segmenter"), device="cpu")
    assert segmenter.labels.name == "scannet20"
    found = segmenter(np.full((48, 64, 3), 90, np.uint8))
    torch.testing.assert_close(found.probabilities.sum(dim=0), torch.ones(12, 16))


def test_logs_for_tensorboard(trained: Path) -> None:
    assert list(trained.glob("log/events.out.tfevents.*"))


def test_at_most_four_million_parameters() -> None:
    from gnesf_model.labels import LabelSpace

    network = small_network(LabelSpace.load("scannet20"))
    assert sum(p.numel() for p in network.parameters()) <= 4e6


def test_an_interrupted_training_goes_on_to_the_same_weights(
    trained: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = PassSampler.__iter__

    def unplugged(self: PassSampler) -> object:
        if self.epoch == 1:
            raise RuntimeError("the power went")
        return order(self)

    with monkeypatch.context() as patch:
        patch.setattr(PassSampler, "__iter__", unplugged)
        with pytest.raises(RuntimeError, match="the power went"):
            train_segmenter(TINY, tmp_path, rendered=images, device="cpu")
    assert not (tmp_path / "segmenter").exists()
    with pytest.raises(ValueError, match="--resume"):
        train_segmenter(TINY, tmp_path, rendered=images, device="cpu")
    with pytest.raises(ValueError, match=r"learning_rate 0\.001 \(now 0\.002\)"):
        other = TINY.with_changes(learning_rate=2e-3)
        train_segmenter(other, tmp_path, rendered=images, device="cpu", resume=True)
    train_segmenter(TINY, tmp_path, rendered=images, device="cpu", resume=True)
    expected = weights(trained)
    for name, tensor in weights(tmp_path).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)  # sums in another order


def test_a_finished_training_exports_the_same_averaged_weights_again(trained: Path, images: Path) -> None:
    before = weights(trained)
    shutil.rmtree(trained / "segmenter")
    train_segmenter(TINY, trained, rendered=images, device="cpu", resume=True)
    again = weights(trained)
    assert all(torch.equal(tensor, before[name]) for name, tensor in again.items())
    stored = torch.load(trained / CHECKPOINTS / "last.ckpt", weights_only=True)
    name = next(name for name in again if name.endswith("classifier.weight"))
    averaged, raw = (stored[key][f"network.{name}"].half() for key in ("state_dict", "current_model_state"))
    assert torch.equal(again[name], averaged) and not torch.equal(averaged, raw)


def test_a_training_begins_with_the_weights_of_another(trained: Path, images: Path, tmp_path: Path) -> None:
    still = TINY.with_changes(epochs=1, small_epochs=0, learning_rate=1e-9)
    train_segmenter(still, tmp_path, rendered=images, device="cpu", start=trained / "segmenter")
    before, after = weights(trained), weights(tmp_path)
    moved = [name for name in before if name.endswith("conv.weight") and not torch.equal(before[name], after[name])]
    assert not moved, "nothing is learned at this rate"
    other = tmp_path / "other"
    other.mkdir()
    for write, said in (
        (lambda path: path.write_bytes(b"no tensors"), "no readable safetensors file"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "is of another network"),
        (lambda path: path.unlink(), "No such file"),
    ):
        write(other / "model.safetensors")
        with pytest.raises(OSError, match=said):
            train_segmenter(still, other, rendered=images, device="cpu", start=other)


def test_what_cannot_be_trained_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    for changes, named in (
        ({"batch": 1}, "batch is 1, expected at least 2"),
        ({"epochs": 3}, "small_epochs is 4 of 3 epochs.*give --small-epochs"),
    ):
        with pytest.raises(ValueError, match=named):
            RECIPES["cpu"].with_changes(**changes)
    with pytest.raises(ValueError, match="3 rooms of 2 views are 6 pictures, and a step takes 7"):
        train_segmenter(TINY.with_changes(batch=7), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="devices is 2, but training on the CPU takes one .*: give --devices 1"):
        train_segmenter(TINY, tmp_path, device="cpu", devices=2)
    with pytest.raises(ValueError, match="this machine has 2: give --devices 2"):
        check_devices(3, gpus=2)
    check_devices(2, gpus=2)
    assert not list(tmp_path.iterdir())


def test_devices_share_a_pass_and_passes_differ() -> None:
    def order(epoch: int, rank: int, devices: int) -> list[tuple[int, int]]:
        sampler = PassSampler(7, seed=0, rank=rank, devices=devices)
        sampler.set_epoch(epoch)
        return list(sampler)

    whole = order(0, 0, 1)
    assert sorted(index for _, index in whole) == list(range(7))
    assert [index for _, index in order(1, 0, 1)] != [index for _, index in whole]
    shares = [set(order(0, rank, 2)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [3, 3], "every device does the same number of steps"
    assert not shares[0] & shares[1]


def test_nothing_to_resume_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["train", "segmenter", "--out", str(tmp_path), "--resume"]) == 2
    assert "there is nothing to resume" in caplog.text
    assert main(["train", "segmenter", "--out", str(tmp_path), "--epochs", "0"]) == 2
    assert "epochs is 0, expected at least 1" in caplog.text
    assert not (tmp_path / CHECKPOINTS).exists()


@pytest.mark.parametrize("network", ["segmenter", "field", "depth"])
def test_training_needs_neither_ros_nor_open3d_nor_bags(network: str) -> None:
    code = f"import sys, gnesf_model.training.{network}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"rclpy", "open3d", "rosbags", "tf2_msgs"} & {name.split(".")[0] for name in loaded}
    assert "lightning" in loaded
