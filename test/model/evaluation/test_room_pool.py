"""Rooms scored in several processes: the same scores as in one, in the same order, and errors that tell."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.evaluation.geometry_scores import GeometryScores
from gnesf_model.evaluation.room_pool import Networks, RoomPool, merged
from gnesf_model.evaluation.unit_scores import UnitScores
from gnesf_model.frame import FrameDropped
from gnesf_model.labels import LabelSpace

NETWORKS = Networks(Config.from_flat({"device": "cpu"}), "bundled", (64, 64))
ROOT = str(Path(__file__).resolve().parents[3])
SPACE = LabelSpace.load("scannet20")


def counted(networks: Networks, room: int, offset: int) -> tuple[int, int, int]:
    """What a worker knows: its process, the room, and the threads of its segmenter."""
    assert len(networks.segmenter.labels) == 20
    return os.getpid(), room + offset, networks.cpu_threads or 0


def fails(networks: Networks, room: int) -> None:
    raise ValueError(f"room {room} is not there")


def fails_first(networks: Networks, room: int) -> int:
    if room == 0:
        raise FrameDropped("bad_camera_info", "camera width is 20000")
    time.sleep(20)
    return room


class Demanding(Exception):
    """An error that another process cannot make again."""

    def __init__(self, room: int, why: str) -> None:
        super().__init__(f"room {room} {why}")


def demands(networks: Networks, room: int) -> None:
    raise Demanding(room, "is closed")


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


def test_an_error_is_told_at_once_and_as_what_it_is():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="FrameDropped: camera width is 20000"), RoomPool(NETWORKS, 2) as pool:
        list(pool.each(fails_first, range(8)))
    assert time.monotonic() - start < 20, "seconds: nobody waits for rooms that nobody will see"
    with pytest.raises(RuntimeError, match="Demanding: room 1 is closed"), RoomPool(NETWORKS, 2) as pool:
        list(pool.each(demands, [1]))


def test_a_parent_that_is_killed_leaves_no_process(tmp_path):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; import test_room_pool as rooms\n"
        "if __name__ == '__main__':\n"
        "    with rooms.RoomPool(rooms.NETWORKS, 2) as pool: list(pool.each(rooms.fails_first, [1, 2, 3, 4]))\n"
    )
    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")
    here = str(Path(__file__).parent)
    parent = subprocess.Popen([sys.executable, str(path), here], env={**os.environ, "PYTHONPATH": here + ":" + ROOT})
    children: set[int] = set()
    deadline = time.monotonic() + 120
    while len(children) < 3 and time.monotonic() < deadline:  # the two, and what multiprocessing keeps for itself
        children = {int(n) for n in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()}
        time.sleep(0.2)
    time.sleep(3)  # they have begun to work
    parent.kill()
    parent.wait()
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(children) >= 3 and not any(map(alive, children))


def alive(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


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
