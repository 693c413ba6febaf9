"""The one way to open a recording: a folder, a bag, a scene of a data set or a room, all yielding `Frame`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gnesf_model.config import InputConfig
from gnesf_model.data.bag_file import BAG_SUFFIXES
from gnesf_model.frame import Frame

ACCEPTED = (
    "a folder with color/, depth/, pose/ and intrinsics.txt; a scan of ScanNet (a folder with a .sens file, or with "
    "color/ and intrinsic/); a rendering of Replica (rgb/ and traj_w_c.txt, or results/ and traj.txt); a bag (a folder "
    "with metadata.yaml, or an .mcap or .db3 file); or rooms:SEED for a procedural room"
)

POSE_DIR = "pose"


class FrameSource(Protocol):
    """A recording that can be iterated over more than once.

    Attributes:
        name: what the recording is called in results.
        drops: images that did not become frames in the latest iteration, by reason.
        last_message: by reason, the text of its latest drop.
        label_space: name of the label space of `Frame.labels`; None without ground truth.
    """

    name: str
    drops: Counter[str]
    last_message: dict[str, str]
    label_space: str | None

    def __len__(self) -> int:
        """Images in the recording: so many frames at most."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames in the order of their stamps."""


def open_source(
    spec: str | Path,
    *,
    config: InputConfig | None = None,
    labels_dir: str | Path | None = None,
    pose_dir: str = POSE_DIR,
    need_depth: bool = True,
) -> FrameSource:
    """Open a recording.

    Args:
        spec: one of `ACCEPTED`.
        config: topics, frames and tolerances of a bag; depth unit of a folder.
        labels_dir: ground truth: by file stem for a folder (default: its ``label/``), ``<stamp_ns>.png`` for a
            bag; a procedural room and a data set have their own.
        pose_dir: which folder holds the poses of an RGB-D folder; nothing else has one.
        need_depth: False: an image of a bag whose depth is missing or does not fit is a frame all the same.

    Raises:
        ValueError, OSError: nothing of the accepted kinds, or it cannot be read; the text says what was found.
            Or an argument was given that this kind of recording has no use for.
    """
    config = config or InputConfig()
    if str(spec).startswith("rooms:"):
        _check_own_truth(str(spec), labels_dir, pose_dir)
        return _room(str(spec))
    path = Path(spec).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist, expected {ACCEPTED}")
    if path.suffix in BAG_SUFFIXES or (path.is_dir() and _is_bag(path)):
        from gnesf_model.data.bag import BagSource

        _check_no_pose_dir(f"the bag {path}", pose_dir)
        return BagSource(path, config, depth=None if need_depth else "optional", labels_dir=labels_dir)
    scene = _data_set(path)
    if scene is not None:
        _check_own_truth(str(path), labels_dir, pose_dir)
        return scene(path)
    if (path / "color").is_dir():
        from gnesf_model.data.rgbd_folder import RgbdFolder

        return RgbdFolder(path, config, pose_dir=pose_dir, labels_dir=labels_dir)
    raise ValueError(f"{path} is {_describe(path)}, expected {ACCEPTED}")


def _data_set(path: Path) -> type[FrameSource] | None:
    """What reads the data set that a folder is laid out as; an RGB-D folder is none, whatever else lies in it."""
    if not path.is_dir() or (path / "intrinsics.txt").is_file():
        return None
    from gnesf_model.data.replica import ReplicaRendering, is_rendering
    from gnesf_model.data.scannet import ScanNetScan, is_scan

    if is_scan(path):
        return ScanNetScan
    return ReplicaRendering if is_rendering(path) else None


def _room(spec: str) -> FrameSource:
    seed = spec.removeprefix("rooms:")
    if not (seed.isascii() and seed.isdecimal()):
        raise ValueError(f"{spec!r} has the seed {seed!r}, expected a whole number, e.g. rooms:0")
    from gnesf_model.data.procrooms import RoomSource

    return RoomSource(int(seed))


def _check_own_truth(what: str, labels_dir: str | Path | None, pose_dir: str) -> None:
    if labels_dir is not None:
        raise ValueError(f"{what} has its own ground truth, and labels were given ({labels_dir}): leave out --labels")
    _check_no_pose_dir(what, pose_dir)


def _check_no_pose_dir(what: str, pose_dir: str) -> None:
    if pose_dir != POSE_DIR:
        raise ValueError(f"{what} has no folder of poses, and {pose_dir!r} was named: leave out --pose-dir")


def _is_bag(folder: Path) -> bool:
    return (folder / "metadata.yaml").is_file() or any(file.suffix in BAG_SUFFIXES for file in folder.iterdir())


def _describe(path: Path) -> str:
    if path.is_file():
        return f"a file of type {path.suffix or 'without suffix'}"
    names = sorted(item.name + "/" * item.is_dir() for item in path.iterdir())
    if not names:
        return "an empty folder"
    return f"a folder with {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
