"""Scores on single pictures against ones that are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gnesf_model.cli import main
from gnesf_model.commands import evaluate
from gnesf_model.commands.evaluate import seed_range
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.field_tables import FieldTables
from gnesf_model.evaluation.room_pool import Networks
from gnesf_model.evaluation.segmenter_scores import SEGMENTER, labelled_photographs, photograph_scores, room_scores
from gnesf_model.evaluation.unit_scores import UnitScores
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
    found = room_scores(Everything("floor"), [2000000, 2000001], views=2, size=(64, 48)).scores(SEGMENTER)
    floor = labelled = 0
    for seed in (2000000, 2000001):
        for frame in RoomSource.as_recorded(seed, 2, (64, 48), stride=60):
            floor += int((frame.labels == 1).sum())
            labelled += int((frame.labels != 255).sum())
    assert found["n"] == 2
    assert found["samples"] == labelled
    assert found["pixel_accuracy"] == pytest.approx(floor / labelled)
    assert found["per_class"]["floor"]["iou"] == pytest.approx(floor / labelled)
    low, high = found["miou_interval"]
    assert low <= found["miou"] <= high


@pytest.mark.skipif(not NYU.is_dir(), reason="the NYU photographs are not beside the checkout (../shared/data/nyuv2)")
def test_all_wall_scores_0332_on_the_nyu_photographs() -> None:
    pictures = labelled_photographs(NYU / "rgb", NYU / "label_nyu40")
    found = photograph_scores(Everything("wall"), pictures, LabelSpace.load("nyu40")).scores(SEGMENTER)
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


def test_resamples_average_over_the_classes_of_the_whole_set() -> None:
    """Two scenes, wall right in one and floor never found in the other: only three resamples there are."""
    wall, floor = np.zeros(8, np.uint8), np.ones(8, np.uint8)

    def scored(units: int, independent: bool = True) -> UnitScores:
        scores = UnitScores(LabelSpace.load("scannet20"), independent)
        for unit, truth in enumerate((wall, floor)[:units]):
            scores.add(unit, SEGMENTER, truth, wall)
        return scores

    found = scored(2).scores(SEGMENTER)
    assert found["miou"] == pytest.approx((8 / 16 + 0) / 2)
    # Scene 0 twice: wall 1, no floor to be found; scene 1 twice: wall, of the whole set's classes, 0, as floor is.
    assert found["miou_interval"] == pytest.approx([0.0, 1.0])
    assert "miou_interval" not in scored(1).scores(SEGMENTER)
    assert "miou_interval" not in scored(2, independent=False).scores(SEGMENTER)


def test_no_ground_truth_names_the_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("rgb", "label"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((8, 8, 3)[: 3 if name == "rgb" else 2], 255, np.uint8))
    command = ["eval", "photos", str(tmp_path / "rgb"), "--labels", str(tmp_path / "label"), "--device", "cpu"]
    assert main([*command, "--json", str(tmp_path / "scores.json")]) == 2
    assert "--label-space" in caplog.text
    assert not (tmp_path / "scores.json").exists()


def test_photographs_are_reported_without_an_interval(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("rgb", "label"):
        (tmp_path / name).mkdir()
        for picture in "ab":
            cv2.imwrite(
                str(tmp_path / name / f"{picture}.png"), np.zeros((8, 8, 3)[: 3 if name == "rgb" else 2], np.uint8)
            )
    command = ["eval", "photos", str(tmp_path / "rgb"), "--labels", str(tmp_path / "label"), "--device", "cpu"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "2 pictures, 128 pixels" in said and "resampled" not in said and "scene" not in said


@pytest.mark.parametrize(
    ("seeds", "warned"), [("999999:1000001", True), ("2000000:2000001", False), ("3000000:3000001", False)]
)
def test_only_seeds_that_networks_may_have_seen_are_warned_of(
    seeds: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--views", "1", "--size", "64", "48", "--device", "cpu", "--parts", "segmenter"]
    assert main(["eval", "rooms", "--seeds", seeds, *options]) == 0
    assert ("networks may have trained on them" in caplog.text) == warned


def test_what_is_finished_is_stored_before_the_next_part_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each part may take hours, and an error in one is no reason to lose those before it."""
    path = tmp_path / "new" / "rooms.json"
    command = "eval rooms --seeds 2000000:2000001 --views 1 --size 64 48 --device cpu --workers 1 --json"
    there: dict[str, dict] = {}

    def tables(networks: Networks, work: object, **options: object) -> FieldTables:
        there.setdefault("votes", json.loads(path.read_text()))
        found = FieldTables.empty(LabelSpace.load("scannet20"))
        found.psnr["an image"] = [30.0]
        return found

    def rgb(networks: Networks, seed: int, **options: object) -> None:
        there["rgb"] = json.loads(path.read_text())
        raise ValueError("the lights went out")

    monkeypatch.setattr(evaluate, "_tables", tables)
    monkeypatch.setattr(evaluate, "_rgb", rgb)
    assert main([*command.split(), str(path)]) == 2
    assert "the lights went out" in caplog.text
    stored = json.loads(path.read_text())
    assert there["votes"]["unfinished"] == ["votes", "rgb"] and set(there["votes"]["segmenter"]) >= {"miou", "n"}
    assert "psnr_db" not in there["votes"]
    assert stored == there["rgb"] and stored["unfinished"] == ["rgb"]
    assert stored["segmenter"] == there["votes"]["segmenter"] and stored["psnr_db"] == {"an image": 30.0}
    assert "| an image | 30.0 dB |" in path.with_suffix(".md").read_text()
    assert sorted(p.name for p in path.parent.iterdir()) == ["rooms.json", "rooms.md"]
    assert main([*command.split(), str(path), "--parts", "votes"]) == 0
    assert "unfinished" not in json.loads(path.read_text())
    caplog.clear()
    assert main([*command.split(), str(tmp_path)]) == 2
    assert "is a folder, expected a file" in caplog.text and "scoring" not in caplog.text


@pytest.mark.parametrize("text", ["5", "5:5", "9:3", "-1:3", "a:b", ""])
def test_seeds_that_are_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="expected A:B"):
        seed_range(text)


def test_the_command_stores_the_scores(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "scores" / "rooms.json"
    command = "eval rooms --seeds 2000000:2000001 --views 1 --size 64 48 --device cpu --parts segmenter --json"
    assert main([*command.split(), str(path)]) == 0
    stored = json.loads(path.read_text())
    assert {"miou", "macc", "n", "per_class"} <= set(stored["segmenter"])
    assert stored["settings"]["segmenter"] == "bundled" and "table1" not in stored
    said = capsys.readouterr().out
    assert f"mIoU {stored['segmenter']['miou']:.3f}, mAcc" in said, "one room has no interval"
    assert "nan" not in said
