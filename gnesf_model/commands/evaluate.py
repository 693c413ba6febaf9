"""`gnesf eval`: the segmenter on procedural rooms or photographs, a whole recording, or the scenes of a data set."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gnesf_model import __version__
from gnesf_model.commands import eval_dataset, eval_recording, eval_voting
from gnesf_model.config import Config
from gnesf_model.data.procrooms.looks import LOOKS
from gnesf_model.data.procrooms.splits import FIELD_SEEDS, SPLITS, split_of
from gnesf_model.device import torch_device
from gnesf_model.evaluation.field_tables import KINDS, FieldTables, room_tables
from gnesf_model.evaluation.rgb_tables import RgbTables, rgb_tables
from gnesf_model.evaluation.room_pool import Networks, RoomPool, merged
from gnesf_model.evaluation.segmenter_scores import SEGMENTER, labelled_photographs, photograph_scores, room_scores
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.labels import LabelSpace
from gnesf_model.segment import build_segmenter

PARTS = (SEGMENTER, "votes", "rgb")
"""Of `gnesf eval rooms`: the segmenter alone, the paper's tables with measured geometry, and geometry from colour."""

_MOST_WORKERS, _WORKER_BYTES = 8, 2e9

logger = logging.getLogger("gnesf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    rooms = kinds.add_parser("rooms", help="procedural rooms of some seeds")
    first = SPLITS["test"].start
    rooms.add_argument(
        "--seeds", required=True, metavar="A:B", help=f"seeds A to B - 1; those that test begin at {first}"
    )
    rooms.add_argument("--views", type=int, default=8, metavar="N", help="pictures of each room (default 8)")
    rooms.add_argument("--looks", choices=LOOKS, default=LOOKS[0], help="colours and patterns (default natural)")
    rooms.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("W", "H"), help="of the pictures")
    photos = kinds.add_parser("photos", help="photographs with label images, such as those of NYU Depth v2")
    photos.add_argument("images", type=Path, metavar="DIR", help="the photographs, .jpg or .png")
    photos.add_argument(
        "--labels", type=Path, required=True, metavar="DIR", help="label images of the same names, .png"
    )
    photos.add_argument(
        "--label-space", default="scannet20", metavar="NAME|FILE", help="what their values mean (default scannet20)"
    )
    recording = kinds.add_parser("recording", help="a recording: map, segmenter, times, and a report")
    eval_recording.add_arguments(recording)
    voting = kinds.add_parser("voting", help="a recording: ways of fusing views, side by side")
    eval_voting.add_arguments(voting)
    for data_set, text in eval_dataset.DATA_SETS.items():
        eval_dataset.add_arguments(kinds.add_parser(data_set, help=text), data_set)
    rooms.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (default all)"
    )
    rooms.add_argument(
        "--tables",
        type=int,
        default=20,
        metavar="N",
        help="the paper's tables on the first N seeds (default 20); 0: none",
    )
    rooms.add_argument("--full", action="store_true", help="compare new views at every pixel, not at every fourth")
    rooms.add_argument(
        "--depth-network",
        default="bundled",
        metavar="FILE",
        help="weights that predict depth, for the part rgb",
    )
    rooms.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help=f"processes that score rooms, of {_WORKER_BYTES / 1e9:g} GB each (default: one for each core, as far as "
        f"there is memory, at most {_MOST_WORKERS}; 1 on a GPU)",
    )
    rooms.add_argument("--field", default="bundled", metavar="FILE", help="weights of the neural field")
    for sub in (rooms, photos):
        sub.add_argument(
            "--segmenter", default=Config().segmenter.model, metavar="ID|PATH", help="default: %(default)s"
        )
        sub.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"), help="at which the network runs")
        sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        text = "store the scores" + ", anew after each part" * (sub is rooms)
        sub.add_argument("--json", type=Path, metavar="FILE", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Score and tell; 0 when there are scores."""
    commands = {
        "recording": eval_recording,
        "voting": eval_voting,
        **dict.fromkeys(eval_dataset.DATA_SETS, eval_dataset),
    }
    if arguments.kind in commands:
        return commands[arguments.kind].run(arguments)
    if arguments.json:  # what cannot be written is said before the work, not after hours of it
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        if arguments.json.is_dir():
            raise ValueError(f"--json {arguments.json} is a folder, expected a file: {arguments.json / 'scores.json'}")
    if arguments.kind == "rooms":
        found = _rooms(arguments)
        print(_markdown(found))
    else:
        found = {SEGMENTER: _photographs(arguments).scores(SEGMENTER)}
        _report(found[SEGMENTER], "pictures")
    _store(arguments, found)
    return 0


def _store(arguments: argparse.Namespace, found: dict[str, Any], unfinished: Sequence[str] = ()) -> None:
    """Write the scores so far where --json says, tables in Markdown beside them.

    Args:
        unfinished: parts that are still to come, or never will: what was finished outlives an error in them.
    """
    if not arguments.json:
        return
    said = {k: v for k, v in vars(arguments).items() if k not in ("run", "json")}
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in said.items()}
    told = {**found, "settings": settings, "version": __version__}
    if unfinished:
        told["unfinished"] = list(unfinished)
    _replace(arguments.json, json.dumps(told, indent=2) + "\n")
    if markdown := _markdown(found):
        _replace(arguments.json.with_suffix(".md"), markdown)


def _replace(path: Path, text: str) -> None:
    """Write a file at once: whoever stops the command while it writes keeps what was there."""
    path = path.resolve()
    if path.exists() and not path.is_file():  # /dev/stdout and the like
        path.write_text(text, encoding="utf-8")
        return
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _rooms(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parts asked for, printed and stored on the way."""
    if min(arguments.views, *arguments.size) < 1:
        raise ValueError(f"--views {arguments.views}, --size {arguments.size}: expected numbers of at least 1")
    seeds, size = seed_range(arguments.seeds), tuple(arguments.size)
    seen = {split_of(seeds[0]), split_of(seeds[-1])} & {"train", "validation"}
    if seen:
        logger.warning(
            "seeds %s are of the split %s: networks may have trained on them", arguments.seeds, " and ".join(seen)
        )
    settings = {"device": arguments.device, "semantics.field": arguments.field}
    config = Config.from_flat({**settings, "predicted_depth.model": arguments.depth_network})
    networks = Networks(config, arguments.segmenter, _input_size(arguments))
    tables, found = seeds[: arguments.tables], {}
    to_come = [part for part in PARTS if part in arguments.parts and (tables or part == SEGMENTER)]
    workers = _workers(config, len(seeds)) if arguments.workers is None else arguments.workers
    with RoomPool(networks, workers) as pool:

        def scored(part: str, score: Callable[..., Any], work: Sequence[Any], **options: Any) -> Any:
            rooms = pool.each(partial(score, **options), work)
            return merged(tqdm(rooms, desc=part, unit="room", total=len(work)))

        def finished(part: str, scores: dict[str, Any]) -> None:
            found.update(scores)
            to_come.remove(part)
            if to_come:
                _store(arguments, found, to_come)

        if SEGMENTER in to_come:
            scores = scored("scoring", _segmenter, seeds, views=arguments.views, size=size, looks=arguments.looks)
            finished(SEGMENTER, {SEGMENTER: scores.scores(SEGMENTER)})
            _report(found[SEGMENTER], "rooms")
        if "votes" in to_come:
            firsts = {"seen": FIELD_SEEDS.start, "usual": SPLITS["validation"].start}
            firsts |= dict.fromkeys(("natural", "permuted"), seeds[0])
            work = [(firsts[kind] + number, kind) for number in range(len(tables)) for kind in KINDS]
            finished("votes", scored("tables", _tables, work, size=size, full=arguments.full).to_json())
        if "rgb" in to_come:
            finished("rgb", scored("geometry: rgb", _rgb, tables, size=size, full=arguments.full).to_json())
    return found


def _segmenter(networks: Networks, seed: int, **options: Any) -> UnitScores:
    return room_scores(networks.segmenter, [seed], **options)


def _tables(networks: Networks, work: tuple[int, str], **options: Any) -> FieldTables:
    return room_tables(networks.segmenter, networks.field, *work, config=networks.config, **options)


def _rgb(networks: Networks, seed: int, **options: Any) -> RgbTables:
    config, view_depth = networks.config, networks.view_depth()
    return rgb_tables(networks.segmenter, networks.field, view_depth, seed, config=config, **options)


def _workers(config: Config, rooms: int) -> int:
    """One process for each core of the CPU, as far as there is memory for them; a GPU is not shared."""
    if torch_device(config.device).type != "cpu":
        return 1
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_WORKERS, rooms, int(free / _WORKER_BYTES)))


