"""On what a figure was measured: machine, versions, commit and load."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from gnesf_model.machine import machine, versions

ROOT = Path(__file__).resolve().parent.parent
REDKITCHEN = ROOT.parent / "shared" / "data" / "redkitchen"
WEIGHTS = ROOT.parent / "shared" / "data" / "weights"


def describe(*packages: str) -> dict[str, Any]:
    """Processor, cores, versions of some packages, commit."""
    return {"machine": machine(), "versions": versions(*packages), "commit": _commit()}


def load() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def _commit() -> str:
    """Short hash, with + where the checkout differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + "+" * bool(
        git("diff", "--stat", "HEAD", "--", "gnesf_model")
    )
