"""Label spaces, the shipped files, and the mappings between them."""

import numpy as np
import pytest
import yaml

from gnesf_model import resources
from gnesf_model.labels import (
    KINDS,
    SHIPPED,
    UNKNOWN,
    LabelClass,
    LabelMapping,
    LabelSpace,
    distinct_color,
)

BENCHMARK_NYU40_IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]


def space(*names, kind="other", **more):
    classes = tuple(LabelClass(i, n, distinct_color(i), kind) for i, n in enumerate(names))
    return LabelSpace(more.pop("name", "toy"), classes, **more)


def write(path, data):
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def valid():
    return {
        "name": "toy",
        "classes": [
            {"name": "wall", "color": [1, 2, 3], "kind": "structure"},
            {"name": "person", "color": [4, 5, 6], "kind": "dynamic"},
        ],
        "maps": {"scannet20": {"wall": "wall", "person": None}},
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [("scannet20", 20), ("nyu40", 40), ("ade20k150", 150), ("coco_panoptic", 133)],
)
def test_shipped_spaces_are_complete(name, count):
    loaded = LabelSpace.load(name)
    assert loaded.name == name
    assert len(loaded) == len(loaded.names) == len(loaded.kinds) == count
    assert set(loaded.kinds) <= set(KINDS)
    if name != "scannet20":
        assert set(loaded.maps["scannet20"]) == set(loaded.names), "every class is decided"


def test_scannet20_is_the_benchmark():
    loaded = LabelSpace.load("scannet20")
    assert loaded.index("floor") == 1 and loaded.kinds[1] == "floor"
    assert loaded.names[11:14] == ("counter", "desk", "curtain")
    assert loaded.names[19] == "otherfurniture"
    assert tuple(loaded.colors[0]) == (174, 199, 232)
    assert tuple(loaded.colors[19]) == (82, 84, 163)


def test_palette_covers_every_byte_and_unknown_is_black():
    palette = LabelSpace.load("scannet20").colors
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert not palette[20:].any()
    assert len({tuple(color) for color in palette[:20]} | {(0, 0, 0)}) == 21


def test_nyu40_follows_the_benchmark_ids():
    nyu40, scannet20 = LabelSpace.load("nyu40"), LabelSpace.load("scannet20")
    assert nyu40.first_id == 1
    lookup = LabelMapping.between(nyu40, scannet20).lookup
    for target, nyu_id in enumerate(BENCHMARK_NYU40_IDS):
        assert lookup[nyu_id - 1] == target
        assert nyu40.classes[nyu_id - 1].color == scannet20.classes[target].color
    rest = set(range(40)) - {nyu_id - 1 for nyu_id in BENCHMARK_NYU40_IDS}
    assert all(lookup[index] == UNKNOWN for index in rest)


@pytest.mark.parametrize(
    ("name", "unreachable"),
    [
        ("nyu40", set()),
        ("ade20k150", {"shower curtain"}),
        ("coco_panoptic", {"picture", "desk", "shower curtain", "bathtub"}),
    ],
)
def test_columns_sum_to_zero_or_one_and_reach_what_they_can(name, unreachable):
    target = LabelSpace.load("scannet20")
    matrix = LabelMapping.between(LabelSpace.load(name), target).matrix
    assert matrix.dtype == np.float32
    assert set(np.unique(matrix)) == {0.0, 1.0}
    assert set(matrix.sum(axis=0)) <= {0.0, 1.0}
    missing = {target.names[i] for i in np.flatnonzero(matrix.sum(axis=1) == 0)}
    assert missing == unreachable


@pytest.mark.parametrize(
    ("source", "name", "target"),
    [
        ("ade20k150", "rug", "floor"),
        ("ade20k150", "armchair", "chair"),
        ("ade20k150", "swivel chair", "chair"),
        ("ade20k150", "coffee table", "table"),
        ("ade20k150", "kitchen island", "counter"),
        ("ade20k150", "windowpane", "window"),
        ("ade20k150", "poster", "picture"),
        ("ade20k150", "ceiling", None),
        ("ade20k150", "lamp", None),
        ("ade20k150", "person", None),
        ("coco_panoptic", "couch", "sofa"),
        ("coco_panoptic", "wall-tile", "wall"),
        ("coco_panoptic", "rug-merged", "floor"),
        ("coco_panoptic", "tv", None),
        ("coco_panoptic", "ceiling-merged", None),
    ],
)
def test_single_classes_go_where_they_belong(source, name, target):
    own, scannet20 = LabelSpace.load(source), LabelSpace.load("scannet20")
    value = LabelMapping.between(own, scannet20).lookup[own.index(name)]
    assert value == (UNKNOWN if target is None else scannet20.index(target))


def test_what_moves_is_dynamic():
    for name, moving in {
        "nyu40": {"person"},
        "ade20k150": {"person", "animal", "car", "bicycle"},
        "coco_panoptic": {"person", "cat", "dog", "bicycle", "bus"},
        "scannet20": set(),
    }.items():
        loaded = LabelSpace.load(name)
        dynamic = set(np.array(loaded.names)[loaded.of_kind("dynamic")])
        assert moving <= dynamic
        mapping = LabelMapping.between(loaded, LabelSpace.load("scannet20"))
        assert not mapping.matrix[:, loaded.of_kind("dynamic")].any()


