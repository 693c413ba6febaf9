"""`gnesf demo` as users start it: what it leaves behind, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from ros_harness import ROOT
from ros_recording import FRAMES

from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.procrooms import RoomSource
from gnesf_ros.gnesf_node import refuse_without_effect
from gnesf_ros.node_process import NodeProcess
from gnesf_ros.replay import for_bag

QUICK = ("--set", "cpu_threads=1", "--rate", "0")
COMMAND = [sys.executable, "-m", "gnesf_model.cli", "demo"]


def demo(*arguments: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="module")
def small(room_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess, Path]:
    out = tmp_path_factory.mktemp("demo") / "out"
    oracle = ("--segmenter", "oracle", "--labels", room_bag / "labels")
    return demo("--bag", room_bag / "bag", *oracle, "--out", out, *QUICK), out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A short RGB-D folder without ground truth."""
    source = RoomSource(1, frames=6, width=96, height=72, shading=False)
    for name in ("color", "depth", "pose"):
        (tmp_path / "rgbd" / name).mkdir(parents=True)
    for i, frame in enumerate(source):
        cv2.imwrite(str(tmp_path / f"rgbd/color/{i}.png"), frame.rgb[..., ::-1])
        cv2.imwrite(str(tmp_path / f"rgbd/depth/{i}.png"), np.rint(frame.depth * 1000).astype(np.uint16))
        np.savetxt(tmp_path / f"rgbd/pose/{i}.txt", frame.world_T_cam)
    np.savetxt(tmp_path / "rgbd/intrinsics.txt", source.camera.K)
    return tmp_path / "rgbd"


def test_names_of_the_bag_are_no_parameters_of_the_node(room_bag: Path) -> None:
    named = {"input.color_topic": "/camera/color/image_raw", "input.pose_topic": "/pose", "node.queue": "all"}
    config = Config.from_flat({"segmenter.model": "bundled", **named})
    config = for_bag(config, BagSource(room_bag / "bag", config.input).topics, None, "newest")
    refuse_without_effect(config)
    assert config.node.queue == "newest"


def test_it_succeeds_and_its_first_line_says_what_segments(small: tuple) -> None:
    done, _ = small
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert "oracle" in first


def test_cloud_and_mesh_open_in_a_viewer_and_are_labelled(small: tuple) -> None:
    _, out = small
    cloud, mesh = (trimesh.load(out / name, process=False) for name in ("cloud.ply", "mesh.ply"))
    assert len(cloud.vertices) > 1000
    assert len(np.unique(np.asarray(cloud.colors)[:, :3], axis=0)) >= 4  # the colours of so many classes
    assert len(mesh.faces) > 1000
    # One and the same map, from the node and made offline.
    np.testing.assert_allclose(cloud.bounds, mesh.bounds, atol=0.25)


def test_pictures_show_the_run(small: tuple) -> None:
    _, out = small
    overlays = sorted((out / "overlays").glob("*.jpg"))
    assert len(overlays) == 12
    assert cv2.imread(str(overlays[0])).shape == (120, 160, 3)
    for name in ("overlays.png", "overview.png"):
        picture = cv2.imread(str(out / name))
        assert picture.shape[1] >= 1280
        assert picture.std() > 20


