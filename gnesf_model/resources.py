"""Finds the files which are shipped beside the code, and reads YAML with errors that help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_SOURCE_TREE = Path("config")
_INSTALLED = Path("share") / "gnesf_ros" / "config"
_MOST_BYTES, _MOST_VALUES, _DEEPEST = 200_000, 100_000, 50
"""Of a YAML file; the longest that is shipped has 320 lines. Nine aliases of nine aliases of ... fill any memory."""


def config_dir() -> Path:
    """Folder which holds `labels/*.yaml` and the default configurations.

    Walks up from this file to the first folder that has `config/labels` (a source tree or an
    editable install) or `share/gnesf_ros/config/labels` (pip or colcon install prefix).

    Raises:
        OSError: none of the parents has one; names the folders searched and the remedy.
    """
    return _find_config(Path(__file__))


def weights_dir() -> Path:
    """Folder of the networks that come with the package: they lie beside the code."""
    return Path(__file__).resolve().parent / "weights"


def _find_config(start: Path) -> Path:
    """`config_dir` for a module file `start`; links are followed only if the plain path fails."""
    searched: list[Path] = []
    for file in dict.fromkeys((start.absolute(), start.resolve())):
        for parent in file.parents:
            for relative in (_SOURCE_TREE, _INSTALLED):
                candidate = parent / relative
                if (candidate / "labels").is_dir():
                    return candidate
            searched.append(parent)
    folders = ", ".join(str(path) for path in dict.fromkeys(searched))
    raise OSError(
        f"no configuration folder found: neither '{_SOURCE_TREE}/labels' nor "
        f"'{_INSTALLED}/labels' exists in any of {folders}. Reinstall the package "
        "('pip install .' or 'colcon build') or run it from a complete source tree"
    )


def read_yaml(path: Path, most_bytes: int = _MOST_BYTES) -> Any:
    """Plain data (no objects) of a YAML file that has at most so many bytes.

    Raises:
        ValueError: the file is not valid YAML, or larger than any that belongs to this package; names it.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        text = file.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise ValueError(f"{path} has more than {most_bytes} bytes, which no file that is read here needs")
    if _depth(text) > _DEEPEST:  # PyYAML takes the square of the depth, in hours for what fits the file
        raise ValueError(f"{path} is not valid YAML: brackets are nested more than {_DEEPEST} deep")
    try:
        data = yaml.safe_load(text.decode("utf-8"))
    except MemoryError:
        raise
    except Exception as error:  # PyYAML raises whatever a value of the wrong kind or a deep nesting leads to
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not _is_small(data):
        raise ValueError(f"{path} has more than {_MOST_VALUES} values: do its aliases (&, *) repeat each other?")
    return data


def _depth(text: bytes) -> int:
    """How deep brackets are nested, those in quotes counted, too."""
    deepest = depth = 0
    for bracket in re.findall(rb"[\[\]{}]", text):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _is_small(data: Any) -> bool:
    """Whether there are at most `_MOST_VALUES` values in it, those of repeated aliases counted again."""
    waiting, count = [data], 1
    while waiting:
        item = waiting.pop()
        if isinstance(item, (dict, list, tuple, set)):
            count += len(item)
            if count > _MOST_VALUES:
                return False
            waiting.extend(item.values() if isinstance(item, dict) else item)
    return True


def check_keys(data: Any, required: set[str], optional: set[str], where: str = "") -> None:
    """Check that `data` is a mapping with all `required` keys and no others than `optional` ones.

    Raises:
        ValueError: it is not; begins with `where`, says what is missing or not known.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where}found {data!r}; expected a mapping with {sorted(required)}")
    missing = required - set(data)
    if missing:
        names = ", ".join(sorted(missing))
        raise ValueError(f"{where}the field {names} is missing in {data!s:.200}")
    unknown = {str(key) for key in data} - required - optional
    if unknown:
        raise ValueError(
            f"{where}unknown field {', '.join(sorted(unknown))}; expected {', '.join(sorted(required | optional))}"
        )
