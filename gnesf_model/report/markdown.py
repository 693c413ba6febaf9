"""Tables in Markdown that read well unrendered, too, and the summary of a run made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

SCORED = {"per_frame": "one image alone, 2D", "map": "rendered from the map, 2D", "3d": "map, 3D"}
"""What each score compares with the ground truth."""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table whose columns line up."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def named_scores(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`SCORED` name -> score, of those that there are."""
    scores = metrics.get("scores", {})
    found = {name: scores["2d"][name] for name in ("per_frame", "map") if "2d" in scores}
    return found | ({"3d": scores["3d"]} if "3d" in scores else {})


def number(value: float | None, digits: int = 3) -> str:
    """A value for a table; a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def summary(metrics: dict[str, Any]) -> str:
    """metrics.md: the tables of a run."""
    recording, latency = metrics["recording"], metrics["latency"]
    machine = metrics["machine"]
    parts = [
        f"# {recording['name']}",
        f"gnesf_ros {metrics['versions']['gnesf_ros']}, {metrics['settings']['segmenter.model']}, "
        f"{metrics['settings']['volume.voxel_size_m'] * 100:g} cm voxels, mapped {_way(metrics)} on "
        f"{metrics['device']} ({machine['processor']}, {machine['cores']} cores).",
    ]
    if scores := named_scores(metrics):
        parts += ["## Scores", _scores(scores), "## IoU by class", _classes(scores)]
    dropped = ", ".join(f"{n} {reason}" for reason, n in metrics["dropped"].items()) or "none"
    rows = [
        ("images in the recording", recording["images"]),
        ("frames in the map", metrics["frames"]),
        ("keyframes, which vote", metrics["keyframes"]),
        ("dropped", dropped),
        ("surface points", metrics["map"]["surface_points"]),
        ("voxels with votes", metrics["map"]["voxels_with_votes"]),
        ("memory of the map", f"{metrics['map']['memory_mb']:.1f} MB"),
    ]
    whole = "image on its topic to the map" if metrics["through"] == "node" else "all stages of a frame"
    times = [(whole, latency), *((f"stage {name}", stage) for name, stage in metrics["stages"].items())]
    percentiles = [(name, *(number(ms[f"p{p}_ms"], 1) for p in (50, 95, 99))) for name, ms in times]
    parts += ["## Map", table(("what", "number"), rows)]
    parts += ["## Time", table(("ms", "p50", "p95", "p99"), percentiles)]
    if metrics["through"] == "node":
        parts.append("Stages as measured offline on the same frames.")
    return "\n\n".join(parts) + "\n"


def _way(metrics: dict[str, Any]) -> str:
    if metrics["through"] != "node":
        return "offline"
    return f"by the node (queue {metrics['node']['queue']}, rate {metrics['node']['rate']:g})"


def _scores(scores: dict[str, dict[str, Any]]) -> str:
    keys = ("miou", "pixel_accuracy", "macc", "coverage")
    rows = [(SCORED[name], *(number(score[key]) for key in keys), score["n"]) for name, score in scores.items()]
    return table(("what", "mIoU", "accuracy", "mean recall", "coverage", "number"), rows)


def _classes(scores: dict[str, dict[str, Any]]) -> str:
    names = dict.fromkeys(name for score in scores.values() for name in score["per_class"])
    rows = [(name, *(number(s["per_class"].get(name, {}).get("iou")) for s in scores.values())) for name in names]
    return table(("class", *(SCORED[name] for name in scores)), rows)
