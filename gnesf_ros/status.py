"""The node's counters, over every activation: what the status message and the diagnostics tell."""

from __future__ import annotations

from collections import Counter

from gnesf_msgs.msg import MapperStatus

from gnesf_ros import stamps
from gnesf_ros.inputs import FrameInput
from gnesf_ros.mapping import Mapping
from gnesf_ros.worker import REFUSALS, Mark, Worker


class Tally:
    """Counts images and drops since the node was configured, or since its map was emptied or replaced.

    Inputs come and go with activations, the worker stays; belongs to the executor's thread.

    Args:
        worker: the worker.

    Attributes:
        generation: of the map that is counted for, see `MapState`.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._received = self._zero_received = 0
        self._drops: Counter[str] = Counter()
        self._zero_drops: Counter[str] = Counter()
        self._words: dict[str, str] = {}
        """Of inputs that have ended: the latest text of each reason."""
        self.generation = 0

    def close(self, inputs: FrameInput) -> None:
        """Add an input that ends; what still waits there is dropped."""
        received, drops, waiting = _counts(inputs)
        self._received += received
        self._drops += drops + Counter(inactive=waiting)
        self._words |= {**inputs.assembler.last_message, **({"inactive": REFUSALS["inactive"]} if waiting else {})}

    def restart(self, generation: int, mark: Mark, inputs: FrameInput | None) -> None:
        """Count from the moment at which the map was changed: `mark` is the worker's then."""
        received, drops, waiting = _counts(inputs)
        self.generation = generation
        # What came before and was not done yet belongs to the new map.
        unfinished = self._worker.submitted - mark.done + waiting
        self._zero_received = self._received + received - unfinished
        self._zero_drops = self._drops + drops + mark.drops

    def received(self, inputs: FrameInput | None) -> int:
        """Colour images that reached the node."""
        return self._received + _counts(inputs)[0] - self._zero_received

    def drops(self, inputs: FrameInput | None) -> Counter[str]:
        """Frames and messages that never got into the map, by reason."""
        return self._drops + _counts(inputs)[1] + self._worker.drops()[0] - self._zero_drops

    def words(self, inputs: FrameInput | None) -> dict[str, str]:
        """The latest text of every reason that was ever counted."""
        return {**self._words, **(inputs.assembler.last_message if inputs else {}), **self._worker.drops()[1]}

    def message(self, mapping: Mapping, inputs: FrameInput | None, global_frame: str) -> MapperStatus:
        """gnesf_msgs/MapperStatus; `inputs` is None while the node is inactive."""
        # What waits is read before the map's state: a frame may be counted twice for a moment, never missed.
        waiting, pending = self._worker.queue_length, self._worker.pending + _counts(inputs)[2]
        latest = mapping.state
        drops = self.drops(inputs)
        reasons = sorted(drops)
        if inputs is None:
            state = MapperStatus.INACTIVE
        elif self._worker.refusal or latest.paused:
            state = MapperStatus.PAUSED
        else:
            state = MapperStatus.MAPPING if latest.processed else MapperStatus.WAITING
        return MapperStatus(
            header=stamps.header(latest.stamp_ns, global_frame),
            state=state,
            frames_received=self.received(inputs),
            frames_processed=latest.processed,
            keyframes=latest.keyframes,
            drop_reasons=reasons,
            drop_counts=[drops[reason] for reason in reasons],
            queue_length=waiting,
            frames_pending=pending,
            surface_voxels=latest.voxels,
        )


def _counts(inputs: FrameInput | None) -> tuple[int, Counter[str], int]:
    """Colour images that an input received, what it dropped by reason, and how many images wait in it."""
    if inputs is None:
        return 0, Counter(), 0
    return inputs.images_received, inputs.assembler.drops, inputs.assembler.waiting
