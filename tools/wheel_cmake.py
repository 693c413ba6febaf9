"""Make the CMake files of the ROS wheels usable in this virtual environment.

They name include folders of the machine that built the wheels, and their message generator exports the include
folders of Python and NumPy, which CMake refuses when the environment lies inside the package that is built.

usage: .venv/bin/python tools/wheel_cmake.py
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

SHARE = Path(sys.prefix, "share")
NUMPY_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages/numpy/(?:_core|core)/include")
PYTHON_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
EXPORTED = "PUBLIC ${Python3_INCLUDE_DIRS} ${Python3_NumPy_INCLUDE_DIRS})"
NOT_EXPORTED = "PUBLIC $<BUILD_INTERFACE:${Python3_INCLUDE_DIRS}> $<BUILD_INTERFACE:${Python3_NumPy_INCLUDE_DIRS}>)"


def set_include_folders() -> int:
    """Number of files in which a folder of another machine became one of this."""
    changed = 0
    for path in SHARE.glob("*/cmake/*.cmake"):
        text = path.read_text(encoding="utf-8")
        fixed = NUMPY_INCLUDE.sub(numpy.get_include(), text)
        fixed = PYTHON_INCLUDE.sub(sysconfig.get_path("include"), fixed)
        if "/opt/python/" in fixed:
            sys.exit(f"{path}: an include folder of another machine is left; the wheels changed, adapt {__file__}")
        if fixed != text:
            path.write_text(fixed, encoding="utf-8")
            changed += 1
    return changed


def keep_include_folders_private() -> None:
    path = SHARE / "rosidl_generator_py" / "cmake" / "rosidl_generator_py_generate_interfaces.cmake"
    text = path.read_text(encoding="utf-8")
    if NOT_EXPORTED in text:
        return
    if EXPORTED not in text:
        sys.exit(f"{path}: the line with the include folders is not there; the wheels changed, adapt {__file__}")
    path.write_text(text.replace(EXPORTED, NOT_EXPORTED), encoding="utf-8")


if __name__ == "__main__":
    print(f"setup: include folders set in {set_include_folders()} CMake files of the ROS wheels")
    keep_include_folders_private()
