"""Label spaces: what the classes of a segmenter, a map or a data set mean.

A class is known by its index 0..C-1: the channel of a probability map and the value of a label
image. `UNKNOWN` (255) is a value of its own in every space and never a class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gnesf_model.resources import check_keys, config_dir, read_yaml

UNKNOWN = 255
"""Label value of a pixel, point or voxel whose class is not known."""

KINDS = ("floor", "structure", "furniture", "dynamic", "other")
"""What a robot does with a class: drives on it, relies on it, avoids it, or expects it to move."""

UNKNOWN_COLOR = (0, 0, 0)


@dataclass(frozen=True)
class LabelClass:
    """One class: `id` (its index in the space), `name`, `color` (r, g, b), `kind` of `KINDS`.

    `aliases` are other names of it which networks use.

    Raises:
        ValueError: an empty name, a colour outside 0..255, an id outside 0..254, another kind.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    kind: str
    aliases: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(
                f"class {self.id!r}: name is {self.name!r}; expected a non-empty text "
                "(quote names such as 'no' or '1' in YAML)"
            )
        if not _is_int(self.id) or not 0 <= self.id < UNKNOWN:
            raise ValueError(f"class '{self.name}': id is {self.id!r}; expected an integer in 0..{UNKNOWN - 1}")
        if self.kind not in KINDS:
            raise ValueError(f"class '{self.name}': kind is {self.kind!r}; expected one of {', '.join(KINDS)}")
        color = self.color
        if (
            not isinstance(color, (tuple, list))
            or len(color) != 3
            or not all(_is_int(value) and 0 <= value <= 255 for value in color)
        ):
            raise ValueError(f"class '{self.name}': color is {color!r}; expected three integers in 0..255")
        if not isinstance(self.aliases, (tuple, list)) or not all(isinstance(alias, str) for alias in self.aliases):
            raise ValueError(f"class '{self.name}': aliases is {self.aliases!r}; expected a list of texts")
        object.__setattr__(self, "color", tuple(int(value) for value in color))
        object.__setattr__(self, "aliases", tuple(self.aliases))


