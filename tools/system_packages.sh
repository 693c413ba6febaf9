#!/bin/sh
# Sees to it that the system has what `make setup` cannot get from pip: a C++ compiler, venv and the headers of the
# chosen Python, and the libraries that OpenCV and Open3D load. Installs what is missing where that is permitted
# (root, or sudo without a password), and names it in one line where it is not.
#
# usage: system_packages.sh PYTHON
set -eu
python=$1
missing=""

need() { missing="$missing $1"; }

has_library() {
    for folder in /lib /usr/lib /lib64 /usr/lib64 "/usr/lib/$(uname -m)-linux-gnu"; do
        [ -e "$folder/$1" ] && return 0
    done
    return 1
}

command -v c++ >/dev/null && command -v cc >/dev/null || need build-essential
if command -v "$python" >/dev/null && "$python" -c '' 2>/dev/null; then
    # A Python of its own (pyenv, conda) brings both; Debian's splits them off, by minor version.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need "python$version-venv"
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    [ -e "$header" ] || need "python$version-dev"
else
    need python3
    need python3-venv
    need python3-dev
fi
has_library libGL.so.1 || need libgl1
has_library libglib-2.0.so.0 || need libglib2.0-0
has_library libusb-1.0.so.0 || need libusb-1.0-0
has_library libEGL.so.1 || need libegl1
has_library libX11.so.6 || need libx11-6

[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root="no"
fi
if [ "$as_root" != no ] && command -v apt-get >/dev/null; then
    echo "setup: installing system packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    if $as_root apt-get -qq update && $as_root apt-get -qq install -y --no-install-recommends $missing; then
        exit 0
    fi
fi
echo "setup: system packages are missing; install them and run this again: sudo apt-get install$missing" >&2
exit 1
