"""Stamps of messages; apart from the other conversions because it needs no torch, which takes seconds to load."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds as builtin_interfaces/Time."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    """std_msgs/Header of a stamp in nanoseconds and a frame."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)
