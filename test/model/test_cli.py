"""The command `gnesf`: recordings in, files and scores out, and one clear line where something is wrong."""

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
import yaml
from small_network import small_network

from gnesf_model.cli import main
from gnesf_model.commands.recording import OpenRecording, add_recording_arguments
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.map_file import save_map

ROOT = Path(__file__).resolve().parents[2]
FRAMES, WIDTH, HEIGHT = 10, 96, 72
# The same settings for every run: few pixels leave most voxels with a single view.
SETTINGS = ["--set", "device=cpu", "--set", "cpu_threads=1", "--set", "volume.min_weight=1"]
SETTINGS += ["--set", "segmenter.model=oracle"]
FILES = ["cloud.ply", "config.yaml", "mesh.ply", "metrics.json", "overview.png"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """An RGB-D folder of a few small frames, with ground truth."""
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(RoomSource(5, frames=FRAMES, width=WIDTH, height=HEIGHT, shading=False), folder)
    return folder


@pytest.fixture(scope="module")
def bag(recording, tmp_path_factory):
    """The same as a bag, with its labels by stamp."""
    folder = tmp_path_factory.mktemp("bag")
    assert main(["bag", str(recording), str(folder / "bag"), "--labels-out", str(folder / "labels")]) == 0
    return folder / "bag", folder / "labels"


@pytest.fixture(scope="module")
def mapped(recording, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "er"
    assert main(["map", str(recording), "--out", str(out), *SETTINGS]) == 0
    return out


@pytest.fixture
def copy(recording, tmp_path):
    """A copy to damage."""
    return shutil.copytree(recording, tmp_path / "copy")


def map_(source, out, *more):
    return main(["map", str(source), "--out", str(out), *SETTINGS, *map(str, more)])


def metrics(out):
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def refused(caplog, arguments):
    """The one line with which a command is refused, status 2."""
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert main([str(a) for a in arguments]) == 2
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is None
    return errors[0].getMessage()


def map_refused(caplog, source, tmp_path, *more):
    return refused(caplog, ["map", source, "--out", tmp_path / "out", *SETTINGS, *more])


def test_map_writes_cloud_mesh_picture_settings_and_metrics(mapped):
    assert sorted(p.name for p in mapped.iterdir()) == FILES
    cloud, mesh = (trimesh.load(mapped / f"{name}.ply", process=False) for name in ("cloud", "mesh"))
    assert len(cloud.vertices) > 1000
    assert len(mesh.faces) > 1000 and mesh.faces.max() < len(mesh.vertices)
    picture = cv2.imread(str(mapped / "overview.png"))
    assert picture.shape[1] == 1280 and (picture < 250).mean() > 0.2


def test_metrics_say_what_went_in_how_long_it_took_and_how_good_it_is(mapped):
    found = metrics(mapped)
    assert {"frames", "keyframes", "dropped", "stages", "peak_memory_mb", "scores"} <= set(found)
    assert set(found) - {"frames", "keyframes", "dropped", "stages", "peak_memory_mb", "scores"} == {
        "schema",
        "source",
        "recording",
        "through",
        "latency",
        "map",
        "growth",
        "settings",
        "versions",
        "machine",
        "device",
        "ground_truth",
        "pose_jumps",
        "turned_too_fast_to_vote",
    }
    assert found["frames"] == FRAMES
    assert 1 <= found["keyframes"] <= FRAMES
    assert found["dropped"] == {}
    assert set(found["stages"]) == {"segment", "tsdf_prepare", "tsdf_allocate", "tsdf_integrate", "tsdf_clear", "vote"}
    for stage in found["stages"].values():
        assert set(stage) == {"p50_ms", "p95_ms", "p99_ms"}
        assert 0 < stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"]
    assert 50 < found["peak_memory_mb"] < 100_000
    scores = found["scores"]
    assert set(scores) == {"2d", "3d", "pixel_stride"}
    assert set(scores["2d"]) == {"per_frame", "map"}
    for score in (scores["2d"]["per_frame"], scores["2d"]["map"], scores["3d"]):
        assert {"miou", "pixel_accuracy", "per_class", "n", "coverage"} <= set(score)
        assert score["n"] == sum(c["n"] for c in score["per_class"].values()) > 0
        assert all({"iou", "recall", "n"} == set(c) for c in score["per_class"].values())
        assert score["pixel_accuracy"] > 0.8
    assert scores["2d"]["per_frame"]["n"] == scores["2d"]["map"]["n"]
    assert scores["2d"]["per_frame"]["n"] <= FRAMES * WIDTH * HEIGHT / scores["pixel_stride"] ** 2


def test_the_settings_that_were_written_give_the_same_map(recording, mapped, tmp_path):
    written = yaml.safe_load((mapped / "config.yaml").read_text(encoding="utf-8"))
    assert written["volume.min_weight"] == 1.0
    assert main(["map", str(recording), "--out", str(tmp_path), "--config", str(mapped / "config.yaml")]) == 0
    for name in ("cloud.ply", "mesh.ply", "config.yaml"):
        assert (tmp_path / name).read_bytes() == (mapped / name).read_bytes(), name


def test_options_are_settings(recording, tmp_path):
    options = ["--voxel-size", "0.08", "--segmenter", "oracle", "--geometry", "depth"]
    assert map_(recording, tmp_path, *options, "--set", "keyframes.window=4") == 0
    written = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert (written["volume.voxel_size_m"], written["keyframes.window"]) == (0.08, 4)


def test_a_bag_of_the_recording_gives_the_same_map(bag, mapped, tmp_path):
    path, labels = bag
    assert map_(path, tmp_path, "--segmenter", f"oracle:{labels}", "--labels", labels) == 0
    assert (tmp_path / "cloud.ply").read_bytes() == (mapped / "cloud.ply").read_bytes()
    assert metrics(tmp_path)["scores"] == metrics(mapped)["scores"]


def test_other_poses_by_name(copy, tmp_path, caplog):
    (copy / "pose").rename(copy / "pose_refined")
    text = map_refused(caplog, copy, tmp_path)
    assert "pose does not exist" in text and "--pose-dir" in text and "pose_refined" in text
    assert map_(copy, tmp_path / "out", "--pose-dir", "pose_refined") == 0


def test_a_point_set_as_ground_truth(recording, mapped, tmp_path, caplog):
    cloud = trimesh.load(mapped / "cloud.ply", process=False)
    xyz = np.asarray(cloud.vertices)[:500]
    np.savez(tmp_path / "points.npz", xyz=xyz, label=np.full(500, 1, np.uint8))
    assert map_(recording, tmp_path / "out", "--labels", tmp_path / "points.npz") == 0
    found = metrics(tmp_path / "out")
    assert found["scores"]["3d"]["n"] == 500 and metrics(mapped)["ground_truth"] == {"kind": "recording"}
    truth = found["ground_truth"]
    assert (truth["kind"], truth["points"], len(truth["sha256"])) == ("points", 500, 64)
    text = refused(caplog, ["compare", mapped, tmp_path / "out"])
    assert "label images of the recording in the first and a labelled point set in the second" in text
    np.savez_compressed(tmp_path / "again.npz", xyz=xyz.astype(np.float64), label=np.full(500, 1, np.int64))
    np.savez(tmp_path / "moved.npz", xyz=xyz + 0.001, label=np.full(500, 1, np.uint8))
    for name in ("again", "moved"):
        assert map_(recording, tmp_path / name, "--labels", tmp_path / f"{name}.npz") == 0
    assert main(["compare", str(tmp_path / "out"), str(tmp_path / "again")]) == 0
    text = refused(caplog, ["compare", tmp_path / "out", tmp_path / "moved"])
    assert "different ground truth (3d): point sets of 500 points" in text and "the same --labels" in text
    np.savez(tmp_path / "beyond.npz", xyz=xyz, label=np.full(500, 40, np.uint8))
    text = map_refused(caplog, recording, tmp_path, "--labels", tmp_path / "beyond.npz")
    assert "holds class 40, but scannet20 ends at 19" in text


def test_a_recording_without_ground_truth_has_no_scores(copy, bag, tmp_path, caplog):
    shutil.rmtree(copy / "label")
    text = map_refused(caplog, copy, tmp_path)
    assert "the segmenter is 'oracle', but copy has no ground truth" in text and "--segmenter" in text
    assert map_(copy, tmp_path / "out", "--segmenter", f"oracle:{bag[1]}") == 0
    assert "scores" not in metrics(tmp_path / "out")


def test_one_unreadable_image_is_counted_and_the_rest_is_mapped(copy, tmp_path):
    images = sorted((copy / "color").iterdir())
    images[3].write_bytes(images[3].read_bytes()[:100])
    depth = sorted((copy / "depth").iterdir())
    depth[5].write_bytes(b"not a picture")
    pose = sorted((copy / "pose").iterdir())
    pose[7].write_text("1 0 0 0\n0 2 0 0\n0 0 1 0\n0 0 0 1\n")
    assert map_(copy, tmp_path / "out") == 0
    found = metrics(tmp_path / "out")
    assert found["frames"] == FRAMES - 3
    assert found["dropped"] == {"unreadable_image": 2, "bad_pose": 1}


def test_one_frame_is_a_map(copy, tmp_path):
    for path in sorted((copy / "color").iterdir())[1:]:
        path.unlink()
    # With the default of two views per voxel nothing is surface yet: files and scores say so.
    assert map_(copy, tmp_path / "out", "--set", "volume.min_weight=2") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES
    found = metrics(tmp_path / "out")
    assert found["map"]["surface_points"] == 0
    assert found["scores"]["3d"]["pixel_accuracy"] == found["scores"]["3d"]["coverage"] == 0


def test_sources_that_cannot_be_opened(tmp_path, caplog):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no recording")
    assert "an empty folder, expected a folder with color/" in map_refused(caplog, tmp_path / "empty", tmp_path)
    assert "a file of type .txt, expected" in map_refused(caplog, tmp_path / "notes.txt", tmp_path)
    assert "does not exist, expected" in map_refused(caplog, tmp_path / "nowhere", tmp_path)
    assert "has the seed 'one', expected a whole number" in map_refused(caplog, "rooms:one", tmp_path)


def test_a_folder_without_a_usable_frame(copy, tmp_path, caplog):
    for path in (copy / "color").iterdir():
        path.write_bytes(b"")
    text = map_refused(caplog, copy, tmp_path)
    assert f"no frame of copy could be mapped: {FRAMES} x unreadable_image" in text
    shutil.rmtree(copy / "color")
    (copy / "color").mkdir()
    assert "holds no .jpg or .png image" in map_refused(caplog, copy, tmp_path)


def test_depth_is_needed(copy, tmp_path, caplog):
    shutil.rmtree(copy / "depth")
    text = map_refused(caplog, copy, tmp_path)
    assert f"{FRAMES} x no_depth" in text


def test_settings_that_do_not_exist_or_fit(recording, tmp_path, caplog):
    text = map_refused(caplog, recording, tmp_path, "--set", "volume.voxelsize_m=0.05")
    assert "there is no setting 'volume.voxelsize_m' (nearest: volume.voxel_size_m)" in text
    text = map_refused(caplog, recording, tmp_path, "--voxel-size", "7")
    assert "volume.voxel_size_m is 7.0, expected 0.005 to 1.0" in text
    assert "has no '='" in map_refused(caplog, recording, tmp_path, "--set", "volume.min_weight")
    assert "nowhere.yaml" in map_refused(caplog, recording, tmp_path, "--config", tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("volume: [1, 2")
    assert "is not valid YAML" in map_refused(caplog, recording, tmp_path, "--config", tmp_path / "bad.yaml")


def test_segmenters_that_cannot_be_loaded(recording, tmp_path, caplog):
    text = map_refused(caplog, recording, tmp_path, "--segmenter", tmp_path / "none.onnx")
    assert "none.onnx" in text and "does not exist" in text
    (tmp_path / "damaged.onnx").write_bytes(b"\x00" * 100)
    (tmp_path / "damaged.yaml").write_text("labels: nyu40\n")
    assert "damaged" in map_refused(caplog, recording, tmp_path, "--segmenter", tmp_path / "damaged.onnx")
    (tmp_path / "folder").mkdir()
    text = map_refused(caplog, recording, tmp_path, "--segmenter", tmp_path / "folder")
    assert "holds no config.json" in text


def test_a_network_s_labels_must_match_its_weights(recording, tmp_path, caplog):
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    text = map_refused(caplog, recording, tmp_path, "--segmenter", small_network(tmp_path / "toy.onnx", 7, "nyu40"))
    assert "7" in text and "nyu40" in text and "40" in text
    assert map_(recording, tmp_path / "out", "--segmenter", small_network(tmp_path / "toy.onnx", 40, "nyu40")) == 0
    assert metrics(tmp_path / "out")["scores"]["2d"]["per_frame"]["pixel_accuracy"] < 0.9


def test_classes_of_the_network_itself(recording, tmp_path):
    """Ground truth in other classes than the map's is left out, not compared by number."""
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    path = small_network(tmp_path / "toy.onnx", 3, ["sky", "sea", "sand"])
    assert map_(recording, tmp_path / "out", "--segmenter", path, "--set", "semantics.labels=native") == 0
    assert "scores" not in metrics(tmp_path / "out")


def test_a_bag_without_the_topic_says_which_topics_there_are(bag, tmp_path, caplog):
    text = map_refused(caplog, bag[0], tmp_path, "--set", "input.color_topic=/nose/image")
    assert "/nose/image" in text and "sensor_msgs/msg/Image" in text and "/odom" in text


def test_a_bag_that_was_cut_is_mapped_up_to_there(tmp_path):
    # Large enough for several of the file's chunks: the one that was being written is lost.
    room = RoomSource(5, frames=8, width=320, height=240, shading=False)
    write_bag(room, tmp_path / "bag", labels_dir=tmp_path / "labels")
    (whole,) = (tmp_path / "bag").glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    assert map_(cut, tmp_path / "out", "--segmenter", f"oracle:{tmp_path / 'labels'}") == 0
    found = metrics(tmp_path / "out")
    assert 2 <= found["frames"] < 8
    assert found["dropped"]["truncated_bag"] == 1


def test_a_bag_with_nothing_left_in_it(bag, tmp_path, caplog):
    (whole,) = bag[0].glob("*.mcap")
    for size, said in ((0, "it is damaged or of another type"), (60, ""), (20_000, "its whole records are used")):
        (tmp_path / "cut.mcap").write_bytes(whole.read_bytes()[:size])
        text = map_refused(caplog, tmp_path / "cut.mcap", tmp_path)
        assert "cut.mcap" in text and said in text


def test_places_that_cannot_be_written(recording, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none/out"):
        text = refused(caplog, ["map", recording, "--out", out, *SETTINGS])
        assert f"--out {out} cannot be made" in text and "name a folder that can be written" in text
    (tmp_path / "taken").mkdir()
    assert "taken" in refused(caplog, ["bag", recording, tmp_path / "taken"])


def test_a_label_folder_that_is_not_there(recording, tmp_path, caplog):
    text = map_refused(caplog, recording, tmp_path, "--labels", tmp_path / "nowhere")
    assert "nowhere does not exist" in text
    assert "nowhere.npz" in map_refused(caplog, recording, tmp_path, "--labels", tmp_path / "nowhere.npz")


def test_ground_truth_of_another_label_space_is_refused(copy, tmp_path, caplog):
    for path in (copy / "label").glob("*.png"):
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH), 37, np.uint8))
    text = map_refused(caplog, copy, tmp_path)
    assert "37" in text and "scannet20" in text


def command(*arguments):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "gnesf_model.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=env,
    )


