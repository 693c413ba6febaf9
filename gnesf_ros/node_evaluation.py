"""A recording through the real node, for `gnesf eval recording --through-node`: its map, its times and its drops."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from gnesf_model.config import Config
from gnesf_model.data.source import FrameSource
from gnesf_model.evaluation.metrics import NodeRun
from gnesf_ros.recorder import megabytes
from gnesf_ros.replay import as_bag, for_bag, replay

MAP = "node.map"
"""The node's map, in the folder of the results."""


def play_through_node(source: FrameSource, config: Config, labels_dir: Path | None, rate: float, out: Path) -> NodeRun:
    """Play a recording through a node in a process of its own, and save its map.

    Args:
        source: the recording; one that is no bag is written as one first.
        config: the node's parameters; ``node.queue`` decides whether every frame is mapped.
        labels_dir: ground truth by stamp of a bag, for the oracle.
        rate: 1: as recorded; 0: as fast as it maps.
        out: folder for the node's map, log and parameters.

    Raises:
        RuntimeError: the node ended, fell silent, or mapped no frame; says why.
        ValueError, OSError: the recording cannot be played.
    """
    with TemporaryDirectory(prefix="replay_", dir=out) as folder:
        bag, labels = as_bag(source, labels_dir, config, Path(folder) / "recording")
        config = for_bag(config, bag.topics, labels, config.node.queue)
        heard = replay(bag, config, rate, out, save_map=(out / MAP).resolve()).heard
    status = heard.status
    dropped = Counter(dict(zip(status.drop_reasons, status.drop_counts)))
    if lost := bag.topics.images - status.frames_received:
        dropped["not_received"] = lost
    return NodeRun(
        queue=config.node.queue,
        rate=rate,
        received=status.frames_received,
        frames=status.frames_processed,
        keyframes=status.keyframes,
        dropped=dropped,
        latency_ms=heard.latencies_ms().tolist(),
        map_path=out / MAP,
        growth=heard.growth,
        peak_memory_mb=megabytes(heard.values.get("mapping", {}).get("peak memory of the process", "")),
    )
