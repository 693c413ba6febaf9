"""ScanNet and Replica in small: folders in the layout of the data sets, written from frames of a room."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Camera, Frame
from gnesf_model.labels import UNKNOWN, LabelSpace

NYU40_IDS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39])
"""Of the 20 classes of ScanNet's benchmark, in its order."""
CROP = 2
"""Rows of the depth image, at its top and bottom, that colour does not reach, as in ScanNet."""
TABLE = "scannetv2-labels.combined.tsv"


def room_frames(seed: int = 4, count: int = 6) -> list[Frame]:
    """Frames of a room, labels in ScanNet-20, depth in whole millimetres."""
    source = RoomSource(seed, frames=count, stride=12, width=128, height=96, shading=False)
    return [replace(f, depth=np.rint(f.depth * 1000).astype(np.float32) * np.float32(0.001)) for f in source]


def raw_id(nyu40: np.ndarray) -> np.ndarray:
    """Raw ids of ScanNet (here 30 apart, so that they need 16 bits) of NYU40 ids; 0 = none."""
    return (30 * nyu40.astype(np.int64)).astype(np.uint16)


def write_table(folder: Path) -> None:
    """ScanNet's table of labels; raw id 7 has no NYU40 class."""
    rows = ["id\traw_category\tcategory\tcount\tnyu40id\tnyuClass", "7\tthing\tthing\t3\t\t"]
    rows += [f"{30 * n}\tname {n}\tname\t9\t{n}\tname" for n in range(1, 41)]
    (folder / TABLE).write_text("\n".join(rows) + "\n")


def color_of(frame: Frame) -> np.ndarray:
    """Twice as large as depth, without `CROP` rows at the top and the bottom."""
    return frame.rgb[CROP:-CROP].repeat(2, 0).repeat(2, 1)


def color_matrix(camera: Camera) -> np.ndarray:
    """(4, 4) intrinsics of `color_of`."""
    K = np.eye(4)
    K[0] = [2 * camera.fx, 0, 2 * camera.cx + 0.5, 0]
    K[1] = [0, 2 * camera.fy, 2 * (camera.cy - CROP) + 0.5, 0]
    return K


def depth_matrix(camera: Camera) -> np.ndarray:
    """(4, 4) intrinsics of depth."""
    K = np.eye(4)
    K[:3, :3] = camera.K
    return K


def millimetres(frame: Frame) -> np.ndarray:
    return np.rint(frame.depth * 1000).astype(np.uint16)


def raw_labels(frame: Frame) -> np.ndarray:
    """(2 H', 2 W) uint16 label image of ScanNet, as large as colour."""
    nyu40 = np.where(frame.labels == UNKNOWN, 0, NYU40_IDS[np.minimum(frame.labels, 19)])
    return raw_id(nyu40)[CROP:-CROP].repeat(2, 0).repeat(2, 1)


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    """PNG or JPEG."""
    bgr = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(suffix, bgr)[1].tobytes()


def sens_bytes(
    frames: list[Frame],
    *,
    version: int = 4,
    kinds: tuple[int, int] = (1, 1),
    claimed: int | None = None,
    name: bytes = b"StructureSensor",
    depth_data: dict[int, bytes] | None = None,
    lost: tuple[int, ...] = (),
) -> bytes:
    """A .sens file; colour is PNG (kind 1) or JPEG (2), depth zlib (1); frames in `lost` have a pose of -inf."""
    camera = frames[0].camera
    matrices = [color_matrix(camera), np.eye(4), depth_matrix(camera), np.eye(4)]
    color = color_of(frames[0])
    out = [struct.pack("<IQ", version, len(name)), name]
    out += [struct.pack("<16f", *m.ravel()) for m in matrices]
    out.append(struct.pack("<ii", *kinds))
    out.append(struct.pack("<IIII", color.shape[1], color.shape[0], camera.width, camera.height))
    out.append(struct.pack("<fQ", 1000.0, len(frames) if claimed is None else claimed))
    for number, frame in enumerate(frames):
        pose = np.full((4, 4), -np.inf) if number in lost else frame.world_T_cam
        image = encoded(color_of(frame), ".png" if kinds[0] == 1 else ".jpg")
        depth = (depth_data or {}).get(number, zlib.compress(millimetres(frame).tobytes()))
        out.append(struct.pack("<16f", *pose.ravel()))
        out.append(struct.pack("<QQQQ", 0, 0, len(image), len(depth)))
        out += [image, depth]
    out.append(struct.pack("<Q", 0))  # IMU frames
    return b"".join(out)


