"""Finds the files which are shipped beside the code: label spaces and configurations."""

from __future__ import annotations

from pathlib import Path

_SOURCE_TREE = Path("config")
_INSTALLED = Path("share") / "gnesf_ros" / "config"


def config_dir() -> Path:
    """Folder which holds `labels/*.yaml` and the default configurations.

    Walks up from this file to the first folder that has `config/labels` (a source tree or an
    editable install) or `share/gnesf_ros/config/labels` (pip or colcon install prefix).

    Raises:
        OSError: none of the parents has one; names the folders searched and the remedy.
    """
    return _find_config(Path(__file__))


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
