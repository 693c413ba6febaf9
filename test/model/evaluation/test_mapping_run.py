"""Recordings through the mapper: what is counted, and what a score covers."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.ground_truth import GroundTruth
from gnesf_model.evaluation.mapping_run import map_scores, run_mapping
from gnesf_model.labels import LabelSpace
from gnesf_model.mapper import SemanticMapper
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.segment.pixels import pixel_labels
from gnesf_model.segment.segmenter import Segmentation

SPACE = LabelSpace.load("scannet20")
WIDTH, HEIGHT = 160, 120
CONFIG = Config.from_flat({"device": "cpu", "volume.min_weight": 1.0})


class Recording:
    """Frames in memory; `drops` are those of the source."""

    name = "recording"

    def __init__(self, frames, label_space="scannet20"):
        self.frames, self.label_space = frames, label_space
        self.drops, self.last_message = Counter(), {}

    def __len__(self):
        return len(self.frames)

    def __iter__(self):
        return iter(self.frames)


@pytest.fixture(scope="module")
def frames():
    # Steps of a tenth of a second and nothing but flat colours: eight frames in about a second. In smaller pictures
    # labels in cells of 4 pixels cost a tenth of the points, a little more or less with the walk.
    return list(RoomSource(2, frames=8, width=WIDTH, height=HEIGHT, shading=False))


def mapper_for(frames, target=None, config=CONFIG):
    images = {frame.stamp_ns: frame.labels for frame in frames}
    return SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE, target))


def mapped(source, mapper):
    run = run_mapping(source, mapper)
    return run, map_scores(source, mapper, run, mapper.surface())


def test_a_room_with_its_own_labels(frames):
    source, shown = Recording(frames), []
    source.drops["unreadable_image"] = 2
    mapper = mapper_for(frames)
    run = run_mapping(source, mapper, before_frame=shown.append)
    assert shown == frames
    assert run.frames == 8
    assert run.dropped == {"unreadable_image": 2}
    assert 1 <= run.keyframes == len(run.stamps_ns) <= 8
    assert run.stamps_ns[0] == frames[0].stamp_ns
    assert {"segment", "tsdf_prepare", "tsdf_allocate", "tsdf_integrate", "vote"} <= set(run.stages)
    assert len(run.stages["tsdf_integrate"]) == 8 and len(run.stages["vote"]) == run.keyframes
    for stage in run.stage_percentiles().values():
        assert 0 < stage["p50_ms"] <= stage["p95_ms"]
    scores = map_scores(source, mapper, run, mapper.surface())
    pixels = 8 * WIDTH * HEIGHT // 4
    assert scores["2d"]["per_frame"]["n"] == scores["2d"]["map"]["n"] <= pixels
    assert scores["2d"]["per_frame"]["pixel_accuracy"] > 0.95
    assert scores["2d"]["map"]["pixel_accuracy"] > 0.8
    assert scores["3d"]["pixel_accuracy"] > 0.9
    assert 0 < scores["3d"]["n"] == len(run.truth.points()[0])


def test_frames_that_are_not_mapped_count_as_wrong(frames):
    _, whole_scores = mapped(Recording(frames), mapper_for(frames))
    blind = [f if i % 2 == 0 else replace(f, depth=None) for i, f in enumerate(frames)]
    run, scores = mapped(Recording(blind), mapper_for(frames))
    assert (run.frames, run.dropped) == (4, {"no_depth": 4})
    assert scores["2d"]["per_frame"]["n"] == whole_scores["2d"]["per_frame"]["n"]
    assert scores["2d"]["per_frame"]["coverage"] == pytest.approx(0.5, abs=0.1)
    assert scores["2d"]["per_frame"]["pixel_accuracy"] < 0.6


def test_a_frame_out_of_range_is_dropped_and_the_rest_is_scored(frames):
    pose = frames[1].world_T_cam.copy()
    pose[:3, 3] += 1e6
    source = Recording([frames[0], replace(frames[1], world_T_cam=pose), *frames[2:]])
    run, scores = mapped(source, mapper_for(frames))
    assert (run.frames, run.dropped) == (7, {"out_of_range": 1})
    assert scores["3d"]["pixel_accuracy"] > 0.9


def test_no_ground_truth_no_scores(frames):
    bare = Recording([replace(f, labels=None) for f in frames], label_space=None)
    _, scores = mapped(bare, mapper_for(frames))
    assert scores is None


def test_a_point_set_replaces_the_pixels_in_3d(frames):
    source, mapper = Recording([replace(f, labels=None) for f in frames], None), mapper_for(frames)
    run = run_mapping(source, mapper)
    surface = mapper.surface()
    near, far = surface.points[:100].astype(float), np.full((50, 3), 90.0)
    points = np.concatenate([near, far]), np.concatenate([surface.labels[:100], np.zeros(50, np.uint8)])
    scores = map_scores(source, mapper, run, surface, points=points)
    assert set(scores) == {"3d"}
    labelled = int((surface.labels[:100] != 255).sum())
    assert scores["3d"]["n"] == labelled + 50
    assert scores["3d"]["pixel_accuracy"] == pytest.approx(labelled / (labelled + 50))
    assert scores["3d"]["coverage"] == pytest.approx(labelled / (labelled + 50))


def test_ground_truth_of_another_label_space_is_translated(frames):
    nyu40 = LabelSpace.load("nyu40")
    lookup = np.full(256, 255, np.uint8)
    for index, name in enumerate(SPACE.names):
        if name in nyu40.names:
            lookup[index] = nyu40.index(name)
    in_nyu = [replace(f, labels=lookup[f.labels]) for f in frames]
    _, scores = mapped(Recording(in_nyu, "nyu40"), mapper_for(frames))
    assert scores["2d"]["per_frame"]["pixel_accuracy"] > 0.95
    assert scores["3d"]["pixel_accuracy"] > 0.9


def test_classes_without_a_way_into_the_map_are_not_compared(frames, caplog):
    toy = LabelSpace.from_names(["inside", "outside"], "toy")

    class Inside:
        labels = toy

        def __call__(self, rgb, stamp_ns=None):
            size = (-(-rgb.shape[0] // 4), -(-rgb.shape[1] // 4))
            return Segmentation(torch.stack([torch.ones(size), torch.zeros(size)]), torch.zeros(size), toy)

    _, scores = mapped(Recording(frames), SemanticMapper(CONFIG, Inside()))
    assert scores is None
    assert "the ground truth is left out: no mapping from label space 'scannet20' to 'toy'" in caplog.text


def test_labels_that_the_recording_s_space_does_not_have_are_refused(frames):
    wrong = replace(frames[0], labels=np.full_like(frames[0].labels, 37))
    with pytest.raises(ValueError, match="holds class 37, but scannet20 ends at 19"):
        GroundTruth("scannet20", SPACE)(wrong)


def segmentation(values):
    values = torch.tensor(values, dtype=torch.float32)
    space = LabelSpace.from_names([f"c{i}" for i in range(len(values))])
    return Segmentation(values, torch.zeros(values.shape[1:]), space)


def test_pixel_labels_are_those_of_their_cell_and_unknown_where_nothing_is_likely():
    # Three cells in a row: class 0, class 1, unknown.
    labels = pixel_labels(segmentation([[[1.0, 0, 0]], [[0, 1.0, 0]]]), 4, 12)
    assert labels.shape == (4, 12) and labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.tile([0] * 4 + [1] * 4 + [255] * 4, (4, 1)))


def test_pixel_labels_cut_what_lies_outside_of_the_image():
    assert pixel_labels(segmentation([[[1.0, 0], [0, 0]], [[0, 1.0], [1, 1]]]), 7, 5).shape == (7, 5)


def test_pixel_labels_interpolate_between_cells():
    # 0.9 beside 0.3: the border of the class lies where the line between the cells' centres crosses one half.
    labels = pixel_labels(segmentation([[[0.9, 0.3]], [[0.1, 0.7]]]), 4, 8)[0]
    share = np.interp(np.arange(8), [1.5, 5.5], [0.9, 0.3])
    np.testing.assert_array_equal(labels, np.where(share > 0.5, 0, 1))
