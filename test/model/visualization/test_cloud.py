"""Clouds of single frames: where things are that move."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gnesf_model.frame import Camera, Frame
from gnesf_model.geometry import project
from gnesf_model.labels import UNKNOWN, LabelClass, LabelSpace
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.visualization.cloud import moving_points, organised_cloud, packed_cloud

CLASSES = (LabelClass(0, "floor", (1, 2, 3), "floor"), LabelClass(1, "person", (9, 8, 7), "dynamic"))
SPACE, WITHOUT = LabelSpace("with", CLASSES), LabelSpace("without", CLASSES[:1])
CAMERA = Camera(32, 24, 30.0, 31.0, 15.0, 12.0)


def frame_with_a_person(space: LabelSpace) -> tuple[Frame, Segmentation]:
    """Somebody in rows 8..15, columns 12..19, of whom one row was not measured."""
    person = torch.zeros(6, 8)
    person[2:4, 3:5] = 0.9
    probabilities = torch.stack([1 - person, person])[: len(space)]
    depth = np.full((24, 32), 4.0, np.float32)
    depth[8:16, 12:20] = 2.0
    depth[9] = 0.0
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [0.3, -0.2, 0.9]).as_matrix()
    pose[:3, 3] = (3.0, -1.0, 0.5)
    frame = Frame(1, np.zeros((24, 32, 3), np.uint8), CAMERA, pose, depth)
    return frame, Segmentation(probabilities.contiguous(), person, space)


@pytest.mark.parametrize("space", [SPACE, WITHOUT])
def test_a_person_is_where_the_camera_saw_one(space):
    frame, segmentation = frame_with_a_person(space)
    found = moving_points(frame, segmentation)
    assert len(found.points) == 7 * 8
    in_camera = (found.points - frame.world_T_cam[:3, 3]) @ frame.world_T_cam[:3, :3]
    pixels, depth = project(torch.from_numpy(in_camera), CAMERA)
    np.testing.assert_allclose(depth, 2.0, atol=1e-5)
    assert {tuple(p) for p in pixels.round().int().tolist()} == {
        (u, v) for u in range(12, 20) for v in range(8, 16) if v != 9
    }
    np.testing.assert_allclose(found.confidence, 0.9)
    # A space without people calls nobody a floor.
    middle = found.labels[len(found.labels) // 2]
    assert middle == (1 if space is SPACE else UNKNOWN) and 0 not in found.labels
    assert len(packed_cloud(found, space)) == 56


def test_nobody_is_an_empty_cloud():
    frame, segmentation = frame_with_a_person(SPACE)
    still = Segmentation(segmentation.probabilities, torch.zeros(6, 8), SPACE)
    found = moving_points(frame, still)
    assert found.points.shape == (0, 3) and len(packed_cloud(found, SPACE)) == 0


def test_depth_of_another_moment_lies_where_the_camera_had_it() -> None:
    """A wall 2 m ahead, measured 10 cm further back than the colour image was taken."""
    camera = Camera(8, 6, 10.0, 10.0, 3.5, 2.5)
    earlier = np.eye(4)
    earlier[2, 3] = -0.1
    frame = Frame(
        stamp_ns=2,
        rgb=np.full((6, 8, 3), 80, np.uint8),
        camera=camera,
        world_T_cam=np.eye(4),
        depth=np.full((6, 8), 2.0, np.float32),
        depth_stamp_ns=1,
        world_T_depth=earlier,
    )
    np.testing.assert_allclose(organised_cloud(frame)["z"], 1.9, atol=1e-6)
    labels = LabelSpace.load("coco_panoptic")
    probabilities = torch.zeros(len(labels), 2, 2)
    probabilities[labels.index("person")] = 1.0
    moving = moving_points(frame, Segmentation(probabilities, torch.ones(2, 2), labels))
    assert len(moving.points) == 48
    np.testing.assert_allclose(moving.points[:, 2], 1.9, atol=1e-6)
