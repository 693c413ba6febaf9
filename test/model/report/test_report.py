"""`gnesf eval recording`: the figures, the tables, and the page as a browser shows it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, MISSING, visit

from gnesf_model.cli import main
from gnesf_model.data.folder_writer import write_folder
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.metrics import load_metrics
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.report.cloud3d import MAX_POINTS, RIGHT, UNJUDGED, WRONG, Scene, normals, viewer_data

NAME = 'a <room> & "more"'
FRAMES = 10
SETTINGS = ["--set", "device=cpu", "--set", "cpu_threads=1", "--set", "volume.min_weight=1"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / NAME
    write_folder(RoomSource(3, frames=FRAMES, width=96, height=72, shading=False), folder)
    return folder


@pytest.fixture(scope="module")
def out(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "run"
    assert main(["eval", "recording", str(recording), "--segmenter", "oracle", "--out", str(folder), *SETTINGS]) == 0
    return folder


class Page(HTMLParser):
    """Elements with their attributes, text by element, and what is left open."""

    VOID = ("meta", "link", "img", "input", "br", "path", "use")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    def addresses(self) -> Iterator[str]:
        for _, attributes in self.elements:
            yield from (value or "" for name, value in attributes.items() if name in ("src", "href", "xlink:href"))


def data_of(path: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(found[1])


def array(data: dict, name: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(data["arrays"][name]), kind)


def test_metrics_are_those_of_gnesf_map(recording: Path, out: Path, tmp_path: Path) -> None:
    assert sorted(p.name for p in out.iterdir()) == ["cloud.ply", "metrics.json", "metrics.md", "report.html"]
    assert main(["map", str(recording), "--segmenter", "oracle", "--out", str(tmp_path), *SETTINGS]) == 0
    found, mapped = load_metrics(out), load_metrics(tmp_path)
    assert set(found) == set(mapped)
    assert found["scores"] == mapped["scores"]
    assert (found["through"], found["recording"]["images"], found["frames"]) == ("offline", FRAMES, FRAMES)
    assert found["latency"]["n"] == FRAMES
    assert 0 < found["latency"]["p50_ms"] <= found["latency"]["p95_ms"] <= found["latency"]["max_ms"]
    assert len(found["growth"]["points"]) == found["keyframes"]
    confusion = found["scores"]["3d"]["confusion"]
    assert np.sum(confusion["counts"]) == found["scores"]["3d"]["n"]
    assert set(confusion["truth"]) == set(found["scores"]["3d"]["per_class"])
    assert main(["compare", str(out), str(tmp_path), "--max-drop-class-iou", "0", "--max-more-dropped", "0"]) == 0


def test_markdown_holds_the_scores(out: Path) -> None:
    text, metrics = (out / "metrics.md").read_text(), load_metrics(out)
    assert text.startswith(f"# {NAME}\n")
    (row,) = [line for line in text.splitlines() if line.startswith("| map, 3D")]
    assert f"{metrics['scores']['3d']['miou']:.3f}" in row
    assert "| stage vote" in text and "| images in the recording" in text


def test_the_page_is_whole_and_needs_nothing_else(out: Path) -> None:
    text = (out / "report.html").read_text(encoding="utf-8")
    assert len(text) < 8e6
    page = Page(text)
    assert not page.open
    assert NAME in page.texts["h1"]
    assert not any(a for a in page.addresses() if not a.startswith(("data:", "#")))
    elsewhere = re.findall(r"\w+://[^\s\"'<]+", re.sub(r'xmlns(:xlink)?="[^"]*"', "", text))
    assert not elsewhere
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    pictures = [a for tag, a in page.elements if tag == "img" and a.get("class") != "still"]
    assert [a["alt"] for a in pictures] == ["photograph", "segmenter alone", "map", "ground truth"] * 6
    plots = [a["aria-label"] for tag, a in page.elements if tag == "svg"]
    assert plots[0] == "IoU by class" and {"Latency", "Growth of the map"} <= set(plots)
    assert sum(label.startswith("Confusion") for label in plots) == 3
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_the_viewer_gets_the_cloud(out: Path) -> None:
    import trimesh

    cloud = trimesh.load(out / "cloud.ply", process=False)
    data = data_of(out / "report.html")
    assert data["count"] == data["total"] == len(cloud.vertices)
    position = array(data, "position", "<u2").reshape(-1, 3) / 65535 * data["extent"] + data["low"]
    # The viewer's axes are turned, z up: distances stay.
    centre, own = position.mean(axis=0), np.asarray(cloud.vertices)
    distance = np.linalg.norm(own - own.mean(axis=0), axis=1)
    np.testing.assert_allclose(np.linalg.norm(position - centre, axis=1), distance, atol=1e-3)
    labels = array(data, "label", "u1")
    assert {c["id"]: c["count"] for c in data["classes"]} == dict(zip(*np.unique(labels, return_counts=True)))
    floor = LabelSpace.load("scannet20").index("floor")
    low, high = np.percentile(position[labels == floor, 2], (5, 95))
    assert high - low < 0.1  # it lies level
    assert position[labels == floor, 2].mean() < np.median(position[:, 2])
    judged = array(data, "judged", "u1")
    assert (judged[judged != UNJUDGED] == RIGHT).mean() > 0.85  # of an oracle
    up = array(data, "normal", "i1").reshape(-1, 3)[labels == floor, 2]
    assert np.median(up) > 120  # towards the camera


def cloud(number: int) -> Scene:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(number, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    frame = next(iter(RoomSource(2, frames=1, width=32, height=24)))
    color = rng.integers(0, 256, (number, 3), dtype=np.uint8)
    surface = LabelledPoints(points, np.zeros(number, np.uint8), np.ones(number, np.float32), color)
    judged = np.full(number, WRONG, np.uint8)
    return Scene(surface, LabelSpace.load("scannet20"), 0.04, judged, np.zeros((1, 3)), [frame])


def test_normals_point_at_the_camera() -> None:
    points = cloud(2000).surface.points.astype(float)
    found = normals(points, np.zeros((1, 3)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)
    assert np.quantile(np.einsum("ni,ni->n", found, -points), 0.05) > 0.95
    assert normals(points[:2], np.zeros((1, 3))).shape == (2, 3)


def test_a_large_cloud_is_thinned_to_what_a_page_can_hold() -> None:
    data = viewer_data(cloud(MAX_POINTS + 50_000))
    assert (data["count"], data["total"]) == (MAX_POINTS, MAX_POINTS + 50_000)
    assert len(json.dumps(data)) < 5e6
    assert data["spacing"] == pytest.approx(0.04 * 1.25**0.5)


def test_an_empty_map_has_a_page(recording: Path, tmp_path: Path) -> None:
    nothing = ["--set", "volume.min_weight=1000", "--set", "device=cpu"]
    arguments = ["eval", "recording", str(recording), "--segmenter", "oracle", "--out", str(tmp_path), *nothing]
    assert main(arguments) == 0
    assert data_of(tmp_path / "report.html")["count"] == 0
    Page((tmp_path / "report.html").read_text())


def test_without_ground_truth_there_are_no_scores(recording: Path, tmp_path: Path) -> None:
    import shutil

    bare = shutil.copytree(recording, tmp_path / "bare", ignore=shutil.ignore_patterns("label"))
    assert main(["eval", "recording", str(bare), "--out", str(tmp_path / "out"), *SETTINGS]) == 0
    assert "scores" not in load_metrics(tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert "Scores" not in page.texts["h2"]
    assert not data_of(tmp_path / "out" / "report.html")["judged"]


def test_rate_is_of_the_node_only(recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["eval", "recording", str(recording), "--out", str(tmp_path), "--rate", "2"]) == 2
    assert "which only --through-node has a use for" in caplog.text


LOOK = """
const canvas = document.querySelector("#viewer canvas");
const look = async () => {
  await frame();
  const copy = Object.assign(document.createElement("canvas"), { width: 240, height: 160 });
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0, 240, 160);
  const pixels = context.getImageData(0, 0, 240, 160).data, colors = new Set();
  let covered = 0, sum = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] < 128) continue;
    covered += 1 / (240 * 160);
    colors.add((pixels[i] >> 4) + "," + (pixels[i + 1] >> 4) + "," + (pixels[i + 2] >> 4));
    sum = (sum * 31 + i + 7 * pixels[i] + 3 * pixels[i + 1] + pixels[i + 2]) % 1000003;
  }
  return { covered, colors: colors.size, sum };
};
const found = { start: await look() };
for (const [i, name] of ["Class", "Image", "Confidence", "Right or wrong"].entries()) {
  document.querySelectorAll("#viewer input[name=mode]")[i].click();
  found[name] = await look();
}
canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
found.turned = await look();
canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "+" }));
found.near = await look();
document.querySelector("#viewer button[name=reset]").click();
found.reset = await look();
const drag = (type, x) => canvas.dispatchEvent(
  new PointerEvent(type, { pointerId: 1, clientX: x, clientY: 300, buttons: 1, bubbles: true }));
