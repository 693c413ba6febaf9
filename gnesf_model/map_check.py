"""What a map file says of its map, and whether mapping can go on from its arrays: every value is looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnesf_model import __version__
from gnesf_model.frame import FrameDropped, check_pose
from gnesf_model.labels import LabelClass, LabelSpace
from gnesf_model.mapper import MapContents, SemanticMapper

_TOLERANCE_M = 1e-9
_ROUNDING = 1e-3
"""By so much the mass of classes that are not kept may be negative: it is a difference of sums."""
_TYPES = {
    "voxel_size_m": float,
    "truncation_m": float,
    "label_space": str,
    "classes": list,
    "global_frame": str,
    "frames": int,
    "keyframes": int,
    "cameras": list,
}


class MapFileError(ValueError):
    """A file that is no map, is damaged, or does not go with the running configuration."""


def description(mapper: SemanticMapper, contents: MapContents) -> dict[str, Any]:
    """What is said of a map in its file, beside its arrays."""
    space = mapper.labels
    return {
        "written_by": f"gnesf_ros {__version__}",
        "voxel_size_m": mapper.grid.voxel_size_m,
        "truncation_m": mapper.truncation_m,
        "label_space": space.name,
        "classes": [{"name": c.name, "color": list(c.color), "kind": c.kind} for c in space.classes],
        "global_frame": mapper.config.input.global_frame,
        "frames": contents.frames,
        "keyframes": contents.keyframes,
        "cameras": list(contents.last_poses),
    }


def parsed(path: Path, text: str) -> dict[str, Any]:
    """The description in a file, with every entry of the type that `description` gives it."""
    try:
        found = json.loads(text)
        for name, kind in _TYPES.items():
            if type(found[name]) is not kind:
                raise TypeError(f"{name} is {found[name]!r}, expected a value of type {kind.__name__}")
        if min(found["frames"], found["keyframes"]) < 0 or not all(
            isinstance(entry["name"], str) for entry in found["classes"]
        ):
            raise ValueError("a count is negative, or a class has no name")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MapFileError(f"{path} cannot be used: its description is wrong ({error})") from error
    return found


def label_space(path: Path, described: dict[str, Any]) -> LabelSpace:
    """The classes of a map, from its file.

    Raises:
        MapFileError: they are none.
    """
    try:
        classes = [LabelClass(i, c["name"], c["color"], c["kind"]) for i, c in enumerate(described["classes"])]
        return LabelSpace(described["label_space"], classes)
    except (ValueError, KeyError) as error:
        raise MapFileError(f"{path} cannot be used: its description is wrong ({error})") from error


def check_fits(path: Path, described: dict[str, Any], mapper: SemanticMapper) -> None:
    """Raise `MapFileError` where mapping could not go on from the file."""
    for name, own, setting in (
        ("voxel_size_m", mapper.grid.voxel_size_m, "volume.voxel_size_m"),
        ("truncation_m", mapper.truncation_m, "volume.truncation_vox"),
    ):
        if not abs(described[name] - own) <= _TOLERANCE_M:  # which NaN is neither
            raise MapFileError(
                f"{path} has {name} {described[name]:g}, the running configuration {own:g}: set {setting} as it was "
                "when the map was made"
            )
    theirs, ours = [c["name"] for c in described["classes"]], list(mapper.labels.names)
    if theirs != ours:
        raise MapFileError(
            f"{path} has the {len(theirs)} classes of {described['label_space']!r}, the running configuration the "
            f"{len(ours)} of {mapper.labels.name!r}{_first_difference(theirs, ours)}: set semantics.labels (and the "
            "network, if that is native) as it was when the map was made"
        )


def _first_difference(theirs: list[str], ours: list[str]) -> str:
    for index, (their, our) in enumerate(zip(theirs, ours)):
        if their != our:
            return f" (class {index} is {their!r} there and {our!r} here)"
    return ""


def contents_of(
    path: Path, described: dict[str, Any], arrays: dict[str, np.ndarray], mapper: SemanticMapper
) -> MapContents:
    """The arrays as a map's contents: all there, of the right types and sizes, every value possible."""
    now = mapper.contents()
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for group, wanted in (("blocks", now.blocks), ("votes", now.votes)):
        groups[group] = {name: _array(path, f"{group}.{name}", arrays, like) for name, like in wanted.items()}
        if len({len(tensor) for tensor in groups[group].values()}) > 1:
            raise MapFileError(f"{path} is damaged: its {group} have different numbers of rows")
    blocks, votes = groups["blocks"], groups["votes"]
    poses = _array(path, "last_poses", arrays, torch.zeros(0, 4, 4, dtype=torch.float64))
    cameras = described["cameras"]
    faults = {
        "coordinates occur twice": len(blocks["coords"].unique(dim=0)) < len(blocks["coords"]),
        "a distance is beyond 1": bool((blocks["tsdf"].abs() > 1).any()),
        "a weight is negative": bool((blocks["weight"] < 0).any()),
        "votes are negative": any(bool((votes[name] < -_ROUNDING).any()) for name in votes),
        "a class does not exist": bool((votes["ids"] >= mapper.votes.classes).any()),
        "voxels and votes do not match": not _rows_match(blocks["row"], len(votes["total"])),
        "poses and cameras do not match": len(poses) != len(cameras) or len(set(map(str, cameras))) < len(cameras),
    }
    for fault, found in faults.items():
        if found:
            raise MapFileError(f"{path} cannot be used: {fault}")
    for pose in poses:
        try:
            check_pose(pose.numpy())
        except FrameDropped as error:
            raise MapFileError(f"{path} cannot be used: {error}") from error
    return MapContents(
        blocks=blocks,
        votes=votes,
        frames=described["frames"],
        keyframes=described["keyframes"],
        last_poses={str(name): pose.numpy().copy() for name, pose in zip(cameras, poses)},
    )


def _array(path: Path, name: str, arrays: dict[str, np.ndarray], like: torch.Tensor) -> torch.Tensor:
    """An array of the file as a tensor with the type and the row size of `like`."""
    if name not in arrays:
        raise MapFileError(f"{path} has no array {name!r}: it was made with another kind of map")
    array, shape = arrays[name], tuple(like.shape[1:])
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if tensor.dtype != like.dtype or tuple(tensor.shape[1:]) != shape or tensor.ndim == 0:
        raise MapFileError(
            f"{path} has {name} as {tensor.dtype} {tuple(tensor.shape)}, expected {like.dtype} with rows of {shape}"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise MapFileError(f"{path} cannot be used: {name} holds NaN or infinity")
    return tensor


def _rows_match(row: torch.Tensor, count: int) -> bool:
    """Whether the voxels' rows (N, 512) name rows 0..count-1 of the votes, each at most once, and -1."""
    used = row[row >= 0].long()
    if bool((row < -1).any()) or (len(used) and int(used.max()) >= count):
        return False
    return not len(used) or int(used.bincount(minlength=count).max()) <= 1