@dataclass(frozen=True)
class LabelSpace:
    """An ordered list of up to 255 classes; the class at index i has `id` i.

    Args:
        name: short name, for example 'scannet20'.
        classes: the classes in index order, names unique without regard to case.
        first_id: value of index 0 in the data set's own files and networks. 1 means that those
            keep 0 for 'unlabelled' (NYU40), so that a network may have one channel more.
        maps: to other spaces: target space -> {own class name: target class name, or None}.
        origin: the file it was read from, for messages.

    Raises:
        ValueError: no class, more than 255, ids which are not 0..C-1, names given twice, a map
            from a class which does not exist.
    """

    name: str
    classes: tuple[LabelClass, ...]
    first_id: int = 0
    maps: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict, compare=False, repr=False)
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        where = f"label space '{self.name}'" + (f" ({self.origin})" if self.origin else "")
        if not 1 <= len(self.classes) <= UNKNOWN:
            raise ValueError(
                f"{where} has {len(self.classes)} classes; expected 1 to {UNKNOWN} ({UNKNOWN} means unknown)"
            )
        if not _is_int(self.first_id) or self.first_id not in (0, 1):
            raise ValueError(f"{where}: first_id is {self.first_id!r}; expected 0 or 1")
        seen: dict[str, int] = {}
        for index, entry in enumerate(self.classes):
            if entry.id != index:
                raise ValueError(
                    f"{where}: class '{entry.name}' has id {entry.id} at position {index}; "
                    "expected ids 0, 1, 2 ... in order"
                )
            key = entry.name.lower()
            if key in seen:
                raise ValueError(
                    f"{where}: the name '{entry.name}' is given twice, at {seen[key]} and {index}; "
                    "expected every class once"
                )
            seen[key] = index
        for target, mapping in self.maps.items():
            for source in mapping:
                if source.lower() not in seen:
                    raise ValueError(
                        f"{where}: the map to '{target}' names the class '{source}', which does "
                        f"not exist{_suggest(source, self.names)}"
                    )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in index order."""
        return tuple(entry.name for entry in self.classes)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of every class in index order."""
        return tuple(entry.kind for entry in self.classes)

    @property
    def colors(self) -> np.ndarray:
        """Palette (256, 3) uint8 RGB for any uint8 label image; no class = (0, 0, 0)."""
        palette = np.tile(np.array(UNKNOWN_COLOR, np.uint8), (256, 1))
        palette[: len(self)] = [entry.color for entry in self.classes]
        return palette

    def of_kind(self, kind: str) -> np.ndarray:
        """Boolean mask (C,) of the classes of `kind`. Raises ValueError for an unknown kind."""
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
        return np.array([entry.kind == kind for entry in self.classes], dtype=bool)

    def index(self, name: str) -> int:
        """Index of the class `name`, without regard to case.

        Raises:
            ValueError: no such class; suggests the nearest name.
        """
        wanted = str(name).strip().lower()
        for index, entry in enumerate(self.classes):
            if entry.name.lower() == wanted:
                return index
        raise ValueError(f"label space '{self.name}' has no class '{name}'{_suggest(str(name), self.names)}")

    @classmethod
    def load(cls, name_or_path: str | Path) -> LabelSpace:
        """Read a label space: a shipped name ('scannet20'), or the path of a YAML file.

        Args:
            name_or_path: anything which ends in .yaml or .yml is a path, the rest is a name.

        Raises:
            OSError: no such file; lists the spaces which exist.
            ValueError: the file is not a valid label space; names the file and the value.
        """
        path = _find(name_or_path)
        return cls.from_dict(read_yaml(path), str(path))

    @classmethod
    def from_dict(cls, data: Any, origin: str = "") -> LabelSpace:
        """Label space from parsed YAML: {name, first_id, maps,
        classes: [{name, color, kind, aliases}]}.

        Raises:
            ValueError: wrong fields or values; begins with `origin`.
        """
        where = f"{origin}: " if origin else ""
        try:
            check_keys(data, {"name", "classes"}, {"first_id", "maps"})
            if not isinstance(data["name"], str) or not data["name"]:
                raise ValueError(f"name is {data['name']!r}; expected a non-empty text")
            if not isinstance(data["classes"], list):
                raise ValueError(f"classes is {data['classes']!r}; expected a list")
            classes = []
            for index, entry in enumerate(data["classes"]):
                check_keys(entry, {"name", "color", "kind"}, {"aliases"}, f"class {index}: ")
                classes.append(LabelClass(index, **entry))
            maps = _check_maps(data.get("maps", {}))
            return cls(data["name"], tuple(classes), data.get("first_id", 0), maps, origin)
        except ValueError as error:
            message = str(error)
            raise ValueError(message if origin and origin in message else where + message) from error

    @classmethod
    def from_names(
        cls,
        names: Iterable[str],
        name: str = "native",
        maps: Mapping[str, Mapping[str, str | None]] | None = None,
    ) -> LabelSpace:
        """Label space of bare class names: kind and colour of the shipped class of that name.

        A name which no shipped space knows gets the kind 'other' and a colour of its own.

        Raises:
            ValueError: as for `LabelSpace`.
        """
        known: dict[str, LabelClass] = {}
        for shipped in SHIPPED:
            for entry in LabelSpace.load(shipped).classes:
                known.setdefault(entry.name.lower(), entry)
        classes = []
        for index, class_name in enumerate(names):
            entry = known.get(str(class_name).strip().lower())
            color = entry.color if entry else distinct_color(index)
            classes.append(LabelClass(index, class_name, color, entry.kind if entry else "other"))
        return cls(name, tuple(classes), 0, _check_maps(maps or {}))


SHIPPED = ("scannet20", "nyu40", "ade20k150", "coco_panoptic", "replica")
"""Label spaces in config/labels, in the order in which a class name is looked up."""


