"""`gnesf compare`: two runs side by side; for a user's CI, with limits."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from gnesf_model.evaluation.comparison import Comparison, Limits, compare
from gnesf_model.evaluation.metrics import FILE, load_metrics
from gnesf_model.report.markdown import number, table

_LIMITS = {
    "drop_miou": "X|mIoU, of images, map and 3D alike, may fall by so much (0..1)",
    "drop_class_iou": "X|the IoU of every single class may fall by so much (0..1)",
    "slowdown": "F|the median time of a frame may be so many times as long",
    "map_growth": "F|the map may take so many times as much memory",
    "more_dropped": "N|so many more frames may be dropped",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    for name, which in (("a", "the run to compare with"), ("b", "the run that must not be worse")):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help=f"{which}: a {FILE}, or the folder that holds it"
        )
    for name, words in _LIMITS.items():
        metavar, text = words.split("|")
        parser.add_argument(f"--max-{name.replace('_', '-')}", type=float, dest=name, metavar=metavar, help=text)
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default text")


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison; 0 when nothing is worse than the limits allow, 1 when something is."""
    limits = Limits(**{name: getattr(arguments, name) for name in _LIMITS})
    found = compare(load_metrics(arguments.a), load_metrics(arguments.b), limits)
    print({"text": _text, "markdown": _markdown, "json": _json}[arguments.format](found))
    return 1 if found.regressions else 0


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    rows = []
    for row in found.rows:
        delta = "-" if row.delta is None else f"{row.delta:+.{row.digits}f}"
        values = (number(value, row.digits) for value in (row.before, row.after))
        rows.append((row.group, row.name, *values, delta, "WORSE" * bool(row.regression)))
    return rows


def _markdown(found: Comparison) -> str:
    parts = [table(("of", "what", "A", "B", "B - A", ""), _rows(found))]
    if found.settings:
        changed = [(f"`{name}`", f"`{a}`", f"`{b}`") for name, (a, b) in found.settings.items()]
        parts.append(table(("setting", "A", "B"), changed))
    parts += [f"Note: {text}." for text in found.notices]
    parts += [f"**Worse than allowed:** {text}." for text in found.regressions]
    return "\n\n".join(parts)


def _text(found: Comparison) -> str:
    rows = [("of", "what", "A", "B", "B - A", ""), *_rows(found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:2], widths)]
        words += [cell.rjust(width) for cell, width in zip(row[2:5], widths[2:5])]
        lines.append("  ".join([*words, row[5]]).rstrip())
    lines += [f"setting {name}: {a} -> {b}" for name, (a, b) in found.settings.items()]
    lines += [f"note: {text}" for text in found.notices]
    lines += [f"WORSE than allowed: {text}" for text in found.regressions]
    return "\n".join(lines)


def _json(found: Comparison) -> str:
    content = {
        "rows": [{**dataclasses.asdict(row), "delta": row.delta} for row in found.rows],
        "settings": found.settings,
        "notices": found.notices,
        "regressions": found.regressions,
    }
    return json.dumps(content, indent=2)
