"""`gnesf eval scannet`, `gnesf eval replica` and `gnesf map` on folders in the layout of the data sets."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import (
    NYU40_IDS,
    room_frames,
    write_extracted_scan,
    write_labels_ply,
    write_nice_slam,
    write_semantic_nerf,
    write_sens_scan,
    write_table,
)

from gnesf_model.cli import main
from gnesf_model.evaluation.labelled_points import PointCollector
from gnesf_model.evaluation.voting_methods import AVERAGED, WHOLE
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.weights import save_field
from gnesf_model.labels import UNKNOWN, LabelSpace

SCANNET = LabelSpace.load("scannet20")
SETTINGS = ["--set", "device=cpu", "--set", "volume.voxel_size_m=0.08", "--set", "semantics.field_side_px=96"]


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    options = FieldOptions(widths=(4, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4), direct_classes=20)
    path = tmp_path_factory.mktemp("field") / "field.safetensors"
    save_field(NeuralSemanticField(options).eval(), path)
    return path


@pytest.fixture
def arguments(field):
    small = ["--set", f"semantics.field={field}", "--set", "segmenter.input_size=[96,128]"]
    return [*SETTINGS, *small, "--every", "1"]


def write_scannet(root: Path) -> Path:
    """Three scans of two rooms; the labelled mesh of one of them."""
    write_table(root)
    frames = room_frames(4, 3)
    write_sens_scan(root / "scans/scene0001_00", frames)
    write_extracted_scan(root / "scans/scene0001_01", room_frames(4, 2), lost=(1,))
    scan = write_sens_scan(root / "scans/scene0002_00", room_frames(5, 2))
    truth = PointCollector(0.08)
    for frame in room_frames(5, 2):
        truth.add(frame)
    points, labels = truth.points()
    write_labels_ply(scan / "scene0002_00_vh_clean_2.labels.ply", points, NYU40_IDS[labels])
    return root


def test_scans_of_a_room_are_one_unit(tmp_path, arguments, capsys):
    root, path = write_scannet(tmp_path), tmp_path / "out" / "scores.json"
    assert main(["eval", "scannet", str(root), "--json", str(path), *arguments]) == 0
    found = json.loads(path.read_text())
    methods = {"majority", AVERAGED, WHOLE}
    assert methods < set(found["table2"]) and set(found["images"]) == {"per frame", *found["table2"]}
    for name in ("table2", "images"):
        for scores in found[name].values():
            assert scores["n"] == 2 and 0 <= scores["miou"] <= 1 and 0 <= scores["macc"] <= 1
    # Which classes the ground truth has says that its labels were translated rightly; how many the network finds in
    # pictures this small is up to the network.
    labels = np.unique([frame.labels for frame in (*room_frames(4, 3), *room_frames(5, 2))])
    assert set(found["table2"][AVERAGED]["per_class"]) == {SCANNET.names[n] for n in labels if n != UNKNOWN}
    assert 0 < found["table2"][AVERAGED]["pixel_accuracy"] < 1
    assert AVERAGED in found["table2"][WHOLE]["differences"]
    recordings = found["recordings"]
    assert {n: r["room"] for n, r in recordings.items()} == {
        "scene0001_00": "scene0001",
        "scene0001_01": "scene0001",
        "scene0002_00": "scene0002",
    }
    assert recordings["scene0001_01"]["dropped"] == {"bad_pose": 1} and recordings["scene0001_01"]["keyframes"] == 1
    assert found["settings"]["every"] == 1 and found["config"]["volume.voxel_size_m"] == 0.08
    said = capsys.readouterr().out
    assert "| surface, 3D |" in said and said.strip() == path.with_suffix(".md").read_text().strip()
    split = tmp_path / "val.txt"
    split.write_text("scene0002_00\n")
    # The mesh is the only ground truth left, and every second frame is taken.
    (root / "scans/scene0002_00/scene0002_00_2d-label-filt.zip").unlink()
    half = [*arguments[:-1], "2"]
    assert main(["eval", "scannet", str(root), "--split", str(split), "--json", str(path), *half]) == 0
    found = json.loads(path.read_text())
    assert found["images"] == {} and found["table2"][AVERAGED]["n"] == 1
    assert list(found["recordings"]) == ["scene0002_00"] and found["recordings"]["scene0002_00"]["keyframes"] == 1


def test_renderings_of_replica_are_compared(tmp_path, arguments):
    for name, seed in (("room_0/Sequence_1", 4), ("office_1/Sequence_1", 5)):
        write_semantic_nerf(tmp_path / name, room_frames(seed, 2))
    path = tmp_path / "scores.json"
    assert main(["eval", "replica", str(tmp_path), "--json", str(path), *arguments]) == 0
    found = json.loads(path.read_text())
    assert found["table2"][AVERAGED]["n"] == found["images"]["per frame"]["n"] == 2
    assert sorted(found["recordings"]) == ["office_1_Sequence_1", "room_0_Sequence_1"]
    assert "shower curtain" not in found["table2"][AVERAGED]["per_class"]


def test_what_cannot_be_compared_is_refused_before_the_work(tmp_path, arguments, caplog):
    frames = room_frames(4, 1)
    write_nice_slam(tmp_path / "nice/room0", frames)
    assert main(["eval", "replica", str(tmp_path / "nice"), *arguments]) == 2
    assert "room0 has no ground truth: add it (docs/datasets.md)" in caplog.text
    write_table(tmp_path)
    scan = write_sens_scan(tmp_path / "scans/scene0000_00", frames)
    assert main(["eval", "scannet", str(tmp_path / "scans"), "--segmenter", "oracle", *arguments]) == 2
    assert "nothing to vote on" in caplog.text
    assert main(["eval", "scannet", str(tmp_path / "scans"), *arguments[:-1], "0"]) == 2
    assert "--every is 0" in caplog.text
    assert main(["eval", "scannet", str(tmp_path / "nowhere"), *arguments]) == 2
    assert "nowhere is no folder" in caplog.text
    shutil.copy(scan / "scene0000_00.sens", tmp_path / "whole")
    (scan / "scene0000_00.sens").write_bytes((tmp_path / "whole").read_bytes()[:-500])
    assert main(["eval", "scannet", str(tmp_path / "scans"), *arguments]) == 2
    assert "was not copied whole" in caplog.text


def test_a_scan_of_which_nothing_can_be_mapped_counts_as_wrong(tmp_path, arguments, caplog):
    write_table(tmp_path)
    blind = [replace(frame, depth=np.zeros_like(frame.depth)) for frame in room_frames(4, 2)]
    scan = write_sens_scan(tmp_path / "scene0000_00", blind)
    write_labels_ply(scan / "scene0000_00_vh_clean_2.labels.ply", np.zeros((3, 3)), np.array([1, 2, 0]))
    path = tmp_path / "scores.json"
    assert main(["eval", "scannet", str(tmp_path), "--json", str(path), *arguments]) == 0
    found = json.loads(path.read_text())
    assert "nothing of scene0000_00 could be mapped" in caplog.text
    assert found["recordings"]["scene0000_00"]["keyframes"] == 0
    assert {s["miou"] for t in ("table2", "images") for s in found[t].values()} == {0.0}
    assert found["table2"][AVERAGED]["samples"] == 2 and set(found["table2"]) == set(found["images"]) - {"per frame"}


@pytest.mark.parametrize("write", [write_sens_scan, write_extracted_scan, write_semantic_nerf])
def test_the_oracle_maps_every_layout(tmp_path, write):
    """Pose, depth, intrinsics and labels fit together: what one frame says of a place, the next one says, too."""
    write_table(tmp_path)
    frames = room_frames(4, 4)
    if write is write_semantic_nerf:  # whose camera is 90 degrees wide, whatever the room's is
        (tmp_path / "cam_params.json").write_text(_camera(frames[0].camera))
    folder = write(tmp_path / "scene0000_00", frames)
    settings = [*SETTINGS, "--set", "volume.min_weight=0.5"]
    assert main(["map", str(folder), "--out", str(tmp_path / "out"), "--segmenter", "oracle", *settings]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["frames"] == 4
    scores = metrics["scores"]
    assert scores["3d"]["n"] > 300
    for found in (scores["2d"]["map"], scores["3d"]):
        assert found["coverage"] > 0.7 and found["pixel_accuracy"] / found["coverage"] > 0.9


def _camera(camera) -> str:
    values = {"w": camera.width, "h": camera.height, "fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy}
    return json.dumps({"camera": {**values, "scale": 1000}})
