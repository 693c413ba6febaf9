"""A person before the camera, through the node's process: published beside the map, and not part of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from ros_robot import Robot
from sensor_msgs.msg import PointCloud2

from gnesf_model.data.bag import BagSource
from gnesf_model.labels import LabelSpace
from gnesf_model.visualization.cloud import CLOUD_POINT
from gnesf_ros import qos
from gnesf_ros.conversions import image_message
from gnesf_ros.stamps import header

SPACE = LabelSpace.load("ade20k150")
WALL, PERSON = SPACE.names.index("wall"), SPACE.names.index("person")
BODY = (slice(32, 100), slice(60, 100))
"""Rows and columns of the image in which somebody stands; whole cells of 4 x 4 pixels."""
AT_M = 0.9


def points(cloud: PointCloud2) -> np.ndarray:
    found = np.frombuffer(cloud.data, CLOUD_POINT)
    return np.stack([found["x"], found["y"], found["z"]], axis=1).astype(np.float64)


def test_a_person_is_in_the_dynamic_cloud_and_not_in_the_map(room_bag: Path, tmp_path: Path) -> None:
    """The map has no word for people (ScanNet-20): what counts is that the network's class is one that moves."""
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "classes.yaml").write_text("labels: ade20k150\n")
    for frame in BagSource(room_bag / "bag"):
        image = np.full(frame.rgb.shape[:2], WALL, np.uint8)
        image[BODY] = PERSON
        assert cv2.imwrite(str(labels / f"{frame.stamp_ns}.png"), image)
    parameters = {"segmenter.model": f"oracle:{labels}", "node.cloud_period_s": 0.05}
    robot = Robot(room_bag, tmp_path / "log", **parameters)
    try:
        static = robot.peer.listen(PointCloud2, "/gnesf/semantic_cloud", qos.latched())
        moving = robot.peer.listen(PointCloud2, "/gnesf/dynamic_cloud")
        robot.peer.found()
        for frame in robot.frames[:4]:
            depth = frame.depth.copy()
            depth[BODY] = AT_M
            robot.send(frame, depth=image_message(depth, header(frame.stamp_ns, "camera_color_optical_frame")))
            robot.peer.wait(lambda s=frame.stamp_ns: moving and stamp_of(moving[-1]) == s, "what moves in the frame")
            seen = frame.world_T_cam
            person = (points(moving[-1]) - seen[:3, 3]) @ seen[:3, :3]
            assert moving[-1].header.frame_id == "odom"
            assert len(person) == (BODY[0].stop - BODY[0].start) * (BODY[1].stop - BODY[1].start)
            np.testing.assert_allclose(person[:, 2], AT_M, atol=1e-3)
        last = robot.frames[3]
        robot.peer.wait(lambda: static and stamp_of(static[-1]) == last.stamp_ns, "the cloud of the map")
        surface = (points(static[-1]) - last.world_T_cam[:3, 3]) @ last.world_T_cam[:3, :3]
        assert len(surface) > 1000
        person = (points(moving[-1]) - last.world_T_cam[:3, 3]) @ last.world_T_cam[:3, :3]
        low, high = person.min(axis=0) - 0.08, person.max(axis=0) + 0.08
        inside = ((surface > low) & (surface < high)).all(axis=1)
        assert not inside.any(), f"{inside.sum()} points of the map are where the person stands"

        # Who has left is told of by an empty cloud.
        after = robot.frames[4]
        cv2.imwrite(str(labels / f"{after.stamp_ns}.png"), np.full(after.rgb.shape[:2], WALL, np.uint8))
        robot.send(after)
        robot.peer.wait(lambda: stamp_of(moving[-1]) == after.stamp_ns and moving[-1].width == 0, "an empty cloud")
    finally:
        robot.close()


def stamp_of(cloud: PointCloud2) -> int:
    return cloud.header.stamp.sec * 1_000_000_000 + cloud.header.stamp.nanosec
