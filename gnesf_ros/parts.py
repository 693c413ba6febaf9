"""What the node has from one transition of its life cycle to the next."""

from __future__ import annotations

from dataclasses import dataclass

from gnesf_model.mapper import SemanticMapper
from gnesf_ros.diagnosis import Diagnosis
from gnesf_ros.inputs import FrameInput
from gnesf_ros.mapping import Mapping
from gnesf_ros.publishers import Publishers
from gnesf_ros.status import Tally
from gnesf_ros.worker import Worker


@dataclass(frozen=True)
class Configured:
    """From configure to cleanup: the map, the thread that it belongs to, and the outputs."""

    mapper: SemanticMapper
    publishers: Publishers
    mapping: Mapping
    worker: Worker
    tally: Tally


@dataclass(frozen=True)
class Active:
    """From activate to deactivate: the subscriptions, and what watches them."""

    inputs: FrameInput
    diagnosis: Diagnosis
