#!/bin/bash
# Runs a command with the virtual environment and the built workspace, whatever the calling shell had sourced, on a
# DDS domain that neither leaves this machine nor meets another run on it.
#
# usage: in_workspace.sh COMMAND...
set -e
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ -n "${AMENT_PREFIX_PATH:-}" ]; then
    # A ROS installation is sourced: its libraries and Python modules do not go together with the wheels.
    unset PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
fi
unset PYTHONHOME RMW_IMPLEMENTATION ROS_LOCALHOST_ONLY _ROS_WHEELS_BOOTSTRAP_COMPLETE

export VIRTUAL_ENV=$root/.venv
export PATH=$root/.venv/bin:$PATH
source "$root/install/setup.bash"
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$((RANDOM % 99 + 1))}
exec "$@"
