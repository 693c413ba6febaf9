"""Which part imports which: the table of docs/architecture.md, held against every import statement there is.

Both kinds count, those at the top of a file and those inside functions; names given to `importlib` do not, which is
how the command line reaches its commands and those of the ROS package.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Part -> the parts it may import, from the bottom up: no part is named before its own line.
ALLOWED = {
    "gnesf_model": "",
    "resources": "",
    "timing": "",
    "machine": "",
    "device": "",
    "frame": "",
    "config": "resources",
    "geometry": "frame",
    "trajectory": "frame geometry",
    "transforms": "frame geometry trajectory",
    "labels": "resources",
    "segment": "device labels resources",
    "volume": "frame geometry labels",
    "keyframes": "config frame geometry",
    "fusion": "frame",
    "pose_jumps": "frame",
    "sampling": "frame geometry segment volume",
    "field": "frame fusion geometry labels segment volume",
    "export": "field labels segment",
    "surface_classes": "field volume",
    "mapper": "config device field frame fusion geometry keyframes labels pose_jumps sampling segment surface_classes "
    "timing volume",
    "map_check": "gnesf_model frame labels mapper",
    "map_file": "device map_check mapper volume",
    "up": "",
    "occupancy": "config labels mapper up volume",
    "build": "config device field fusion mapper resources segment volume",
    "data": "config device frame geometry labels resources segment trajectory transforms",
    "evaluation": "gnesf_model build config data device field frame fusion geometry labels machine mapper sampling "
    "segment surface_classes volume",
    "voxels": "device labels mapper",
    "visualization": "frame geometry labels mapper segment volume voxels",
    "report": "config evaluation frame geometry labels mapper up visualization",
    "recording": "config data frame labels mapper occupancy segment visualization",
    "training": "data device field frame geometry labels resources segment",
    "commands": "gnesf_model build config data device evaluation export field frame geometry labels map_check map_file "
    "mapper recording report segment training visualization",
    "cli": "",
}
ALLOWED["gnesf_ros"] = " ".join(part for part in ALLOWED if part != "cli")
# What a file may need besides the standard library, wherever it imports it.
LIBRARIES = {
    # backports and compression: zstd, which rosbags requires like lz4, or which Python has from 3.14 on.
    "gnesf_model": "backports compression cv2 jinja2 lightning lz4 markupsafe matplotlib numpy onnx onnxruntime "
    "rosbags safetensors scipy torch torchmetrics tqdm transformers trimesh yaml",
}
LIBRARIES["gnesf_ros"] = LIBRARIES["gnesf_model"] + " gnesf_msgs rclpy"
# Libraries of the extra `train`, which only that part may load.
TRAINING = {"lightning", "torchmetrics", "tensorboard"}
# Libraries that only some machines have, or that take seconds to load.
LAZY = {"jinja2", "matplotlib", "open3d", "onnx", "onnxruntime", "transformers"}


def is_ros(library: str) -> bool:
    return library.startswith(("rclpy", "rosidl", "tf2", "ament", "launch", "rosgraph", "builtin_")) or (
        library.endswith(("_msgs", "_srvs", "_interfaces"))
    )


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the two packages."""
    found = {}
    for path in (p for package in ("gnesf_model", "gnesf_ros") for p in sorted((ROOT / package).rglob("*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> tuple[tuple[str, bool], ...]:
    """(imported module, whether at the top of the file) of every import statement in a module.

    Top means that it runs when the module is imported: neither in a function nor under `if TYPE_CHECKING`.
    """
    return tuple(_walk(module, ast.parse(modules()[module].read_text(encoding="utf-8")), top=True))


def _walk(module: str, node: ast.AST, top: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module} line {child.lineno}: relative imports hide what this test looks for"
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield inner if inner in modules() else child.module, top
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from _walk(module, child, top and not function and not typing_only)


def part(module: str) -> str:
    """`segment` of gnesf_model.segment.oracle, `frame` of gnesf_model.frame, `gnesf_ros` of all of that."""
    names = module.split(".")
    return names[1] if names[0] == "gnesf_model" and len(names) > 1 else names[0]


def own(module: str) -> bool:
    return module.split(".")[0] in ("gnesf_model", "gnesf_ros")


def edges() -> dict[tuple[str, str], list[str]]:
    """(importing part, imported part) -> the modules that do so."""
    found: dict[tuple[str, str], list[str]] = {}
    for module in modules():
        for imported, _ in imports(module):
            if own(imported) and part(imported) != part(module):
                found.setdefault((part(module), part(imported)), []).append(module)
    return found


def test_every_import_is_in_the_table():
    assert {part(module) for module in modules()} == set(ALLOWED), "a new part needs its line in ALLOWED"
    wrong = {edge: by for edge, by in edges().items() if edge[1] not in ALLOWED[edge[0]].split()}
    assert not wrong, f"imports that the table does not allow: {wrong}"


def test_the_table_points_one_way():
    order = list(ALLOWED)
    for importing, allowed in ALLOWED.items():
        for imported in allowed.split():
            assert order.index(imported) < order.index(importing), f"{importing} -> {imported} points up"


def test_no_module_imports_itself_through_others():
    graph = {m: {i for i, _ in imports(m) if i in modules() and i != m} for m in modules()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("package", LIBRARIES)
def test_libraries_are_those_that_are_required(package):
    allowed = set(LIBRARIES[package].split()) | set(sys.stdlib_module_names)
    for module in (m for m in modules() if m.split(".")[0] == package):
        names = {i.split(".")[0] for i, _ in imports(module) if not own(i)} - allowed
        if package == "gnesf_ros":
            names = {n for n in names if not is_ros(n)}
        assert not names, f"{module} imports {sorted(names)}"


def test_the_model_knows_nothing_of_ros():
    for module in (m for m in modules() if m.startswith("gnesf_model")):
        found = {i for i, _ in imports(module) if is_ros(i.split(".")[0]) or i.split(".")[0] == "gnesf_ros"}
        assert not found, f"{module} imports {sorted(found)}"


def test_the_volume_is_plain_torch():
    """NumPy for poses and cameras on the host; no compiled extension, nothing that ties the map to one machine."""
    for module in (m for m in modules() if part(m) == "volume"):
        found = {i.split(".")[0] for i, _ in imports(module) if not own(i)} - set(sys.stdlib_module_names)
        assert found <= {"torch", "numpy"}, f"{module} imports {sorted(found)}"


def test_heavy_and_optional_libraries_are_imported_where_they_are_used():
    for module in modules():
        found = {i for i, top in imports(module) if top and i.split(".")[0] in LAZY}
        assert not found, f"{module} imports {sorted(found)} at its top"


def test_only_training_needs_the_libraries_of_training():
    for module in (m for m in modules() if part(m) != "training"):
        found = {i.split(".")[0] for i, _ in imports(module)} & TRAINING
        assert not found, f"{module} imports {sorted(found)}"
        if part(module) != "commands":
            continue
        top = {i for i, top in imports(module) if top and i.startswith("gnesf_model.training")}
        recipes = {f"gnesf_model.training.{name}" for name in ("recipe", "field_recipe", "depth_recipe")}
        assert top <= recipes, f"{module} imports {sorted(top)} at its top: `gnesf` needs no lightning"


def test_the_command_line_loads_nothing_before_a_command_is_chosen():
    code = "import sys, gnesf_model.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"torch", "cv2", "numpy", "rclpy", "open3d", "trimesh"} & set(result.stdout.split())


def test_commands_of_the_command_line_exist():
    from gnesf_model.cli import COMMANDS

    for module, _ in COMMANDS.values():
        assert module in modules()
        names = {n.name for n in ast.parse(modules()[module].read_text(encoding="utf-8")).body if hasattr(n, "name")}
        assert {"add_arguments", "run"} <= names, module


def test_package_xml_names_the_ros_packages_that_are_used():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in manifest if element.tag in ("depend", "exec_depend")}
    used = {i.split(".")[0] for m in modules() for i, _ in imports(m) if is_ros(i.split(".")[0])} - {"gnesf_msgs"}
    for path in (ROOT / "launch").glob("*.py"):
        used |= {n.value.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if is_package(n)}
    used |= {package for module in modules() for package in optional_packages(module)}
    assert used - {"gnesf_ros"} <= declared
    messages = {name for name in declared if name.endswith(("_msgs", "_srvs", "_interfaces"))}
    assert messages <= used, "declared and used nowhere"


def optional_packages(module: str) -> set[str]:
    """The message packages that a module asks `optional` for."""
    calls = [n for n in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
    asked = [n.args[0] for n in calls if getattr(n.func, "id", "") == "optional"]
    return {argument.value for argument in asked if isinstance(argument, ast.Constant)}


def is_package(node: ast.AST) -> bool:
    """Whether it is the argument package="name" of a launch file's Node."""
    return isinstance(node, ast.keyword) and node.arg == "package" and isinstance(node.value, ast.Constant)