def test_as_a_process(recording, mapped, tmp_path):
    result = command("map", recording, "--out", tmp_path, *SETTINGS)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert f"{FRAMES}/{FRAMES}" in result.stderr  # the progress bar
    assert re.search(r"3d +mIoU 0\.\d+", result.stderr)
    assert (tmp_path / "cloud.ply").read_bytes() == (mapped / "cloud.ply").read_bytes()


def test_a_process_that_is_refused_says_so_in_one_line(tmp_path):
    result = command("map", tmp_path, "--out", tmp_path / "out", "--geometry", "depth")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("ERROR: ") and "an empty folder" in line


@pytest.fixture(scope="module")
def saved(recording, tmp_path_factory):
    """The recording's map as a file."""
    parser = argparse.ArgumentParser()
    add_recording_arguments(parser)
    opened = OpenRecording(
        parser.parse_args([str(recording), "--out", str(tmp_path_factory.mktemp("opened")), *SETTINGS])
    )
    opened.map()
    path = tmp_path_factory.mktemp("saved") / "room.map"
    save_map(path, opened.mapper)
    return path


def test_a_saved_map_is_exported_as_map_writes_it(saved, mapped, tmp_path, caplog):
    cloud, mesh = tmp_path / "cloud.ply", tmp_path / "mesh.ply"
    with caplog.at_level(logging.INFO):
        settings = ["--config", str(mapped / "config.yaml")]
        assert main(["export", "ply", str(saved), "--out", str(cloud), "--mesh", str(mesh), *settings]) == 0
    assert cloud.read_bytes() == (mapped / "cloud.ply").read_bytes()
    assert mesh.read_bytes() == (mapped / "mesh.ply").read_bytes()
    points = len(trimesh.load(cloud, process=False).vertices)
    assert f"wrote {cloud}: {points} points in the frame odom" in caplog.text
    # Voxels and classes are the file's, whatever the settings say; what is surface is for the settings to say.
    odd = ["--set", "volume.voxel_size_m=0.1", "--set", "semantics.labels=nyu40", "--set", "geometry=rgb"]
    assert main(["export", "ply", str(saved), "--out", str(cloud), *SETTINGS, *odd]) == 0
    assert cloud.read_bytes() == (mapped / "cloud.ply").read_bytes()
    assert main(["export", "ply", str(saved), "--out", str(cloud), *SETTINGS, "--set", "volume.min_weight=3"]) == 0
    assert 0 < len(trimesh.load(cloud, process=False).vertices) < points


