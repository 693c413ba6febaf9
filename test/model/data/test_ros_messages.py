"""The decoders on real rclpy messages, whose data are ``array.array``."""

import array
import importlib

import numpy as np
import pytest
from recording import CAMERA, OPTICAL, START_NS, ListSource, assert_same, make_frames

from gnesf_model.config import InputConfig
from gnesf_model.data.assembler import FrameAssembler
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.feed import MessageFeed
from gnesf_model.data.messages import decode_image

pytestmark = pytest.mark.ros
serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")


def message_class(msgtype: str) -> type:
    """Class of e.g. ``sensor_msgs/msg/Image``."""
    package, _, name = msgtype.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def test_rclpy_messages_of_a_bag_give_its_frames(tmp_path):
    frames = make_frames(3)
    write_bag(ListSource(frames), tmp_path / "bag")
    assembler = FrameAssembler(InputConfig(pose_source="odom"))
    feed = MessageFeed(assembler)
    handlers = {
        "/camera/color/image_raw": feed.color,
        "/camera/color/camera_info": feed.camera_info,
        "/camera/depth/image_raw": feed.depth,
        "/odom": feed.pose,
        "/tf_static": lambda msg: feed.tf(msg, static=True),
    }
    got = []
    for connection, _, raw in BagFile(tmp_path / "bag").raw(set(handlers)):
        handlers[connection.topic](serialization.deserialize_message(raw, message_class(connection.msgtype)))
        got += assembler.poll()
    assert_same(got, frames)


def test_live_image_is_not_copied():
    from sensor_msgs.msg import Image

    msg = Image(height=CAMERA.height, width=CAMERA.width, encoding="rgb8", step=3 * CAMERA.width)
    msg.header.frame_id = OPTICAL
    msg.header.stamp.sec = START_NS // 10**9
    msg.data = array.array("B", bytes(3 * CAMERA.width * CAMERA.height))
    rgb = decode_image(msg)
    msg.data[5] = 77
    assert rgb[0, 1, 2] == 77
    assert isinstance(rgb, np.ndarray)
