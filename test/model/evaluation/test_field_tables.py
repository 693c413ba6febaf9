"""Ways of fusing views side by side: each is what a mapper of its own would hold."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from gnesf_model.cli import main
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation import field_tables, rgb_tables
from gnesf_model.evaluation.encoded_geometry import DENSITY, SIGNED_DISTANCE
from gnesf_model.evaluation.field_tables import (
    ALL_VIEWS,
    ALONG_RAYS,
    EXACT_IMAGE,
    FIELD,
    FIELD_VOTED,
    IN_3D,
    MAP_COLORS,
    PREDICTED_DIRECTLY,
    RENDERED_IMAGE,
    TRUE_IMAGE,
)
from gnesf_model.evaluation.novel_views import NO_VISIBILITY, VARIANTS
from gnesf_model.evaluation.recording_tables import map_all_ways, recording_table
from gnesf_model.evaluation.segmenter_scores import SEGMENTER, labelled_photographs, photograph_scores
from gnesf_model.evaluation.voting_methods import (
    AVERAGED,
    EVERY_FRAME,
    VOTED,
    WHOLE,
    MethodLabels,
    VotesSideBySide,
    methods_of,
)
from gnesf_model.field.depth_network import DepthNetwork
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.online import LearnedFusion
from gnesf_model.field.view_depth import ViewDepth
from gnesf_model.field.weights import save_depth, save_field
from gnesf_model.frame import FrameDropped
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment import build_segmenter

CONFIG = Config.from_flat({"device": "cpu", "volume.voxel_size_m": 0.06, "semantics.field_side_px": 96})


@pytest.fixture(scope="module")
def field() -> NeuralSemanticField:
    torch.manual_seed(3)
    options = FieldOptions(widths=(4, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4), direct_classes=20, colors=True)
    options = replace(options, geometry=True)  # as if it had learned that
    field = NeuralSemanticField(options).eval()
    with torch.no_grad():
        for name, parameter in field.named_parameters():
            if name.startswith(("voting", "spatial", "logit_voting")):
                parameter.add_(0.5 * torch.randn(parameter.shape))
    return field


@pytest.fixture(scope="module")
def segmenter():
    return build_segmenter("bundled", device="cpu", input_size=(96, 128))


def recording() -> RoomSource:
    return RoomSource(4, frames=10, stride=12, width=128, height=96, shading=False)


def integrate_all(mapper):
    for frame in recording():
        mapper.integrate(frame)
    return mapper


def test_every_method_is_what_a_mapper_of_its_own_would_hold(field, segmenter):
    votes = VotesSideBySide(field, 20, max_votes=CONFIG.semantics.max_votes, image_side_px=96)
    together = integrate_all(SemanticMapper(CONFIG, segmenter, votes))
    points, labels = MethodLabels(together, votes, methods_of(field)).surface()
    alone = {
        AVERAGED: SemanticMapper(CONFIG, segmenter),
        VOTED: SemanticMapper(CONFIG, segmenter, LearnedFusion(field, image_side_px=96)),
        WHOLE: SemanticMapper(CONFIG, segmenter, LearnedFusion(field, image_side_px=96), field.spatial),
    }
    for name, mapper in alone.items():
        surface = integrate_all(mapper).surface()
        np.testing.assert_array_equal(surface.points, points)
        np.testing.assert_array_equal(surface.labels, labels[name])
    assert (labels[VOTED] != labels[AVERAGED]).any() and (labels[WHOLE] != labels[VOTED]).any()
    frame = recording()[0]
    depth, colors, seen = MethodLabels(together, votes, methods_of(field)).view(frame.camera, frame.world_T_cam)
    expected = alone[WHOLE].render(frame.camera, frame.world_T_cam)
    np.testing.assert_array_equal(seen[WHOLE], expected.labels)
    np.testing.assert_array_equal(depth, expected.depth)
    assert colors.shape == (96, 128, 3)


def test_a_recording_is_judged_in_images_and_in_space(field, segmenter):
    found = recording_table(recording(), segmenter, field, config=CONFIG, leave_out=["wall"])
    methods = {*methods_of(field), EVERY_FRAME}
    assert {"per frame", *methods} == set(found["2d"]) and methods == set(found["3d"])
    assert found["dropped"] == {}
    assert found["3d"][AVERAGED]["n"] > 5 and found["2d"][AVERAGED]["n"] == 1
    assert 0.1 < found["3d"][AVERAGED]["pixel_accuracy"] < 1
    assert AVERAGED in found["3d"][WHOLE]["differences"] and "without" in found["3d"][WHOLE]
    points = np.array([[100.0, 0, 0]]), np.array([0], np.uint8)
    nowhere = recording_table(recording(), segmenter, field, config=CONFIG, points=points)
    assert nowhere["3d"][AVERAGED]["pixel_accuracy"] == 0 and nowhere["3d"][AVERAGED]["coverage"] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tables_of_the_command_are_complete(field, tmp_path, capsys):
    save_field(field, tmp_path / "field.safetensors")
    path = tmp_path / "scores.json"
    save_depth(DepthNetwork(), tmp_path / "depth.safetensors")
    arguments = ["eval", "rooms", "--seeds", "2000000:2000001", "--views", "1", "--size", "128", "96"]
    arguments += ["--depth-network", str(tmp_path / "depth.safetensors")]
    assert main([*arguments, "--field", str(tmp_path / "field.safetensors"), "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    surface = ("table2", "table2_atlas", "table2_rgb", "table3", "table3_usual")
    tables = {*surface, "table1", "table1_rgb", "table1_seen", "table4", "table4_3d"}
    assert tables == {name for name in found if name.startswith("table")} and "segmenter" in found
    methods = {*methods_of(field), EVERY_FRAME}
    # A depth that is predicted is predicted for keyframes: no others could vote.
    wanted = {name: methods - {EVERY_FRAME} if name == "table2_rgb" else methods for name in surface}
    assert {name: set(found[name]) for name in surface} == wanted
    assert {*VARIANTS, NO_VISIBILITY} == set(found["table4_3d"]) < set(found["table4"])
    assert {ALL_VIEWS, f"{ALL_VIEWS}, {WHOLE}"} < set(found["table4"])
    assert {FIELD, IN_3D, ALONG_RAYS, TRUE_IMAGE, PREDICTED_DIRECTLY} < set(found["table1_seen"]) < set(found["table1"])
    said, stored = capsys.readouterr().out, path.with_suffix(".md").read_text()
    for table in tables:
        assert f"| {table} |" in said and f"| {table} |" in stored
        judged = {name: v["n"] for name, v in found[table][next(iter(found[table]))]["per_class"].items()}
        for scores in found[table].values():  # of one ground truth, and what a score is read off is there
            classes, counts = scores["per_class"], np.array(scores["confusion"]["counts"])
            assert {name: v["n"] for name, v in classes.items()} == judged and scores["n"] == 1
            assert scores["samples"] == counts.sum() == sum(judged.values()) > 300
            for mean, key in (("miou", "iou"), ("macc", "recall")):
                assert scores[mean] == pytest.approx(np.mean([v[key] for v in classes.values()]))
            right = sum(
                row[scores["confusion"]["predicted"].index(name)]
                for name, row in zip(scores["confusion"]["truth"], counts)
                if name in scores["confusion"]["predicted"]
            )
            assert scores["pixel_accuracy"] == pytest.approx(right / counts.sum())
        if not table.endswith("rgb"):  # depth without training shows hardly any surface
            assert len({scores["miou"] for scores in found[table].values()}) > 2, "methods are told apart"
    assert set(found["table1"][FIELD]["differences"]) == {TRUE_IMAGE, RENDERED_IMAGE, PREDICTED_DIRECTLY, IN_3D}
    # What no measured surface reaches counts as wrong in one and is answered from afar in the other.
    assert found["table2_atlas"][AVERAGED]["coverage"] > found["table2"][AVERAGED]["coverage"]
    images = {RENDERED_IMAGE, EXACT_IMAGE, MAP_COLORS}
    assert images <= set(found["table1"]) and set(found["psnr_db"]) == images
    # Even untrained, the colours of the view that looks alike are sharper than the mean of all.
    assert 15 < found["psnr_db"][MAP_COLORS] < found["psnr_db"][RENDERED_IMAGE] < 45
    assert set(found["geometry"]) == {"rgb", SIGNED_DISTANCE, "depth"} and "| geometry | accuracy |" in said
    measured = found["geometry"]["depth"]
    assert measured["fscore"] > 0.8 and measured["accuracy"] < 0.03 and measured["n"] == 1
    along = {f"votes along rays, {name}" for name in (SIGNED_DISTANCE, DENSITY)}
    assert {FIELD, IN_3D, TRUE_IMAGE} | along == set(found["table1_rgb"])
    assert all(s["n"] == 1 for name in ("table1_rgb", "table2_rgb") for s in found[name].values())


def test_geometry_of_m_is_scored_only_where_it_was_learned(field, segmenter, monkeypatch):
    monkeypatch.setattr(rgb_tables, "FRAMES", 8)
    monkeypatch.setattr(rgb_tables, "HELD_OUT", 4)
    without = NeuralSemanticField(replace(field.options, geometry=False)).eval()
    depth = ViewDepth(DepthNetwork().eval())
    found = rgb_tables.rgb_tables(segmenter, without, depth, 2000001, config=CONFIG, size=(96, 72)).to_json()
    assert set(found["geometry"]) == {"rgb", "depth"}
    assert {FIELD, IN_3D, TRUE_IMAGE} == set(found["table1_rgb"])


def test_the_true_image_is_scored_as_a_photograph_would_be(field, segmenter, tmp_path, monkeypatch):
    """On every pixel of the frames that the map never got, and of no other one."""
    monkeypatch.setattr(field_tables, "FRAMES", 8)
    monkeypatch.setattr(field_tables, "HELD_OUT", 4)
    size, seed = (96, 72), 2000001
    tables = field_tables.room_tables(segmenter, field, seed, "seen", config=CONFIG, size=size, full=True)
    found = tables.to_json()["table1_seen"]
    for folder in ("rgb", "label"):
        (tmp_path / folder).mkdir()
    for number, frame in enumerate(RoomSource.as_recorded(seed, 8, size, field_tables.STRIDE_TICKS)):
        if number in (2, 6):
            cv2.imwrite(str(tmp_path / "rgb" / f"{number}.png"), frame.rgb[..., ::-1])
            cv2.imwrite(str(tmp_path / "label" / f"{number}.png"), frame.labels)
    pictures = labelled_photographs(tmp_path / "rgb", tmp_path / "label")
    photographs = photograph_scores(segmenter, pictures, segmenter.labels).scores(SEGMENTER)
    assert photographs["samples"] > 5000 and 0.02 < photographs["miou"] < 0.98
    assert all(found[TRUE_IMAGE][key] == photographs[key] for key in ("samples", "miou", "per_class", "confusion"))
    assert {FIELD, FIELD_VOTED, IN_3D, ALONG_RAYS, PREDICTED_DIRECTLY, TRUE_IMAGE} == set(found)


class Farsighted(ViewDepth):
    """Predicts all a fifth too far, which is beyond the reach of a measured surface."""

    def add(self, frame):
        super().add(frame)
        return frame.depth * np.float32(1.2)


def test_a_recording_is_judged_with_geometry_from_colour(field, segmenter):
    """The surface is another than the measured one; the nearest point of it answers, however far it is."""
    made = []

    def view_depth():
        made.append(Farsighted(DepthNetwork(), side_px=96))
        return made[-1]

    rgb = replace(CONFIG, geometry="rgb", volume=replace(CONFIG.volume, min_weight=0.5))
    found = recording_table(recording(), segmenter, field, config=rgb, view_depth=view_depth)
    assert len(made) == 1 and set(methods_of(field)) == set(found["3d"])
    assert found["3d"]["majority"]["coverage"] > 0.9
    with pytest.raises(ValueError, match="geometry is 'rgb', which this mapper was not made for"):
        recording_table(recording(), segmenter, field, config=rgb)


def test_frames_that_cannot_be_mapped_are_left_out(field, segmenter):
    class Blind(RoomSource):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            return replace(frame, depth=np.zeros_like(frame.depth)) if index % 2 else frame

    source = Blind(4, frames=6, stride=12, width=128, height=96, shading=False)
    with pytest.raises(FrameDropped):
        SemanticMapper(CONFIG, segmenter).integrate(source[1])
    found = recording_table(source, segmenter, field, config=CONFIG)
    assert 0 < found["keyframes"] <= 3
    assert found["dropped"] == {"no_depth": 3}


@pytest.mark.parametrize("far_m", [4e5, 1e7])
def test_one_absurd_pose_costs_one_frame(field, segmenter, far_m):
    class Astray(RoomSource):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            pose = frame.world_T_cam.copy()
            pose[0, 3] += far_m * (index == 3)
            return replace(frame, world_T_cam=pose)

    source = Astray(4, frames=6, stride=12, width=128, height=96, shading=False)
    found = recording_table(source, segmenter, field, config=CONFIG)
    assert found["dropped"] == {"out_of_range": 1}
    # Its image counts as wrong; in space it has no place.
    assert found["2d"][WHOLE]["coverage"] < 0.9 and found["3d"][WHOLE]["coverage"] > 0.7


def test_what_did_not_fit_is_counted_and_said(field, segmenter, caplog):
    volume = replace(CONFIG.volume, max_map_memory_mb=16.0, voxel_size_m=0.01)
    found = recording_table(recording(), segmenter, field, config=replace(CONFIG, volume=volume))
    assert found["dropped"]["map_full"] > 0 and "max_map_memory_mb" in caplog.text


def test_every_frame_votes_alike_in_a_map_of_its_own(field, segmenter):
    """What plain averaging of all views comes to, not of keyframes alone."""
    still = Config.from_flat({**CONFIG.to_flat(), "keyframes.min_translation_m": 10.0})
    found = map_all_ways(recording(), segmenter, field, still, lambda *shown: None)
    points, labels = found.labels.surface()
    moved = replace(CONFIG.keyframes, min_translation_m=0.0, min_rotation_deg=0.0)
    alone = integrate_all(SemanticMapper(replace(CONFIG, keyframes=moved), segmenter)).surface()
    assert found.mapper.keyframes.count < len(recording())
    np.testing.assert_array_equal(alone.points, points)
    np.testing.assert_array_equal(alone.labels, labels[EVERY_FRAME])
    assert (labels[EVERY_FRAME] != labels[AVERAGED]).any()