def test_identity_and_chains():
    nyu40, scannet20 = LabelSpace.load("nyu40"), LabelSpace.load("scannet20")
    np.testing.assert_array_equal(LabelMapping.between(nyu40, nyu40).matrix, np.eye(40))
    own = space("settee", "lamp", "thing", maps={"nyu40": {"settee": "sofa", "lamp": "lamp"}})
    mapping = LabelMapping.between(own, scannet20)
    assert mapping.target == scannet20
    assert list(mapping.lookup[:4]) == [scannet20.index("sofa"), UNKNOWN, UNKNOWN, UNKNOWN]
    with pytest.raises(ValueError, match="cannot chain"):
        mapping.then(LabelMapping.between(nyu40, scannet20))


def test_missing_mapping_says_what_there_is():
    with pytest.raises(ValueError, match=r"from label space 'nyu40' to 'toy'.*scannet20"):
        LabelMapping.between(LabelSpace.load("nyu40"), space("a"))
    with pytest.raises(ValueError, match="none"):
        LabelMapping.between(space("a"), LabelSpace.load("scannet20"))


def test_map_to_a_class_which_does_not_exist_names_the_file(tmp_path):
    data = valid()
    data["maps"]["scannet20"]["wall"] = "wal"
    path = write(tmp_path / "toy.yaml", data)
    with pytest.raises(ValueError, match=r"toy\.yaml.*'wal'; did you mean 'wall'"):
        LabelMapping.between(LabelSpace.load(path), LabelSpace.load("scannet20"))


def test_index_suggests_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'bookshelf'"):
        LabelSpace.load("scannet20").index("bookshelve")
    assert LabelSpace.load("scannet20").index(" Wall ") == 0


def test_load_by_path_and_by_name(tmp_path):
    loaded = LabelSpace.load(write(tmp_path / "toy.yaml", valid()))
    assert loaded.names == ("wall", "person") and loaded.origin.endswith("toy.yaml")
    with pytest.raises(OSError, match=r"no label space 'scannet'.*did you mean 'scannet20'"):
        LabelSpace.load("scannet")
    with pytest.raises(OSError, match=r"none\.yaml does not exist"):
        LabelSpace.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("classes"), "classes is missing"),
        (lambda d: d.update(extra=1), "unknown field extra"),
        (lambda d: d.update(name=3), "name is 3"),
        (lambda d: d.update(classes={}), "expected a list"),
        (lambda d: d.update(classes=[]), "0 classes"),
        (lambda d: d.update(first_id=2), "first_id is 2"),
        (lambda d: d["classes"].append(dict(d["classes"][0])), "'wall' is given twice"),
        (lambda d: d["classes"][0].update(color=[0, 0, 256]), "256.*expected three integers"),
        (lambda d: d["classes"][0].update(color=[0, 0]), "expected three integers"),
        (lambda d: d["classes"][0].update(color=[0, 0, True]), "expected three integers"),
        (lambda d: d["classes"][0].update(kind="solid"), "kind is 'solid'.*structure"),
        (lambda d: d["classes"][0].update(name=False), "name is False"),
        (lambda d: d["classes"][0].update(id=0), "unknown field id"),
        (lambda d: d["classes"][0].update(aliases="w"), "expected a list of texts"),
        (lambda d: d.update(maps=[1]), "maps is"),
        (lambda d: d.update(maps={"scannet20": {"wal": "wall"}}), "'wal'.*did you mean 'wall'"),
        (lambda d: d.update(maps={"scannet20": {"wall": 1}}), "class names or null"),
    ],
)
def test_wrong_files_are_refused_with_file_and_value(tmp_path, change, message):
    data = valid()
    change(data)
    path = write(tmp_path / "toy.yaml", data)
    with pytest.raises(ValueError, match=message) as caught:
        LabelSpace.load(path)
    assert str(path) in str(caught.value)


def test_yaml_which_makes_objects_is_refused(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("!!python/object/apply:os.getcwd []", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid YAML"):
        LabelSpace.load(path)


def test_more_than_255_classes_are_refused():
    assert len(LabelSpace.from_names(str(i) for i in range(255))) == 255
    with pytest.raises(ValueError, match=r"expected an integer in 0..254"):
        LabelSpace.from_names(str(i) for i in range(256))


def test_ids_are_positions():
    with pytest.raises(ValueError, match="has id 1 at position 0"):
        LabelSpace("toy", (LabelClass(1, "a", (0, 0, 0), "other"),))


def test_bare_names_take_kind_and_colour_of_known_classes():
    own = LabelSpace.from_names(["person", "rug", "widget"])
    assert own.kinds == ("dynamic", "floor", "other")
    assert own.classes[1].color == (255, 9, 92)
    assert len({distinct_color(i) for i in range(255)}) == 255


def test_spaces_are_values():
    assert LabelSpace.load("scannet20") == LabelSpace.load("scannet20")
    assert hash(LabelSpace.load("nyu40")) == hash(LabelSpace.load("nyu40"))
    assert LabelSpace.load("scannet20") != LabelSpace.load("nyu40")
    assert {LabelSpace.load(name).name for name in SHIPPED} == set(SHIPPED)


def test_configuration_is_found_in_a_source_tree_and_in_a_prefix(tmp_path):
    assert (resources.config_dir() / "labels" / "scannet20.yaml").is_file()
    prefix = tmp_path / "install"
    installed = prefix / "share" / "gnesf_ros" / "config"
    (installed / "labels").mkdir(parents=True)
    module = prefix / "lib" / "python3.11" / "site-packages" / "gnesf_model" / "resources.py"
    assert resources._find_config(module) == installed
    with pytest.raises(OSError, match="Reinstall the package"):
        resources._find_config(tmp_path / "elsewhere" / "resources.py")
