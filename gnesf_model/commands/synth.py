"""`gnesf synth`: a procedural room as a recording on disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from gnesf_model.data.bag_target import MCAP_SUFFIX
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.data.procrooms.depth_sensor import SENSORS
from gnesf_model.data.procrooms.looks import LOOKS
from gnesf_model.data.procrooms.source import TRAJECTORIES

FRAMES_PER_ROOM = 150
SIZE = (320, 240)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = "Read it with `gnesf map OUT`. Labels are ScanNet-20 class ids, 255 = none."
    parser.add_argument(
        "--seed", type=int, required=True, metavar="N", help="which room; the same number, the same room"
    )
    parser.add_argument("--rooms", type=int, default=1, metavar="R", help="several rooms make a flat (default 1)")
    parser.add_argument("--frames", type=int, metavar="F", help=f"how many frames (default {FRAMES_PER_ROOM} per room)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("W", "H"),
        help=f"image size in pixels (default {SIZE[0]} {SIZE[1]}; with --recorded drawn from the seed)",
    )
    parser.add_argument("--stride", type=int, default=3, metavar="S", help="keep every S-th frame of 30 Hz (default 3)")
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="as a real camera would: intrinsics, trajectory, blur, noise, JPEG and depth sensor drawn from the seed",
    )
    parser.add_argument("--depth-sensor", choices=SENSORS, help="depth as of this sensor, not exact")
    parser.add_argument(
        "--looks", choices=LOOKS, default=LOOKS[0], help="colours, patterns and lights (default natural)"
    )
    parser.add_argument("--trajectory", choices=TRAJECTORIES, help="who carries the camera (default handheld)")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR|BAG",
        help=f"a folder with color/, depth/, label/, pose/; or a ROS 2 bag, if the name ends in {MCAP_SUFFIX}",
    )
    parser.add_argument("--labels-out", metavar="DIR", help="label images of a bag, for the segmenter oracle:DIR")


def run(arguments: argparse.Namespace) -> int:
    """Render the room and write it."""
    out = arguments.out.expanduser()
    is_bag = out.suffix == MCAP_SUFFIX
    if arguments.labels_out and not is_bag:
        raise ValueError(f"--labels-out {arguments.labels_out} is for bags; the folder {out} gets label/ by itself")
    source = _source(arguments)
    with tqdm(total=len(source), desc=source.scene.name, unit="frame") as bar:
        if is_bag:
            from gnesf_model.data.bag_writer import write_bag

            write_bag(source, out, labels_dir=arguments.labels_out, progress=bar.update)
        else:
            write_folder(source, out, progress=bar.update)
    return 0


def _source(arguments: argparse.Namespace) -> RoomSource:
    size = tuple(arguments.size) if arguments.size else None
    frames = FRAMES_PER_ROOM * max(arguments.rooms, 1) if arguments.frames is None else arguments.frames
    if arguments.recorded:
        if arguments.depth_sensor or arguments.trajectory:
            raise ValueError("--recorded draws the depth sensor and the trajectory: leave out what else asks for them")
        return RoomSource.as_recorded(arguments.seed, frames, size, arguments.stride, arguments.rooms, arguments.looks)
    width, height = size or SIZE
    return RoomSource(
        arguments.seed,
        frames=frames,
        width=width,
        height=height,
        stride=arguments.stride,
        depth_noise=arguments.depth_sensor or False,
        rooms=arguments.rooms,
        looks=arguments.looks,
        trajectory=arguments.trajectory or "handheld",
    )
