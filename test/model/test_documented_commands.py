"""Every command in docs/evaluation.md is run as it stands there, on small recordings of the names that it uses."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_network import small_network

from gnesf_model.cli import main
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource

ROOT = Path(__file__).resolve().parents[2]
SHORTER = {"2000000:2000040": "2000000:2000001"}
"""Words of the document, and what is run in their place: the same, of less."""
NEEDS_ROS = "--through-node"


def commands(document: str) -> list[str]:
    """The lines of a document's code blocks that call gnesf."""
    lines = (ROOT / "docs" / document).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.startswith("    gnesf ")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the document's commands name."""
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx', which runs the networks")
    monkeypatch.chdir(tmp_path)
    for name in ("kitchen", "redkitchen"):
        write_folder(RoomSource(5, frames=4, width=96, height=72, shading=False), tmp_path / name)
    shutil.copytree("redkitchen/pose", "redkitchen/pose_refined")
    assert main(["bag", "kitchen", "kitchen_bag", "--labels-out", "kitchen_labels"]) == 0
    np.savez("points.npz", xyz=np.zeros((3, 3)), label=np.zeros(3, np.uint8))
    Path("nets").mkdir()
    for name in ("mosaic_ade32", "enet_scannet_nyu40"):
        small_network(tmp_path / "nets" / f"{name}.onnx", 40, "nyu40")
    for name in ("rgb", "label_nyu40"):
        Path("nyuv2", name).mkdir(parents=True)
        cv2.imwrite(f"nyuv2/{name}/1.png", np.ones((48, 64, 3) if name == "rgb" else (48, 64), np.uint8))
    return tmp_path


def run(line: str) -> int:
    words = [SHORTER.get(word, word) for word in shlex.split(line)[1:]]
    if words[0] != "compare" and "photos" not in words and "rooms" not in words:
        words += ["--set", "device=cpu", "--set", "cpu_threads=1", "--set", "volume.min_weight=1"]
    return main(words)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_evaluation(place: Path) -> None:
    listed = commands("evaluation.md")
    assert len(listed) >= 12
    for line in listed:
        if NEEDS_ROS in line:  # test/ros/test_node_evaluation.py
            continue
        # A comparison with limits may end with 1: these networks have random weights.
        assert run(line) in ((0, 1) if line.startswith("gnesf compare") else (0,)), line
    assert (place / "runs" / "mosaic" / "report.html").is_file()
