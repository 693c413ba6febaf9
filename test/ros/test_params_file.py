"""What a parameter file says to a node is what rcl tells that node."""

from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from gnesf_ros.params_file import value_in

SAID = "{ros__parameters: {input: {global_frame: %s, pose_jump_m: 1.0}, geometry: depth}}"
NAMES = (
    "/**", "gnesf", "/gnesf", "robot1/gnesf", "/robot1/gnesf", "/*/gnesf", "/**/gnesf", "**/gnesf", "/robot1/**",
    "/robot1/*", "/*", "/*/*", "*", "/robot2/gnesf", "/**/other", "/robot/gnesf",
)  # fmt: skip
FILES = {
    **{name: f"{name!r}: {SAID % 'a'}" for name in NAMES},
    "levels": f"robot1: {{gnesf: {SAID % 'a'}}}",
    "levels with a slash": f"/robot1: {{gnesf: {SAID % 'a'}}}",
    "the node after all": f"/**: {SAID % 'all'}\n/robot1/gnesf: {SAID % 'node'}",
    "all after the node": f"/robot1/gnesf: {SAID % 'node'}\n/**: {SAID % 'all'}",
    "something else after the node": f"/robot1/gnesf: {SAID % 'node'}\n/**: {{ros__parameters: {{geometry: rgb}}}}",
    "dotted": "/**: {ros__parameters: {input.global_frame: a}}",
    "nothing of it": "/**: {ros__parameters: {geometry: rgb}}",
}


@pytest.mark.parametrize("node", ["/gnesf", "/robot1/gnesf", "/site/robot1/gnesf"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_found_is_what_the_node_is_told(tmp_path: Path, name: str, node: str) -> None:
    file, context = tmp_path / "params.yaml", Context()
    file.write_text(FILES[name] + "\n")
    namespace = node.rpartition("/")[0] or "/"
    rclpy.init(args=["--ros-args", "--params-file", str(file), "-r", f"__ns:={namespace}"], context=context)
    try:
        told = Node("gnesf", context=context)
        given = {name: parameter.value for name, parameter in told._parameter_overrides.items()}
        told.destroy_node()
    finally:
        context.shutdown()
    for parameter in ("input.global_frame", "geometry"):
        assert value_in(file, node, parameter) == given.get(parameter)


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: b", "/**:", "/**: {ros__parameters: 3}", "{", "\0", "3: {4: 5}"])
def test_a_file_that_is_none_says_nothing(tmp_path: Path, content: str) -> None:
    """The node reads it too, and ends with what is wrong."""
    (tmp_path / "params.yaml").write_text(content)
    assert value_in(tmp_path / "params.yaml", "/gnesf", "geometry") is None
    assert value_in(tmp_path / "none.yaml", "/gnesf", "geometry") is None
    assert value_in(tmp_path, "/gnesf", "geometry") is None
    assert value_in("", "/gnesf", "geometry") is None
