"""Lines of gnesf_model in the log of a node."""

from __future__ import annotations

import logging

from gnesf_ros import log_bridge


class Lines:
    """Stands for an rclpy logger."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __getattr__(self, level: str):
        return lambda text: self.said.append((level, text))


def test_every_record_is_sent_on_at_its_level() -> None:
    """Those of debug as well: whether they are shown is for the node's logger to say."""
    name = "gnesf_model.nothing"
    lines, logger = Lines(), logging.getLogger(name)
    bridge = log_bridge.install(lines, name)
    try:
        for level in ("debug", "info", "warning", "error"):
            getattr(logger, level)("a %s", level)
    finally:
        log_bridge.remove(bridge, name)
    assert lines.said == [(level, f"a {level}") for level in ("debug", "info", "warning", "error")]
