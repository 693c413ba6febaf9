"""Settings: types, ranges, names, and the files that carry them."""

import dataclasses

import pytest
import yaml

from gnesf_model.config import Config, InputConfig, VolumeConfig, parse_overrides


def test_every_default_is_valid_and_described():
    options = Config.options()
    assert Config.from_flat({o.name: o.default for o in options}) == Config()
    for option in options:
        assert option.doc.endswith("."), option.name
        if option.type in (int, float):
            assert option.low is not None, f"{option.name} has no range"


def test_flat_values_round_trip():
    config = Config.from_flat({"volume.voxel_size_m": 0.08, "input.body_T_camera": [1, 0, 0, 0, 0, 0, 1]})
    assert Config.from_flat(config.to_flat()) == config
    assert set(config.to_flat()) == {o.name for o in Config.options()}


def test_names_are_a_list_of_text():
    assert Config.from_flat({"input.cameras": ["front", "arm/wrist"]}).input.cameras == ["front", "arm/wrist"]


def test_integers_become_floats_where_floats_are_meant():
    config = Config.from_flat({"volume.max_depth_m": 4, "input.body_T_camera": [1, 0, 0, 0, 0, 0, 1]})
    assert type(config.volume.max_depth_m) is float
    assert all(type(v) is float for v in config.input.body_T_camera)


@pytest.mark.parametrize("name", ["global_frame", "pose_frame"])
@pytest.mark.parametrize(
    ("given", "frame"), [("/map", "map"), ("map", "map"), ("/robot1/odom", "robot1/odom"), ("//map", "map")]
)
def test_a_frame_has_no_slash_at_the_front(name, given, frame):
    """As in ROS 1; tf2 would refuse what is published with one."""
    assert Config.from_flat({f"input.{name}": given}).to_flat()[f"input.{name}"] == frame


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("volume.voxel_size", "volume.voxel_size_m"),
        ("input.global_fram", "input.global_frame"),
        ("voxel_size_m", "voxel_size_m"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=rf"no setting '{name}'.*{nearest}"):
        Config.from_flat({name: 1})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("volume.voxel_size_m", "0.04", r"volume\.voxel_size_m is '0.04' \(str\).*type float"),
        ("volume.voxel_size_m", True, r"type float"),
        ("volume.voxel_size_m", 0.001, r"0\.001, expected 0\.005 to 1\.0"),
        ("volume.voxel_size_m", float("nan"), "NaN"),
        ("volume.max_map_memory_mb", 1.0, "16.0 to 10000000.0"),
        ("keyframes.window", 9.0, r"keyframes\.window.*type int"),
        ("keyframes.window", True, "type int"),
        ("keyframes.window", 65, "1 to 64"),
        ("input.pose_source", "odometry", r"transform, odom, tf \(nearest: odom\)"),
        ("input.global_frame", 3, "type str"),
        ("input.global_frame", "/", r"input\.global_frame is '/', expected the name of a frame, such as map"),
        ("input.pose_frame", "", r"input\.pose_frame is '', expected the name of a frame"),
        ("node.use_depth", 1, "type bool"),
        ("input.body_T_camera", [0.0] * 6, r"has 6 numbers, expected 0 or 7"),
        ("input.body_T_camera", ["a"] * 7, "list of numbers"),
        ("input.body_T_camera", [float("nan")] * 7, "NaN"),
        ("segmenter.input_size", [4, 4], "8 to 8192"),
        ("input.cameras", "front", "a list of names"),
        ("input.cameras", ["front", 2], "expected a list of names"),
        ("input.cameras", ["front", "rear view"], "letters, digits and _"),
        ("input.cameras", ["front", "front"], "every name once"),
    ],
)
def test_wrong_values_are_refused_with_name_value_and_expectation(name, value, text):
    with pytest.raises(ValueError, match=text):
        Config.from_flat({name: value})


def test_sections_check_themselves_and_are_frozen():
    with pytest.raises(ValueError, match="voxel_size_m"):
        VolumeConfig(voxel_size_m=-1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        VolumeConfig().voxel_size_m = 0.1


def test_list_defaults_are_not_shared():
    InputConfig().body_T_camera.append(1.0)
    assert InputConfig().body_T_camera == []


@pytest.mark.parametrize("prefix", [(), ("gnesf", "ros__parameters"), ("/**", "ros__parameters")])
def test_nested_and_ros_style_files_are_read(tmp_path, prefix):
    tree = {"volume": {"voxel_size_m": 0.1}, "geometry": "depth"}
    if prefix:
        tree["use_sim_time"] = True  # rclpy's own
    for name in reversed(prefix):
        tree = {name: tree}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert Config.load(path).volume.voxel_size_m == 0.1
    assert Config.load(path, {"volume.voxel_size_m": 0.2}).volume.voxel_size_m == 0.2


def test_dotted_names_in_a_file_are_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("gnesf:\n  ros__parameters:\n    volume.voxel_size_m: 0.1\n")
    assert Config.load(path).volume.voxel_size_m == 0.1


@pytest.mark.parametrize("text", ["# nothing\n", "gnesf:\n  ros__parameters:\n    # volume.voxel_size_m: 0.1\n"])
def test_empty_file_means_defaults(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    assert Config.load(tmp_path / "c.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds a list"),
        ("a: [", "not valid YAML"),
        ("a: {ros__parameters: {}}\nb: {ros__parameters: {}}", "configures 2 nodes"),
        ("volume: {voxel_sise_m: 0.1}", "nearest: volume.voxel_size_m"),
        ("gnesf: {ros__parameters: [1]}", "expected a mapping"),
        ("gnesf: {ros__parameters: {1: 2}}", "no setting"),
    ],
)
def test_files_that_are_no_configuration_are_refused(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Config.load(tmp_path / "c.yaml")


def test_overrides_are_yaml():
    parsed = parse_overrides(["a.b=0.5", "c=text", "d=[1, 2]", "e=", "f=a=b", " g =true"])
    assert parsed == {"a.b": 0.5, "c": "text", "d": [1, 2], "e": "", "f": "a=b", "g": True}


@pytest.mark.parametrize(("item", "text"), [("a.b", "has no '='"), ("a=[", "not valid YAML")])
def test_malformed_overrides_are_refused(item, text):
    with pytest.raises(ValueError, match=text):
        parse_overrides([item])


def test_a_range_of_depths_must_not_be_empty():
    with pytest.raises(ValueError, match="min_depth_m is 6.0 and max_depth_m 5.0"):
        Config.from_flat({"volume.min_depth_m": 6})


def test_small_numbers_as_yaml_1_1_reads_them_and_endless_ones():
    assert parse_overrides(["input.depth_unit_m=1e-3", "segmenter.model=nets/1e-3.onnx"]) == {
        "input.depth_unit_m": 0.001,
        "segmenter.model": "nets/1e-3.onnx",
    }
    with pytest.raises(ValueError, match="max_map_memory_mb is inf"):
        Config.from_flat({"volume.max_map_memory_mb": float("inf")})


def test_settings_beside_ros_parameters_are_not_overlooked(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("/**:\n  ros__parameters:\n    volume: {voxel_size_m: 0.05}\nvolume: {voxel_sise_m: 0.1}\n")
    with pytest.raises(ValueError, match="put all below ros__parameters"):
        Config.load(path)
    path.write_text("/**:\n  ros__parameters:\n    use_sim_time: true\n    qos_overrides: {/a: {depth: 3}}\n")
    assert Config.load(path) == Config()
