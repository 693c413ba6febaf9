#!/bin/sh
# Runs a command in the virtual environment and nothing else: a sourced ROS installation, an activated environment or
# a compiler setting of the caller would otherwise end up in what is built.
#
# usage: clean_env.sh VENV COMMAND...
set -eu
venv=$1
shift
exec env -i HOME="${HOME:-/tmp}" LANG=C.UTF-8 PATH="$venv/bin:/usr/bin:/bin" \
    VIRTUAL_ENV="$venv" AMENT_PREFIX_PATH="$venv" ${CMAKE_BUILD_PARALLEL_LEVEL:+CMAKE_BUILD_PARALLEL_LEVEL="$CMAKE_BUILD_PARALLEL_LEVEL"} \
    "$@"
