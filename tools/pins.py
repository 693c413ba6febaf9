"""Resolve the newest versions that go together on this Python and write constraints/py3.X.txt.

usage: make pins PYTHON=python3.12

torch and the CUDA libraries it brings are left out: which build of torch is right differs between machines, so
the Makefile's TORCH says it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHOSEN_BY_MACHINE = re.compile(r"^(torch|triton|nvidia-.*|cuda-.*)$")
# Build tools that pip itself needs in the environment, before anything is resolved.
TOOLS = ["pip<26", "setuptools<81", "wheel"]


def resolve(requirements: list[str]) -> dict[str, str]:
    """Name -> version of everything pip would install into an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = subprocess.run([*command, *requirements], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    found = {}
    for item in json.loads(report)["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        found[name] = item["metadata"]["version"]
    return found


def main(torch: str) -> None:
    versions = resolve([torch, *TOOLS, "-r", "tools/ros_jazzy.txt", ".[all,dev]"])
    lines = [
        f"{name}=={version}"
        for name, version in sorted(versions.items())
        if name != "gnesf-ros" and not CHOSEN_BY_MACHINE.match(name)
    ]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    header = f"# Written by `make pins` with Python {python} and {torch}; torch itself is chosen in the Makefile.\n"
    target = ROOT / "constraints" / f"py{python}.txt"
    target.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target.relative_to(ROOT)}: {len(lines)} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
