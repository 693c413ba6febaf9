"""Finds out which label space a network speaks, from the names of its classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gnesf_model.labels import SHIPPED, LabelClass, LabelSpace

_SHOWN = 40


def recognise(names: Sequence[str]) -> LabelSpace | None:
    """The shipped label space with these class names in this order, or None.

    Case, '-', '_' and spaces do not matter. A name may list synonyms ('door, double door'), of
    which one must be the class's name or alias. A space which counts from 1 (NYU40) may have one
    channel for 'unlabelled' in front.
    """
    for shipped in SHIPPED:
        space = LabelSpace.load(shipped)
        skipped = len(names) - len(space)
        if skipped in (0, space.first_id) and not _differences(space, names[skipped:]):
            return space
    return None


def not_recognised(network: str, names: Sequence[str]) -> ValueError:
    """The error for a network whose classes are no shipped space: what they are, what to do."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    near = ""
    for shipped in SHIPPED:
        space = LabelSpace.load(shipped)
        different = _differences(space, names) if len(space) == len(names) else []
        if different and len(different) <= len(names) // 2:
            index = different[0]
            near = (
                f" They differ from '{shipped}' in {len(different)} places, first at {index}: "
                f"'{names[index]}' instead of '{space.names[index]}'."
            )
    return ValueError(
        f"{network} has {len(names)} classes which are no known label space: {shown}{more}.{near} "
        "Name the one with which it was trained (option segmenter.labels: a YAML label space with "
        f"'maps', or one of {', '.join(SHIPPED)}), or ask for labels 'native'"
    )


def _differences(space: LabelSpace, names: Sequence[str]) -> list[int]:
    return [
        index for index, (entry, name) in enumerate(zip(space.classes, names, strict=True)) if not _matches(entry, name)
    ]


def _matches(entry: LabelClass, name: str) -> bool:
    accepted = {_plain(own) for own in (entry.name, *entry.aliases)}
    return any(_plain(part) in accepted for part in (name, *name.split(",")))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()
