#!/bin/sh
# Makes or completes the virtual environment: pinned dependencies, torch, ROS 2 from wheels, this project (editable).
#
# usage: venv.sh VENV PYTHON TORCH TORCH_INDEX
set -eu
venv=$1 python=$2 torch=$3 torch_index=$4
cd "$(dirname "$0")/.."

# A sourced ROS or another environment must not leak in.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV || true
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
constraints=constraints/py$version.txt
if [ ! -e "$constraints" ]; then
    echo "setup: Python $version is not supported; choose 3.10 to 3.13, for example: make setup PYTHON=python3.12" >&2
    exit 1
fi
# One made for another Python, or moved from another place, cannot be completed.
if [ -e "$venv" ] && ! "$venv/bin/python" -c "
import sys
sys.exit((sys.prefix, '%d.%d' % sys.version_info[:2]) != ('$(realpath "$venv")', '$version'))" 2>/dev/null; then
    echo "setup: making $venv anew for Python $version"
    rm -rf "$venv"
fi
[ -e "$venv/bin/python" ] || "$python" -m venv "$venv"

pip() { "$venv/bin/python" -m pip --quiet "$@"; }
echo "setup: installing Python packages for Python $version ($torch)"
pip install -c "$constraints" pip setuptools wheel
pip install -c "$constraints" ${torch_index:+--index-url "$torch_index"} "$torch"
# --no-build-isolation: the pinned setuptools does the build, and nothing is downloaded for it.
pip install -c "$constraints" --no-build-isolation -r tools/ros_jazzy.txt -e '.[all,dev]'

"$venv/bin/python" tools/wheel_cmake.py
tools/message_packages.sh "$venv"
