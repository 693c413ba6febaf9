"""What a feed decides itself: whether images are rectified, and what becomes of messages that cannot be decoded."""

import numpy as np
import pytest
from recording import CAMERA, OPTICAL, START_NS, camera_info, compressed, header, image, pose_message

from gnesf_model.config import InputConfig
from gnesf_model.data.camera_rig import CameraRig
from gnesf_model.data.feed import MessageFeed, is_rectified

D = [-0.3, 0.1, 0.0, 0.0, 0.0]
P = np.array([[25.0, 0, 16, 0], [0, 26, 12, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("rectified", "topic", "expected"),
    [
        ("auto", "/camera/color/image_raw", False),
        ("auto", "/camera/color/image_rect_color/compressed", True),
        ("always", "/camera/color/image_raw", True),
        ("never", "/camera/color/image_rect_color", False),
    ],
)
def test_whether_images_are_rectified(rectified, topic, expected):
    config = InputConfig(rectified=rectified, pose_source="pose")
    assert is_rectified(config, topic) is expected
    rig = CameraRig(config, "none")
    feed = MessageFeed(rig.cameras[""], config, topic)
    feed.camera_info(camera_info(d=D, p=P.ravel()))
    rgb = np.random.default_rng(0).integers(0, 256, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8)
    feed.color(image(rgb, "rgb8"))
    rig.add_pose(START_NS, "odom", None, np.eye(4))
    (frame,) = rig.poll(flush=True)
    assert (frame.camera.fx, frame.frame_id) == (25.0, OPTICAL)  # P counts either way
    assert np.array_equal(frame.rgb, rgb) is expected  # and the lens is taken out once


def test_messages_that_cannot_be_decoded_are_counted_where_they_belong():
    rig = CameraRig(InputConfig(cameras=["front", "rear"], pose_source="odom"))
    feed = MessageFeed(rig.cameras["rear"])
    feed.color(image(np.zeros((4, 4, 3), np.uint8), "rgb16"))
    feed.color(compressed(START_NS, b"GIF89a"))
    feed.depth(image(np.zeros((4, 4), np.uint8), "8UC1"))
    feed.depth(compressed(START_NS, b"", "16UC1; compressedDepth png"))
    feed.camera_info(camera_info(k=np.zeros(9)))
    feed.depth_info(camera_info(d=[0.1], distortion_model="odd"))
    bad = pose_message(np.eye(4))
    bad.orientation.w = 9.0
    shared = MessageFeed(rig)
    shared.pose(type("Pose", (), {"header": header(START_NS, "odom"), "pose": bad})())
    expected = {"encoding": 2, "unreadable_image": 2, "bad_camera_info": 2}
    assert rig.cameras["rear"].drops == expected
    assert not rig.cameras["front"].drops
    assert rig.drops == {**expected, "bad_pose": 1}
    assert rig.last_message["encoding"].startswith("rear: depth image has the encoding '8UC1'")
