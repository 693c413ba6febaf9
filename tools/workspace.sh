#!/bin/sh
# Builds the package and its messages with a plain `colcon build`, as a user's workspace does.
#
# usage: workspace.sh VENV
set -eu
venv=$1
cd "$(dirname "$0")/.."

# Installing never removes: a module that is gone from the checkout must be gone from the copy as well.
rm -rf install/gnesf_ros/lib/python3.*/site-packages/gnesf_model install/gnesf_ros/lib/python3.*/site-packages/gnesf_ros \
    install/gnesf_ros/share/gnesf_ros/config install/gnesf_ros/share/gnesf_ros/launch
# Configured for another environment, a build folder is of no use.
made_for=$(echo "$venv" | cat - "$venv/pyvenv.cfg")
if [ -e build ] && [ "$made_for" != "$(cat build/.made_for 2>/dev/null)" ]; then
    rm -rf build install log
fi
mkdir -p build log
echo "$made_for" >build/.made_for

echo "setup: colcon build (messages, package)"
tools/clean_env.sh "$venv" colcon --log-base log build >log/setup.log 2>&1 || { tail -n 60 log/setup.log >&2; exit 1; }
