"""Which processes get the profile of Fast DDS."""

from __future__ import annotations

import pytest

from gnesf_ros import middleware

PROFILE = str(middleware.shared_memory_profile())


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        ({}, {"FASTRTPS_DEFAULT_PROFILES_FILE": PROFILE}),
        ({"ROS_DISTRO": "jazzy"}, {"FASTRTPS_DEFAULT_PROFILES_FILE": PROFILE}),
        ({"ROS_DISTRO": "kilted"}, {"FASTDDS_DEFAULT_PROFILES_FILE": PROFILE}),
        ({"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, {"FASTRTPS_DEFAULT_PROFILES_FILE": PROFILE}),
        ({"RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"}, {"FASTRTPS_DEFAULT_PROFILES_FILE": PROFILE}),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, {}),
        ({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}, {}),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "/home/user/mine.xml"}, {}),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/home/user/mine.xml", "ROS_DISTRO": "kilted"}, {}),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, {}),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, {}),
    ],
)
def test_the_profile_is_for_fast_dds_and_never_over_the_users_own(
    current: dict[str, str], wanted: dict[str, str]
) -> None:
    assert middleware.environment(current) == wanted


def test_the_profile_is_there() -> None:
    assert "<segment_size>" in middleware.shared_memory_profile().read_text()
