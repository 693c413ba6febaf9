"""Scores of methods over units, and whether their difference is shown."""

import numpy as np
import pytest

from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.labels import LabelSpace

SPACE = LabelSpace.load("scannet20")


def scored(right: dict[str, list[float]], points: int = 200) -> UnitScores:
    """Methods that are right on a share of each unit's points; what they get wrong they take for class 5."""
    scores = UnitScores(SPACE)
    for method, shares in right.items():
        for unit, share in enumerate(shares):
            truth = np.arange(points, dtype=np.uint8) % 3
            found = np.where(np.arange(points) < share * points, truth, 5).astype(np.uint8)
            scores.add(unit, method, truth, found)
    return scores


def test_a_difference_in_every_unit_is_shown_and_one_by_chance_is_not():
    rng = np.random.default_rng(0)
    level = rng.uniform(0.4, 0.9, 30)
    scores = scored({"a": level, "better": level + 0.05, "other": level + rng.normal(0, 0.05, 30)})
    found = scores.to_json(("a", "other", "never scored"))
    assert list(found) == scores.methods == ["a", "better", "other"]
    assert list(found["a"]["differences"]) == ["other"] and found["a"]["n"] == 30 and found["a"]["samples"] == 6000
    assert list(found["better"]["differences"]) == ["a", "other"]
    better = found["better"]["differences"]["a"]
    assert better["shown"]
    assert better["interval"][0] <= better["miou"] <= better["interval"][1]
    assert better["miou"] == pytest.approx(found["better"]["miou"] - found["a"]["miou"])
    # Paired: the units differ by far more than the methods do.
    assert better["interval"][1] - better["interval"][0] < 0.02
    assert not found["other"]["differences"]["a"]["shown"]


def test_one_unit_alone_shows_nothing():
    """However far apart two methods are in one room: the next one may have it the other way round."""
    found = scored({"a": [0.5], "b": [0.9]}).to_json(("a",))["b"]["differences"]["a"]
    assert found["miou"] > 0.1 and found["interval"] is None and not found["shown"]


def test_split_units_are_those_added_one_by_one():
    rng = np.random.default_rng(1)
    truth, found = rng.integers(0, 3, (2, 500)).astype(np.uint8)
    units = rng.integers(0, 7, 500)
    together, apart = UnitScores(SPACE), UnitScores(SPACE)
    together.add_split(units, "a", truth, found)
    for unit in range(7):
        apart.add(unit, "a", truth[units == unit], found[units == unit])
    assert together.to_json() == apart.to_json()
    assert together.to_json()["a"]["n"] == 7


def test_means_without_a_class_and_units_that_do_not_fit():
    scores = scored({"a": [0.5, 0.5], "b": [0.6]})
    with pytest.raises(ValueError, match="same units"):
        scores.to_json(["a"])
    found = scores.to_json(leave_out=["wall"])["a"]
    kept = [v["iou"] for name, v in found["per_class"].items() if name != "wall"]
    assert found["without"] == {"classes": ["wall"], "miou": pytest.approx(np.mean(kept)), "differences": {}}
    both = scored({"a": np.linspace(0.4, 0.7, 10), "b": np.linspace(0.5, 0.8, 10)}).to_json(["a"], ["wall"])
    found = both["b"]["without"]["differences"]["a"]
    assert found["miou"] == pytest.approx(both["b"]["without"]["miou"] - both["a"]["without"]["miou"])
    assert found["interval"][0] <= found["miou"] <= found["interval"][1] and found["shown"]
    assert found["miou"] != pytest.approx(both["b"]["differences"]["a"]["miou"])
