"""Semantic 3D mapping without ROS: posed images in, a labelled TSDF map out."""

import re
from importlib import metadata
from pathlib import Path


def _version() -> str:
    """The number in package.xml: read from the file in a checkout, from what was installed elsewhere."""
    package_xml = Path(__file__).resolve().parent.parent / "package.xml"
    if package_xml.is_file():
        return re.search(r"<version>([^<]+)</version>", package_xml.read_text(encoding="utf-8")).group(1)
    return metadata.version("gnesf_ros")


__version__ = _version()
