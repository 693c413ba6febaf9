"""config/gnesf.yaml is what the dataclasses say, and wrong parameters end the node with one clear line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ros_harness import NodeProcess, new_domain

from gnesf_model.config import Config
from gnesf_ros.parameters import descriptor, render_table, render_yaml, when

FILE = Path(__file__).resolve().parents[2] / "config" / "gnesf.yaml"


def test_the_file_is_what_the_dataclasses_say() -> None:
    assert FILE.read_text() == render_yaml(), "run: python -m gnesf_ros.parameters > config/gnesf.yaml"


def test_the_table_is_what_the_dataclasses_say() -> None:
    table = FILE.parents[1] / "docs" / "parameters.md"
    assert table.read_text() == render_table(), "run: python -m gnesf_ros.parameters table > docs/parameters.md"


def test_the_file_is_every_default() -> None:
    assert Config.load(FILE) == Config()
    flat = Config().to_flat()
    tree = yaml.safe_load(FILE.read_text())["/**"]["ros__parameters"]
    for name in flat:
        node = tree
        for part in name.split("."):
            node = node[part]
        assert node == flat[name], name


@pytest.mark.parametrize("document", ["README.md", "docs/node.md"])
def test_the_parameter_files_shown_in_documents_are_accepted(document: str, tmp_path: Path) -> None:
    text = (FILE.parents[1] / document).read_text(encoding="utf-8")
    shown = re.findall(r"```yaml\n(/\*\*:\n.*?)```", text, re.DOTALL)
    assert shown
    for number, content in enumerate(shown):
        path = tmp_path / f"{number}.yaml"
        path.write_text(content, encoding="utf-8")
        assert Config.load(path) != Config(), content


@pytest.mark.parametrize("option", Config.options(), ids=lambda option: option.name)
def test_every_parameter_is_described(option) -> None:
    found = descriptor(option)
    assert found.description.endswith(".")
    assert found.read_only == (option.name == "node.autostart")
    assert when(option.name)[1] in found.additional_constraints
    for choice in option.choices:
        assert choice in found.additional_constraints
    if option.type is float and option.low is not None:
        assert found.floating_point_range[0].from_value == option.low


def failed_start(tmp_path: Path, parameters: dict, *extra: str) -> str:
    """The one line with which a node refuses to start."""
    node = NodeProcess(new_domain(), parameters, {}, tmp_path / "log", ready=False, extra=extra)
    try:
        assert node.process.wait(150) == 1, node.log
    finally:
        node.kill()
    lines = [line for line in node.log.splitlines() if line.strip()]
    assert len(lines) == 1, node.log
    assert "FATAL" in lines[0]
    return lines[0]


def test_a_name_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("/**:\n  ros__parameters:\n    volume:\n      voxel_sice_m: 0.05\n")
    line = failed_start(tmp_path, {}, "--params-file", str(tmp_path / "params.yaml"))
    assert "volume.voxel_sice_m" in line
    assert "volume.voxel_size_m" in line


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"volume.voxel_size_m": 7.5}, ["voxel_size_m is 7.5", "0.005 to 1.0"]),
        ({"input.pose_source": "odm"}, ["pose_source is 'odm'", "odom"]),
        ({"segmenter.model": "/nowhere/network.onnx"}, ["/nowhere/network.onnx"]),
        ({"segmenter.model": "oracle:/nowhere"}, ["/nowhere"]),
    ],
    ids=["range", "choice", "weights", "labels"],
)
def test_wrong_values_are_refused_in_one_line(tmp_path: Path, parameters: dict, expected: list[str]) -> None:
    line = failed_start(tmp_path, parameters)
    for words in expected:
        assert words in line


def test_the_shipped_file_starts_the_node(tmp_path: Path, room_bag: Path) -> None:
    """Whole numbers where floats are expected are taken, too, and empty lists."""
    model = {"segmenter.model": f"oracle:{room_bag / 'labels'}", "volume.truncation_vox": 4}
    node = NodeProcess(new_domain(), model, {}, tmp_path / "log", extra=("--params-file", str(FILE)))
    try:
        assert node.stop() == 0
    finally:
        node.kill()
