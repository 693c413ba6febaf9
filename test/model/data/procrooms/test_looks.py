"""Other looks of the same rooms, and furniture that only test rooms have."""

import numpy as np
import pytest
from probes import assert_nothing_intersects

from gnesf_model.data.procrooms import RoomSource, make_room
from gnesf_model.data.procrooms.looks import BOUND_PATTERNS, with_looks
from gnesf_model.data.procrooms.splits import SPLITS, split_of

TEST_SEEDS = range(SPLITS["test"].start, SPLITS["test"].start + 7)


@pytest.mark.parametrize("looks", ["varied", "permuted"])
def test_looks_change_colour_and_nothing_else(looks):
    plain, other, again = (RoomSource(3, frames=1, width=96, height=72, looks=k) for k in ("natural", looks, looks))
    a, b = plain[0], other[0]
    assert a.depth.tobytes() == b.depth.tobytes()
    assert a.labels.tobytes() == b.labels.tobytes()
    assert a.world_T_cam.tobytes() == b.world_T_cam.tobytes()
    assert np.abs(a.rgb.astype(int) - b.rgb).mean() > 10
    assert b.rgb.tobytes() == again[0].rgb.tobytes()
    assert b.rgb.std() > 10


def test_permuted_classes_have_the_materials_of_another_class():
    scene = make_room(0)
    other = with_looks(scene, "permuted", 0)
    owner: dict[int, int] = {}
    for primitive in scene.primitives:
        owner.setdefault(primitive.material, primitive.label)
    owner_of_look = {(m.pattern, m.seed, m.color): owner[k] for k, m in enumerate(scene.materials) if k in owner}
    for row, label in owner.items():
        look = other.materials[row]
        assert owner_of_look[(look.pattern, look.seed, look.color)] != label


def test_varied_rooms_differ_and_keep_what_patterns_say_of_shape():
    scene = make_room(0)
    a, b = (with_looks(scene, "varied", seed) for seed in (0, 1))
    assert a.materials != b.materials
    for old, new in zip(scene.materials, a.materials):
        assert 0 <= min(new.color) <= max(new.color) <= 1
        if old.pattern in BOUND_PATTERNS:
            assert new.pattern == old.pattern
    assert {m.pattern for m in a.materials} - {m.pattern for m in scene.materials}
    for seed in range(6):
        lights = with_looks(scene, "varied", seed).lights
        assert 1 <= len(lights) <= 4
        assert all(light.intensity.min() > 0 for light in lights)


def test_natural_looks_are_the_room_itself_and_others_have_to_exist():
    scene = make_room(0)
    assert with_looks(scene, "natural", 0) is scene
    with pytest.raises(ValueError, match="looks is 'baroque', expected one of natural"):
        RoomSource(0, looks="baroque")


def test_every_seed_is_in_one_split():
    assert [split_of(s) for s in (0, 999_999, 1_000_000, 2_000_000, 2_999_999, 3_000_000)] == [
        "train", "train", "validation", "test", "test", "none",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", TEST_SEEDS)
def test_no_held_out_thing_reaches_into_another(seed):
    assert_nothing_intersects(make_room(seed))
