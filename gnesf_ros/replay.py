"""A bag through a node in a process of its own, on a DDS domain of its own, to the final map."""

from __future__ import annotations

import dataclasses
import os
import random
from dataclasses import dataclass
from pathlib import Path

import rclpy
import yaml
from gnesf_msgs.msg import MapperStatus
from gnesf_msgs.srv import SaveMap
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm

from gnesf_model.config import Config
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_file import BagFile
from gnesf_model.data.bag_topics import COMPRESSED, BagTopics
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.source import FrameSource
from gnesf_ros import middleware
from gnesf_ros.gnesf_node import BAG_TOPICS
from gnesf_ros.node_process import NodeProcess
from gnesf_ros.playback import BagPlayer, PlayOptions, play_profile
from gnesf_ros.recorder import OutputRecorder

MAPPER = "/gnesf"
PARAMETERS, LOG = "params.yaml", "node.log"
"""Files that `replay` writes."""
_LOADING_S, _DRAINING_S, _CLOUD_S, _DIAGNOSTICS_S, _SAVING_S = 900.0, 600.0, 60.0, 5.0, 120.0


@dataclass(frozen=True)
class Replay:
    """What the node said, and the exit status with which it ended."""

    heard: OutputRecorder
    status: int


def as_bag(source: FrameSource, labels_dir: Path | None, config: Config, folder: Path) -> tuple[BagSource, Path | None]:
    """A recording as a bag, and the folder with its ground truth by stamp; both written where they are not there.

    Args:
        source: the recording.
        labels_dir: ground truth that was given for it; by stamp if it is a bag.
        config: topics of a bag.
        folder: made for the bag if one has to be written; must not exist.

    Raises:
        OSError: it cannot be written.
    """
    if isinstance(source, BagSource):
        return source, labels_dir
    bag, labels = folder / "bag", folder / "labels"
    folder.mkdir()
    written_labels = labels if source.label_space else None
    with tqdm(total=len(source), desc="writing", unit="frame") as bar:
        write_bag(source, bag, labels_dir=written_labels, progress=bar.update)
    written = BagSource(bag, config.input, labels_dir=written_labels)
    written.name = source.name
    return written, written_labels


def for_bag(config: Config, topics: BagTopics, labels: Path | None, queue: str) -> Config:
    """The configuration with what the bag decides.

    Args:
        config: as the user gave it.
        topics: of the bag.
        labels: ground truth by stamp, for the oracle.
        queue: ``newest`` or ``all``.

    Raises:
        ValueError: the node cannot be replayed with these.
    """
    if len(topics.cameras) > 1:
        raise ValueError(f"a replay shows one camera, and input.cameras names {', '.join(topics.cameras)}")
    camera = topics.first
    if camera.depth is None and config.geometry == "depth":
        raise ValueError("the bag has no depth image, and geometry: depth needs one; input.depth_topic names it")
    model = config.segmenter.model
    if model == "oracle":
        if labels is None:
            raise ValueError("the oracle needs label images by stamp: give --labels DIR or another --segmenter")
        model = f"oracle:{labels.resolve()}"
    compressed = {"depth": "compressedDepth", "color": "compressed"}
    transports = {
        kind: compressed[kind] if (topic := getattr(camera, kind)) and topic.msgtype == COMPRESSED else "raw"
        for kind in compressed
    }
    return dataclasses.replace(
        config,
        segmenter=dataclasses.replace(config.segmenter, model=model),
        # Names in the bag are not the node's parameters: its inputs are remapped to them.
        input=dataclasses.replace(config.input, pose_source=topics.pose_source, **dict.fromkeys(BAG_TOPICS, "")),
        node=dataclasses.replace(
            config.node,
            autostart=True,
            queue=queue,
            use_depth=camera.depth is not None,
            image_transport=transports["color"],
            depth_transport=transports["depth"],
        ),
    )


