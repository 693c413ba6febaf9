"""ROS parameters of the node, all derived from `gnesf_model.config`.

``python -m gnesf_ros.parameters > config/gnesf.yaml`` writes the parameter file; it needs no ROS, which is
why ROS is imported only where parameters are declared.
"""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import yaml

from gnesf_model.config import Config, Option

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

RCLPY_OWN = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares in every node."""
RCLPY_PREFIX = "qos_overrides."
NO_CHANGE = "read when the node starts: set it in the parameter file and start the node again"

_FLOAT_MAX = sys.float_info.max
_INT_MAX = 2**63 - 1


def declare_parameters(node: Node) -> Config:
    """Declare every setting as a parameter of `node`, with the values given to the process.

    Returns:
        The configuration that the parameters describe.

    Raises:
        ValueError: an unknown name (the message has the nearest one), or a value of another type or out of
            range.
    """
    from rclpy.parameter import Parameter

    config = Config.from_flat(given_values(node))
    values = config.to_flat()
    for option in Config.options():
        value = values[option.name]
        if value == []:  # rclpy cannot tell the type of an empty list: declared, not set
            value = Parameter.Type.STRING_ARRAY if option.type == list[str] else Parameter.Type.DOUBLE_ARRAY
        node.declare_parameter(option.name, value, descriptor(option), ignore_override=True)
    return config


def given_values(node: Node) -> dict[str, Any]:
    """Values from the command line and from parameter files, without those that rclpy itself takes."""
    given: dict[str, Any] = {}
    # rclpy has no public way to names that were given and not declared.
    for name, parameter in node._parameter_overrides.items():
        if name in RCLPY_OWN or name.startswith(RCLPY_PREFIX):
            continue
        value = parameter.value
        if value is None:
            value = []  # an empty list in YAML has no type, so rclpy calls it "not set"
        given[name] = value if isinstance(value, (bool, int, float, str)) else list(value)
    return given


def descriptor(option: Option) -> ParameterDescriptor:
    """Description, range and choices of a parameter, for `ros2 param describe` and rqt."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    found = ParameterDescriptor(
        name=option.name,
        description=option.doc,
        additional_constraints="; ".join([*_constraints(option), NO_CHANGE]),
        read_only=True,
    )
    if option.low is None and option.high is None:
        return found
    if option.type is float:
        low = -_FLOAT_MAX if option.low is None else float(option.low)
        high = _FLOAT_MAX if option.high is None else float(option.high)
        found.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    elif option.type is int:
        low = -_INT_MAX if option.low is None else int(option.low)
        high = _INT_MAX if option.high is None else int(option.high)
        found.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return found


def render_yaml() -> str:
    """The parameter file with every parameter's default, description and range."""
    lines = [
        "# Every parameter of the node, with its default. Made from gnesf_model/config.py by",
        "#   python -m gnesf_ros.parameters > config/gnesf.yaml",
        "# `gnesf map --config` reads the same file.",
        "/**:",
        "  ros__parameters:",
    ]
    section: tuple[str, ...] = ()
    for option in Config.options():
        *parents, leaf = option.name.split(".")
        for depth, parent in enumerate(parents):
            if section[: depth + 1] != tuple(parents[: depth + 1]):
                lines += ["", f"{'  ' * (depth + 2)}{parent}:"]
        section = tuple(parents)
        indent = "  " * (len(parents) + 2)
        text = " ".join([option.doc, *(f"({c})" for c in _constraints(option))])
        lines += textwrap.wrap(text, 112, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        lines.append(f"{indent}{leaf}: {_yaml_value(option.default)}")
    return "\n".join(lines) + "\n"


def _constraints(option: Option) -> list[str]:
    """Range and choices in words."""
    words = []
    low, high = option.low, option.high
    if low is not None and high is not None:
        words.append(f"{low:g} to {high:g}")
    elif low is not None:
        words.append(f"at least {low:g}")
    elif high is not None:
        words.append(f"at most {high:g}")
    if option.choices:
        words.append(f"one of: {', '.join(option.choices)}")
    return words


def _yaml_value(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
    return '""' if value == "" else text


if __name__ == "__main__":
    sys.stdout.write(render_yaml())
