"""The commands that documents tell their readers to type, and the least work of which benchmarks make figures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TINY = {
    "end_to_end": "--frames 6 --long-frames 6 --threads 1",
    "field": "--frames 60 --threads 1 --side 64",
    "gpu": "--device cpu --frames 3 --room --ceiling 0.01",
    "growth": "--sizes 2 4 --views 3 --width 96",
    "keyframe": "--rounds 1 --frames 16 --long-frames 16 --warm-up 1 --threads 1",
    "node": "--frames 8",
    "oracle": "--frames 3",
    "rooms": "--seeds 1 --size 64 48",
    "stages": "--frames 6 --long-frames 6 --network bundled --threads 1",
    "tsdf": "--rounds 1 --frames 6 --long-frames 6 --warm-up 2 --threads 1",
}
"""Options of each benchmark; behind others they take the place of the same ones."""


def text(document: str) -> str:
    """Of a file in docs/."""
    return (ROOT / "docs" / document).read_text(encoding="utf-8")


def lines(document: str) -> list[str]:
    """The lines of a document's code blocks that call gnesf."""
    return [line.strip() for line in text(document).splitlines() if line.startswith("    gnesf ")]


def inline(document: str) -> list[str]:
    """The commands between backticks that begin with ``gnesf eval`` and give some option a value.

    Less than that is the name of a command and no command.
    """
    found = re.findall(r"`(gnesf eval [^`]+)`", text(document))
    return [" ".join(command.split()) for command in found if re.search(r"--[\w-]+ [^-\s]", command)]


def bench_arguments(document: str) -> list[list[str]]:
    """Of every ``make bench``, in a code block or between backticks: a benchmark and its options, or nothing."""
    blocks = re.findall(r"^    (make bench\b[^#\n]*)", text(document), re.MULTILINE)
    called = [shlex.split(command)[2:] for command in blocks + re.findall(r"`(make bench\b[^`]*)`", text(document))]
    return [shlex.split(words[0].removeprefix("ARGS=")) if words else [] for words in called]


def modules(document: str) -> list[list[str]]:
    """Of every ``python -m benchmark.NAME`` between backticks: the name and what follows it."""
    return [shlex.split(words) for words in re.findall(r"`python -m benchmark\.([^`]+)`", text(document))]


def documented_options(name: str, document: str = "performance.md") -> list[str]:
    """Every option that a document gives a benchmark anywhere."""
    return [word for first, *options in filter(None, bench_arguments(document)) if first == name for word in options]
