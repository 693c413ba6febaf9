"""Scores on single pictures against ones that are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gnesf_model.cli import main
from gnesf_model.commands.evaluate import seed_range
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.segmenter_scores import labelled_photographs, photograph_scores, room_scores
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.segmenter import Segmentation, grid_size

NYU = Path(__file__).resolve().parents[4] / "shared" / "data" / "nyuv2"


class Everything:
    """Takes everything for one class."""

    labels = LabelSpace.load("scannet20")

    def __init__(self, name: str) -> None:
        self.index = self.labels.index(name)

    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        rows, columns = grid_size(*rgb.shape[:2])
        probabilities = torch.zeros(len(self.labels), rows, columns)
        probabilities[self.index] = 1
        return Segmentation(probabilities, torch.zeros(rows, columns), self.labels)


def test_rooms_score_as_counted_by_hand() -> None:
    found = room_scores(Everything("floor"), [2000000, 2000001], views=2, size=(64, 48)).to_json()
    floor = labelled = 0
    for seed in (2000000, 2000001):
        for frame in RoomSource.as_recorded(seed, 2, (64, 48), stride=60):
            floor += int((frame.labels == 1).sum())
            labelled += int((frame.labels != 255).sum())
    assert found["n"] == 2
    assert found["pixels"] == labelled
    assert found["pixel_accuracy"] == pytest.approx(floor / labelled)
    assert found["per_class"]["floor"]["iou"] == pytest.approx(floor / labelled)
    low, high = found["miou_interval"]
    assert low <= found["miou"] <= high


@pytest.mark.skipif(not NYU.is_dir(), reason="the NYU photographs are not beside the checkout (../shared/data/nyuv2)")
def test_all_wall_scores_0332_on_the_nyu_photographs() -> None:
    pictures = labelled_photographs(NYU / "rgb", NYU / "label_nyu40")
    found = photograph_scores(Everything("wall"), pictures, LabelSpace.load("nyu40")).to_json()
    assert found["n"] == 12
    assert found["pixel_accuracy"] == pytest.approx(0.332, abs=5e-4)


def test_photographs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for name in ("rgb", "label"):
        (tmp_path / name).mkdir()
    with pytest.raises(OSError, match="no image in"):
        labelled_photographs(tmp_path / "rgb", tmp_path / "label")
    cv2.imwrite(str(tmp_path / "rgb" / "a.jpg"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "label" / "a.png"), np.zeros((8, 4), np.uint8))
    pictures = labelled_photographs(tmp_path / "rgb", tmp_path / "label")
    space = LabelSpace.load("scannet20")
    with pytest.raises(ValueError, match=r"a\.png is \(8, 4\)"):
        photograph_scores(Everything("wall"), pictures, space)
    cv2.imwrite(str(tmp_path / "label" / "a.png"), np.full((8, 8), 77, np.uint8))
    with pytest.raises(ValueError, match=r"a\.png holds the value 77; 'scannet20' ends at 19"):
        photograph_scores(Everything("wall"), pictures, space)


@pytest.mark.parametrize("text", ["5", "5:5", "9:3", "-1:3", "a:b", ""])
def test_seeds_that_are_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="expected A:B"):
        seed_range(text)


def test_the_command_stores_the_scores(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "scores" / "rooms.json"
    command = "eval rooms --seeds 2000000:2000001 --views 1 --size 64 48 --device cpu --json"
    assert main([*command.split(), str(path)]) == 0
    stored = json.loads(path.read_text())
    assert {"miou", "macc", "n", "per_class"} <= set(stored["segmenter"])
    assert stored["settings"]["segmenter"] == "bundled"
    assert f"mIoU {stored['segmenter']['miou']:.3f}" in capsys.readouterr().out