canvas.setPointerCapture = () => {};
drag("pointerdown", 300); drag("pointermove", 420); drag("pointerup", 420);
found.dragged = await look();
document.querySelector("#viewer input[name=path]").click();
document.querySelector("#viewer button[name=none]").click();
found.none = await look();
found.count = document.querySelector("#viewer .count").textContent;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
return found;
"""


@pytest.mark.skipif(BROWSER is None, reason=MISSING)
@pytest.mark.timeout(600)
class TestInABrowser:
    @pytest.fixture(scope="class")
    def seen(self, out: Path, tmp_path_factory: pytest.TempPathFactory):
        return visit(out / "report.html", LOOK, tmp_path_factory.mktemp("browser"))

    def test_nothing_is_asked_for_and_nothing_complained_of(self, seen) -> None:
        assert seen.console == []
        assert seen.requested == []

    def test_the_cloud_is_drawn(self, seen) -> None:
        assert "error" not in seen.found, seen.found
        assert 0.1 < seen.found["start"]["covered"] < 0.95
        assert seen.found["start"]["colors"] > 8
        assert seen.found["Class"] == seen.found["start"]

    def test_it_turns_and_is_coloured_as_asked(self, seen) -> None:
        found = seen.found
        views = ("Class", "Image", "Confidence", "Right or wrong", "turned", "near", "dragged")
        assert len({found[name]["sum"] for name in views}) == len(views)
        assert found["reset"]["sum"] == found["Right or wrong"]["sum"]

    def test_classes_can_be_hidden(self, seen) -> None:
        assert seen.found["none"]["covered"] == 0
        assert seen.found["count"].startswith("0 of ")

    def test_without_webgl_a_picture_is_in_its_place(self, out: Path, tmp_path: Path) -> None:
        look = """
            const still = document.querySelector(".still"), hint = document.querySelector(".hint").textContent;
            const box = document.querySelector(".stage").getBoundingClientRect();
            await still.decode();
            const middle = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return { hint, shown: middle === still, width: still.naturalWidth };
        """
        seen = visit(out / "report.html", look, tmp_path, "--disable-3d-apis")
        assert "no WebGL" in seen.found["hint"] and seen.found["shown"] and seen.found["width"] > 100, seen.found
        assert not [line for line in seen.console if "Uncaught" in line]

    @pytest.mark.slow
    def test_a_telephone_shows_it_without_scrolling_sideways(self, out: Path, tmp_path: Path) -> None:
        found = visit(out / "report.html", LOOK, tmp_path, width=500, height=900).found
        assert found["overflow"] == 0
        assert found["start"]["covered"] > 0.1