@dataclass(frozen=True, eq=False)
class LabelMapping:
    """How the classes of `source` become classes of `target`.

    `matrix` (C_target, C_source) float32 of 0 and 1: target probabilities = matrix @ source
    probabilities. A column holds one 1, or none where the class has no counterpart; its mass
    becomes part of the unknown remainder 1 - sum.
    """

    source: LabelSpace
    target: LabelSpace
    matrix: np.ndarray

    @property
    def lookup(self) -> np.ndarray:
        """Table (256,) uint8 from source label values to target label values; unmapped = 255."""
        table = np.full(256, UNKNOWN, np.uint8)
        mapped = self.matrix.sum(axis=0) > 0
        table[: len(self.source)] = np.where(mapped, self.matrix.argmax(axis=0), UNKNOWN)
        return table

    def then(self, following: LabelMapping) -> LabelMapping:
        """This mapping followed by another from its target. Raises ValueError if they differ."""
        if self.target != following.source:
            raise ValueError(
                f"cannot chain a mapping to '{self.target.name}' with one from "
                f"'{following.source.name}'; expected the same label space"
            )
        return LabelMapping(self.source, following.target, following.matrix @ self.matrix)

    @classmethod
    def between(cls, source: LabelSpace, target: LabelSpace) -> LabelMapping:
        """The mapping which the source's file declares; the identity for equal spaces.

        A declared map to a third space whose own file leads on to the target is followed too.

        Raises:
            ValueError: none is declared (says which are), or it names an unknown class.
            OSError: a third space it goes through has no file.
        """
        if source.names == target.names:
            return cls(source, target, np.eye(len(source), dtype=np.float32))
        direct = source.maps.get(target.name)
        if direct is not None:
            return cls._declared(source, target, direct)
        for via_name, via_map in source.maps.items():
            via = LabelSpace.load(via_name)
            if target.name in via.maps or via.names == target.names:
                first = cls._declared(source, via, via_map)
                return first.then(cls.between(via, target))
        declared = ", ".join(sorted(source.maps)) or "none"
        raise ValueError(
            f"no mapping from label space '{source.name}' to '{target.name}'; it declares maps to: "
            f"{declared}. Add 'maps: {{{target.name}: {{source class: target class}}}}' to "
            f"{source.origin or 'its file'}, or ask for labels 'native'"
        )

    @classmethod
    def _declared(cls, source: LabelSpace, target: LabelSpace, mapping: Mapping[str, str | None]) -> LabelMapping:
        matrix = np.zeros((len(target), len(source)), dtype=np.float32)
        for source_name, target_name in mapping.items():
            if target_name is None:
                continue
            try:
                matrix[target.index(target_name), source.index(source_name)] = 1.0
            except ValueError as error:
                where = source.origin or f"label space '{source.name}'"
                raise ValueError(f"{where}: map to '{target.name}': {error}") from None
        return cls(source, target, matrix)


def distinct_color(index: int) -> tuple[int, int, int]:
    """A colour (r, g, b) for the class `index`; different for every index in 0..254."""
    value, color = index + 1, [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            color[channel] |= ((value >> channel) & 1) << bit
        value >>= 3
    return color[0], color[1], color[2]


def _find(name_or_path: str | Path) -> Path:
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise OSError(f"label space file {path} does not exist")
        return path
    folder = config_dir() / "labels"
    path = folder / f"{name_or_path}.yaml"
    if path.is_file():
        return path
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    raise OSError(
        f"no label space '{name_or_path}' in {folder}{_suggest(str(name_or_path), known)}; "
        f"expected one of {', '.join(known)}, or the path of a YAML file"
    )


def _suggest(name: str, names: Iterable[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_maps(maps: Any) -> dict[str, dict[str, str | None]]:
    """{target space: {source class: target class or None}}, or ValueError."""
    if not isinstance(maps, Mapping):
        raise ValueError(f"maps is {maps!r}; expected {{target space: {{class: target class}}}}")
    for target, mapping in maps.items():
        if not isinstance(target, str) or not isinstance(mapping, Mapping):
            raise ValueError(f"maps: {target!r}: {mapping!r}; expected {{source class: target class or null}}")
        for source, value in mapping.items():
            if not isinstance(source, str) or not (value is None or isinstance(value, str)):
                raise ValueError(f"maps: {target}: {source!r}: {value!r}; expected class names or null")
    return {target: dict(mapping) for target, mapping in maps.items()}
