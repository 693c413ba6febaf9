"""The network that comes with the package: small, described, and better than guessing on rooms it has not seen."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from gnesf_model.config import Config
from gnesf_model.data.procrooms.splits import SPLITS
from gnesf_model.evaluation.segmenter_scores import SEGMENTER, room_scores
from gnesf_model.labels import LabelSpace
from gnesf_model.resources import weights_dir
from gnesf_model.segment import BUNDLED, build_segmenter

FOLDER = weights_dir() / "segmenter"


def test_it_is_the_default_and_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    assert Config().segmenter.model == BUNDLED
    with caplog.at_level(logging.WARNING):
        segmenter = build_segmenter(BUNDLED, device="cpu")
    assert "for demonstrations" in caplog.text and "docs/models.md" in caplog.text
    assert segmenter.labels.names == LabelSpace.load("scannet20").names


def test_it_is_small_and_in_half_precision() -> None:
    from safetensors import safe_open

    with safe_open(FOLDER / "model.safetensors", "numpy") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 - no mapping
    assert {t.dtype for t in tensors if t.dtype.kind == "f"} == {np.dtype(np.float16)}
    assert all(np.isfinite(t).all() for t in tensors)
    assert sum(t.size for t in tensors) <= 4e6
    assert (FOLDER / "model.safetensors").stat().st_size <= 8e6
    assert sum(path.stat().st_size for path in weights_dir().rglob("*")) <= 16e6


def test_its_card_tells_what_it_was_trained_on() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("Data", "Seeds", "Steps", "Hardware", "Scores", "Limits", "mIoU"):
        assert word in card, word
    scores = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))["segmenter"]
    assert f"{scores['miou']:.3f}" in card


def test_its_card_tells_what_was_measured_elsewhere() -> None:
    """Other materials, other shapes, real photographs: every row of the card is that of a stored result."""
    rows = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    natural = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))["segmenter"]
    other = json.loads((FOLDER / "other_scores.json").read_text(encoding="utf-8"))
    names = {
        "permuted": "materials of other",
        "validation": "validation rooms",
        "nyu": "NYU",
        "redkitchen": "RedKitchen",
    }
    assert set(other) == set(names)
    for name, words in names.items():
        found = other[name]["segmenter"]
        (row,) = [line for line in rows if line.startswith("|") and words in line]
        assert f"| {found['miou']:.3f} / {found['pixel_accuracy']:.3f}" in row
        assert f"| {found['n']} " in row and other[name]["command"].startswith("gnesf eval ")
    assert other["permuted"]["segmenter"]["miou"] > 0.9 * natural["miou"]


def test_rooms_of_other_furniture_are_segmented() -> None:
    first = SPLITS["test"].start
    scores = room_scores(build_segmenter(BUNDLED, device="cpu"), range(first, first + 7), views=2).scores(SEGMENTER)
    assert scores["pixel_accuracy"] > 0.7
    assert scores["miou"] > 0.4


def test_it_loads_without_a_connection() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from gnesf_model.segment import build_segmenter\n"
        "build_segmenter('bundled', device='cpu')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
