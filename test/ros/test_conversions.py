"""Messages as other packages read them."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
import torch
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2

from gnesf_model.data.camera_info import decode_camera_info
from gnesf_model.data.messages import decode_depth, decode_image
from gnesf_model.frame import Camera, Frame
from gnesf_model.geometry import project
from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.mapper import LabelledPoints
from gnesf_model.segment.segmenter import Segmentation
from gnesf_model.visualization.cloud import organised_cloud, packed_cloud
from gnesf_ros import conversions, stamps

SPACE = LabelSpace.load("scannet20")
HEAD = stamps.header(1_700_000_000_123_456_789, "camera")


def test_stamps_keep_every_nanosecond() -> None:
    assert (HEAD.stamp.sec, HEAD.stamp.nanosec) == (1_700_000_000, 123_456_789)


def test_images_come_back_as_they_were() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (48, 64, 3), np.uint8)
    depth = rng.uniform(0.5, 4.0, (48, 64)).astype(np.float32)
    for pixels, decode in ((rgb, decode_image), (depth, decode_depth)):
        message = conversions.image_message(pixels[:, ::2], HEAD)  # a view: not contiguous
        again = deserialize_message(serialize_message(message), Image)
        np.testing.assert_array_equal(decode(again), pixels[:, ::2])


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float64 \(2, 2\), expected uint8"):
        conversions.image_message(np.zeros((2, 2)), HEAD)


def test_filling_an_image_takes_no_time() -> None:
    rgb = np.zeros((480, 640, 3), np.uint8)
    conversions.image_message(rgb, HEAD)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        conversions.image_message(rgb, HEAD)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005  # element-wise checks would take 80 ms


def test_camera_info_is_that_of_the_camera() -> None:
    camera = Camera(640, 480, 500.0, 510.0, 320.5, 240.5)
    assert decode_camera_info(conversions.camera_info_message(camera, HEAD)).camera == camera


def test_a_cloud_is_read_by_offsets() -> None:
    surface = LabelledPoints(
        points=np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]], np.float32),
        labels=np.array([1, UNKNOWN], np.uint8),
        confidence=np.array([0.75, 0.0], np.float32),
        colors=np.zeros((2, 3), np.uint8),
    )
    message = conversions.cloud_message(packed_cloud(surface, SPACE), HEAD)
    cloud = deserialize_message(serialize_message(message), PointCloud2)
    x, y, z, rgb, label, confidence = struct.unpack_from("<3f4sIf", bytes(cloud.data), 0)
    assert (x, y, z, label, confidence) == (1.0, 2.0, 3.0, 1, 0.75)
    assert tuple(reversed(rgb[:3])) == SPACE.classes[1].color  # PCL: blue, green, red in memory
    assert struct.unpack_from("<I", bytes(cloud.data), 24 + 16) == (UNKNOWN,)


def test_an_empty_cloud_is_a_cloud() -> None:
    none = LabelledPoints(
        np.zeros((0, 3), np.float32), np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros((0, 3), np.uint8)
    )
    message = conversions.cloud_message(packed_cloud(none, SPACE), HEAD)
    assert (message.height, message.width, len(message.data)) == (1, 0, 0)


def test_an_organised_cloud_lies_on_the_pixels_of_its_image() -> None:
    camera = Camera(5, 4, 4.0, 5.0, 2.0, 1.5)
    depth = np.linspace(0.5, 2.4, 20, dtype=np.float32).reshape(4, 5)
    depth[1, 3] = 0.0
    rgb = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    frame = Frame(1, rgb, camera, np.eye(4), depth)
    message = conversions.cloud_message(organised_cloud(frame), HEAD)
    cloud = deserialize_message(serialize_message(message), PointCloud2)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step, cloud.is_dense) == (4, 5, 16, 80, False)
    points = np.frombuffer(cloud.data, "<f4").reshape(4, 5, 4)
    assert np.isnan(points[1, 3, :3]).all()
    known = depth > 0
    pixels, z = project(torch.from_numpy(points[known][:, :3].copy()), camera)
    v, u = np.nonzero(known)
    np.testing.assert_allclose(pixels.numpy(), np.stack([u, v], axis=1), atol=1e-5)
    np.testing.assert_array_equal(z.numpy(), depth[known])
    assert bytes(cloud.data)[80 + 12 : 80 + 16] == bytes([*rgb[1, 0, ::-1], 0])  # blue, green, red, nothing


def small_segmentation() -> tuple[Segmentation, Camera]:
    """An image of 10x7 pixels with class 4 top left, 7 bottom right and unknown elsewhere."""
    probabilities = torch.zeros(20, 2, 3)
    probabilities[4, 0, 0], probabilities[7, 1, 2], probabilities[2, 0, 1] = 1.0, 0.6, 0.3
    return Segmentation(probabilities, torch.zeros(2, 3), SPACE), Camera(10, 7, 10.0, 10.0, 5.0, 3.0)


def test_semantic_images_have_the_size_of_the_image() -> None:
    images = conversions.SemanticImages(*small_segmentation())
    labels, confidence, color = images.labels, images.confidence, images.color
    assert labels.shape == confidence.shape == color.shape[:2] == (7, 10)
    assert (labels[:2, :2] == 4).all()  # before the centre of the first cell there is nothing to mix with
    assert (confidence[:2, :2] == 255).all()
    assert (labels[6:, 9:] == 7).all()
    assert (labels[:2, 5:8] == UNKNOWN).all()  # most of its mass is unknown
    assert (confidence[labels == UNKNOWN] == 0).all()
    assert (confidence[labels != UNKNOWN] > 0).all()
    np.testing.assert_array_equal(color, SPACE.colors[labels])


def test_the_overlay_leaves_unlabelled_pixels_alone() -> None:
    rgb = np.full((7, 10, 3), 100, np.uint8)
    images = conversions.SemanticImages(*small_segmentation())
    mixed = images.overlay(rgb)
    assert (mixed[images.labels == UNKNOWN] == 100).all()
    assert np.abs(mixed[0, 0] - (50 + SPACE.colors[4] / 2)).max() <= 1
    assert (rgb == 100).all()
