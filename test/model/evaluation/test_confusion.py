"""Scores against slow counts and an example worked out by hand."""

import numpy as np
import pytest

from gnesf_model.evaluation.confusion import Confusion
from gnesf_model.labels import UNKNOWN, LabelSpace

SPACE = LabelSpace.from_names(["a", "b", "c", "never"], "toy")


def scores(truth, predicted):
    confusion = Confusion(SPACE)
    confusion.add(np.array(truth, np.uint8), np.array(predicted, np.uint8))
    return confusion.scores()


def test_equals_a_slow_count():
    rng = np.random.default_rng(3)
    truth = rng.choice([0, 1, 2, 3, UNKNOWN], (40, 50)).astype(np.uint8)
    predicted = rng.choice([0, 1, 2, 3, UNKNOWN], truth.shape).astype(np.uint8)
    confusion = Confusion(SPACE)
    confusion.add(truth[:20], predicted[:20])
    confusion.add(truth[20:], predicted[20:])
    counts = np.zeros((4, 5), int)
    for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
        if t != UNKNOWN:
            counts[t, 4 if p == UNKNOWN else p] += 1
    np.testing.assert_array_equal(confusion.counts, counts)
    found = confusion.scores()
    assert found["n"] == counts.sum()
    for k, name in enumerate(SPACE.names):
        union = counts[k].sum() + counts[:, k].sum() - counts[k, k]
        assert found["per_class"][name]["iou"] == pytest.approx(counts[k, k] / union)
        assert found["per_class"][name]["recall"] == pytest.approx(counts[k, k] / counts[k].sum())


def test_an_example_by_hand():
    #           a: 2 of 3 right, b: 1 of 2 right, c: unknown; one pixel without ground truth
    found = scores([0, 0, 0, 1, 1, 2, 255], [0, 0, 1, 1, 255, 255, 0])
    assert found["per_class"] == {
        "a": {"iou": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3), "n": 3},
        "b": {"iou": pytest.approx(1 / 3), "recall": pytest.approx(1 / 2), "n": 2},
        "c": {"iou": 0.0, "recall": 0.0, "n": 1},
    }
    assert found["miou"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert found["macc"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["pixel_accuracy"] == pytest.approx(3 / 6)
    assert found["coverage"] == pytest.approx(4 / 6)
    assert found["n"] == 6


def test_unknown_is_wrong_but_ignored_ground_truth_is_not():
    assert scores([0, 0], [255, 255])["miou"] == 0.0
    assert scores([0, 255], [0, 1])["miou"] == 1.0
    assert scores([0, 255], [0, 1])["n"] == 1


def test_a_class_that_is_only_predicted_costs_the_class_it_was_taken_for():
    found = scores([0, 0, 1], [0, 3, 1])
    assert set(found["per_class"]) == {"a", "b"}
    assert found["miou"] == pytest.approx((1 / 2 + 1) / 2)


def test_no_ground_truth_has_no_scores():
    found = scores([255, 255], [0, 1])
    assert (found["miou"], found["pixel_accuracy"], found["coverage"], found["n"]) == (None, None, None, 0)
    assert found["per_class"] == {}


def test_predictions_beyond_the_space_count_as_unknown():
    found = scores([0, 0], [0, 77])
    assert found["pixel_accuracy"] == found["coverage"] == 0.5


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="holds class 4, but toy ends at 3"):
        scores([0, 4], [0, 0])
    with pytest.raises(ValueError, match="ground truth is .2,. and prediction .3,."):
        scores([0, 0], [0, 0, 0])
