"""`gnesf compare`: what counts as worse, and what cannot be compared."""

import copy
import json
import logging
from pathlib import Path

import pytest

from gnesf_model.cli import main
from gnesf_model.evaluation.metrics import SCHEMA, load_metrics, write_metrics


def score(miou, wall, floor):
    classes = {name: {"iou": iou, "recall": iou, "n": n} for name, iou, n in (("wall", wall, 70), ("floor", floor, 30))}
    return {"miou": miou, "macc": miou, "pixel_accuracy": 0.9, "coverage": 1.0, "n": 100, "per_class": classes}


RUN = {
    "schema": SCHEMA,
    "source": "kitchen",
    "recording": {"name": "kitchen", "images": 9, "first_stamp_ns": 1, "last_stamp_ns": 90, "label_space": "scannet20"},
    "through": "offline",
    "frames": 9,
    "keyframes": 4,
    "dropped": {"no_pose": 1},
    "latency": {"n": 9, "p50_ms": 100.0, "p95_ms": 150.0, "p99_ms": 160.0, "max_ms": 161.0},
    "stages": {"segment": {"p50_ms": 80.0, "p95_ms": 90.0, "p99_ms": 95.0}},
    "map": {
        "memory_mb": 10.0,
        "blocks": 5,
        "voxels_with_votes": 50,
        "surface_points": 70,
        "label_space": "scannet20",
    },
    "settings": {"volume.voxel_size_m": 0.04, "segmenter.model": "a.onnx"},
    "machine": {"processor": "one", "cores": 2, "system": "Linux"},
    "device": "cpu",
    "scores": {"2d": {"per_frame": score(0.5, 0.6, 0.4), "map": score(0.7, 0.8, 0.6)}, "3d": score(0.6, 0.7, 0.5)},
}


@pytest.fixture
def runs(tmp_path):
    """Writes the second run with some values changed; gives both paths, the first as a folder."""
    (tmp_path / "a").mkdir()
    write_metrics(tmp_path / "a" / "metrics.json", RUN)

    def changed(**values):
        other = copy.deepcopy(RUN)
        for path, value in values.items():
            *parents, last = path.split("__")
            part = other
            for name in parents:
                part = part[{"d2": "2d", "d3": "3d"}.get(name, name)]
            part[last] = value
        write_metrics(tmp_path / "b.json", other)
        return str(tmp_path / "a"), str(tmp_path / "b.json")

    return changed


