"""ROS parameters of the node, all derived from `gnesf_model.config`.

``python -m gnesf_ros.parameters > config/gnesf.yaml`` writes the parameter file, and ``python -m gnesf_ros.parameters
table > docs/parameters.md`` the table for people; they need no ROS, which is why ROS is imported only where parameters
are declared.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import yaml

from gnesf_model.config import ADJUSTABLE, Config, Option

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
    from rclpy.node import Node

RCLPY_OWN = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares in every node."""
RCLPY_PREFIX = "qos_overrides."
LIVE = (
    *ADJUSTABLE,
    *(f"node.{name}_period_s" for name in ("cloud", "image", "grid", "mesh", "voxels", "tsdf", "render", "record")),
    *(f"node.{name}" for name in ("output_share", "mesh_max_triangles", "tsdf_max_points", "render_stride")),
    *(f"occupancy.{name}" for name in ("floor_height_m", "min_height_m", "min_labelled_height_m", "max_height_m")),
    *(f"occupancy.{name}" for name in ("robot_radius_m", "max_size_m")),
)
"""Parameters that take effect at once."""
ON_ACTIVATION = ("input.", "node.use_depth", "node.image_transport", "node.depth_transport")
"""Parameters, or beginnings of their names, that are read when the node is activated; all others when configured."""
ON_CONFIGURATION = ("input.global_frame",)
"""What is none of those all the same."""
AT_START = ("node.autostart",)
"""Parameters that are read once."""

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
        given[name] = _plain(parameter.value)
    return given


def _plain(value: Any) -> Any:
    """A parameter's value as the configuration has it."""
    if value is None:
        return []  # an empty list in YAML has no type, so rclpy calls it "not set"
    return value if isinstance(value, (bool, int, float, str)) else list(value)


def descriptor(option: Option) -> ParameterDescriptor:
    """Description, range and choices of a parameter, for `ros2 param describe` and rqt."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    found = ParameterDescriptor(
        name=option.name,
        description=option.doc,
        additional_constraints="; ".join([*_constraints(option), when(option.name)[1]]),
        read_only=option.name in AT_START,
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


def when(name: str) -> tuple[tuple[str, ...], str]:
    """Phases of the node in which a parameter may change, and that in words."""
    if name in AT_START:
        return (), "read once, when the process starts"
    if name in LIVE:
        return ("unconfigured", "inactive", "active"), "takes effect at once"
    if name.startswith(ON_ACTIVATION) and name not in ON_CONFIGURATION:
        return ("unconfigured", "inactive"), "read when the node is activated: deactivate it first"
    return ("unconfigured",), "read when the node is configured: deactivate it and clean it up first"


def follow_changes(
    node: Node, current: Callable[[], Config], phase: Callable[[], str], take: Callable[[Config], None]
) -> None:
    """Let parameters change while the node runs, as far as that makes sense; refuse the rest with the reason.

    Args:
        node: whose parameters they are, declared already.
        current: gives the settings now.
        phase: gives ``unconfigured``, ``inactive`` or ``active``.
        take: takes the new settings; a ValueError refuses them.
    """
    from rcl_interfaces.msg import SetParametersResult
    from rclpy.exceptions import ParameterNotDeclaredException

    names = {option.name for option in Config.options()}

    def on_set(parameters: list[Any]) -> SetParametersResult:
        given = {p.name: _plain(p.value) for p in parameters if p.name in names}
        old = current().to_flat()
        try:
            config = Config.from_flat({**old, **given})
            changed = {name: value for name, value in config.to_flat().items() if value != old[name]}
            for name, value in changed.items():
                phases, words = when(name)
                if phase() not in phases:
                    raise ValueError(f"{name} cannot become {value!r} while the node is {phase()}: {words}")
            if changed:
                take(config)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def before_set(parameters: list[Any]) -> list[Any]:
        for parameter in parameters:
            if not node.has_parameter(parameter.name):
                # rclpy's own answer does not name it.
                raise ParameterNotDeclaredException([_unknown(parameter.name)])
        return parameters

    if hasattr(node, "add_pre_set_parameters_callback"):  # from Iron on
        node.add_pre_set_parameters_callback(before_set)
    node.add_on_set_parameters_callback(on_set)


def _unknown(name: str) -> str:
    """That there is no such parameter, with the nearest that there is."""
    try:
        Config.from_flat({name: None})
    except ValueError as error:
        return str(error)
    return name


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


def render_table() -> str:
    """docs/parameters.md: every parameter with its default, what it may be, and when it may change."""
    lines = [
        "# Parameters",
        "",
        "Made from gnesf_model/config.py by `python -m gnesf_ros.parameters table > docs/parameters.md`. The node",
        "reads them from a parameter file such as config/gnesf.yaml, `gnesf map` from `--config` and `--set`. Which",
        "may change while the node runs is explained in [node.md](node.md).",
        "",
        "| parameter | default | may be | read | meaning |",
        "|---|---|---|---|---|",
    ]
    read = {0: "at the start", 1: "when configured", 2: "when activated", 3: "at once"}
    for option in Config.options():
        constraints = "; ".join(_constraints(option)).removeprefix("one of: ")
        row = (f"`{option.name}`", f"`{_yaml_value(option.default)}`", constraints, read[len(when(option.name)[0])])
        lines.append(f"| {' | '.join([*row, option.doc])} |")
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
    sys.stdout.write(render_table() if sys.argv[1:] == ["table"] else render_yaml())
