"""Both ways of installing (pip, colcon) give the same thing, and what is missing is said in one line."""

import ast
import filecmp
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "install" / "gnesf_ros"
PACKAGES = ("gnesf_model", "gnesf_ros")


def modules(package: Path) -> set[str]:
    return {str(path.relative_to(package)) for path in package.rglob("*.py")}


def data_files(package: Path) -> set[str]:
    """Files that come with the package and are no code: its networks, and the template of the report."""
    found = (path for pattern in ("weights/*/*", "report/template/*") for path in package.glob(pattern))
    return {str(path.relative_to(package)) for path in found if path.is_file()}


def package_version() -> str:
    return re.search(r"<version>(.+)</version>", (ROOT / "package.xml").read_text(encoding="utf-8")).group(1)


def setup_constant(name: str):
    """A literal of setup.py, without running it."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


def executable_requirements() -> dict[str, str]:
    """Module -> what the installed executable asks pip for."""
    template = (ROOT / "tools" / "ros_executable.py.in").read_text(encoding="utf-8")
    return ast.literal_eval(re.search(r"REQUIREMENTS = (\{.*?\n\})", template, re.DOTALL).group(1))


def executable(folder: Path, python: str, module: str) -> Path:
    """The installed executable as CMake would configure it."""
    text = (ROOT / "tools" / "ros_executable.py.in").read_text(encoding="utf-8")
    for key, value in {"Python3_EXECUTABLE": python, "EXECUTABLE_NAME": "gnesf_node", "ENTRY_MODULE": module}.items():
        text = text.replace(f"@{key}@", value)
    path = folder / "gnesf_node"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """A Python of the running version that has none of the requirements."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    return str(tmp_path / "bare" / "bin" / "python3")


def clean_env(**more: str) -> dict[str, str]:
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "GNESF_PYTHON", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    return {**{key: value for key, value in os.environ.items() if key not in hidden}, **more}


def test_version_is_the_one_in_package_xml():
    import gnesf_model

    assert gnesf_model.__version__ == package_version()
    assert package_version() not in (ROOT / "setup.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_modules_is_a_package(package):
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    without = sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file())
    assert not without, f"no __init__.py in {without}: pip would leave them out"


