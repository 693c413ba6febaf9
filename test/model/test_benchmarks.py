"""The benchmarks measure what they say: small runs of each, and both sides of a comparison at the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from documented import ROOT, TINY, documented_options

from benchmark import gpu, growth, keyframe, recordings, run, table
from gnesf_model.config import KeyframeConfig
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.labelled_points import nearest_labels
from gnesf_model.frame import FrameDropped
from gnesf_model.keyframes import KeyframeSelector
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.oracle import OracleSegmenter


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
    assert set(found["ceilings"]["flops_per_s"]) == {"fp32", "TF32", "fp16"}
    assert segmented["flops_by_precision"] == {"fp32": segmented["flops"]}, "on a CPU nothing is halved"
    (more,) = [row[3] for row in found["rows"] if row[1] == "keyframes, bundled"]
    assert f"of the ceilings: {segmented['flops'] / 1e9:.1f} fp32)" in more
    colour = found["runs"]["geometry: rgb, no segmenter"]
    assert colour["flops"] > 2 * bare["flops"] and colour["p50_ms"] > bare["p50_ms"], "depth is predicted"


@pytest.mark.parametrize(
    ("device", "allowed", "expected"),
    [
        ("cuda", "highest", {"fp32": 24_000, "TF32": 2 * 5 * 3 * 9 * 64, "fp16": 48_000}),
        ("cuda", "high", {"TF32": 24_000 + 2 * 5 * 3 * 9 * 64, "fp16": 48_000}),
        ("cpu", "highest", {"fp32": 24_000 + 2 * 5 * 3 * 9 * 64, "fp16": 48_000}),
    ],
)
def test_operations_are_held_against_the_ceiling_of_their_precision(device, allowed, expected):
    """float32 is TF32 on CUDA where torch allows it, which for convolutions it does of itself."""

    class Mapper:
        def integrate(self, frame):
            with torch.inference_mode():
                torch.rand(20, 30) @ torch.rand(30, 20)
                torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(5, 3, 3, 3), padding=1)
                torch.nn.functional.linear(torch.rand(40, 30).half(), torch.rand(20, 30).half())

    with gpu._matmul_precision(allowed):
        found = gpu.counted(Mapper(), [None], torch.device(device))
    assert found.flops == expected
    assert torch.get_float32_matmul_precision() == "highest"
    assert gpu.flops_share({"fp32": 100, "fp16": 400}, 10.0, {"fp32": 1e5, "TF32": 1, "fp16": 4e5}) == pytest.approx(
        0.2
    )


def test_the_ceilings_are_measured_in_the_precision_that_they_are_of(monkeypatch):
    seen = {}

    def best_s(action, device):
        seen[name] = action().dtype, torch.get_float32_matmul_precision()
        return 0.5

    monkeypatch.setattr(gpu, "_best_s", best_s)
    for name in gpu.PRECISIONS:
        assert gpu.product(name, torch.device("cpu"), 1e-4) == 4 * 40**3
    half, full = torch.float16, torch.float32
    assert seen == {"fp32": (full, "highest"), "TF32": (full, "high"), "fp16": (half, "highest")}


def test_a_frame_that_is_dropped_is_not_the_one_that_is_counted():
    """With `geometry: rgb` any frame may have too little parallax, the last one, too."""

    class Mapper:
        def integrate(self, frame):
            torch.rand(frame, 4) @ torch.rand(4, 4)
            if frame < 4:
                raise FrameDropped("no_parallax", "the camera stood still")

    mapper, cpu = Mapper(), torch.device("cpu")
    assert gpu.counted(mapper, [2, 3, 5, 7], cpu).flops == {"fp32": 2 * 5 * 16}
    assert len(gpu.timed(mapper, [1, 4, 2, 5])) == 2
    for failing in (lambda: gpu.counted(mapper, [1, 2], cpu), lambda: gpu.timed(mapper, [1, 2])):
        with pytest.raises(RuntimeError, match=r"none of 2 frames .* \(the camera stood still\): try more"):
            failing()


def test_the_long_walk_is_rendered_once_and_read_as_the_rooms_are(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "RENDERED", tmp_path / "recordings")
    size = (96, 72)
    first = recordings.rendered(3, 6, size)
    written = {path: path.stat().st_mtime_ns for path in recordings.RENDERED.rglob("*")}
    again = recordings.rendered(3, 6, size)
    assert {path: path.stat().st_mtime_ns for path in recordings.RENDERED.rglob("*")} == written
    room = RoomSource(recordings.SEED, 3, *size, stride=recordings.STRIDE, rooms=6, depth_noise=True, shading=False)
    assert again.name == first.name == "6 rooms, seed 1" and len(again) == 3
    for found, wanted in zip(again, room, strict=True):
        assert found.stamp_ns == wanted.stamp_ns and found.labels is None
        assert np.abs(found.world_T_cam - wanted.world_T_cam).max() < 1e-6
        assert np.abs(found.depth - wanted.depth).max() < 6e-4
        assert np.abs(found.rgb.astype(int) - wanted.rgb).mean() < 5


def test_a_rendering_that_was_interrupted_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "RENDERED", tmp_path / "recordings")

    def interrupted(walk, folder, progress):
        (folder / "color").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as once, pytest.raises(KeyboardInterrupt):
        once.setattr(recordings, "write_folder", interrupted)
        recordings.rendered(2, 1, (64, 48))
    assert not list(recordings.RENDERED.iterdir())
    assert len(list(recordings.rendered(2, 1, (64, 48)))) == 2


SIDE_BY_SIDE = ("end_to_end", "keyframe", "stages", "tsdf")
"""Those that run on the recording and on the long walk."""
NEEDS = {"tsdf": "open3d", "keyframe": "open3d", "node": "gnesf_msgs", "end_to_end": "gnesf_msgs"}


def test_each_benchmark_has_its_tiny_options_here():
    assert set(TINY) == set(run.names())


@pytest.fixture(scope="module")
def rendered_once(tmp_path_factory):
    """Where the benchmarks of this module render to, and not where those of a user do."""
    return tmp_path_factory.mktemp("recordings")


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_make_bench_runs_each_and_its_result_has_a_place_in_the_table(name, tmp_path, rendered_once):
    """As `make bench` does it with what docs/performance.md says, of less, in a process of its own, whose threads and
    whose node are nobody else's."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    program = (
        "import pathlib, sys; from benchmark import recordings, run; "
        "run.OUT, recordings.RENDERED = map(pathlib.Path, sys.argv[1:3]); sys.exit(run.main(sys.argv[3:]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(rendered_once), name]
    command += [*documented_options(name), *TINY[name].split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    if f"{name}: skipped" in done.stdout:
        pytest.skip(done.stdout.strip())
    result = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert result["benchmark"] == name
    assert {"processor", "cores"} <= set(result["machine"]) and result["versions"] and result["commit"]
    shown = table.table(tmp_path)
    for recording, label, figure, _ in result["rows"]:
        assert f" {label.strip()} | {figure.strip()} |" in shown and label.strip() in done.stdout
        assert f"| {recording} |" in shown and recording in done.stdout
    if name in SIDE_BY_SIDE:
        _, long_walk = result["recordings"]
        assert long_walk == "6 rooms, seed 1"
        assert {row[0] for row in result["rows"]} == set(result["recordings"])
        texts = [[row[1] for row in result["rows"] if row[0] == recording] for recording in result["recordings"]]
        assert len(texts[0]) == len(texts[1]) > 3, "the same figures of both"


def test_what_was_not_measured_has_no_row(tmp_path):
    """So results that are kept of one recording alone stay readable."""
    kept = json.loads((table.RESULTS / "tsdf.json").read_text(encoding="utf-8"))
    recording = kept["rows"][0][0]
    kept["rows"] = [row for row in kept["rows"] if row[0] == recording]
    kept["recordings"] = {recording: kept["recordings"][recording]}
    (tmp_path / "tsdf.json").write_text(json.dumps(kept), encoding="utf-8")
    one = table.table(tmp_path).splitlines()
    assert one[2].startswith(f"| `tsdf` | {recording} | TSDF step, ours |") and one[3].startswith("|  |  | TSDF step")
    kept["rows"] += [("6 rooms, seed 1", *row[1:]) for row in kept["rows"]]
    kept["recordings"]["6 rooms, seed 1"] = {"rounds": [{"load": 77.0}]}
    (tmp_path / "tsdf.json").write_text(json.dumps(kept), encoding="utf-8")
    both = table.table(tmp_path).splitlines()
    assert len(both) == len(one) + 4 and both[6].startswith("|  | 6 rooms, seed 1 | TSDF step, ours |")
    assert "to 77.0," in both[-1], "the load of every recording counts"


def test_the_tables_in_the_documents_are_those_of_the_kept_results():
    for path, headlines in ((table.README, True), (table.WHOLE, False)):
        text, made = path.read_text(encoding="utf-8"), table.table(headlines=headlines)
        assert table.with_table(text, made) == text, "python -m benchmark.table writes it anew"
    for name, rows in table.HEADLINES.items():
        kept = json.loads((table.RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        assert set(rows) <= {what for _, what, *_ in kept}, f"rows of {name} that README shows have other names now"
    shown = [json.loads(path.read_text(encoding="utf-8")) for path in table.RESULTS.glob("*.json")]
    assert {result["benchmark"] for result in shown} >= {"keyframe", "growth", "end_to_end", "tsdf", "stages"}
    with pytest.raises(ValueError, match="the document has no place for the table"):
        table.with_table("no marks", "")
