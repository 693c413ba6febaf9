"""Scans of ScanNet: as downloaded (.sens), or with its images extracted."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from trimesh.exchange.ply import load_ply

from gnesf_model.data.encoded import decode_rgb
from gnesf_model.data.frame_files import (
    FrameFiles,
    read_bytes,
    read_depth,
    read_matrix,
    read_pose,
    rigid_pose,
    stamp_of_frame,
)
from gnesf_model.data.scannet_labels import LABEL_SPACE, LabelImages, nyu40_index
from gnesf_model.data.sens_file import SensFile
from gnesf_model.frame import Camera, Frame, FrameDropped, clean_depth
from gnesf_model.labels import UNKNOWN

_INTRINSICS = Path("intrinsic") / "intrinsic_color.txt"

logger = logging.getLogger(__name__)


class ScanNetScan(FrameFiles[int]):
    """Frames of a folder sceneNNNN_NN of ScanNet v2 as seen by the depth camera, stamped by their number at 30 Hz::

        <scan>.sens                          as downloaded; or, extracted (used where both are there):
        color/N.jpg  depth/N.png  pose/N.txt  intrinsic/intrinsic_color.txt  intrinsic/intrinsic_depth.txt
        label-filt/N.png, or <scan>_2d-label-filt.zip   raw label ids, 16 bits, at the size of colour (optional)
        <scan>_vh_clean_2.labels.ply         the mesh, an NYU40 id per vertex (optional)

    Colour and labels are brought to the depth image by the intrinsics of both; where colour does not reach, there is no
    depth. Extrinsics are taken for the identity, as is usual. A frame whose tracking was lost (a
    pose of -inf) is dropped as ``bad_pose``.

    Args:
        folder: of one scan.
        every: take each N-th frame.

    Raises:
        OSError: files are missing.
        ValueError: files cannot be understood.
    """

    def __init__(self, folder: str | Path, *, every: int = 1) -> None:
        self.folder = Path(folder).expanduser()
        name = self.folder.resolve().name
        self._files = _ExtractedScan(self.folder) if _is_extracted(self.folder) else _only_sens(self.folder)
        for K in (self._files.color_K, self._files.depth_K):
            Camera.from_matrix(K, 1, 1)  # refuses zeros and NaN before the first frame
        self._labels = LabelImages(self.folder, name)
        self._mesh = self.folder / f"{name}_vh_clean_2.labels.ply"
        super().__init__(name, self._files.numbers[::every], LABEL_SPACE if self._labels else None)

    @property
    def has_labelled_points(self) -> bool:
        """Whether the labelled mesh is there."""
        return self._mesh.is_file()

    def labelled_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (N, 3) float64 of the labelled mesh and their classes (N,) uint8 in `LABEL_SPACE`.

        Raises:
            OSError, ValueError: the mesh cannot be read, or has no labels.
        """
        data = self._mesh.read_bytes()
        try:
            vertices = load_ply(io.BytesIO(data))["metadata"]["_ply_raw"]["vertex"]["data"]
            points = np.stack([np.asarray(vertices[axis], np.float64).reshape(-1) for axis in "xyz"], axis=1)
            labels = nyu40_index(np.asarray(vertices["label"]).reshape(-1))
        except Exception as error:  # a damaged PLY fails in many ways within trimesh
            raise ValueError(f"{self._mesh} is no mesh with a label per vertex: {error!r}") from error
        if len(labels) != len(points) or not np.isfinite(points).all():
            raise ValueError(
                f"{self._mesh} has {len(points)} vertices and {len(labels)} labels, expected one for each, all finite"
            )
        return points, labels

    def _frame(self, number: int) -> Frame:
        pose = rigid_pose(self._files.pose(number))
        depth = clean_depth(self._files.depth(number), self._files.depth_unit_m)
        rgb = decode_rgb(self._files.color(number))
        labels = self._labels(number)
        if labels is not None and labels.shape != rgb.shape[:2]:
            raise FrameDropped(
                "label_size", f"label image of frame {number} is {labels.shape}, expected {rgb.shape[:2]} as colour"
            )
        color = Camera.from_matrix(self._files.color_K, rgb.shape[1], rgb.shape[0])
        camera = Camera.from_matrix(self._files.depth_K, depth.shape[1], depth.shape[0])
        if color != camera:
            seen = _seen(color, camera)
            depth = np.where(seen, depth, np.float32(0))
            rgb = _resample(*_shrunk(rgb, color, camera), camera, cv2.INTER_LINEAR)
            if labels is not None:
                labels = np.where(seen, _resample(labels, color, camera, cv2.INTER_NEAREST), np.uint8(UNKNOWN))
        return Frame(stamp_of_frame(number), rgb, camera, pose, depth, labels)