def test_maps_that_cannot_be_exported(saved, tmp_path, caplog):
    def export_refused(path, out=tmp_path / "cloud.ply", *more):
        return refused(caplog, ["export", "ply", path, "--out", out, *SETTINGS, *more])

    whole = saved.read_bytes()
    cut = tmp_path / "cut.map"
    cut.write_bytes(whole[: len(whole) // 2])
    assert f"{cut} is damaged or was not written to its end" in export_refused(cut)
    cut.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert "does not give the checksum that it names" in export_refused(cut)
    cut.write_text("ply\nformat ascii 1.0\n")
    assert f"{cut} is not a map of gnesf_ros" in export_refused(cut)
    assert "nowhere.map cannot be read: No such file" in export_refused(tmp_path / "nowhere.map")
    assert "none of its" in export_refused(saved, tmp_path / "cloud.ply", "--set", "volume.min_weight=900")
    assert "there is no folder" in export_refused(saved, tmp_path / "no" / "cloud.ply")
    assert "expected a name that ends in .ply" in export_refused(saved, saved)
    assert "expected two files" in export_refused(saved, tmp_path / "a.ply", "--mesh", tmp_path / "a.ply")
    assert list(tmp_path.iterdir()) == [cut] and saved.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"voxel_size_m": 0.0}, "voxel_size_m is 0.0, expected 0.005 to 1.0"),
        ({"voxel_size_m": float("nan")}, "voxel_size_m is NaN"),
        ({"truncation_m": 1e9}, "truncation_vox is"),
        ({"classes": []}, "has 0 classes"),
        ({"classes": [{"name": "wall", "color": [1, 2], "kind": "structure"}]}, "expected three integers in 0..255"),
        ({"classes": [{"name": "wall"}]}, "'color'"),
    ],
    ids=str,
)
def test_a_map_that_describes_no_map_is_not_exported(saved, tmp_path, caplog, change, words):
    """A header is read before the checksum can be: nothing in it is believed."""
    lying = tmp_path / "lying.map"
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    described = json.loads(header["__metadata__"]["map"]) | change
    header["__metadata__"]["map"] = json.dumps(described)
    text = json.dumps(header).encode()
    lying.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    said = refused(caplog, ["export", "ply", lying, "--out", tmp_path / "cloud.ply", *SETTINGS])
    assert f"{lying} cannot be used" in said and words in said


def test_help_and_unknown_commands(capsys):
    for arguments, status in ((["--help"], 0), (["map", "--help"], 0), ([], 2), (["mop"], 2)):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == status
    text = capsys.readouterr()
    assert "rooms:SEED" in text.out and "--pose-dir" in text.out
    assert "mop" in text.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_procedural_room_by_its_seed(tmp_path):
    """What the map itself loses of a perfect segmenter: neighbours, who have nothing to mend here, do not vote."""
    assert map_("rooms:3", tmp_path, "--set", "semantics.neighbours=none") == 0
    found = metrics(tmp_path)
    assert found["frames"] == 150
    assert found["scores"]["3d"]["pixel_accuracy"] > 0.97
    assert found["scores"]["2d"]["map"]["pixel_accuracy"] > 0.9


def test_training_without_its_extra_says_what_installs_it():
    """In a process of its own, where nothing has imported lightning yet."""
    code = "import sys; sys.modules['lightning'] = None; from gnesf_model.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", "segmenter", "--out", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs lightning: pip install 'gnesf_ros[train]', or '.[train]'" in done.stderr, done.stderr
