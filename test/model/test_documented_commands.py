"""Commands of the documents are run as they stand there, on small recordings of the names that they use.

Those of docs/evaluation.md and docs/performance.md, and every `gnesf eval` with its options in the others. What takes
minutes of a benchmark's own is run by test_benchmarks.py, with the options that docs/performance.md gives it.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import documented
import numpy as np
import pytest
from documented import ROOT, TINY
from small_network import small_network

from benchmark import run as bench
from benchmark import table
from gnesf_model.cli import main
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource

SHORTER = {"2000000:2000040": "2000000:2000001"}
"""Words of the document, and what is run in their place: the same, of less."""
NAMES = {
    "2000000:2000020": "2000000:2000001",
    "2000000:2000050": "2000000:2000001",
    "IMAGES": "nyuv2/rgb",
    "LABELS": "nyuv2/label_nyu40",
    "NET": "nets/mosaic_ade32.onnx",
}
"""The same for commands within a sentence."""
DOCUMENTS = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
INLINE = {line: document for document in DOCUMENTS for line in documented.inline(document)}
NEEDS_ROS = "--through-node"


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
    listed = documented.lines("evaluation.md")
    assert len(listed) >= 12
    for line in listed:
        if NEEDS_ROS in line:  # test/ros/test_node_evaluation.py
            continue
        # A comparison with limits may end with 1: these networks have random weights.
        assert run(line) in ((0, 1) if line.startswith("gnesf compare") else (0,)), line
    assert (place / "runs" / "mosaic" / "report.html").is_file()


def test_sentences_name_commands() -> None:
    assert set(INLINE.values()) >= {"evaluation.md", "models.md", "voting.md"}


@pytest.mark.parametrize("line", INLINE)
def test_a_command_within_a_sentence(line: str, place: Path) -> None:
    """Of `gnesf eval rooms` the segmenter's part; test_field_tables.py runs all of it."""
    words = [NAMES.get(word, word) for word in shlex.split(line)[1:]]
    if words[1] == "rooms":
        words += ["--parts", "segmenter", "--views", "1", "--size", "64", "48", "--device", "cpu"]
    assert main(words) == 0
    if "--json" in words:
        assert json.loads(Path(words[words.index("--json") + 1]).read_text())["segmenter"]["n"] == 1


BENCHES = documented.bench_arguments("performance.md")


def test_the_benchmarks_of_the_document_exist_and_know_their_options() -> None:
    """test_benchmarks.py runs each with them."""
    assert {words[0] for words in BENCHES if words} >= {"tsdf", "keyframe", "growth", "end_to_end", "stages", "node"}
    assert ["tsdf", "--rounds", "9"] in BENCHES and [] in BENCHES and ["field", "--threads", "1"] in BENCHES
    for name, *options in filter(None, BENCHES):
        assert name in bench.names() and name in TINY
        importlib.import_module(f"benchmark.{name}")._parser().parse_args(options)


def test_make_bench_alone_runs_every_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    ran = []

    def module(path: str) -> SimpleNamespace:
        name = path.removeprefix("benchmark.")

        def measure(arguments: list[str]) -> dict:
            ran.append((name, arguments))
            machine = {"processor": "some", "cores": 1}
            return {"benchmark": name, "rows": [("a room", "a step", "1 ms", "")], "machine": machine, "commit": "1"}

        return SimpleNamespace(measure=measure)

    monkeypatch.setattr(bench, "importlib", SimpleNamespace(import_module=module))
    monkeypatch.setattr(bench, "OUT", tmp_path / "out")
    assert bench.main([]) == 0
    assert ran == [(name, []) for name in bench.names()] and len(ran) >= 8
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(bench.names())
    assert "a step  1 ms" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["tsdf", "--rounds", "9"]], ids=["all", "one"])
def test_make_passes_its_arguments_on(words: list[str]) -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    said = ["make", "-n", "bench", *([f"ARGS={shlex.join(words)}"] if words else [])]
    alone = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MAKELEVEL")}
    told = subprocess.run(said, capture_output=True, text=True, check=True, cwd=ROOT, env=alone).stdout
    assert told.splitlines()[-1].split("-m ")[1].split() == ["benchmark.run", *words]


def test_results_are_kept_and_written_into_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m benchmark.table NAME ...`, on copies."""
    assert ["table", "NAME", "..."] in documented.modules("performance.md")
    results, out = tmp_path / "results", tmp_path / "out"
    shutil.copytree(table.RESULTS, results)
    out.mkdir()
    new = json.loads((results / "tsdf.json").read_text(encoding="utf-8"))
    new["rows"] = [
        (where, what, "123.45 ms" if what == "TSDF step, ours" else figure, more)
        for where, what, figure, more in new["rows"]
    ]
    (out / "tsdf.json").write_text(json.dumps(new), encoding="utf-8")
    documents = {}
    for name, path in (("README", table.README), ("WHOLE", table.WHOLE)):
        documents[name] = Path(shutil.copy(path, tmp_path))
        monkeypatch.setattr(table, name, documents[name])
    monkeypatch.setattr(table, "HERE", tmp_path)
    monkeypatch.setattr(table, "RESULTS", results)
    before = {name: path.read_text(encoding="utf-8") for name, path in documents.items()}
    assert table.main([]) == 0
    assert {name: path.read_text(encoding="utf-8") for name, path in documents.items()} == before
    assert table.main(["tsdf"]) == 0
    assert json.loads((results / "tsdf.json").read_text(encoding="utf-8"))["rows"][0][2] == "123.45 ms"
    for name, path in documents.items():
        changed = set(path.read_text(encoding="utf-8").splitlines()) - set(before[name].splitlines())
        assert changed and all("TSDF step, ours | 123.45 ms" in line for line in changed)


@pytest.mark.slow
def test_a_benchmark_that_is_run_as_a_module(tmp_path: Path) -> None:
    """Its own options first; the tiny ones take their place."""
    called = [words for words in documented.modules("performance.md") if words[0] != "table"]
    assert called == [["field", "--frames", "45", "--threads", "1"]]
    for name, *options in called:
        command = [sys.executable, "-m", f"benchmark.{name}", *options, *TINY[name].split()]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found = json.loads(done.stdout)
        assert found["benchmark"] == name and found["threads"] == 1 and found["image_side_px"] == 64