def _markdown(found: dict[str, Any]) -> str:
    """Every table of `found` but the segmenter's."""
    parts = [eval_voting.table(name, found[name]) for name in sorted(found) if name.startswith("table")]
    if "geometry" in found:
        parts.append(_geometry_table(found["geometry"]))
    if "psnr_db" in found:
        lines = [f"| {method} | {value:.1f} dB |" for method, value in found["psnr_db"].items()]
        parts.append("\n".join(["| rendered images | PSNR |", "|---|---|", *lines]) + "\n")
    return "\n".join(parts)


def _geometry_table(scores: dict[str, Any]) -> str:
    lines = [
        "| geometry | accuracy | completeness | precision | recall | F-score | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in scores.items():
        means = [values["accuracy"], values["completeness"]]
        cells = ["-" if mean is None else f"{100 * mean:.1f} cm" for mean in means]
        cells += [f"{values[key]:.3f}" for key in ("precision", "recall", "fscore")]
        low, high = values.get("fscore_interval", (None, None))
        cells[-1] += "" if low is None else f" ({low:.3f} to {high:.3f})"
        lines.append(f"| {name} | {' | '.join(cells)} | {values['n']} |")
    return "\n".join(lines) + "\n"


def _input_size(arguments: argparse.Namespace) -> tuple[int, int] | None:
    return arguments.input_size and tuple(arguments.input_size)


def _photographs(arguments: argparse.Namespace) -> UnitScores:
    return photograph_scores(
        build_segmenter(arguments.segmenter, device=arguments.device, input_size=_input_size(arguments)),
        labelled_photographs(arguments.images, arguments.labels),
        LabelSpace.load(arguments.label_space),
        progress=lambda pictures: tqdm(pictures, desc="scoring", unit="photo"),
    )


def seed_range(text: str) -> range:
    """The seeds of ``A:B``.

    Raises:
        ValueError: something else, or no seed.
    """
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise ValueError(f"--seeds is {text!r}, expected A:B with 0 <= A < B, for example 2000000:2000020")
    return range(int(first), int(end))


def _report(scores: dict[str, Any], noun: str) -> None:
    width = max(map(len, scores["per_class"]), default=0)
    for name, values in sorted(scores["per_class"].items(), key=lambda item: -item[1]["iou"]):
        print(f"{name:{width}}  IoU {values['iou']:.3f}  recall {values['recall']:.3f}")
    interval = ""
    if "miou_interval" in scores:
        low, high = scores["miou_interval"]
        interval = f" (95 % of resampled {noun}: {low:.3f} to {high:.3f})"
    print(
        f"mIoU {scores['miou']:.3f}{interval}, mAcc {scores['macc']:.3f}, pixel accuracy "
        f"{scores['pixel_accuracy']:.3f}; {scores['n']} {noun}, {scores['samples']} pixels"
    )
