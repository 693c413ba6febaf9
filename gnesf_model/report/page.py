"""report.html: one file with everything in it, that no network and no server is needed for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnesf_model.config import Config
from gnesf_model.evaluation.growth import Growth
from gnesf_model.labels import LabelSpace
from gnesf_model.report.cloud3d import Scene, viewer_data
from gnesf_model.report.markdown import SCORED, named_scores, number
from gnesf_model.report.pictures import FrameRow
from gnesf_model.report.plots import confusion_plot, growth_plot, latency_plot, scores_plot

TEMPLATE = Path(__file__).resolve().parent / "template"


@dataclass(frozen=True)
class Report:
    """Everything that is on the page.

    Attributes:
        metrics: of the run, as in metrics.json.
        scene: the map in 3D.
        still: address of a picture of the map, where a browser draws no 3D.
        rows: some frames.
        growth: of the map.
        frame_ms: how long every frame took.
    """

    metrics: dict[str, Any]
    scene: Scene
    still: str
    rows: list[FrameRow]
    growth: Growth
    frame_ms: list[float]


def render_page(report: Report) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    metrics = report.metrics
    scores = named_scores(metrics)
    plots = {"growth": growth_plot(report.growth) if report.growth.stamp_s else ""}
    plots["latency"] = latency_plot(metrics, report.frame_ms)
    if scores:
        plots["scores"] = scores_plot(metrics)
    # No character of the data can end the element that it stands in.
    data = json.dumps(viewer_data(report.scene)).replace("<", "\\u003c")
    return environment.get_template("report.html").render(
        metrics=metrics,
        node=metrics.get("node"),
        scores=scores,
        scored=SCORED,
        classes=_classes(scores),
        plots={name: Markup(svg) for name, svg in plots.items()},
        confusions={SCORED[name]: Markup(confusion_plot(name, score)) for name, score in scores.items()},
        # Beside each other where their columns stay wide enough to be read.
        confusion_px=120 + 27 * max((len(score["confusion"]["predicted"]) for score in scores.values()), default=0),
        settings=_settings(metrics["settings"]),
        legend=_legend(report.rows, report.scene.labels),
        rows=report.rows,
        first_ns=metrics["recording"]["first_stamp_ns"],
        still=report.still,
        data=Markup(data),
        style=Markup((TEMPLATE / "report.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATE / "viewer.js").read_text(encoding="utf-8")),
    )


def _classes(scores: dict[str, dict[str, Any]]) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """Class name and its figures in every score, the most frequent class first."""
    names = dict.fromkeys(name for score in scores.values() for name in score["per_class"])
    found = [(name, [score["per_class"].get(name) for score in scores.values()]) for name in names]
    return sorted(found, key=lambda item: -max(values["n"] for values in item[1] if values))


def _settings(settings: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    """Name, value and whether it differs from the default; those that differ first."""
    usual = Config().to_flat()
    rows = [(name, value, usual.get(name) != value) for name, value in settings.items()]
    return sorted(rows, key=lambda row: not row[2])


def _legend(rows: list[FrameRow], labels: LabelSpace) -> list[tuple[str, str]]:
    """Name and colour of the classes in the pictures."""
    present = np.unique(np.concatenate([row.present for row in rows])) if rows else []
    return [(entry.name, "rgb({}, {}, {})".format(*entry.color)) for entry in labels.classes if entry.id in present]