def replay(source: BagSource, config: Config, rate: float, out: Path, save_map: Path | None = None) -> Replay:
    """Play a bag through the node and wait for its final map, with a progress bar.

    Args:
        source: the bag, and which of its topics to map.
        config: the node's parameters; with ``node.queue: all`` the player waits for the node.
        rate: 1: as recorded; 0: as fast as possible.
        out: folder for the node's parameters and its log.
        save_map: absolute path of a file for the node's map in the end.

    Raises:
        RuntimeError: the node ended or fell silent, or it mapped no frame; the text says why.
        ValueError: the bag cannot be played.
    """
    environment = {
        # Nothing here leaves this machine, and nothing else on it is heard here.
        "ROS_DOMAIN_ID": str(random.randrange(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        **middleware.environment(),
    }
    os.environ.update(environment)
    topics, log = source.topics, out / LOG
    bar = tqdm(total=topics.images, desc="playing", unit="frame", smoothing=0.1)

    def on_status(status: MapperStatus) -> None:
        bar.update(status.frames_processed + sum(status.drop_counts) - bar.n)

    heard = None
    rclpy.init(args=[], domain_id=int(environment["ROS_DOMAIN_ID"]), signal_handler_options=SignalHandlerOptions.NO)
    try:
        color = CompressedImage if config.node.image_transport == "compressed" else Image
        every_frame = config.node.queue == "all"
        # As the player publishes them: best effort, an image on a busy machine would have no beginning to time.
        images = play_profile(topics.first.color, reliable=every_frame)
        heard = OutputRecorder(MAPPER, color, topics.first.color.topic, images, on_status=on_status)
        with NodeProcess(_ros_arguments(config, topics, out), environment, log) as process:
            # A status comes with the map; the subscriptions, which the player waits for, come with the activation.
            if not heard.wait(lambda: heard.active, process.check, _LOADING_S):
                raise RuntimeError(f"the node was not active within {_LOADING_S:.0f} s: see {log}")
            _play(source, rate, MAPPER if every_frame else "", process)
            heard.wait(lambda: heard.settled, process.check, _DRAINING_S)
            _await_final_words(heard, process, log)
            if save_map is not None:
                _save(heard, process, save_map)
            return Replay(heard, process.stop())
    finally:
        if heard:
            heard.close()
        bar.close()
        rclpy.try_shutdown()


def _play(source: BagSource, rate: float, wait_for: str, process: NodeProcess) -> None:
    # The node's other inputs are remapped there; /tf and /tf_static may be several topics in a bag.
    tf = {c.topic: "/tf_static" if c.topic.endswith("tf_static") else "/tf" for c in source.topics.tf}
    remaps = {old: new for old, new in tf.items() if old != new}
    node = rclpy.create_node("gnesf_player")
    try:
        BagPlayer(node, BagFile(source.path), PlayOptions(rate=rate, wait_for=wait_for, remaps=remaps)).play()
    except RuntimeError:
        process.check()  # if it has ended, that is why
        raise
    finally:
        node.destroy_node()


def _await_final_words(heard: OutputRecorder, process: NodeProcess, log: Path) -> None:
    """Wait for diagnostics and a cloud that tell of the whole recording."""
    told = heard.traffic["/diagnostics"].count
    heard.wait(lambda: heard.traffic["/diagnostics"].count > told, process.check, _DIAGNOSTICS_S)
    status = heard.status
    if not status.frames_processed:
        dropped = ", ".join(f"{n} {reason}" for reason, n in zip(status.drop_reasons, status.drop_counts)) or "none"
        words = "".join(f"\n  - {text}" for text in heard.words.values())
        raise RuntimeError(
            f"no frame was mapped: {status.frames_received} images reached the node, dropped: {dropped}. Its "
            f"diagnostics said:{words or ' nothing'}\nIts log is {log}"
        )
    if not heard.wait(lambda: heard.cloud_is_final, process.check, _CLOUD_S):
        raise RuntimeError(f"the final cloud did not come within {_CLOUD_S:.0f} s: see {log}")


def _save(heard: OutputRecorder, process: NodeProcess, path: Path) -> None:
    name = f"{MAPPER}/save_map"
    answer = heard.call(SaveMap, name, SaveMap.Request(path=str(path)), process.check, _SAVING_S)
    if answer is None or not answer.success:
        said = f"said: {answer.message}" if answer else f"did not answer within {_SAVING_S:.0f} s"
        raise RuntimeError(f"the node's map could not be saved, {name} {said}")


def _ros_arguments(config: Config, topics: BagTopics, out: Path) -> list[str]:
    """The node's parameters, in a file, and its inputs."""
    parameters = {"/**": {"ros__parameters": {"use_sim_time": True, **dataclasses.asdict(config)}}}
    path = out / PARAMETERS
    path.write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
    camera, transport = topics.first, {"color": config.node.image_transport, "depth": config.node.depth_transport}
    color, depth = (f"{kind}/image_raw" + f"/{how}" * (how != "raw") for kind, how in transport.items())
    inputs = {color: camera.color, "color/camera_info": camera.camera_info}
    inputs |= {depth: camera.depth} if camera.depth else {}
    inputs |= {topics.pose_source: topics.pose} if topics.pose else {}
    remaps = [f"{name}:={connection.topic}" for name, connection in inputs.items()]
    return ["--params-file", str(path), *(word for remap in remaps for word in ("-r", remap))]
