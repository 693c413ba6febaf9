"""Every command of docs/jetson.md that can run here does, in its order; of the others, what they name exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gnesf_model.cli import main
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.weights import save_field

onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
TEXT = (Path(__file__).resolve().parents[2] / "docs" / "jetson.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    ")]
ELSEWHERE = ("ros2 launch", "/usr/src/tensorrt")


def test_the_commands_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(RoomSource(3, frames=2, width=96, height=72, shading=False), tmp_path / "recording")
    save_field(NeuralSemanticField(FieldOptions(widths=(8, 8, 16, 16))), tmp_path / "field.safetensors")
    ran = 0
    for command in COMMANDS:
        words = shlex.split(command)
        if command.startswith(ELSEWHERE):
            continue
        if words[0] == "gnesf":
            assert main(words[1:]) == 0, command
        elif words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True, timeout=200)
        else:
            assert words[:2] == ["mkdir", "-p"], f"who runs {command!r}?"
            (tmp_path / words[2]).mkdir(exist_ok=True)
        ran += 1
    assert ran >= 7
    assert (tmp_path / "out" / "mesh.ply").is_file()
    engines = [command for command in COMMANDS if "trtexec" in command]
    assert len(engines) == 2
    for command in engines:
        network = onnx.load(re.search(r"--onnx=(\S+)", command)[1])
        inputs = {entry.name: entry.type.tensor_type.shape.dim for entry in network.graph.input}
        for name, sizes in re.findall(r"Shapes=(\w+):([\dx]+)", command):
            fixed = [(dim.dim_value, int(size)) for dim, size in zip(inputs[name], sizes.split("x"), strict=True)]
            assert all(wanted in (0, size) for wanted, size in fixed), command
        if "Shapes" not in command:
            assert all(dim.dim_value for dims in inputs.values() for dim in dims), "TensorRT asks for the shapes then"


def test_what_was_not_measured_is_marked() -> None:
    table = TEXT.split("## What to expect")[1].split("\n\n")[2]
    cells = [cell for line in table.splitlines()[2:] for cell in line.strip("|").split("|")[1:]]
    assert len(cells) >= 15
    assert all("(estimate)" in cell for cell in cells)
