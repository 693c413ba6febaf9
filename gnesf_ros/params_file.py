"""What a ROS 2 parameter file says to a node, for launch files that have to know it before the node runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_PARAMETERS = "ros__parameters"
_WILDCARDS = {"/**": r"(/\w+)*", "/*": r"/\w+"}


def value_in(path: str | Path, node: str, parameter: str) -> Any:
    """The value of a parameter, by the rules of rcl: sections whose name fits the node count, the last of them wins.

    Args:
        path: the file.
        node: fully qualified name, e.g. /robot1/gnesf.
        parameter: dotted name.

    Returns:
        None where the file says nothing of it, or cannot be read: that is for the node to tell, which reads it anyway.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    found = None
    for name, settings in _sections(tree):
        pattern = "".join(_WILDCARDS.get(part) or re.escape(part) for part in re.findall(r"/[^/]*", name))
        if re.fullmatch(pattern, node):
            found = _flat(settings).get(parameter, found)
    return found


def _sections(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names of nodes, which may be spread over several levels, and what is set for them."""
    for key, below in tree.items() if isinstance(tree, dict) else ():
        if key == _PARAMETERS:
            yield name, below
        else:
            yield from _sections(below, f"{name}/{str(key).strip('/')}")


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items() if isinstance(tree, dict) else ():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
