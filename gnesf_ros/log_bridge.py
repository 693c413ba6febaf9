"""Log records of gnesf_model, which knows no ROS, as lines of a node's logger."""

from __future__ import annotations

import logging
from typing import Any


class LogBridge(logging.Handler):
    """Sends records of Python's logging to an rclpy logger, at the same level."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        # One method per level: rclpy ties a line of code to one level for good.
        self._send = {
            logging.DEBUG: lambda text: ros_logger.debug(text),
            logging.INFO: lambda text: ros_logger.info(text),
            logging.WARNING: lambda text: ros_logger.warning(text),
            logging.ERROR: lambda text: ros_logger.error(text),
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.ERROR)
        self._send[level](record.getMessage())


def install(ros_logger: Any, name: str = "gnesf_model") -> LogBridge:
    """Send the records of the logger `name` and those below it to `ros_logger` only, whose level decides."""
    bridge = LogBridge(ros_logger)
    logger = logging.getLogger(name)
    logger.addHandler(bridge)
    logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)
    return bridge


def remove(bridge: LogBridge, name: str = "gnesf_model") -> None:
    """Undo `install`."""
    logger = logging.getLogger(name)
    logger.removeHandler(bridge)
    logger.propagate = True