def write_labels_ply(path: Path, points: np.ndarray, nyu40: np.ndarray) -> None:
    """ScanNet's labelled mesh: binary, a colour and an NYU40 id per vertex, triangles."""
    vertex = np.dtype([("p", "<f4", 3), ("c", "u1", 4), ("label", "<u2")])
    rows = np.zeros(len(points), vertex)
    rows["p"], rows["label"] = points, nyu40
    face = np.zeros(max(len(points) - 2, 0), np.dtype([("n", "u1"), ("i", "<i4", 3)]))
    face["n"], face["i"] = 3, np.arange(len(face))[:, None] + np.arange(3)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {n}" for n in "xyz"] + [
        f"property uchar {n}" for n in ("red", "green", "blue", "alpha")
    ]
    header += ["property ushort label", f"element face {len(face)}", "property list uchar int vertex_indices"]
    path.write_bytes("\n".join([*header, "end_header\n"]).encode() + rows.tobytes() + face.tobytes())


def write_labels(scan: Path, frames: list[Frame], *, zipped: bool) -> None:
    """label-filt/, or the zip that is downloaded."""
    images = {f"label-filt/{n}.png": encoded(raw_labels(f)) for n, f in enumerate(frames)}
    if zipped:
        with zipfile.ZipFile(scan / f"{scan.name}_2d-label-filt.zip", "w") as archive:
            for name, data in images.items():
                archive.writestr(name, data)
        return
    (scan / "label-filt").mkdir()
    for name, data in images.items():
        (scan / name).write_bytes(data)


def write_sens_scan(scan: Path, frames: list[Frame], **options) -> Path:
    """A scan as downloaded, with its labels zipped; the table is not written."""
    scan.mkdir(parents=True)
    (scan / f"{scan.name}.sens").write_bytes(sens_bytes(frames, **options))
    write_labels(scan, frames, zipped=True)
    return scan


def write_extracted_scan(scan: Path, frames: list[Frame], *, suffix: str = ".jpg", lost: tuple[int, ...] = ()) -> Path:
    """A scan with its images extracted; the table is not written."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (scan / name).mkdir(parents=True)
    camera = frames[0].camera
    for name, matrix in (("color", color_matrix(camera)), ("depth", depth_matrix(camera))):
        np.savetxt(scan / "intrinsic" / f"intrinsic_{name}.txt", matrix, fmt="%f")
        np.savetxt(scan / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4), fmt="%f")
    for number, frame in enumerate(frames):
        pose = np.full((4, 4), -np.inf) if number in lost else frame.world_T_cam
        (scan / f"color/{number}.jpg").write_bytes(encoded(color_of(frame), suffix))
        (scan / f"depth/{number}.png").write_bytes(encoded(millimetres(frame)))
        np.savetxt(scan / f"pose/{number}.txt", pose.astype(np.float32), fmt="%f")
    write_labels(scan, frames, zipped=False)
    return scan


def replica_labels(frame: Frame) -> np.ndarray:
    """(H, W) uint8 ids of Replica, which count from 1, of labels in ScanNet-20."""
    names = LabelSpace.load("scannet20").names
    other = {"bookshelf": "shelf", "counter": "countertop", "otherfurniture": "bench", "shower curtain": "cloth"}
    replica = LabelSpace.load("replica")
    ids = np.zeros(256, np.uint8)
    for index, name in enumerate(names):
        ids[index] = 1 + replica.index(other.get(name, name))
    return ids[frame.labels]


def write_semantic_nerf(folder: Path, frames: list[Frame], *, labels: bool = True) -> Path:
    """A rendering as of Semantic-NeRF."""
    for name in ("rgb", "depth", "semantic_class"):
        (folder / name).mkdir(parents=True)
    for number, frame in enumerate(frames):
        (folder / f"rgb/rgb_{number}.png").write_bytes(encoded(frame.rgb))
        (folder / f"depth/depth_{number}.png").write_bytes(encoded(millimetres(frame)))
        if labels:
            (folder / f"semantic_class/semantic_class_{number}.png").write_bytes(encoded(replica_labels(frame)))
            vis = folder / f"semantic_class/vis_sem_class_{number}.png"
            vis.write_bytes(encoded(frame.rgb))
    np.savetxt(folder / "traj_w_c.txt", np.stack([f.world_T_cam.ravel() for f in frames]))
    return folder


def write_nice_slam(folder: Path, frames: list[Frame], *, camera: Camera | None = None) -> Path:
    """A rendering as of NICE-SLAM; `camera` is written to cam_params.json above."""
    (folder / "results").mkdir(parents=True)
    for number, frame in enumerate(frames):
        (folder / f"results/frame{number:06d}.jpg").write_bytes(encoded(frame.rgb, ".jpg"))
        units = np.rint(frame.depth * 6553.5).astype(np.uint16)
        (folder / f"results/depth{number:06d}.png").write_bytes(encoded(units))
    np.savetxt(folder / "traj.txt", np.stack([f.world_T_cam.ravel() for f in frames]))
    if camera is not None:
        found = {"w": camera.width, "h": camera.height, "fx": camera.fx, "fy": camera.fy, "cx": camera.cx}
        text = json.dumps({"camera": {**found, "cy": camera.cy, "scale": 6553.5}})
        (folder.parent / "cam_params.json").write_text(text)
    return folder