def test_every_message_is_generated():
    cmake = (ROOT / "msg" / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.findall(r":(?:msg|srv)/(\w+\.(?:msg|srv))", cmake)
    present = [path.name for path in (ROOT / "msg").rglob("*") if path.suffix in (".msg", ".srv")]
    assert sorted(listed) == sorted(present)


def test_executable_names_the_requirements_of_setup():
    assert list(executable_requirements().values()) == setup_constant("REQUIREMENTS")


def test_install_md_names_what_rosdep_does_not_install():
    """The node's line, the sentence above it, and the line for an environment of one's own."""
    apt = set(re.findall(r"<exec_depend>python3-(.+?)</exec_depend>", (ROOT / "package.xml").read_text("utf-8")))
    apt_names = {"opencv-python": "opencv", "pyyaml": "yaml"}
    lines = setup_constant("REQUIREMENTS")
    required = [re.split("[<>=]", line)[0] for line in lines]
    below = {name: "".join(re.findall("<[^,]+", line)) for name, line in zip(required, lines)}
    left = [name for name in required if apt_names.get(name, name) not in apt]
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"\n{', '.join(left[:-1])} and {left[-1]} have no package in Ubuntu" in text
    assert f"gnesf_node: {', '.join(left)} are missing for" in text
    (line,) = (line for line in text.splitlines() if "pip install 'torch" in line)
    named = line.split("pip install ")[1].replace("'", "").split()
    assert named == ["torch>=2.4", *(name + below[name] for name in left[1:]), "numpy<2"]


def test_install_md_names_what_the_extra_all_adds():
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = setup_constant("EXTRAS")
    (parts,) = re.findall(r'EXTRAS\["all"\] = \[(.*)\]', source)
    names = {re.split("[<>=]", line)[0] for part in re.findall(r'EXTRAS\["(\w+)"\]', parts) for line in extras[part]}
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    said = re.search(r"`pip install '\.\[all\]'` (.*?)\n\n", text, re.DOTALL).group(1).lower()
    assert names == {name for name in (*names, "transformers") if name in re.findall(r"[a-z0-9]+", said)}


def test_executable_without_torch_prints_the_line_that_installs_it(tmp_path, bare_python):
    node = executable(tmp_path, bare_python, "gnesf_ros.node")
    result = subprocess.run([node], capture_output=True, text=True, env=clean_env(), check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("gnesf_node: torch, ")
    assert f"are missing for {bare_python}; install with: {bare_python} -m pip install 'torch>=2.4'" in line


def test_executable_of_a_distribution_python_asks_for_an_environment(tmp_path):
    """PEP 668: there, `pip install` itself is refused, so the line must not be it."""
    python = Path("/usr/bin/python3")
    marker = "import sysconfig, os; print(os.path.exists(sysconfig.get_path('stdlib') + '/EXTERNALLY-MANAGED'))"
    if not python.exists():
        pytest.skip("no /usr/bin/python3")
    probe = subprocess.run([python, "-I", "-c", marker], capture_output=True, text=True, check=True)
    if probe.stdout.strip() != "True":
        pytest.skip("/usr/bin/python3 is not externally managed")
    node = executable(tmp_path, str(python), "gnesf_ros.node")
    result = subprocess.run([node], capture_output=True, text=True, env=clean_env(), check=False)
    if "missing" not in result.stderr:
        pytest.skip("/usr/bin/python3 has every requirement")
    (line,) = result.stderr.splitlines()
    assert '-m venv --system-site-packages "$HOME/.gnesf_venv" && ' in line
    assert line.endswith('&& export GNESF_PYTHON="$HOME/.gnesf_venv"/bin/python')


@pytest.mark.parametrize("how", ["GNESF_PYTHON", "VIRTUAL_ENV"])
def test_executable_continues_in_the_environment_that_has_torch(tmp_path, bare_python, how):
    """What users of other packages fail at: `ros2 run` starts ROS's Python although an environment is activated."""
    (tmp_path / "entry.py").write_text(
        "import sys\ndef main():\n    print(sys.executable, *sys.argv[1:])\n    return 7\n"
    )
    for name in executable_requirements():
        (tmp_path / f"{name}.py").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "full"], check=True)
    full = tmp_path / "full" / "bin" / "python3"
    (packages,) = (tmp_path / "full" / "lib").glob("python3*/site-packages")
    (packages / "here.pth").write_text(str(tmp_path))
    node = executable(tmp_path, bare_python, "entry")
    # Beside the script the stubs would be found without the environment.
    (tmp_path / "lib").mkdir()
    node = node.rename(tmp_path / "lib" / "gnesf_node")
    env = clean_env(**{how: str(full) if how == "GNESF_PYTHON" else str(tmp_path / "full")})
    result = subprocess.run([node, "--ros-args", "a b"], capture_output=True, text=True, env=env, check=False)
    assert result.stdout == f"{full} --ros-args a b\n", result.stderr
    assert result.returncode == 7


