"""Rooms scored in several processes: the same scores as in one, in the same order, and errors that tell."""

import json
import os
from functools import partial

import numpy as np
import pytest

from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.evaluation.geometry_scores import GeometryScores
from gnesf_model.evaluation.room_pool import Networks, RoomPool, merged
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.labels import LabelSpace

NETWORKS = Networks(Config.from_flat({"device": "cpu"}), "bundled", (64, 64))
SPACE = LabelSpace.load("scannet20")


def counted(networks: Networks, room: int, offset: int) -> tuple[int, int, int]:
    """What a worker knows: its process, the room, and the threads of its segmenter."""
    assert len(networks.segmenter.labels) == 20
    return os.getpid(), room + offset, networks.cpu_threads or 0


def fails(networks: Networks, room: int) -> None:
    raise ValueError(f"room {room} is not there")


def dies(networks: Networks, room: int) -> None:
    os._exit(9)


def test_several_processes_give_their_results_in_the_order_of_the_rooms():
    with RoomPool(NETWORKS, 2) as pool:
        found = list(pool.each(partial(counted, offset=100), range(7)))
        assert [room for _, room, _ in found] == list(range(100, 107))
        assert os.getpid() not in {process for process, _, _ in found}
        assert {threads for _, _, threads in found} == {1}, "processes of many threads would fight for the cores"
        with pytest.raises(ValueError, match="room 3 is not there"):
            list(pool.each(fails, [3]))
    with RoomPool(NETWORKS, 1) as pool:
        assert list(pool.each(partial(counted, offset=0), [5])) == [(os.getpid(), 5, 0)]


def test_a_process_that_dies_is_told_with_the_remedy():
    with RoomPool(NETWORKS, 2) as pool, pytest.raises(RuntimeError, match="--workers"):
        list(pool.each(dies, [1, 2]))


def test_a_segmenter_that_is_not_there_is_told_before_processes_start(caplog):
    command = "eval rooms --seeds 2000000:2000002 --parts segmenter --workers 2 --segmenter missing.onnx --device cpu"
    assert main(command.split()) == 2
    assert "missing.onnx" in caplog.text
    assert main(["eval", "rooms", "--seeds", "2000000:2000002", "--workers", "0"]) == 2
    assert "workers is 0, expected at least 1" in caplog.text


def test_the_command_says_the_same_however_many_processes_work(tmp_path, capsys):
    command = "eval rooms --seeds 2000000:2000003 --views 1 --size 64 48 --device cpu --parts segmenter --workers"
    found = []
    for workers in "12":
        path = tmp_path / f"{workers}.json"
        assert main([*command.split(), workers, "--json", str(path)]) == 0
        found.append(json.loads(path.read_text())["segmenter"])
    assert found[0]["n"] == found[1]["n"] == 3 and found[0]["samples"] == found[1]["samples"]
    # Sums in another number of threads are rounded otherwise; a pixel may change sides.
    assert found[0]["pixel_accuracy"] == pytest.approx(found[1]["pixel_accuracy"], abs=2e-3)
    assert found[0]["per_class"].keys() == found[1]["per_class"].keys()


def test_merged_scores_are_those_counted_together():
    rng = np.random.default_rng(4)
    together, parts = UnitScores(SPACE), []
    for room in (3, 1, 3):  # in two pieces, the first one
        alone = UnitScores(SPACE)
        for method in ("a", "b"):
            truth, found = rng.integers(0, 4, (2, 500)).astype(np.uint8)
            together.add(room, method, truth, found)
            alone.add(room, method, truth, found)
        parts.append(alone)
    assert merged(parts).to_json(["a"]) == together.to_json(["a"])
    surfaces = [(rng.uniform(0, 0.1, 50), rng.uniform(0, 1, (50, 3)), rng.uniform(0, 1, (80, 3))) for _ in range(3)]
    whole, rooms = GeometryScores(), []
    for surface in surfaces:
        whole.add(*surface)
        rooms.append(GeometryScores())
        rooms[-1].add(*surface)
    assert merged(rooms).to_json() == whole.to_json()
