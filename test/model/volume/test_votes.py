"""Votes: averages, unknown as a value of its own, fading, and large label spaces."""

import numpy as np
import pytest
import torch

from gnesf_model.volume.limits import MapFull
from gnesf_model.volume.votes import TOP_CLASSES, VoteTable


def random_simplex(rng, rows, classes, unknown=0.0):
    p = torch.from_numpy(rng.dirichlet(np.full(classes, 0.3), rows)).float()
    return p * (1 - unknown)


def add(table, rows, probabilities, weight=None):
    weight = torch.ones(len(rows)) if weight is None else weight
    table.add(rows, probabilities, weight, torch.full((len(rows), 3), 100.0))


@pytest.mark.parametrize("classes", [2, 20, 64])
def test_equal_weights_give_the_average_of_all_views(classes):
    rng = np.random.default_rng(1)
    table = VoteTable(classes, max_votes=1e6, max_rows=1000)
    rows = table.allocate(50)
    views = [random_simplex(rng, 50, classes) for _ in range(30)]
    for view in views:
        add(table, rows, view)
    mean = torch.stack(views).double().mean(dim=0)
    assert torch.allclose(table.distribution(rows).double(), mean, atol=1e-6)
    assert torch.equal(table.labels(rows)[0].long(), mean.argmax(dim=1))
    assert torch.allclose(table.total(rows), torch.full((50,), 30.0))


def test_weights_are_those_of_equation_4():
    rng = np.random.default_rng(2)
    table = VoteTable(5, max_votes=1e6, max_rows=10)
    rows = table.allocate(1)
    v = torch.tensor([0.3, -1.2, 2.0])
    S = random_simplex(rng, 3, 5)
    for i in range(3):
        add(table, rows, S[i : i + 1], v[i : i + 1].exp())
    expected = (torch.softmax(v, 0)[:, None] * S).sum(dim=0)
    assert torch.allclose(table.distribution(rows)[0], expected, atol=1e-6)


def test_unknown_wins_where_views_could_not_name_it():
    table = VoteTable(3, max_votes=60, max_rows=10)
    rows = table.allocate(3)
    add(table, rows, torch.tensor([[0.1, 0.2, 0.1], [0.0, 0.6, 0.0], [0.0, 0.0, 0.0]]))
    label, confidence = table.labels(rows)
    assert label.tolist() == [255, 1, 255]
    assert torch.allclose(confidence, torch.tensor([0.6, 0.6, 1.0]))


def test_rows_without_votes_and_no_row_at_all_are_unknown():
    table = VoteTable(3, max_votes=60, max_rows=10)
    assert table.labels(torch.tensor([-1]))[0].tolist() == [255]
    rows = table.allocate(2)
    label, confidence = table.labels(torch.tensor([-1, int(rows[0])]))
    assert label.tolist() == [255, 255]
    assert confidence.tolist() == [0.0, 0.0]
    assert table.distribution(torch.tensor([-1, 0])).sum() == 0
    assert table.color(torch.tensor([-1])).tolist() == [[0, 0, 0]]


def test_old_votes_fade_beyond_the_cap():
    table = VoteTable(2, max_votes=10, max_rows=10)
    rows = table.allocate(1)
    for _ in range(1000):
        add(table, rows, torch.tensor([[1.0, 0.0]]))
    assert table.total(rows).item() == pytest.approx(10, abs=1e-4)
    for _ in range(12):
        add(table, rows, torch.tensor([[0.0, 1.0]]))
    assert table.labels(rows)[0].item() == 1
    assert table.total(rows).item() == pytest.approx(10, abs=1e-4)


def test_beyond_64_classes_the_top_16_and_the_rest_are_kept():
    rng = np.random.default_rng(3)
    classes = 150
    table = VoteTable(classes, max_votes=1e6, max_rows=100)
    rows = table.allocate(40)
    truth = torch.from_numpy(rng.integers(0, classes, 40))
    total = torch.zeros(40, classes)
    for _ in range(25):
        p = 0.6 * random_simplex(rng, 40, classes)
        p[torch.arange(40), truth] += 0.4
        add(table, rows, p)
        total += p / 25
    label, confidence = table.labels(rows)
    assert torch.equal(label.long(), truth)
    kept = table.distribution(rows)
    assert ((kept > 0).sum(dim=1) <= TOP_CLASSES).all()
    # Every view named a class, though not always one of those that are kept: nothing is unknown.
    torch.testing.assert_close(kept.sum(dim=1), torch.ones(40))
    assert (table.kept(rows) < 0.9).all()
    torch.testing.assert_close(kept.amax(dim=1) * table.kept(rows), confidence)
    assert torch.allclose(confidence, total[torch.arange(40), truth], atol=1e-3)
    assert VoteTable.bytes_per_row(classes) < VoteTable.bytes_per_row(64)


def test_beyond_64_classes_unknown_stays_what_it_is_beside_the_rest():
    table = VoteTable(100, max_votes=60, max_rows=4)
    rows = table.allocate(1)
    p = torch.full((1, 100), 0.4 / 84)
    p[:, :16] = 0.3 / 16
    add(table, rows, p)  # 0.3 for kept classes, 0.4 for others, 0.3 unknown
    assert float(table.kept(rows)) == pytest.approx(0.6, abs=1e-5)
    assert float(table.distribution(rows).sum()) == pytest.approx(0.5, abs=1e-5)
    assert table.labels(rows)[0].item() == 255


def test_forgotten_votes_are_gone():
    for classes in (3, 100):
        table = VoteTable(classes, max_votes=60, max_rows=10)
        rows = table.allocate(2)
        p = torch.zeros(2, classes)
        p[:, 2] = 0.9
        for _ in range(5):
            add(table, rows, p)
        table.forget(rows[:1])
        label, confidence = table.labels(rows)
        assert label.tolist() == [255, 2] and confidence[0] == 0 and table.total(rows).tolist() == [0, 5]
        other = torch.zeros(1, classes)
        other[:, 1] = 0.5
        add(table, rows[:1], other)
        label, confidence = table.labels(rows)
        assert label.tolist() == [1, 2] and confidence.tolist() == pytest.approx([0.5, 0.9])


def test_memory_is_what_is_stated_and_bounded():
    table = VoteTable(20, max_votes=60, max_rows=10_000)
    for _ in range(10):
        table.allocate(1000)
    assert table.memory_bytes == 10_000 * VoteTable.bytes_per_row(20) == 10_000 * 96
    with pytest.raises(MapFull, match="max_map_memory_mb"):
        table.allocate(1)
    assert table.count == 10_000


def test_colour_is_the_mean_of_the_images():
    table = VoteTable(2, max_votes=60, max_rows=10)
    rows = table.allocate(1)
    for value in (10.0, 20.0, 60.0):
        table.add(rows, torch.tensor([[1.0, 0.0]]), torch.ones(1), torch.full((1, 3), value))
    assert table.color(rows).tolist() == [[30, 30, 30]]