def test_executable_says_when_gnesf_python_cannot_be_started(tmp_path, bare_python):
    node = executable(tmp_path, bare_python, "entry")
    env = clean_env(GNESF_PYTHON="/nowhere/python")
    result = subprocess.run([node], capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("gnesf_node: GNESF_PYTHON=/nowhere/python cannot be started")


@pytest.mark.slow
def test_pip_installs_packages_command_and_configuration(tmp_path):
    """`pip install .` without ROS, from a copy, because setuptools builds into the folder it is given."""
    copy = tmp_path / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        copy,
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("gnesf_ros-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"gnesf_ros-{package_version()}.data/data/share/gnesf_ros"
    for package in PACKAGES:
        assert {f"{package}/{name}" for name in modules(copy / package)} <= names
    assert {f"gnesf_model/{name}" for name in data_files(copy / "gnesf_model")} <= names
    for folder in ("config", "launch"):
        files = [path.relative_to(copy) for path in (copy / folder).rglob("*") if path.is_file()]
        assert {f"{data}/{name}" for name in files} <= names
    entry_points = zipfile.ZipFile(wheel).read(f"gnesf_ros-{package_version()}.dist-info/entry_points.txt").decode()
    assert "gnesf = gnesf_model.cli:main" in entry_points


@pytest.mark.ros
class TestWorkspace:
    """What `colcon build` installed is what the checkout holds: processes started from it run the tested code."""

    @pytest.fixture(autouse=True)
    def built(self):
        stamp = ROOT / "install" / ".ready"
        if not stamp.is_file():
            pytest.skip("the workspace is not built: run make setup")
        files = (path for name in (*PACKAGES, "config", "launch", "msg") for path in (ROOT / name).rglob("*"))
        sources = (".py", ".yaml", ".msg", ".srv", ".json", ".safetensors")
        if any(path.stat().st_mtime > stamp.stat().st_mtime for path in files if path.suffix in sources):
            pytest.skip("the checkout changed since the workspace was built: run make setup")

    @pytest.mark.parametrize("package", PACKAGES)
    def test_python_packages(self, package):
        (installed,) = INSTALL.glob(f"lib/python3*/site-packages/{package}")
        names = modules(ROOT / package)
        assert modules(installed) == names
        _, differ, unreadable = filecmp.cmpfiles(ROOT / package, installed, names, shallow=False)
        assert not differ + unreadable

    def test_data_files(self):
        (installed,) = INSTALL.glob("lib/python3*/site-packages/gnesf_model")
        names = data_files(ROOT / "gnesf_model")
        assert {"weights/segmenter/model.safetensors", "report/template/report.html"} <= names
        assert data_files(installed) == names
        _, differ, unreadable = filecmp.cmpfiles(ROOT / "gnesf_model", installed, names, shallow=False)
        assert not differ + unreadable

    @pytest.mark.parametrize("folder", ["config", "launch"])
    def test_shared_folders(self, folder):
        names = {str(path.relative_to(ROOT / folder)) for path in (ROOT / folder).rglob("*.*") if path.is_file()}
        names = {name for name in names if "__pycache__" not in name}
        _, differ, missing = filecmp.cmpfiles(ROOT / folder, INSTALL / "share/gnesf_ros" / folder, names, shallow=False)
        assert not differ + missing

    def test_executables_belong_to_the_building_python(self):
        for name in ("gnesf_node", "gnesf"):
            path = INSTALL / "lib" / "gnesf_ros" / name
            assert os.access(path, os.X_OK)
            python = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!")
            assert Path(python).parent == Path(sys.executable).parent

    def test_messages(self):
        msg = pytest.importorskip("gnesf_msgs.msg", reason="gnesf_msgs is not on the path: source install/setup.bash")
        legend = msg.Legend(label_space="scannet20", classes=[msg.LegendClass(id=1, name="floor", kind="floor")])
        assert legend.classes[0].kind == msg.LegendClass.FLOOR
        srv = pytest.importorskip("gnesf_msgs.srv")
        assert srv.SaveMap.Request(path="/tmp/room").path == "/tmp/room"
        assert srv.RenderView.Response().depth.height == 0
        assert msg.MapperStatus(drop_reasons=["no pose"], drop_counts=[3]).drop_counts[0] == 3

    def test_tests_import_the_checkout(self):
        import gnesf_model
        import gnesf_ros

        assert {Path(module.__file__).parents[1] for module in (gnesf_model, gnesf_ros)} == {ROOT}
