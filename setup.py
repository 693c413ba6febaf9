"""`pip install .` without ROS: the packages, the command `gnesf`, and the configuration.

On a machine with ROS, CMakeLists.txt installs the same things; both must give the same layout.
"""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# Ranges, not pins: a Jetson, a CUDA machine and apt's ROS each bring their own builds of these. The pins that are
# tested are in constraints/. tools/ros_executable.py.in names the same requirements; a test compares the two.
REQUIREMENTS = [
    "torch>=2.4",
    "numpy>=1.26,<3",
    "opencv-python>=4.5",
    "pyyaml>=5.4",
    "scipy>=1.8",
    "tqdm>=4.57",
    "rosbags>=0.11.9,<0.12",
    "safetensors>=0.4",
    "trimesh>=4.0",
    # The bundled segmenter is one of its checkpoints.
    "transformers>=4.40",
    # The report of `gnesf eval recording`: its plots and its page.
    "matplotlib>=3.5",
    "jinja2>=3.0",
]
EXTRAS = {
    "onnx": ["onnxruntime>=1.17"],
    # `gnesf export onnx`, which compares what it has written with the network.
    "export": ["onnx>=1.16", "onnxruntime>=1.17"],
    # An extra, because some machines (Jetson among them) have no wheel of it; only viewer and benchmarks use it.
    "open3d": ["open3d>=0.18"],
    "train": ["lightning>=2.6", "torchmetrics>=1.0", "tensorboard>=2.15"],
    "dev": ["pytest==7.4.4", "pytest-timeout>=2.2", "hypothesis>=6.90", "onnx>=1.16", "ruff"],
}
EXTRAS["all"] = [*EXTRAS["export"], *EXTRAS["train"], *EXTRAS["open3d"]]


def version() -> str:
    """package.xml is the only place of the version number."""
    return re.search(r"<version>([^<]+)</version>", (ROOT / "package.xml").read_text(encoding="utf-8")).group(1)


def shared_files(*folders: str) -> list[tuple[str, list[str]]]:
    """data_files that put each folder, with its subfolders, under share/gnesf_ros as CMakeLists.txt does."""
    entries = []
    for folder in folders:
        for path, subfolders, names in os.walk(ROOT / folder):
            subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
            relative = Path(path).relative_to(ROOT)
            if names:
                entries.append((f"share/gnesf_ros/{relative}", [str(relative / name) for name in sorted(names)]))
    return entries


setup(
    name="gnesf_ros",
    version=version(),
    description="Semantic 3D mapping: a labelled TSDF map from posed images, with a ROS 2 node",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["gnesf_model", "gnesf_model.*", "gnesf_ros", "gnesf_ros.*"]),
    package_data={"gnesf_model": ["weights/*/*", "report/template/*"]},
    data_files=shared_files("config", "launch"),
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["gnesf = gnesf_model.cli:main"]},
    zip_safe=False,
)
