"""`gnesf bag`: any recording as a standard ROS 2 bag."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from gnesf_model.config import Config, parse_overrides
from gnesf_model.data.bag_target import MCAP_SUFFIX
from gnesf_model.data.bag_writer import TOPICS, write_bag
from gnesf_model.data.source import ACCEPTED, open_source
from gnesf_model.geometry import pose_from_quaternion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = f"Topics written: {', '.join(TOPICS)}."
    parser.add_argument("source", metavar="SOURCE", help=ACCEPTED)
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help=f"folder of the bag, or one file if the name ends in {MCAP_SUFFIX}; must not exist",
    )
    parser.add_argument("--pose-dir", default="pose", metavar="NAME", help="folder of poses (default pose)")
    parser.add_argument("--labels", metavar="DIR", help="ground truth label images of the recording")
    parser.add_argument("--labels-out", metavar="DIR", help="write ground truth as <stamp_ns>.png, for oracle:DIR")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format")
    parser.add_argument(
        "--depth-encoding",
        choices=("auto", "16UC1", "32FC1"),
        default="auto",
        help="16UC1 millimetres or 32FC1 metres; auto: millimetres where they lose nothing",
    )
    parser.add_argument(
        "--body-T-camera",
        type=float,
        nargs=7,
        metavar=("X", "Y", "Z", "QX", "QY", "QZ", "QW"),
        help="pose of the optical frame in base_link, for a tilted camera",
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="key=value", help="one setting")


def run(arguments: argparse.Namespace) -> int:
    """Write the bag."""
    config = Config.from_flat(parse_overrides(arguments.overrides))
    source = open_source(
        arguments.source, config=config.input, labels_dir=arguments.labels, pose_dir=arguments.pose_dir
    )
    body = arguments.body_T_camera
    with tqdm(total=len(source), desc="writing", unit="frame") as bar:
        write_bag(
            source,
            arguments.out,
            storage=arguments.storage,
            depth_encoding=arguments.depth_encoding,
            body_T_camera=None if body is None else pose_from_quaternion(body[:3], body[3:]),
            labels_dir=arguments.labels_out,
            progress=bar.update,
        )
    return 0
