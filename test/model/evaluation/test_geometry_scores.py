"""Accuracy, completeness and F-score of surfaces that are known."""

import numpy as np
import pytest

from gnesf_model.evaluation.geometry_scores import NEAR_M, GeometryScores

GRID = np.stack(np.meshgrid(np.arange(0, 1, 0.01), np.arange(0, 1, 0.01), indexing="ij"), -1).reshape(-1, 2)
WALL = np.column_stack([GRID, np.zeros(len(GRID))])


def shifted(by_m: float) -> np.ndarray:
    return WALL + np.array([0, 0, by_m])


def test_a_surface_beside_the_true_one():
    scores = GeometryScores()
    scores.add(np.full(len(WALL), 0.03), shifted(0.03), WALL)
    found = scores.to_json()
    assert found["accuracy"] == pytest.approx(0.03) and found["completeness"] == pytest.approx(0.03)
    assert found["precision"] == found["recall"] == pytest.approx(1) and found["n"] == 1
    assert "fscore_interval" not in found, "one room has none"
    far = GeometryScores()
    far.add(np.full(len(WALL), 0.06), shifted(0.06), WALL)
    assert far.to_json()["fscore"] == 0 and far.to_json()["near_m"] == NEAR_M == 0.05


def test_half_a_surface_is_exact_and_misses_half():
    half = WALL[WALL[:, 0] < 0.495]
    scores = GeometryScores()
    scores.add(np.zeros(len(half)), half, WALL)
    found = scores.to_json()
    assert found["precision"] == 1 and found["accuracy"] == 0
    assert found["recall"] == pytest.approx(0.54, abs=0.011)  # and what lies within 5 cm of it
    assert found["fscore"] == pytest.approx(2 * found["recall"] / (1 + found["recall"]))
    assert found["completeness"] == pytest.approx(0.1275, abs=0.005)


def test_rooms_count_the_same_and_an_empty_map_counts():
    scores = GeometryScores()
    scores.add(np.zeros(len(WALL)), WALL, WALL)
    scores.add(np.zeros(0), np.zeros((0, 3)), WALL[:10])
    found = scores.to_json()
    assert found["fscore"] == pytest.approx(0.5) and found["accuracy"] == 0 and found["n"] == 2
    low, high = found["fscore_interval"]
    assert low == 0 and high == 1
    nothing = GeometryScores()
    nothing.add(np.zeros(0), np.zeros((0, 3)), WALL)
    assert nothing.to_json()["accuracy"] is None and nothing.to_json()["fscore"] == 0
    with pytest.raises(ValueError, match="no point of the true surface"):
        scores.add(np.zeros(3), WALL[:3], np.zeros((0, 3)))
