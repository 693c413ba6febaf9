#!/bin/sh
# Generates tf2_msgs/TFMessage into the virtual environment, as if it were one more of the ROS wheels: the type of
# /tf is all that the wheels lack. Does nothing where tf2_msgs exists; a ROS installation never runs this.
#
# usage: tf2_msgs.sh VENV
set -eu
venv=$(cd "$1" && pwd)
[ -e "$venv/share/ament_index/resource_index/packages/tf2_msgs" ] && exit 0

source=$venv/src/tf2_msgs
rm -rf "$source" "$venv/src/build"
mkdir -p "$source/msg"

cat >"$source/package.xml" <<'EOF'
<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name>
  <version>0.36.0</version>
  <description>The message type of /tf, with the definition of geometry2's tf2_msgs.</description>
  <maintainer email="maintainers@gnesf-ros.example">gnesf_ros maintainers</maintainer>
  <license>BSD</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
EOF
cat >"$source/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.16)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(geometry_msgs REQUIRED)
rosidl_generate_interfaces(tf2_msgs "msg/TFMessage.msg" DEPENDENCIES geometry_msgs)
ament_export_dependencies(rosidl_default_runtime)
ament_package()
EOF
echo 'geometry_msgs/TransformStamped[] transforms' >"$source/msg/TFMessage.msg"

echo "setup: generating tf2_msgs"
"$(dirname "$0")/clean_env.sh" "$venv" sh -eu -c "
    cmake -S '$source' -B '$venv/src/build' -DCMAKE_INSTALL_PREFIX='$venv' -DBUILD_TESTING=OFF
    cmake --build '$venv/src/build' --target install
" >"$venv/src/tf2_msgs.log" 2>&1 || { tail -n 40 "$venv/src/tf2_msgs.log" >&2; exit 1; }
rm -rf "$venv/src/build"
