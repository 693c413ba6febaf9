"""The report's plots: SVG that takes font and colours from the page it stands in, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gnesf_model.evaluation.growth import Growth
from gnesf_model.report.markdown import SCORED, named_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Stand-ins that matplotlib writes into the file, and the page's colours that take their place.
_INK, _MUTED, _LINE = "#010203", "#020304", "#030405"
_SERIES = ("#040506", "#050607", "#060708")
_VARIABLES = {_INK: "ink", _MUTED: "muted", _LINE: "line", **{c: f"series-{i + 1}" for i, c in enumerate(_SERIES)}}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _LINE,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
_FONT = re.compile(r"font: (?:bold |700 )?([\d.]+)px [^;\"]*")
_MOST_POINTS = 2000


def scores_plot(metrics: dict[str, Any]) -> str:
    """IoU of every class: one image alone, the map rendered, the map in 3D."""
    scores = named_scores(metrics)
    names = list(dict.fromkeys(name for score in scores.values() for name in score["per_class"]))
    pixels = {name: max(s["per_class"].get(name, {"n": 0})["n"] for s in scores.values()) for name in names}
    names.sort(key=pixels.get)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        height = 0.8 / len(scores)
        for i, ((key, score), color) in enumerate(zip(scores.items(), _SERIES)):
            values = [score["per_class"].get(name, {"iou": 0.0})["iou"] for name in names]
            at = np.arange(len(names)) + 0.4 - height * (i + 0.5)
            axes.barh(at, values, height * 0.9, color=color, label=SCORED[key])
        axes.set_yticks(np.arange(len(names)), names)
        axes.tick_params(axis="y", length=0, labelcolor=_INK)
        axes.set(xlim=(0, 1), xlabel="IoU", ylim=(-0.6, len(names) - 0.4))
        axes.grid(axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncol=3, labelcolor=_INK)

    return _svg(draw, (6.4, 0.9 + 0.42 * len(names)), "IoU by class")


def confusion_plot(name: str, score: dict[str, Any]) -> str:
    """What every true class was taken for, as shares of its row."""
    confusion = score["confusion"]
    counts = np.array(confusion["counts"], dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        for (row, column), share in np.ndenumerate(shares):
            right = confusion["truth"][row] == confusion["predicted"][column]
            color = _SERIES[1] if right else _SERIES[0]
            patch = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=0.08 + 0.72 * share)
            axes.add_patch(patch if share >= 0.001 else Rectangle(patch.get_xy(), 1, 1, facecolor="none"))
            if share >= 0.005:
                axes.text(column, row, f"{share * 100:.0f}", ha="center", va="center", fontsize=8, color=_INK)
        axes.set(xlim=(-0.5, counts.shape[1] - 0.5), ylim=(len(counts) - 0.5, -0.5))
        axes.set_yticks(range(len(counts)), confusion["truth"])
        axes.set_xticks(range(counts.shape[1]), confusion["predicted"], rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0, labelcolor=_INK)
        axes.set(ylabel="ground truth", xlabel="taken for, % of the row")

    size = 1.6 + 0.42 * counts.shape[1], 1.4 + 0.34 * len(counts)
    return _svg(draw, size, f"Confusion, {SCORED[name]}")


def growth_plot(growth: Growth) -> str:
    """Points, voxels and memory at every keyframe."""
    panels = {"surface points": growth.points, "voxels with votes": growth.voxels, "memory, MB": growth.memory_mb}

    def draw(figure: Figure) -> None:
        for axes, (name, values), color in zip(figure.subplots(1, 3), panels.items(), _SERIES):
            known = [(t, v) for t, v in zip(growth.stamp_s, values) if v is not None]
            axes.plot(*zip(*known), color=color, marker="o", markersize=2.5) if known else axes.set_axis_off()
            axes.set_title(name)
            axes.set(xlabel="s into the recording", ylim=(0, None))
            axes.yaxis.set_major_formatter(_short)
            axes.grid(axis="y")

    return _svg(draw, (12.2, 2.7), "Growth of the map")


def latency_plot(metrics: dict[str, Any], frame_ms: Sequence[float]) -> str:
    """Percentiles of every stage, and the time of every frame.

    Args:
        metrics: of the run.
        frame_ms: of every frame, in their order.
    """
    whole = "image to map" if metrics["through"] == "node" else "whole frame"
    times = {**metrics["stages"], **({whole: metrics["latency"]} if metrics["latency"]["n"] else {})}
    step = max(1, -(-len(frame_ms) // _MOST_POINTS))

    def draw(figure: Figure) -> None:
        stages, frames = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 1.15)})
        for row, ms in enumerate(times.values()):
            p50, p95, p99 = (max(ms[f"p{p}_ms"], 1e-3) for p in (50, 95, 99))
            stages.plot([p50, p99], [row, row], color=_LINE, linewidth=3, zorder=1)
            for value, color, name in zip((p50, p95, p99), _SERIES, ("p50", "p95", "p99")):
                stages.plot(value, row, "o", color=color, markersize=6, label=name if row == 0 else None)
        stages.set_yticks(range(len(times)), list(times))
        stages.tick_params(axis="y", length=0, labelcolor=_INK)
        stages.set(xscale="log", xlabel="ms", ylim=(-0.6, len(times) - 0.4), title="Stages")
        stages.xaxis.set_major_formatter(_short)
        stages.grid(axis="x")
        stages.legend(ncol=3, loc="lower left", bbox_to_anchor=(0.25, 1.0), labelcolor=_INK)
        at = np.arange(0, len(frame_ms), step)
        frames.plot(at, np.asarray(frame_ms)[at], ".", color=_SERIES[0], markersize=3)
        frames.set(xlabel="frame", ylabel="ms", ylim=(0, None), title=f"Every frame: {whole}")
        frames.grid(axis="y")

    return _svg(draw, (12.2, 1.2 + 0.32 * max(len(times), 6)), "Latency")


def _short(value: float, position: int) -> str:
    """12500 as 12.5k."""
    for factor, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"


def _svg(draw: Callable[[Figure], None], size: tuple[float, float], title: str) -> str:
    """Draw on an empty figure of some inches; gives an <svg> element."""
    import matplotlib
    from matplotlib.figure import Figure

    # The salt keeps the names of two plots in one page apart, and those of one plot the same every time.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=none)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    text = _FONT.sub(r"font-size: \1px", text)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # the same in every plot, and nothing refers to them
    view = re.search(r'viewBox="[^"]*"', text)[0]
    opening = f'<svg role="img" aria-label="{title}" style="max-width: {round(size[0] * 96)}px" {view}'
    return re.sub("<svg [^>]*", f'{opening} xmlns:xlink="http://www.w3.org/1999/xlink"', text, count=1)
