"""ScanNet's .sens files: what they hold, and that no number in one of them is believed before there is data for it."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from data_sets import color_matrix, color_of, encoded, millimetres, room_frames, sens_bytes

from gnesf_model.data.sens_file import SensFile
from gnesf_model.frame import FrameDropped

FRAMES = room_frames(count=3)
HEADER = 4 + 8 + len(b"StructureSensor") + 4 * 64 + 2 * 4 + 4 * 4 + 4 + 8


@pytest.fixture
def written(tmp_path):
    def write(data: bytes | None = None, **options):
        path = tmp_path / "scene0000_00.sens"
        path.write_bytes(sens_bytes(FRAMES, **options) if data is None else data)
        return path

    return write


def test_a_file_gives_what_was_written(written):
    file = SensFile(written())
    assert list(file.numbers) == [0, 1, 2] and not file.moved
    assert file.depth_unit_m == pytest.approx(0.001)
    np.testing.assert_allclose(file.color_K, color_matrix(FRAMES[0].camera)[:3, :3], rtol=1e-6)
    np.testing.assert_allclose(file.depth_K, FRAMES[0].camera.K, rtol=1e-6)
    for number in (2, 0, 1):  # in any order
        np.testing.assert_allclose(file.pose(number), FRAMES[number].world_T_cam, atol=1e-6)
        assert file.color(number) == encoded(color_of(FRAMES[number]))
        np.testing.assert_array_equal(file.depth(number), millimetres(FRAMES[number]))


@pytest.mark.parametrize("end", [3, 12, HEADER - 1, HEADER, HEADER + 95, HEADER + 96, -9])
def test_a_file_that_was_cut_is_refused(written, end):
    with pytest.raises(ValueError, match="ends"):
        SensFile(written(sens_bytes(FRAMES)[:end]))


def test_sizes_are_not_believed(written):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="within frame 3 of 1152921504606846976.*download it again"):
            SensFile(written(claimed=1 << 60))
        data = bytearray(sens_bytes(FRAMES))
        struct.pack_into("<Q", data, HEADER + 64 + 16, (1 << 64) - 1)  # bytes of the first colour image
        with pytest.raises(ValueError, match="within frame 0 of 3"):
            SensFile(written(bytes(data)))
        with pytest.raises(ValueError, match="sensor name of"):
            SensFile(written(struct.pack("<IQ", 4, 1 << 50) + bytes(100)))
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"version": 3}, "is of version 3, expected a .sens file of version 4"),
        ({"kinds": (0, 1)}, "colour of kind 0.*expected colour as png"),
        ({"kinds": (2, 0)}, "depth of kind 0"),
    ],
)
def test_other_kinds_are_refused(written, options, text):
    with pytest.raises(ValueError, match=text):
        SensFile(written(**options))


def test_damaged_depth_costs_its_frame_alone_and_a_bomb_no_memory(written):
    bomb = zlib.compress(bytes(50_000_000))
    file = SensFile(written(depth_data={0: bomb, 1: zlib.compress(bytes(10))}))
    tracemalloc.start()
    try:
        with pytest.raises(FrameDropped, match="more than 24576 bytes, expected 24576 for 128x96") as drop:
            file.depth(0)
        assert drop.value.reason == "bad_depth"
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    with pytest.raises(FrameDropped, match="has 10 bytes, expected 24576"):
        file.depth(1)
    np.testing.assert_array_equal(file.depth(2), millimetres(FRAMES[2]))
    with pytest.raises(FrameDropped, match="is damaged"):
        SensFile(written(depth_data={0: b"no zlib at all"})).depth(0)
