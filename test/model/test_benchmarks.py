"""The benchmarks measure what they say: small runs of each, and both sides of a comparison at the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import gpu, growth, keyframe, run, table
from gnesf_model.config import KeyframeConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.labelled_points import nearest_labels
from gnesf_model.keyframes import KeyframeSelector
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import OracleSegmenter

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def keyframes(tmp_path_factory):
    """A procedural room in the files of `keyframe.write_keyframes`, with its own labels as probabilities."""
    folder = tmp_path_factory.mktemp("keyframes")
    walk = RoomSource(1, frames=30, stride=4, width=160, height=120, max_depth_m=5.0, shading=False)
    window = KeyframeSelector(KeyframeConfig())
    room = [window.push(frame).frame for frame in walk if window.accepts(frame)]
    by_stamp = {frame.stamp_ns: frame.labels for frame in room}
    segmenter = OracleSegmenter(by_stamp.__getitem__, LabelSpace.load("scannet20"))
    for number, frame in enumerate(room):
        np.save(folder / f"{number}.npy", segmenter(frame.rgb, frame.stamp_ns).probabilities.numpy())
    np.savez(
        folder / "frames.npz",
        rgb=np.stack([f.rgb for f in room]),
        depth=np.stack([np.round(f.depth * 1000).astype(np.uint16) for f in room]),
        poses=np.stack([f.world_T_cam for f in room]),
        stamps=np.array([f.stamp_ns for f in room]),
        K=room[0].camera.K,
    )
    return folder


def read(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "frames.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_the_peer_makes_the_same_map(keyframes):
    """Otherwise their times would not be those of the same work."""
    pytest.importorskip("open3d", reason="Open3D is the peer; no wheel of it for this Python")
    frames = read(keyframes)
    surfaces = []
    for side in (keyframe.ours, keyframe.open3d):
        step, look = side(keyframes, frames, keyframe.SIDES["averaged"])
        for number in range(len(frames["poses"])):
            step(number)
        surfaces.append(look())
    (points, labels), (their_points, their_labels) = surfaces
    assert len(their_points) == pytest.approx(len(points), rel=0.2)
    # Open3D's voxels lie half an edge off ours: the same surface, not the same points.
    theirs = nearest_labels(points, their_points, their_labels, 0.06)
    common = (theirs != 255) & (labels != 255)
    assert common.mean() > 0.85
    assert (theirs == labels)[common].mean() > 0.95


@pytest.mark.parametrize("side", keyframe.SIDES)
def test_each_side_is_timed_in_a_process_of_its_own(keyframes, side):
    if side == "open3d":
        pytest.importorskip("open3d", reason="Open3D is the peer; no wheel of it for this Python")
    command = [sys.executable, "-m", "benchmark.keyframe", "--side", side, "--folder", str(keyframes), "--threads", "1"]
    done = subprocess.run([*command, "--warm-up", "2"], capture_output=True, text=True, check=True, cwd=ROOT)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["keyframes"] == len(read(keyframes)["poses"]) - 2
    assert told["points"] > 1000
    assert all(told[figure] > 0 for figure in keyframe.FIGURES)


def test_rooms_are_put_where_nothing_is_mapped_yet_and_look_alike_to_the_voxels():
    found = growth.measure(["--sizes", "2", "4", "--views", "3", "--width", "96"])
    first, last = found["windows"]
    assert last["blocks"] == 2 * first["blocks"]
    assert last["ratio"] == found["ratio"] and all(ratio > 0 for ratio in last["ratio"].values())
    # Two maps that are alike, turn about.
    assert first["ratio"]["processor"] == pytest.approx(1, abs=0.5)


def test_without_a_gpu_that_benchmark_is_skipped_with_the_reason():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(FileNotFoundError, match="CUDA"):
        gpu.measure([])


def test_bytes_and_operations_are_counted():
    a, b = torch.rand(30, 40), torch.rand(40, 50)
    with gpu.ByteCounter() as counted:
        (a @ b).T.relu()
    assert counted.bytes == 4 * (30 * 40 + 40 * 50 + 30 * 50) + 4 * 2 * 30 * 50
    found = gpu.measure(["--device", "cpu", "--frames", "3", "--room", "--ceiling", "0.01"])
    bare, segmented = found["runs"]["no segmenter"], found["runs"]["bundled"]
    assert 0 < bare["flops"] < segmented["flops"] and 0 < bare["bytes"] < segmented["bytes"]
    colour = found["runs"]["geometry: rgb, no segmenter"]
    assert colour["flops"] > 2 * bare["flops"] and colour["p50_ms"] > bare["p50_ms"], "depth is predicted"


TINY = {
    "end_to_end": "--frames 6 --threads 1",
    "field": "--frames 60 --threads 1 --side 64",
    "gpu": "--device cpu --frames 3 --room --ceiling 0.01",
    "growth": "--sizes 2 4 --views 3 --width 96",
    "keyframe": "--rounds 1 --frames 60 --warm-up 1 --threads 1",
    "node": "--frames 8",
    "oracle": "--frames 3",
    "rooms": "--seeds 1 --size 64 48",
    "stages": "--frames 4 --network bundled --threads 1",
    "tsdf": "--rounds 1 --frames 6 --warm-up 2 --threads 1",
}
"""The least work with which each benchmark still measures something."""
NEEDS = {"tsdf": "open3d", "keyframe": "open3d", "node": "rclpy", "end_to_end": "rclpy"}


def test_each_benchmark_has_its_tiny_options_here():
    assert set(TINY) == set(run.names())


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_make_bench_runs_each_and_its_result_has_a_place_in_the_table(name, tmp_path):
    """As `make bench` does it, in a process of its own, whose threads and whose node are nobody else's."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    program = "import pathlib, sys; from benchmark import run; run.OUT = pathlib.Path(sys.argv[1])"
    command = [sys.executable, "-c", f"{program}; sys.exit(run.main(sys.argv[2:]))", str(tmp_path), name]
    done = subprocess.run(
        [*command, *TINY[name].split()], capture_output=True, text=True, check=False, cwd=ROOT, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if f"{name}: skipped" in done.stdout:
        pytest.skip(done.stdout.strip())
    result = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert result["benchmark"] == name
    assert {"processor", "cores"} <= set(result["machine"]) and result["versions"] and result["commit"]
    shown = table.table(tmp_path)
    for label, figure, _ in result["rows"]:
        assert f" {label.strip()} | {figure.strip()} |" in shown and label.strip() in done.stdout


def test_the_table_in_the_readme_is_that_of_the_kept_results():
    text = table.README.read_text(encoding="utf-8")
    assert table.with_table(text, table.table()) == text, "python -m benchmark.table writes it anew"
    shown = [json.loads(path.read_text(encoding="utf-8")) for path in table.RESULTS.glob("*.json")]
    assert {result["benchmark"] for result in shown} >= {"keyframe", "growth", "end_to_end", "tsdf", "stages"}
    with pytest.raises(ValueError, match="README.md has no place for the table"):
        table.with_table("no marks", "")