def test_report_counts_what_went_in_and_came_out(small: tuple) -> None:
    done, out = small
    report = (out / "report.md").read_text()
    assert report in done.stdout
    rows = {
        cells[0]: cells[1:]
        for line in report.splitlines()
        if line.startswith("|") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    for topic in ("/camera/color/image_raw", "/camera/depth/image_raw", "/pose"):
        assert rows[topic][:2] == [str(FRAMES), str(FRAMES)], topic
    assert rows["frames mapped"] == [str(FRAMES)]
    assert rows["dropped"] == ["none"]
    assert rows["/gnesf/semantic_overlay/image_raw"][0] == str(FRAMES)
    assert int(rows["/gnesf/semantic_cloud"][0]) >= 1
    latency = rows["image on its topic -> frame in the map and status published"]
    assert 0 < float(latency[0]) <= float(latency[1])
    assert {"stage segment", "stage tsdf_integrate", "stage vote"} <= set(rows)
    assert float(rows["points in 3D"][1]) > 0.9  # accuracy, of an oracle
    points = int(rows["surface points"][0])
    assert points == len(trimesh.load(out / "cloud.ply", process=False).vertices)
    assert f"node and offline map agree: {points} points, bit-equal" in report


def test_newest_leaves_out_frames_and_says_so(room_bag: Path, tmp_path: Path) -> None:
    # Many times faster than recorded, so that frames do get lost, on any machine.
    options = ("--queue", "newest", "--set", "cpu_threads=1", "--rate", "20", "--out", tmp_path / "out")
    done = demo("--bag", room_bag / "bag", "--segmenter", f"oracle:{room_bag / 'labels'}", *options)
    assert done.returncode == 0, done.stderr
    assert "With --queue newest" in done.stdout


def test_rgbd_folder_becomes_a_bag_first(folder: Path, room_bag: Path, tmp_path: Path) -> None:
    # The oracle has no label image of these stamps, so nothing is mapped: the reason is what is asked for here.
    out = tmp_path / "out"
    done = demo("--bag", folder, "--segmenter", f"oracle:{room_bag / 'labels'}", "--out", out, *QUICK)
    assert done.returncode == 2
    assert (out / "recording" / "bag" / "metadata.yaml").is_file()
    assert "no frame was mapped: 6 images reached the node" in done.stderr
    assert "the oracle" in done.stderr


def test_nothing_mapped_says_why(room_bag: Path, tmp_path: Path) -> None:
    options = ("--set", "input.pose_frame=nowhere", "--out", tmp_path / "out", *QUICK)
    done = demo("--bag", room_bag / "bag", "--segmenter", f"oracle:{room_bag / 'labels'}", *options)
    assert done.returncode == 2
    assert "no frame was mapped" in done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "cloud.ply").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bag", "no/such/bag", "--segmenter", "oracle"), "no/such/bag does not exist"),
        (("--bag", "{bag}", "--segmenter", "oracle"), "give --labels DIR"),
        (("--bag", "{bag}", "--segmenter", "no/such/net.onnx"), "no/such/net.onnx"),
        (("--bag", "{bag}", "--segmenter", "oracle", "--out", "{labels}"), "name another folder with --out"),
        (("--set", "volume.voxel_siz_m=0.05"), "volume.voxel_size_m"),
    ],
)
def test_wrong_input_is_said_before_anything_starts(
    arguments: tuple, words: str, room_bag: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled = [text.format(bag=room_bag / "bag", labels=room_bag / "labels") for text in arguments]
    before = sorted((room_bag / "labels").iterdir())
    # In this process, which is quicker: no node is started.
    assert main(["demo", "--out", str(tmp_path / "out"), *filled]) == 2
    assert words in caplog.text
    assert sorted((room_bag / "labels").iterdir()) == before


def test_node_that_ends_is_quoted(tmp_path: Path) -> None:
    with NodeProcess(["-p", "volume.voxel_siz_m:=0.05"], {}, tmp_path / "log") as process:
        end = time.monotonic() + 60
        with pytest.raises(RuntimeError, match=r"ended with status 1(.|\n)*volume\.voxel_size_m"):
            while time.monotonic() < end:
                process.check()
                time.sleep(0.05)
        assert process.stop() == 1


def test_node_ends_with_the_demo(room_bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--segmenter", f"oracle:{room_bag / 'labels'}", "--rate", "0.05", "--out", str(out))
    command = [*COMMAND, "--bag", str(room_bag / "bag"), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        log, end = out / "node.log", time.monotonic() + 60
        while not (log.is_file() and "poses come from" in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not any(Path(f"/proc/{child}").exists() for child in children)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_default_room(tmp_path: Path) -> None:
    done = demo("--out", tmp_path / "out", timeout_s=580)
    assert done.returncode == 0, done.stderr
    assert "procedural room" in done.stdout.splitlines()[0]
    assert "bundled network" in done.stdout.splitlines()[0]
    assert "bit-equal" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| points in 3D")]
    assert float(row.split("|")[3]) > 0.75  # accuracy; 0.833 when it was bundled
    assert os.path.getsize(tmp_path / "out" / "mesh.ply") > 100_000
