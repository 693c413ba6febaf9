"""What is in the rooms of each split: every class in all of them, held-out shapes in test rooms alone."""

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
from probes import volume_points

from gnesf_model.data.procrooms import Scene, make_room
from gnesf_model.data.procrooms.furniture import held_out
from gnesf_model.data.procrooms.splits import SPLITS
from gnesf_model.labels import LabelSpace

ROOMS_DOC = Path(__file__).resolve().parents[4] / "docs" / "rooms.md"
SHAPES = [name for name, f in inspect.getmembers(held_out, inspect.isfunction) if f.__module__ == held_out.__name__]


@pytest.fixture(scope="module")
def hundred() -> dict[str, list[Scene]]:
    """The first hundred rooms that train, and that test."""
    return {split: [make_room(SPLITS[split].start + k) for k in range(100)] for split in ("train", "test")}


def rooms_with(rooms: list[Scene]) -> dict[str, int]:
    """Class -> how many of the rooms hold it."""
    found = Counter(int(label) for room in rooms for label in set(room.labels.tolist()))
    return {name: found[number] for number, name in enumerate(LabelSpace.load("scannet20").names)}


def documented() -> dict[str, tuple[int, int]]:
    """Class -> rooms of the first and of the second hundred, from the table of docs/rooms.md."""
    found = {}
    for line in ROOMS_DOC.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and all(re.fullmatch(r"\d+", cells[k]) for k in (1, 2, 4, 5)):
            for names, train, test in (cells[:3], cells[3:]):
                found.update({name.strip(): (int(train), int(test)) for name in names.split(",")})
    return found


def test_every_class_is_in_one_room_of_twenty_and_as_often_as_documented(hundred):
    train, test = (rooms_with(hundred[split]) for split in ("train", "test"))
    assert min(train.values()) >= 5, train
    assert min(test.values()) >= 5, test
    assert documented() == {name: (train[name], test[name]) for name in train}


def hung_toilets(rooms: list[Scene]) -> int:
    """Toilets whose panel is higher than any cistern: this shape has no function of its own."""
    tops = [float(volume_points(room, t)[:, 2].max()) for room in rooms for t in room.objects if t.name == "toilet"]
    assert tops, "no room has a toilet"
    return sum(top > 1.0 for top in tops)


def test_all_held_out_shapes_are_in_test_rooms_and_in_no_other(hundred, monkeypatch):
    """A shape that slipped into training would make the scores on test rooms say more than they may."""
    assert len(SHAPES) == 6, "with the hung toilet the seven of docs/rooms.md"
    made = Counter()

    def counted(name, original):
        return lambda *arguments: made.update([name]) or original(*arguments)

    for name in SHAPES:
        monkeypatch.setattr(held_out, name, counted(name, getattr(held_out, name)))
    validation = [make_room(SPLITS["validation"].start + k) for k in range(21)]
    for seed in (*range(21), SPLITS["train"].stop - 1, SPLITS["validation"].stop - 1, SPLITS["test"].stop):
        make_room(seed)
    make_room(3, 4)
    assert not made
    assert hung_toilets(hundred["train"] + validation) == 0
    for k in range(42):
        make_room(SPLITS["test"].start + k)
    assert set(made) == set(SHAPES), f"no test room has {set(SHAPES) - set(made)}"
    assert hung_toilets(hundred["test"]) > 0
