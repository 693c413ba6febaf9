"""Which earlier views tell the depth of a new one: those that stand apart and look the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnesf_model.geometry import motion

LEAST_BASELINE_M = 0.04
"""Views nearer to each other than this show no parallax."""
BEST_BASELINE_M = 0.3
MOST_TURNED_DEG = 45.0


def useful_views(world_T_cam: np.ndarray, others: Sequence[np.ndarray], count: int) -> list[int]:
    """At most `count` of the other poses (4, 4), best first: near `BEST_BASELINE_M`, little turned.

    Ties go to the earlier one; empty where none is of use.
    """
    found = []
    for number, other in enumerate(others):
        baseline, turned = motion(world_T_cam, other)
        if baseline >= LEAST_BASELINE_M and turned <= MOST_TURNED_DEG:
            found.append((abs(np.log(baseline / BEST_BASELINE_M)) + turned / MOST_TURNED_DEG, number))
    return [number for _, number in sorted(found)[:count]]
