"""Label images of a recording, in the label space of the map that they judge."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from gnesf_model.frame import Frame
from gnesf_model.labels import UNKNOWN, LabelMapping, LabelSpace

logger = logging.getLogger(__name__)


class GroundTruth:
    """Frame -> the frame with its labels in another label space.

    Classes that have no counterpart there become 255, and so count for nothing. Where no mapping leads from one
    space to the other, frames lose their labels: numbers of different classes must not be compared.

    Args:
        own: name of the label space of the recording; None where it has no ground truth.
        target: label space of the map.

    Raises:
        ValueError, OSError: `own` is not a label space.
    """

    def __init__(self, own: str | None, target: LabelSpace) -> None:
        self._own = None if own is None else LabelSpace.load(own)
        self._lookup: np.ndarray | None = None
        if self._own is None:
            return
        try:
            self._lookup = LabelMapping.between(self._own, target).lookup
        except ValueError as error:
            logger.warning("the ground truth is left out: %s", error)

    def __call__(self, frame: Frame) -> Frame:
        """The frame, its labels (H, W) uint8 in the target space or None.

        Raises:
            ValueError: a label that the recording's label space does not have.
        """
        if frame.labels is None:
            return frame
        if self._lookup is None:
            return replace(frame, labels=None)
        wrong = (frame.labels >= len(self._own)) & (frame.labels != UNKNOWN)
        if wrong.any():
            raise ValueError(
                f"ground truth at stamp {frame.stamp_ns} ns holds class {frame.labels[wrong][0]}, but "
                f"{self._own.name} ends at {len(self._own) - 1}: name the folder whose labels are in that space with "
                "--labels (255 = ignore)"
            )
        return replace(frame, labels=self._lookup[frame.labels])
