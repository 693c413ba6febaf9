"""`gnesf eval recording --through-node`: what is scored is the node's map, and what is timed the node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ros_harness import ROOT
from ros_recording import FRAMES

from gnesf_model.cli import main
from gnesf_model.evaluation.metrics import load_metrics

SETTINGS = ("--set", "cpu_threads=1", "--set", "device=cpu", "--set", "volume.min_weight=1")


def evaluate(room_bag: Path, out: Path, *more: str) -> dict:
    source = (str(room_bag / "bag"), "--labels", str(room_bag / "labels"), "--segmenter", "oracle")
    command = [sys.executable, "-m", "gnesf_model.cli", "eval", "recording", *source, "--out", str(out), *SETTINGS]
    command += ["--through-node", *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr
    return load_metrics(out)


@pytest.fixture(scope="module")
def offline(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("offline")
    source = ["map", str(room_bag / "bag"), "--labels", str(room_bag / "labels"), "--segmenter", "oracle"]
    assert main([*source, "--out", str(out), *SETTINGS]) == 0
    return load_metrics(out)


@pytest.mark.timeout(800)
def test_with_every_frame_it_is_the_offline_map(room_bag: Path, tmp_path: Path, offline: dict) -> None:
    found = evaluate(room_bag, tmp_path, "--rate", "0", "--set", "node.queue=all")
    assert (found["through"], found["frames"], found["dropped"]) == ("node", FRAMES, {})
    assert found["node"]["images_received"] == FRAMES and found["node"]["queue"] == "all"
    assert found["node"]["peak_memory_mb"] > 50
    assert found["scores"] == offline["scores"]
    assert found["map"]["surface_points"] == offline["map"]["surface_points"]
    # A status may tell of two keyframes at once.
    assert 2 <= len(found["growth"]["frames"]) <= found["keyframes"] == offline["keyframes"]
    assert found["growth"]["voxels"][-1] == offline["growth"]["voxels"][-1]
    assert found["latency"]["n"] == FRAMES and found["latency"]["p50_ms"] > 0
    assert {"segment", "vote"} <= set(found["stages"])
    left = {"cloud.ply", "metrics.json", "metrics.md", "node.log", "node.map", "params.yaml", "report.html"}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert "through the node, queue all" in (tmp_path / "report.html").read_text()
    assert "image on its topic to the map" in (tmp_path / "metrics.md").read_text()


@pytest.mark.timeout(800)
def test_what_the_node_leaves_out_is_counted_and_costs(room_bag: Path, tmp_path: Path, offline: dict) -> None:
    # Many times faster than recorded, so that frames do get lost, on any machine.
    found = evaluate(room_bag, tmp_path, "--rate", "30")
    assert found["frames"] < FRAMES
    assert found["frames"] + sum(found["dropped"].values()) == FRAMES
    assert found["latency"]["n"] == found["frames"]
    assert found["growth"]["frames"][-1] <= found["frames"]
    # Single images are scored all the same, all of them; the map is the node's.
    assert found["scores"]["2d"]["per_frame"] == offline["scores"]["2d"]["per_frame"]
    assert found["scores"]["2d"]["map"]["n"] == offline["scores"]["2d"]["map"]["n"]
    assert found["scores"]["2d"]["map"] != offline["scores"]["2d"]["map"]