def is_scan(folder: Path) -> bool:
    """Whether a folder is laid out as a scan of ScanNet."""
    return folder.is_dir() and (_is_extracted(folder) or any(folder.glob("*.sens")))


def find_scans(path: Path, split: Path | None = None) -> list[Path]:
    """The scans in a folder, in its ``scans/``, or the folder itself.

    Args:
        path: folder.
        split: file with the name of a scan per line, such as scannetv2_val.txt; only these, and all of them.

    Raises:
        OSError: no scan, or one of the split is missing.
    """
    if is_scan(path):
        found = {path.resolve().name: path}
    else:
        root = path / "scans" if (path / "scans").is_dir() else path
        found = {folder.name: folder for folder in sorted(root.glob("scene*")) if is_scan(folder)}
    if not found:
        raise FileNotFoundError(
            f"{path} holds no scan of ScanNet (a folder sceneNNNN_NN with a .sens file, or with its images)"
        )
    if split is None:
        return list(found.values())
    names = split.read_text(encoding="utf-8").split()
    missing = [name for name in names if name not in found]
    if missing or not names:
        some = f"{', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}" if names else "none: it is empty"
        raise FileNotFoundError(f"of the {len(names)} scans that {split} names, {path} lacks {len(missing)}: {some}")
    return [found[name] for name in names]


def room_of(name: str) -> str:
    """The room of a scan: sceneNNNN of sceneNNNN_NN."""
    return name.split("_")[0]


class _ExtractedScan:
    """The images that ScanNet's exporter writes; the same as `SensFile` gives."""

    depth_unit_m = 0.001

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.color_K = read_matrix(folder / _INTRINSICS, "the camera matrix of colour")[:3, :3]
        self.depth_K = read_matrix(folder / _INTRINSICS.with_name("intrinsic_depth.txt"), "the camera matrix of depth")[
            :3, :3
        ]
        for name in ("depth", "pose"):
            if not (folder / name).is_dir():
                raise FileNotFoundError(f"{folder / name} does not exist: export the scan with depth and poses")
        self._images = dict(sorted(_numbered(folder / "color")))
        if not self._images:
            raise FileNotFoundError(f"{folder / 'color'} holds no image named by a number")
        self.numbers = list(self._images)

    def pose(self, number: int) -> np.ndarray:
        return read_pose(self._folder / "pose" / f"{self._images[number].stem}.txt")

    def color(self, number: int) -> bytes:
        return read_bytes(self._images[number], "unreadable_image")

    def depth(self, number: int) -> np.ndarray:
        return read_depth(self._folder / "depth" / f"{self._images[number].stem}.png")


def _is_extracted(folder: Path) -> bool:
    return (folder / "color").is_dir() and (folder / _INTRINSICS).is_file()


def _only_sens(folder: Path) -> SensFile:
    paths = sorted(folder.glob("*.sens"))
    if len(paths) != 1:
        raise ValueError(f"{folder} holds {len(paths)} .sens files, expected the one of a scan")
    found = SensFile(paths[0])
    if found.moved:
        logger.warning("%s states that its cameras are apart; they are taken for one, as usual", paths[0])
    return found


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.stem.isascii() and path.stem.isdecimal():
            yield int(path.stem), path


def _shrunk(rgb: np.ndarray, color: Camera, camera: Camera) -> tuple[np.ndarray, Camera]:
    """A colour image averaged over areas down to the pixels of another camera, and the camera that it then has."""
    width = min(color.width, max(1, round(color.width * camera.fx / color.fx)))
    height = min(color.height, max(1, round(color.height * camera.fy / color.fy)))
    x, y = width / color.width, height / color.height
    small = Camera(width, height, color.fx * x, color.fy * y, (color.cx + 0.5) * x - 0.5, (color.cy + 0.5) * y - 0.5)
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), small


def _resample(image: np.ndarray, own: Camera, camera: Camera, interpolation: int) -> np.ndarray:
    """What `camera` sees of the image of a camera at the same place."""
    x, y = own.fx / camera.fx, own.fy / camera.fy
    from_camera = np.array([[x, 0.0, own.cx - x * camera.cx], [0.0, y, own.cy - y * camera.cy]])
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        image, from_camera, (camera.width, camera.height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _seen(color: Camera, camera: Camera) -> np.ndarray:
    """(H, W) bool: which pixels of `camera` the colour image reaches."""
    u = (np.arange(camera.width) - camera.cx) * color.fx / camera.fx + color.cx
    v = (np.arange(camera.height) - camera.cy) * color.fy / camera.fy + color.cy
    return ((v >= -0.5) & (v <= color.height - 0.5))[:, None] & ((u >= -0.5) & (u <= color.width - 0.5))