def test_equal_runs_pass_every_limit_of_nothing(runs, capsys):
    limits = ["--max-drop-miou", "0", "--max-drop-class-iou", "0", "--max-more-dropped", "0"]
    assert main(["compare", *runs(), *limits, "--max-slowdown", "1", "--max-map-growth", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["2d", "map", "mIoU", "0.700", "0.700", "+0.000"] for line in lines)


@pytest.mark.parametrize(
    ("change", "limit", "allowed", "words"),
    [
        ({"scores__d2__map__miou": 0.65}, "--max-drop-miou", ("0.06", "0.04"), "2d map mIoU: 0.700 -> 0.650"),
        ({"scores__d3__miou": 0.55}, "--max-drop-miou", ("0.06", "0.04"), "3d mIoU: 0.600 -> 0.550"),
        ({"scores__d2__per_frame__miou": 0.4}, "--max-drop-miou", ("0.2", "0.05"), "2d per_frame mIoU"),
        (
            {"scores__d3__per_class__floor__iou": 0.3},
            "--max-drop-class-iou",
            ("0.25", "0.1"),
            "3d IoU floor: 0.500 -> 0.300",
        ),
        ({"latency__p50_ms": 130.0}, "--max-slowdown", ("1.4", "1.2"), "latency frame p50, ms: 100.0 -> 130.0"),
        ({"map__memory_mb": 25.0}, "--max-map-growth", ("3", "2"), "map memory, MB: 10.0 -> 25.0, 2.50 times"),
        ({"dropped": {"no_pose": 2, "no_depth": 3}}, "--max-more-dropped", ("4", "3"), "frames dropped: 1 -> 5"),
    ],
)
def test_a_regression_beyond_its_limit_ends_with_status_1(runs, capsys, change, limit, allowed, words):
    paths = runs(**change)
    assert main(["compare", *paths, limit, allowed[0]]) == 0
    assert "WORSE" not in capsys.readouterr().out
    assert main(["compare", *paths, limit, allowed[1]]) == 1
    assert f"WORSE than allowed: {words}" in capsys.readouterr().out
    assert main(["compare", *paths[::-1], limit, allowed[1]]) == 0  # the other way round it is better
    assert main(["compare", *paths]) == 0  # without a limit nothing is


def test_formats(runs, capsys):
    paths = runs(
        scores__d3__miou=0.5, settings={"volume.voxel_size_m": 0.02, "segmenter.model": "a.onnx"}, device="cuda"
    )
    assert main(["compare", *paths, "--max-drop-miou", "0.05", "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (row,) = [row for row in found["rows"] if row["regression"]]
    assert (row["group"], row["name"], row["before"], row["after"]) == ("3d", "mIoU", 0.6, 0.5)
    assert row["delta"] == pytest.approx(-0.1)
    assert found["settings"] == {"volume.voxel_size_m": [0.04, 0.02]}
    assert len(found["regressions"]) == 1 and any("different machines or devices" in text for text in found["notices"])
    assert main(["compare", *paths, "--max-drop-miou", "0.05", "--format", "markdown"]) == 1
    text = capsys.readouterr().out
    (row,) = [line for line in text.splitlines() if "WORSE" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["3d", "mIoU", "0.600", "0.500", "-0.100", "WORSE"]
    assert "**Worse than allowed:** 3d mIoU" in text and "`volume.voxel_size_m`" in text


def refused(caplog, arguments):
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert main(["compare", *map(str, arguments)]) == 2
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    return error.getMessage()


def test_runs_that_cannot_be_compared(runs, caplog):
    assert "different recordings: name is 'kitchen' in the first and 'bath'" in refused(
        caplog, runs(recording={**RUN["recording"], "name": "bath"})
    )
    assert "different recordings: images" in refused(caplog, runs(recording={**RUN["recording"], "images": 8}))
    other = score(0.7, 0.8, 0.6)
    other["per_class"]["wall"]["n"] = 71
    assert "different ground truth (2d map)" in refused(caplog, runs(scores__d2__map=other))
    assert "different label spaces" in refused(caplog, runs(map={**RUN["map"], "label_space": "nyu40"}))
    through = runs(through="node")
    assert main(["compare", *through]) == 0
    assert "leave out --max-slowdown" in refused(caplog, [*through, "--max-slowdown", "2"])
    bare = runs(scores=None)
    assert main(["compare", *bare]) == 0
    assert "the second run has no scores" in refused(caplog, [*bare, "--max-drop-miou", "0.1"])
    assert "expected a number of at least 0" in refused(caplog, [*runs(), "--max-drop-miou", "nan"])
    nothing = {"n": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
    assert "no limit can be held" in refused(caplog, [*runs(latency=nothing), "--max-slowdown", "2"])


POINTS = {"kind": "points", "points": 100, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            POINTS,
            {**POINTS, "sha256": "1" * 64},
            "point sets of 100 points (SHA-256 000000000000) in the first",
        ),
        (POINTS, {"kind": "recording"}, "a labelled point set in the first and label images of the recording in the"),
        ({"kind": "folder"}, POINTS, "label images of a folder in the first and a labelled point set in the second"),
    ],
)
def test_another_ground_truth_in_3d_cannot_be_compared(first, second, words, tmp_path, caplog):
    """Even where as many points are of each class: only what is said of them tells."""
    for name, truth in (("a", first), ("b", second)):
        write_metrics(tmp_path / f"{name}.json", {**RUN, "ground_truth": truth})
    text = refused(caplog, [tmp_path / "a.json", tmp_path / "b.json"])
    assert "different ground truth (3d)" in text and words in text and "evaluate both with the same --labels" in text


def test_the_same_ground_truth_and_that_of_older_files_are_compared(runs, tmp_path, capsys, caplog):
    same = tmp_path / "same.json"
    write_metrics(same, {**RUN, "ground_truth": POINTS})
    assert main(["compare", str(same), str(same)]) == 0
    assert "note:" not in capsys.readouterr().out
    # The images of a folder may be those of the recording: their pixels were compared.
    paths = [str(tmp_path / f"{kind}.json") for kind in ("recording", "folder")]
    for kind, path in zip(("recording", "folder"), paths):
        write_metrics(Path(path), {**RUN, "ground_truth": {"kind": kind}})
    assert main(["compare", *paths]) == 0
    assert "note: the ground truth is label images of the recording in the first run" in capsys.readouterr().out
    # Nobody knows what an older file was scored on.
    assert main(["compare", *runs()]) == 0
    assert "note:" not in capsys.readouterr().out
    other = score(0.6, 0.7, 0.5)
    other["per_class"]["wall"]["n"] = 71
    assert main(["compare", *runs(scores={**RUN["scores"], "3d": other})]) == 0
    assert "the first and second file does not say" in capsys.readouterr().out
    paths = runs(scores={**RUN["scores"], "3d": other}, ground_truth=POINTS)
    assert main(["compare", *paths, "--format", "json"]) == 0
    (notice,) = json.loads(capsys.readouterr().out)["notices"]
    assert "{'wall': 70, 'floor': 30} and {'wall': 71, 'floor': 30} by class" in notice and "the first file" in notice
    write_metrics(tmp_path / "b.json", {**RUN, "ground_truth": {"kind": ["guess"]}})
    assert "the kind of its ground truth is ['guess'], expected one of recording" in refused(caplog, [same, paths[1]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no metrics.json"),
        ("[1, 2]", "no schema"),
        ('{"frames": 3}', "no schema"),
        ('{"schema": "gnesf_metrics/2"}', "has the schema 'gnesf_metrics/2', expected 'gnesf_metrics/1'"),
        ('{"schema": "gnesf_metrics/1", "recording": 3}', "is damaged: 'recording' is 3"),
        ("[" * 100_000, "is no metrics.json"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match="metrics.json") as error:
        load_metrics(tmp_path)
    assert words in str(error.value)


def test_damaged_figures_are_no_figures(runs, caplog):
    assert "'miou' is 'good', expected a number" in refused(caplog, runs(scores__d3__miou="good"))
    assert "'memory_mb' is nan" in refused(caplog, runs(map__memory_mb=float("nan")))
    assert "expected a mapping" in refused(caplog, runs(scores=[1, 2]))
    assert "does not exist" in refused(caplog, ["nowhere", "nowhere"])
