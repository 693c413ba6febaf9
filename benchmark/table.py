"""The tables of benchmarks in README.md, in short, and in docs/performance.md, from the results that are kept.

usage: python -m benchmark.table          write the tables of benchmark/results
       python -m benchmark.table NAME ...  keep these of the last `make bench` before
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
WHOLE = HERE.parent / "docs" / "performance.md"
HEADLINES = {
    "end_to_end": (
        "queue: newest, frames in the map",
        "queue: newest, latency p50",
        "queue: newest, memory at most",
        "queue: all, frames in the map",
    ),
    "growth": ("grown / fresh, last window",),
    "keyframe": ("keyframe, ours", "keyframe, Open3D and averaging", "ratio, ours", "ratio, ours, votes averaged"),
    "node": ("arrival to mapper, on the clock", "mapper to wire, on the clock", "both threads beside the mapper"),
    "tsdf": ("TSDF step, ours", "ratio"),
}
"""Benchmark -> the rows that README.md shows."""
BEGIN, END = "<!-- benchmarks: python -m benchmark.table -->", "<!-- end of benchmarks -->"


def table(results: Path = RESULTS, headlines: bool = False) -> str:
    """Markdown of all kept results, or of their headlines, in the order of their names.

    What was not measured has no row.
    """
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    lines = ["| benchmark | recording | what | figure | more |", "|---|---|---|---|---|"]
    for result in found:
        above, shown = None, HEADLINES.get(result["benchmark"], ())
        for recording, *cells in result["rows"]:
            if headlines and cells[0] not in shown:
                continue
            # Names stand where they begin to hold.
            name = f"`{result['benchmark']}`" if above is None else ""
            lines.append(f"| {' | '.join([name, recording if recording != above else '', *map(str.strip, cells)])} |")
            above = recording
    told = [result for result in found if not headlines or result["benchmark"] in HEADLINES]
    return "\n".join([*lines, "", *map(_origin, told)])


def with_table(text: str, new: str) -> str:
    """A document with another table.

    Raises:
        ValueError: it has no place for one.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the document has no place for the table: expected one line {BEGIN} and one {END}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{new}\n{END}{rest.split(END)[1]}"


def _origin(result: dict[str, Any]) -> str:
    machine = result["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    loads = _loads(result)
    load = f"load {min(loads)} to {max(loads)}, " if loads else ""
    return f"`{result['benchmark']}`: {where}, {load}{versions}, commit {result['commit']}.  "


def _loads(part: Any) -> list[float]:
    """What is said of the load anywhere in a result: of all, of each recording, round or run."""
    if isinstance(part, list):
        return [one for item in part for one in _loads(item)]
    if not isinstance(part, dict):
        return []
    return np.ravel(part.get("load", [])).tolist() + [one for item in part.values() for one in _loads(item)]


def main(names: list[str]) -> int:
    """Write the tables; 0 when that was possible."""
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(HERE / "out" / f"{name}.json", RESULTS / f"{name}.json")
    for path, headlines in ((README, True), (WHOLE, False)):
        text = with_table(path.read_text(encoding="utf-8"), table(RESULTS, headlines))
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
