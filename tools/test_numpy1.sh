#!/bin/sh
# The model's tests with NumPy 1 and OpenCV 4, in a small environment of their own, without ROS.
#
# usage: test_numpy1.sh PYTHON TORCH TORCH_INDEX [PYTEST_ARGUMENT...]
set -eu
python=$1 torch=$2 torch_index=$3
shift 3
cd "$(dirname "$0")/.."
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV || true
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$version" = 3.13 ]; then
    echo "test: NumPy 1 has no build for Python 3.13; its run is left out"
    exit 0
fi

venv=.venv-numpy1
made_from=$(cat "constraints/py$version.txt" constraints/numpy1.txt setup.py "$0" | cksum | cut -d' ' -f1)-$torch-$torch_index
if [ "$(cat "$venv/made_from" 2>/dev/null)" != "$made_from" ]; then
    echo "test: making $venv (NumPy 1, OpenCV 4)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    replaced=$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' constraints/numpy1.txt | paste -sd'|')
    grep -vE "^($replaced)==" "constraints/py$version.txt" >"$venv/constraints.txt"
    cat constraints/numpy1.txt >>"$venv/constraints.txt"
    pip() { "$venv/bin/python" -m pip --quiet "$@"; }
    pip install -c "$venv/constraints.txt" pip setuptools wheel
    pip install -c "$venv/constraints.txt" ${torch_index:+--index-url "$torch_index"} "$torch"
    pip install -c "$venv/constraints.txt" --no-build-isolation -e '.[onnx,train,dev]'
    echo "$made_from" >"$venv/made_from"
fi
exec "$venv/bin/python" -m pytest test/model -m 'not slow and not gpu and not ros' "$@"
