"""Images that are published, but not in the form in which the node asks for them: where they are, and what to set."""

from __future__ import annotations

from collections.abc import Callable

from gnesf_model.config import Config, NodeConfig
from gnesf_ros.subscriptions import Topic, renaming

_SETTINGS = {"color": "image_transport", "depth": "depth_transport"}
_CHOICES = {option.name: option.choices for option in Config.options()}
_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def elsewhere(topic: Topic, config: NodeConfig, types: Callable[[str], set[str]]) -> str:
    """Where the images of a silent topic are, with the remedy; empty where nobody sends them in a form we read.

    Args:
        topic: an input of the node.
        config: with the transports that it asks for.
        types: the message types that publishers of a topic send, by its resolved name.
    """
    kind = topic.role.rpartition("/")[2]
    if kind not in _SETTINGS:
        return ""
    setting = _SETTINGS[kind]
    chosen, choices = getattr(config, setting), _CHOICES[f"node.{setting}"]
    name = topic.name if chosen == "raw" else topic.name.removesuffix(f"/{chosen}")
    for transport in choices:
        there, sent = (name, _RAW) if transport == "raw" else (f"{name}/{transport}", _COMPRESSED)
        if transport != chosen and sent in types(there):
            return f"{there} is published: launch with {setting}:={transport}, or set node.{setting}"
    parent, _, last = name.rpartition("/")
    if last in choices and _COMPRESSED in types(name):
        return (
            f"{name} is published, whose name is given without /{last}, {parent} ({renaming(topic.role)}); and launch "
            f"with {setting}:={last}, or set node.{setting}"
        )
    return ""
