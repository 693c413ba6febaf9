"""`gnesf eval voting`: what each way of fusing views makes of one labelled recording."""

from __future__ import annotations

import argparse
import json
from typing import Any

import cv2
import numpy as np

from gnesf_model import __version__
from gnesf_model.build import build_field, build_view_depth
from gnesf_model.commands.recording import OpenRecording, add_recording_arguments, progress
from gnesf_model.evaluation.recording_tables import recording_table
from gnesf_model.evaluation.voting_methods import AVERAGED, WHOLE
from gnesf_model.frame import Frame
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.visualization.overview import stacked, strip

FILE, PICTURE = "voting.json", "voting.jpg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_recording_arguments(parser)
    parser.add_argument("--pictures", type=int, default=4, metavar="N", help="frames that OUT/voting.jpg shows")
    parser.add_argument(
        "--leave-out", action="append", default=[], metavar="CLASS", help="also give the means without this class"
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare and tell; 0 when there are scores."""
    opened = OpenRecording(arguments)
    unknown = set(arguments.leave_out) - set(opened.mapper.labels.names)
    if unknown:
        raise ValueError(f"--leave-out names {sorted(unknown)}; '{opened.mapper.labels.name}' has no such class")
    shown = set(np.linspace(0, len(opened.source) - 1, arguments.pictures + 2, dtype=int)[1:-1].tolist())
    rows: list[np.ndarray] = []
    present: set[int] = set()

    def picture(number: int, frame: Frame, labels: dict[str, np.ndarray]) -> None:
        if number not in shown:
            return
        height, width = frame.labels.shape
        alone = pixel_labels(opened.mapper.segmenter(frame.rgb, frame.stamp_ns), height, width)
        seen = {name: labels[name].repeat(2, 0).repeat(2, 1)[:height, :width] for name in (AVERAGED, WHOLE)}
        columns = {"ground truth": frame.labels, "segmenter alone": alone, **seen}
        rows.append(strip(frame.rgb, columns, opened.mapper.labels))
        present.update(np.unique(np.stack(list(columns.values()))).tolist())

    found = recording_table(
        opened.source,
        opened.mapper.segmenter,
        build_field(opened.config),
        config=opened.config,
        view_depth=lambda: build_view_depth(opened.config),
        points=opened.points,
        progress=progress(len(opened.source), "comparing"),
        leave_out=arguments.leave_out,
        picture=picture,
    )
    if not found["2d"] and not found["3d"]:
        raise ValueError(f"{opened.source.name} has no ground truth: name it with --labels")
    found = {**found, "config": opened.config.to_flat(), "source": opened.source.name, "version": __version__}
    (arguments.out / FILE).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if rows:
        image = stacked(rows, opened.mapper.labels, np.array(sorted(present)))
        cv2.imwrite(str(arguments.out / PICTURE), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    for where in ("2d", "3d"):
        print(table(where, found[where]))
    return 0


def table(title: str, scores: dict[str, dict[str, Any]]) -> str:
    """Methods and their scores as a Markdown table."""
    references = list(dict.fromkeys(to for s in scores.values() for to in s["differences"]))
    head = [title, "mIoU", "mAcc", "accuracy", *(f"to {to} (95 %)" for to in references)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method, s in scores.items():
        without = f" ({s['without']['miou']:.3f})" if s.get("without") else ""
        cells = [method, f"{s['miou']:.3f}{without}", f"{s['macc']:.3f}", f"{s['pixel_accuracy']:.3f}"]
        cells += [_difference(s["differences"].get(to)) for to in references]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["interval"] is None:
        return f"{found['miou']:+.3f} (one alone: not shown)"
    low, high = found["interval"]
    return f"{found['miou']:+.3f} ({low:+.3f} to {high:+.3f}{'' if found['shown'] else ', not shown'})"
