"""Every setting, once: dataclasses whose defaults work and whose texts become parameter help.

`config/gnesf.yaml`, the ROS parameters and the options of `gnesf map --set` are all derived from the
classes below, so a default or a range is written in one place only.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from gnesf_model.resources import read_yaml

_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")
_SCIENTIFIC = re.compile(r"[-+]?\d+e[-+]?\d+", re.IGNORECASE)


def option(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    length: tuple[int, ...] = (),
) -> Any:
    """A dataclass field with its description, inclusive range, choices or allowed list lengths."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "length": length}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One leaf of the configuration tree, as parameters and help texts need it."""

    name: str
    """Dotted name, e.g. ``volume.voxel_size_m``."""
    type: type
    default: Any
    doc: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]


class Section:
    """Base of the configuration dataclasses: checks types, ranges and choices when made."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Section):
                continue
            object.__setattr__(self, item.name, _checked(item, hints[item.name], value))


def _checked(item: dataclasses.Field, kind: Any, value: Any) -> Any:
    meta, name = item.metadata, item.name
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    plain = list if kind in (list[float], list[str]) else kind
    if not isinstance(value, plain) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r} ({type(value).__name__}), expected {_type_name(kind)}: {meta['doc']}")
    if kind == list[str]:
        if not all(isinstance(v, str) for v in value):
            raise ValueError(f"{name} is {value!r}, expected a list of names: {meta['doc']}")
        return list(value)
    if plain is list:
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
            raise ValueError(f"{name} is {value!r}, expected a list of numbers: {meta['doc']}")
        value = [float(v) for v in value]
        if meta["length"] and len(value) not in meta["length"]:
            raise ValueError(
                f"{name} has {len(value)} numbers, expected {' or '.join(map(str, meta['length']))}: {meta['doc']}"
            )
    for number in value if plain is list else [value]:
        if isinstance(number, float) and number != number:
            raise ValueError(f"{name} is NaN: {meta['doc']}")
        low, high = meta["low"], meta["high"]
        if (low is not None and number < low) or (high is not None and number > high):
            raise ValueError(f"{name} is {value}, expected {_range(low, high)}: {meta['doc']}")
    if meta["choices"] and value not in meta["choices"]:
        raise ValueError(
            f"{name} is {value!r}, expected one of {', '.join(meta['choices'])}{_nearest(value, meta['choices'])}"
        )
    return value


def _type_name(kind: Any) -> str:
    if kind == list[str]:
        return "a list of names"
    return "a list of numbers" if kind == list[float] else f"a value of type {kind.__name__}"


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} to {high}"


def _nearest(name: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" (nearest: {match[0]})" if match else ""


@dataclass(frozen=True)
class InputConfig(Section):
    """How messages, live or in a bag, become frames."""

    global_frame: str = option("odom", "Frame in which the map is built (REP-105).")
    pose_source: str = option(
        "auto",
        "Where the camera's pose comes from; auto takes the first of pose, pose_with_covariance, transform, odom, tf "
        "that is published.",
        choices=("auto", "pose", "pose_with_covariance", "transform", "odom", "tf"),
    )
    pose_frame: str = option(
        "camera_optical",
        "Frame whose pose PoseStamped and PoseWithCovarianceStamped give: camera_optical (that of the image), "
        "camera_link (x forward, at the image's frame by REP-103) or the name of a TF frame.",
    )
    body_T_camera: list[float] = option(
        [],
        "Pose of the optical frame in the pose's frame as x, y, z, qx, qy, qz, qw; used instead of "
        "/tf_static when not empty.",
        length=(0, 7),
    )
    sync_tolerance_s: float = option(
        0.02, "Largest gap between the stamps of a colour and a depth image, s.", low=0.0, high=1.0
    )
    pose_wait_s: float = option(
        0.5, "How long a frame waits for poses on both sides of its stamp, s.", low=0.0, high=60.0
    )
    max_pose_gap_s: float = option(
        0.5, "Poses further apart than this are not interpolated between, s.", low=0.001, high=60.0
    )
    pose_jump_m: float = option(
        0.5,
        "From one image to the next the camera moves no further than this plus 3 m for every second between them; "
        "what moves further is a jump (loop closure, relocalisation), m; 0: no limit.",
        low=0.0,
        high=1000.0,
    )
    on_pose_jump: str = option(
        "warn",
        "What a pose jump does to the map, which does not deform: warn goes on, pause maps nothing until mapping is "
        "resumed, reset empties the map and goes on.",
        choices=("warn", "pause", "reset"),
    )
    rectified: str = option(
        "auto",
        "Whether images come without lens distortion, so that P of their camera info counts and not K and D; auto: "
        "those do whose topic's name has image_rect in it.",
        choices=("auto", "always", "never"),
    )
    depth_registered: str = option(
        "auto",
        "auto: depth in another frame, or with other intrinsics by its camera info, is refused; always: every depth "
        "image is taken as registered to colour.",
        choices=("auto", "always"),
    )
    depth_unit_m: float = option(0.001, "Metres per unit of a 16-bit depth image.", low=1e-6, high=1.0)
    cameras: list[str] = option(
        [],
        "Names of several cameras, e.g. [front, rear]; each then has its own topics, front/color/image_raw and so on, "
        "and all of them one map. Empty: one camera.",
    )
    color_topic: str = option("", "Colour topic of a bag; empty: found by type.")
    camera_info_topic: str = option("", "Camera info topic of a bag; empty: beside the colour topic.")
    depth_topic: str = option("", "Depth topic of a bag; empty: found by type and encoding.")
    pose_topic: str = option("", "Pose or odometry topic of a bag; empty: found by type.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("global_frame", "pose_frame"):
            # ROS 1 wrote /map; tf2 refuses a name that begins with a slash. Frames in messages are read the same way.
            frame = getattr(self, name).lstrip("/")
            if not frame:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected the name of a frame, such as map or odom"
                )
            object.__setattr__(self, name, frame)
        for name in self.cameras:
            if not _CAMERA_NAME.fullmatch(name):
                raise ValueError(f"cameras is {self.cameras}, expected names of letters, digits and _, as in topics")
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras is {self.cameras}, expected every name once")


@dataclass(frozen=True)
class KeyframeConfig(Section):
    """Which frames vote (paper, section 4; NeuralRecon's rule)."""

    min_translation_m: float = option(
        0.1, "A frame this far from the last keyframe becomes one, m.", low=0.0, high=10.0
    )
    min_rotation_deg: float = option(
        15.0, "A frame turned this far from the last keyframe becomes one, degrees.", low=0.0, high=180.0
    )
    max_angular_rate_deg_s: float = option(
        90.0,
        "A frame that turns faster than this does not vote, degrees per second (its depth is mapped); 0: no limit.",
        low=0.0,
        high=1e6,
    )
    window: int = option(
        9,
        "Keyframes in the sliding window that geometry: rgb compares a new one with; the map remembers every vote.",
        low=1,
        high=64,
    )


@dataclass(frozen=True)
class SegmenterConfig(Section):
    """The network that segments single images."""

    model: str = option(
        "bundled",
        "ONNX file with its YAML sidecar, folder or hub id of a transformers checkpoint; bundled: the network of the "
        "demonstration, trained on procedural rooms alone; oracle:DIR: label images by stamp, for tests.",
    )
    revision: str = option(
        "", "Commit of a hub id (40 hexadecimal digits); without it a warning names the present one."
    )
    labels: str = option("", "YAML label space of a network whose classes are not recognised; empty: recognise them.")
    input_size: list[float] = option(
        [], "Height and width at which the network runs; empty: its own choice.", low=8, high=8192, length=(0, 2)
    )


@dataclass(frozen=True)
class VolumeConfig(Section):
    """The truncated signed distance function and where it lives."""

    voxel_size_m: float = option(0.04, "Edge of a voxel, m.", low=0.005, high=1.0)
    truncation_vox: float = option(
        4.0, "Distances are truncated at this many voxels on either side of the surface.", low=1.5, high=16.0
    )
    min_depth_m: float = option(0.1, "Nearer measurements are ignored, m.", low=0.0, high=100.0)
    max_depth_m: float = option(5.0, "Farther measurements are ignored, m.", low=0.1, high=100.0)
    max_weight: float = option(
        64.0, "Cap of a voxel's weight in frames, so that changes still show.", low=1.0, high=10000.0
    )
    min_weight: float = option(
        2.0, "Surface is reported where voxels were measured at least this often.", low=0.0, high=1000.0
    )
    clearing_weight: float = option(
        2.0,
        "Weight of a view that looks through a surface, in frames: what went away decays so much faster than it came. "
        "0: surfaces off the measured ones stay.",
        low=0.0,
        high=100.0,
    )
    max_map_memory_mb: float = option(
        4096.0,
        "Memory that voxels and votes may take, MB; frames that would need more are dropped, or, with disk_dir, what "
        "was seen longest ago is written out.",
        low=16.0,
        high=1e7,
    )
    disk_dir: str = option(
        "",
        "Folder on a disk that takes the part of the map seen longest ago; it is read back when the robot returns. "
        "The map is kept by the CPU then, the networks stay on the GPU. Empty: all stays in memory.",
    )
    max_map_disk_mb: float = option(
        20000.0, "With disk_dir: room on the disk that the map may take, MB.", low=16.0, high=1e7
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_depth_m >= self.max_depth_m:
            raise ValueError(
                f"min_depth_m is {self.min_depth_m} and max_depth_m {self.max_depth_m}, expected the first to be less"
            )

    @property
    def limit(self) -> tuple[str, float]:
        """What bounds the whole map: the setting's name and MB."""
        name = "max_map_disk_mb" if self.disk_dir else "max_map_memory_mb"
        return f"volume.{name}", getattr(self, name)


@dataclass(frozen=True)
class PredictedDepthConfig(Section):
    """Depth from colour alone, for geometry: rgb."""

    model: str = option("bundled", "Weights of the depth network: bundled, or a file that gnesf train depth wrote.")
    side_px: int = option(
        320, "Longer side of the image that the network looks at, px; it was trained at 256.", low=64, high=2048
    )
    views: int = option(4, "Earlier keyframes that a new one is compared with.", low=1, high=16)
    min_confidence: float = option(0.5, "Depth that is less sure than this is not mapped, 0 to 1.", low=0.0, high=1.0)
    weight: float = option(
        2.0,
        "Frames of measured depth that a keyframe of predicted depth counts as. Below volume.min_weight two keyframes "
        "must agree before there is a surface: less of it is wrong, and less of it is there.",
        low=0.1,
        high=100.0,
    )


@dataclass(frozen=True)
class SemanticsConfig(Section):
    """How single views become the classes of voxels."""

    labels: str = option(
        "scannet20",
        "Label space of the map: a name in config/labels, a YAML file, or native for the network's own.",
    )
    band_vox: float = option(
        1.5, "A view votes on voxels nearer than this to the surface it measured, voxels.", low=0.5, high=8.0
    )
    voting: str = option(
        "learned",
        "How much each view's vote counts: learned: by the neural field (eq. 3 and 4); average: all the same.",
        choices=("learned", "average"),
    )
    field: str = option("bundled", "Weights of the neural field: bundled, or a file that gnesf train field wrote.")
    field_side_px: int = option(
        160, "Longer side of the image that the neural field looks at, px; it was trained at 160.", low=32, high=2048
    )
    neighbours: str = option(
        "learned",
        "Votes that surface points take from their neighbours: learned: by the neural field; geometric: by distance, "
        "normals and colour; none.",
        choices=("learned", "geometric", "none"),
    )
    max_votes: float = option(
        60.0, "Votes that a voxel remembers at full weight; older ones fade beyond.", low=1.0, high=1e6
    )


@dataclass(frozen=True)
class OccupancyConfig(Section):
    """How the map becomes a grid to drive on."""

    resolution_m: float = option(0.05, "Edge of a cell, m; not below the voxels' edge.", low=0.01, high=1.0)
    up: str = option(
        "z",
        "Where up is in the global frame: z (REP-103), x, -x, y, -y, -z, three numbers such as '0 -1 0.2', or auto: "
        "the normal of what is labelled floor. Unless it is z, the grid is in the frame <global_frame>_level, which "
        "/tf_static describes.",
    )
    floor_height_m: list[float] = option(
        [], "Height of the floor along up in the global frame, m; empty: that of what is labelled floor.", length=(0, 1)
    )
    min_height_m: float = option(
        0.1, "Whatever is higher than this above the floor, and no higher than the robot, is an obstacle, m.",
        low=0.01, high=10.0,
    )  # fmt: skip
    min_labelled_height_m: float = option(
        0.05, "What is labelled structure or furniture is an obstacle from this height on, m.", low=0.0, high=10.0
    )
    max_height_m: float = option(1.8, "What is higher than this does not stop the robot, m.", low=0.05, high=100.0)
    robot_radius_m: float = option(
        0.0,
        "Cells nearer than this to an obstacle are occupied, too, m; 0 leaves that to the planner, as Nav2's "
        "inflation layer does it.",
        low=0.0,
        high=5.0,
    )
    max_size_m: float = option(
        200.0, "Longest side of the grid, m; what lies further out is left out.", low=1.0, high=2000.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_labelled_height_m <= self.min_height_m < self.max_height_m:
            raise ValueError(
                f"min_labelled_height_m, min_height_m and max_height_m are {self.min_labelled_height_m}, "
                f"{self.min_height_m} and {self.max_height_m}, expected them to ascend"
            )
        self.up_vector()

    def up_vector(self) -> tuple[float, float, float] | None:
        """Up in the global frame, of any length but 0; None for auto.

        Raises:
            ValueError: the text is none of those that `up` takes.
        """
        if self.up == "auto":
            return None
        sign, axis = (-1.0, self.up[1:]) if self.up.startswith("-") else (1.0, self.up)
        if axis in ("x", "y", "z"):
            return tuple(sign * (axis == name) for name in "xyz")
        try:
            numbers = tuple(float(word) for word in self.up.replace(",", " ").split())
        except ValueError:
            numbers = ()
        length = sum(number * number for number in numbers) ** 0.5
        if len(numbers) != 3 or not 1e-6 < length < 1e6:
            raise ValueError(
                f"up is {self.up!r}, expected auto, an axis such as z or -y, or three numbers such as 0 -1 0"
            )
        return numbers


@dataclass(frozen=True)
class NodeConfig(Section):
    """What only the ROS 2 node needs."""

    autostart: bool = option(
        True, "Configure and activate at once; false: wait for the transitions of a life-cycle manager."
    )
    queue: str = option(
        "newest",
        "newest: one waiting frame, the newest wins (robots); all: every frame is processed, with reliable "
        "deep subscriptions (evaluation).",
        choices=("newest", "all"),
    )
    image_transport: str = option("raw", "Colour topic: raw, or compressed (JPEG, PNG).", choices=("raw", "compressed"))
    depth_transport: str = option(
        "raw",
        "Depth topic: raw, compressedDepth (PNG, RVL) or compressed (PNG of 16 bits).",
        choices=("raw", "compressedDepth", "compressed"),
    )
    use_depth: bool = option(True, "Subscribe to the depth image.")
    cloud_period_s: float = option(1.0, "Shortest time between two semantic clouds, s.", low=0.05, high=3600.0)
    output_share: float = option(
        0.2,
        "Part of the mapping thread's time that a cloud, grid, mesh or message of voxels may take: one that takes long "
        "rests longer than its period. 1: the period alone counts.",
        low=0.01,
        high=1.0,
    )
    image_period_s: float = option(
        0.0, "Shortest time between two frames whose images and points are published, s; 0: every frame.",
        low=0.0, high=3600.0,
    )  # fmt: skip
    grid_period_s: float = option(1.0, "Shortest time between two occupancy grids, s.", low=0.05, high=3600.0)
    mesh_period_s: float = option(5.0, "Shortest time between two meshes, s.", low=0.05, high=3600.0)
    mesh_max_triangles: int = option(
        100000, "Triangles in a mesh message at most; those nearest to the camera stay.", low=1, high=10000000
    )
    voxels_period_s: float = option(
        1.0, "Shortest time between two messages of voxel blocks, s.", low=0.05, high=3600.0
    )
    tsdf_period_s: float = option(2.0, "Shortest time between two clouds of all voxels, s.", low=0.05, high=3600.0)
    tsdf_max_points: int = option(
        500000,
        "Voxels in such a cloud at most; the blocks nearest to the camera stay, of 512 voxels each.",
        low=512,
        high=100000000,
    )
    render_period_s: float = option(
        1.0, "Shortest time between two views rendered from the map, s.", low=0.0, high=3600.0
    )
    render_stride: int = option(
        2, "Views are rendered at every so many-th pixel of the colour image; 1: at its size.", low=1, high=16
    )
    record: str = option(
        "",
        "Bag (MCAP) to write results into while mapping: a folder, or one file if the name ends in .mcap; where it "
        "exists the node takes <name>_2 and so on. Empty: none.",
    )
    record_period_s: float = option(
        5.0, "Time between two clouds and grids in the recorded bag, s of the recording.", low=0.05, high=3600.0
    )
    max_queue: int = option(
        200, "Frames waiting with queue: all before new ones are dropped (and counted).", low=1, high=100000
    )


@dataclass(frozen=True)
class Config(Section):
    """All settings of the mapper and the node."""

    geometry: str = option(
        "depth",
        "depth: surface from measured depth; rgb: from depth that a network predicts from the views before.",
        choices=("depth", "rgb"),
    )
    device: str = option(
        "auto", "Where tensors live; auto takes CUDA when there is one.", choices=("auto", "cpu", "cuda")
    )
    half_precision: bool = option(
        False, "On a GPU, the field and the depth network compute in float16; transformers' networks always do."
    )
    cpu_threads: int = option(0, "Threads of torch, onnxruntime and OpenCV; 0: their own choice.", low=0, high=256)
    input: InputConfig = field(default_factory=InputConfig)
    keyframes: KeyframeConfig = field(default_factory=KeyframeConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    volume: VolumeConfig = field(default_factory=VolumeConfig)
    predicted_depth: PredictedDepthConfig = field(default_factory=PredictedDepthConfig)
    semantics: SemanticsConfig = field(default_factory=SemanticsConfig)
    occupancy: OccupancyConfig = field(default_factory=OccupancyConfig)
    node: NodeConfig = field(default_factory=NodeConfig)

    @classmethod
    def options(cls) -> list[Option]:
        """Every leaf in order of declaration, with its dotted name."""
        return list(_walk(cls, ""))

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> Config:
        """Configuration from dotted names; whatever is not named keeps its default.

        Raises:
            ValueError: unknown name (the nearest valid one is given), wrong type, or out of range.
        """
        known = [o.name for o in cls.options()]
        for name in values:
            if name not in known:
                raise ValueError(f"there is no setting {name!r}{_nearest(name, known)}; config/gnesf.yaml lists all")
        return _build(cls, "", values)

    @classmethod
    def load(cls, path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
        """Configuration from a YAML file, nested or in the form of ROS 2 parameter files.

        Args:
            path: file; ``<node>: ros__parameters: {...}`` is unwrapped.
            overrides: dotted names that win over the file.
        """
        tree = read_yaml(Path(path))
        if tree is None:
            tree = {}
        if not isinstance(tree, dict):
            raise ValueError(f"{path} holds a {type(tree).__name__}, expected a mapping of settings")
        wrapped = [v for v in tree.values() if isinstance(v, dict) and "ros__parameters" in v]
        if len(wrapped) > 1:
            raise ValueError(f"{path} configures {len(wrapped)} nodes, expected one")
        if wrapped and len(tree) > 1:
            raise ValueError(f"{path} has {sorted(map(str, tree))} side by side: put all below ros__parameters")
        if wrapped:
            inner = wrapped[0]["ros__parameters"]
            if inner is not None and not isinstance(inner, dict):
                raise ValueError(f"{path}: ros__parameters is {inner!r}, expected a mapping of settings")
            tree = dict(inner or {})
            for name in ("use_sim_time", "start_type_description_service", "qos_overrides"):
                tree.pop(name, None)  # rclpy's own
        return cls.from_flat({**_flatten(tree), **(overrides or {})})

    def to_flat(self) -> dict[str, Any]:
        """Every setting by its dotted name."""
        return _flatten(dataclasses.asdict(self))


ADJUSTABLE = (
    "input.sync_tolerance_s",
    "input.pose_wait_s",
    "input.max_pose_gap_s",
    "input.pose_jump_m",
    "input.on_pose_jump",
    "keyframes.min_translation_m",
    "keyframes.min_rotation_deg",
    "keyframes.max_angular_rate_deg_s",
    "volume.min_depth_m",
    "volume.max_depth_m",
    "volume.max_weight",
    "volume.min_weight",
    "volume.clearing_weight",
    "predicted_depth.views",
    "predicted_depth.min_confidence",
    "predicted_depth.weight",
    "semantics.band_vox",
    "semantics.max_votes",
)
"""Settings that may change from one frame to the next."""


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """``key=value`` strings (values in YAML) as dotted names and values.

    Raises:
        ValueError: no ``=``, or a value that is not YAML.
    """
    overrides = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise ValueError(f"setting {item!r} has no '=', expected key=value, e.g. volume.voxel_size_m=0.05")
        try:
            overrides[name.strip()] = _number(yaml.safe_load(text)) if text else ""
        except yaml.YAMLError as error:
            raise ValueError(f"the value of {item!r} is not valid YAML: {error}") from error
    return overrides


def _number(value: Any) -> Any:
    """A text such as 1e-3, which YAML 1.1 does not take for a number, as one."""
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)
    return value


def _walk(cls: type, prefix: str) -> Iterator[Option]:
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        kind = hints[item.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _walk(kind, f"{prefix}{item.name}.")
            continue
        default = item.default if item.default is not dataclasses.MISSING else item.default_factory()
        meta = item.metadata
        yield Option(f"{prefix}{item.name}", kind, default, meta["doc"], meta["low"], meta["high"], meta["choices"])


def _build(cls: type, prefix: str, values: dict[str, Any]) -> Any:
    arguments = {}
    for item in dataclasses.fields(cls):
        name = f"{prefix}{item.name}"
        kind = get_type_hints(cls)[item.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            arguments[item.name] = _build(kind, f"{name}.", values)
        elif name in values:
            arguments[item.name] = values[name]
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
