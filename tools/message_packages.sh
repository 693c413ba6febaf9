#!/bin/sh
# Generates the message types that the ROS wheels lack into the virtual environment, as if they were three more of them:
# tf2_msgs/TFMessage (/tf), map_msgs/OccupancyGridUpdate and vision_msgs/LabelInfo. Of each package only what this one
# uses. Does nothing where they exist; a ROS installation never runs this.
#
# usage: message_packages.sh VENV
set -eu
venv=$(cd "$1" && pwd)
tools=$(cd "$(dirname "$0")" && pwd)

# package NAME VERSION NEEDED_PACKAGE MESSAGE...: generates the messages whose definitions lie in its msg folder.
package() {
    name=$1 version=$2 needs=$3
    shift 3
    source=$venv/src/$name
    cat >"$source/package.xml" <<EOF
<?xml version="1.0"?>
<package format="3">
  <name>$name</name>
  <version>$version</version>
  <description>Message types with the definitions of $name.</description>
  <maintainer email="maintainers@gnesf-ros.example">gnesf_ros maintainers</maintainer>
  <license>BSD</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>$needs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
EOF
    messages=
    for message in "$@"; do messages="$messages \"msg/$message.msg\""; done
    cat >"$source/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.16)
project($name)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package($needs REQUIRED)
rosidl_generate_interfaces($name$messages DEPENDENCIES $needs)
ament_export_dependencies(rosidl_default_runtime)
ament_package()
EOF
    echo "setup: generating $name"
    "$tools/clean_env.sh" "$venv" sh -eu -c "
        cmake -S '$source' -B '$venv/src/build' -DCMAKE_INSTALL_PREFIX='$venv' -DBUILD_TESTING=OFF
        cmake --build '$venv/src/build' --target install
    " >"$venv/src/$name.log" 2>&1 || { tail -n 40 "$venv/src/$name.log" >&2; exit 1; }
    rm -rf "$venv/src/build"
}

# missing NAME: whether the package is to be made; its msg folder is empty then.
missing() {
    [ ! -e "$venv/share/ament_index/resource_index/packages/$1" ] || return 1
    rm -rf "$venv/src/$1" "$venv/src/build"
    mkdir -p "$venv/src/$1/msg"
}

if missing tf2_msgs; then
    echo 'geometry_msgs/TransformStamped[] transforms' >"$venv/src/tf2_msgs/msg/TFMessage.msg"
    package tf2_msgs 0.36.0 geometry_msgs TFMessage
fi
if missing map_msgs; then
    cat >"$venv/src/map_msgs/msg/OccupancyGridUpdate.msg" <<'EOF'
std_msgs/Header header
int32 x
int32 y
uint32 width
uint32 height
int8[] data
EOF
    package map_msgs 2.4.0 std_msgs OccupancyGridUpdate
fi
if missing vision_msgs; then
    printf 'uint16 class_id\nstring class_name\n' >"$venv/src/vision_msgs/msg/VisionClass.msg"
    cat >"$venv/src/vision_msgs/msg/LabelInfo.msg" <<'EOF'
std_msgs/Header header
vision_msgs/VisionClass[] class_map
float32 threshold
EOF
    package vision_msgs 4.1.0 std_msgs VisionClass LabelInfo
fi
