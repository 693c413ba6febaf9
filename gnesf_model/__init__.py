"""Semantic 3D mapping without ROS: posed images in, a labelled TSDF map out."""

import os
import re
from importlib import metadata
from pathlib import Path

# Read when torch is loaded, which comes after this. By default its threads wait for each other at work for long: on
# cores that something else uses, too, a picture took 15 times as long (docs/performance.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def _version() -> str:
    """The number in package.xml: read from the file in a checkout, from what was installed elsewhere."""
    package_xml = Path(__file__).resolve().parent.parent / "package.xml"
    if package_xml.is_file():
        return re.search(r"<version>([^<]+)</version>", package_xml.read_text(encoding="utf-8")).group(1)
    return metadata.version("gnesf_ros")


__version__ = _version()
