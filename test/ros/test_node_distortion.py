"""A lens that distorts, through the node's process: what comes out is as if it did not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_recording import OPTICAL
from ros_robot import Robot
from scipy.spatial import cKDTree
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.camera_info import decode_camera_info
from gnesf_model.frame import Frame
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_ros import qos
from gnesf_ros.conversions import camera_info_message, image_message
from gnesf_ros.stamps import header

LENSES = {
    "plumb_bob": np.array([-0.28, 0.08, 0.001, -0.001, 0.0]),
    "rational_polynomial": np.array([0.1, -0.1, 0.001, -0.001, 0.02, 0.38, -0.1, 0.005]),
    "equidistant": np.array([0.05, -0.02, 0.01, -0.003]),
}
"""The corner of the image is 10 pixels off, and more with the last one, a fisheye."""
FRAMES = 6


def distorted(model: str, frame: Frame, image: np.ndarray, interpolation: int) -> np.ndarray:
    """What the lens makes of a picture without distortion; 0 where that ends."""
    camera = frame.camera
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    pixels = np.stack([u.ravel(), v.ravel()], axis=1)[:, None]
    undistort = cv2.fisheye.undistortPoints if model == "equidistant" else cv2.undistortPoints
    ideal = undistort(pixels, camera.K, LENSES[model], P=camera.K).reshape(camera.height, camera.width, 2)
    x, y = ideal.astype(np.float32).transpose(2, 0, 1)
    return cv2.remap(image, np.ascontiguousarray(x), np.ascontiguousarray(y), interpolation)


@pytest.mark.parametrize("model", LENSES)
def test_a_lens_that_distorts_gives_the_same_map(room_bag: Path, tmp_path: Path, model: str) -> None:
    robot = Robot(room_bag, tmp_path / "log", **{"node.cloud_period_s": 0.05, "volume.min_weight": 0.5})
    try:
        clouds = robot.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        infos = robot.peer.listen(CameraInfo, "/gnesf/semantic/camera_info")
        images = robot.peer.listen(Image, "/gnesf/semantic/image_raw")
        robot.peer.found()
        frames = robot.frames[:: len(robot.frames) // FRAMES][:FRAMES]
        for frame in frames:
            head = header(frame.stamp_ns, OPTICAL)
            info = camera_info_message(frame.camera, head)
            info.distortion_model, info.d = model, LENSES[model].tolist()
            robot.send(
                frame,
                info=info,
                color=image_message(distorted(model, frame, frame.rgb, cv2.INTER_LINEAR), head),
                depth=image_message(distorted(model, frame, frame.depth, cv2.INTER_NEAREST), head),
            )
        assert robot.drops == {}
        robot.peer.wait(lambda: len(images) == len(infos) == FRAMES, "every image and its camera info")
        assert not any(infos[-1].d)
        assert decode_camera_info(infos[-1]).camera == frames[-1].camera
        last = frames[-1].stamp_ns
        newest = lambda: clouds[-1].header.stamp.sec * 1_000_000_000 + clouds[-1].header.stamp.nanosec  # noqa: E731
        robot.peer.wait(lambda: clouds and newest() == last, "the final cloud")
        found = np.frombuffer(clouds[-1].data, CLOUD_POINT)
    finally:
        robot.close()
    config = {"segmenter.model": f"oracle:{room_bag / 'labels'}", "device": "cpu", "volume.min_weight": 0.5}
    mapper = build_mapper(Config.from_flat(config))
    for frame in frames:
        mapper.integrate(frame)
    true = mapper.surface()
    distance, nearest = cKDTree(true.points).query(np.stack([found["x"], found["y"], found["z"]], axis=1))
    assert len(found) > 0.8 * len(true.points), "the lens sees a little less than all"
    # Half a pixel of the depth image is 1 cm at 3 m.
    assert np.median(distance) < 0.01
    assert (distance < 0.04).mean() > 0.95, "within a voxel"
    near = distance < 0.04
    assert (found["label"][near] == true.labels[nearest[near]]).mean() > 0.9
