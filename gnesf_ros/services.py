"""The node's services. Each is done in the worker's thread between two frames, and the executor does not wait."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from gnesf_msgs.srv import LoadMap, RenderView, SaveMap
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from gnesf_model.data.camera_info import decode_camera_info
from gnesf_model.data.messages import decode_pose
from gnesf_model.frame import Camera
from gnesf_model.labels import UNKNOWN
from gnesf_model.mapper import RenderedView
from gnesf_ros import conversions
from gnesf_ros.managed import EXPECTED
from gnesf_ros.parts import Configured
from gnesf_ros.worker import Worker

T = TypeVar("T")

MAX_VIEW_PX = 1920 * 1200
"""Larger views are refused: mapping waits for them, 4 s on one core, and they take 300 MB, for a million pixels."""
MAX_VIEW_DEPTH_M = 1000.0


class Host(Protocol):
    """The node, as the services see it; all of it is asked in the executor's thread."""

    node: Node

    def configured(self) -> Configured:
        """The map and what is around it; RuntimeError while there is none."""

    def map_changed(self, generation: int, mark: Any) -> None:
        """The map was emptied or replaced: `generation` of the new one, `mark` of the worker then."""

    def set_paused(self, paused: bool) -> None:
        """Refuse frames, or take them again."""


class Services:
    """~/save_map, ~/load_map, ~/reset, ~/pause, ~/resume and ~/render_view, there from the start of the node on.

    Every answer has ``success`` and ``message``; what fails is logged, too. Requests are served one after the other.

    Args:
        host: the node.
    """

    def __init__(self, host: Host) -> None:
        self._host, self._node = host, host.node
        # A group of its own: rclpy holds a group while one of its callbacks is waiting.
        self._group = MutuallyExclusiveCallbackGroup()
        self._serve(Trigger, "reset", self._reset)
        self._serve(Trigger, "pause", self._pause)
        self._serve(Trigger, "resume", self._resume)
        self._serve(SaveMap, "save_map", self._save_map)
        self._serve(LoadMap, "load_map", self._load_map)
        self._serve(RenderView, "render_view", self._render_view)

    async def _reset(self, parts: Configured, request: Any, response: Any) -> str:
        changed = await self._between_frames(parts.worker, lambda: (parts.mapping.reset(), parts.worker.mark()))
        self._host.map_changed(*changed)
        return "the map is empty"

    async def _pause(self, parts: Configured, request: Any, response: Any) -> str:
        if parts.mapping.paused:
            return "was paused already"
        self._host.set_paused(True)
        await self._between_frames(parts.worker, lambda: None)  # the frame in work is in the map when this is answered
        return "paused: images are dropped until ~/resume"

    async def _resume(self, parts: Configured, request: Any, response: Any) -> str:
        if not parts.mapping.paused and not parts.mapping.state.paused:
            return "was not paused"
        await self._between_frames(parts.worker, parts.mapping.resume)
        self._host.set_paused(False)
        return "resumed"

    async def _save_map(self, parts: Configured, request: Any, response: Any) -> str:
        path = absolute(request.path)
        response.bytes = await self._between_frames(parts.worker, lambda: parts.mapping.save(path))
        return f"saved {response.bytes / 1e6:.1f} MB as {path}"

    async def _load_map(self, parts: Configured, request: Any, response: Any) -> str:
        path = absolute(request.path)
        (said, generation), mark = await self._between_frames(
            parts.worker, lambda: (parts.mapping.load(path), parts.worker.mark())
        )
        self._host.map_changed(generation, mark)
        words = f"loaded {path}: {said['blocks']} blocks from {said['frames']} frames, {said['keyframes']} keyframes"
        here, there = parts.mapper.config.input.global_frame, said["global_frame"]
        if here != there:
            words += f". It was made in the frame {there!r}, and is taken as one in {here!r} (input.global_frame)"
            self._node.get_logger().warning(words)
        return words

    async def _render_view(self, parts: Configured, request: Any, response: Any) -> str:
        camera, pose, max_depth_m = view_of(request, parts.mapper.config.input.global_frame)
        view = await self._between_frames(parts.worker, lambda: parts.mapping.render(camera, pose, max_depth_m))
        header = Header(stamp=request.pose.header.stamp, frame_id=request.camera_info.header.frame_id)
        fill_view(response, view, header)
        return f"{(view.depth > 0).mean():.1%} of the view shows a surface"

    def _serve(self, kind: type, name: str, work: Callable[[Configured, Any, Any], Awaitable[str]]) -> None:
        async def callback(request: Any, response: Any) -> Any:
            logger = self._node.get_logger()
            try:
                response.message = await work(self._host.configured(), request, response)
                response.success = True
                if kind is not RenderView:  # which may be asked for many times a second
                    logger.info(f"~/{name}: {response.message}")
            except EXPECTED as error:
                response.message = " ".join(str(error).split())
                logger.warning(f"~/{name} failed: {response.message}")
            except Exception as error:  # a request must not end the node
                response.message = f"internal error, {type(error).__name__}: {error}"
                logger.error(f"internal error in ~/{name}:\n{traceback.format_exc()}")
            return response

        self._node.create_service(kind, f"~/{name}", callback, callback_group=self._group)

    async def _between_frames(self, worker: Worker, action: Callable[[], T]) -> T:
        """What `action` gives, run in the worker's thread while the executor goes on."""
        done = Future()
        executor = self._node.executor

        def wake(job: Any) -> None:
            done.set_result(None)
            executor.wake()

        job = worker.call(action)
        job.add_done_callback(wake)
        await done
        return job.result()


def absolute(path: str) -> Path:
    """The path of a request.

    Raises:
        ValueError: it is not absolute; nobody knows the node's working directory.
        RuntimeError: ~user names nobody.
    """
    found = Path(path).expanduser()
    if not found.is_absolute() or "\0" in path:
        raise ValueError(f"path is {path!r}, expected an absolute path on the node's machine, or one that begins ~/")
    return found


def view_of(request: Any, global_frame: str) -> tuple[Camera, np.ndarray, float | None]:
    """Camera, world_T_cam (4, 4) and reach in m (None: the map's) that a RenderView request asks for.

    Raises:
        ValueError: another frame, no possible camera or pose, or a view that is too large.
    """
    frame = request.pose.header.frame_id.lstrip("/")
    if frame not in ("", global_frame):
        raise ValueError(f"the pose is in the frame {frame!r}, expected that of the map, {global_frame!r}, or none")
    camera = decode_camera_info(request.camera_info).camera
    if camera.width * camera.height > MAX_VIEW_PX:
        raise ValueError(
            f"the view is {camera.width}x{camera.height} pixels, expected at most {MAX_VIEW_PX} in all: mapping waits "
            "for it"
        )
    reach = request.max_depth_m
    if not (math.isfinite(reach) and 0.0 <= reach <= MAX_VIEW_DEPTH_M):
        raise ValueError(f"max_depth_m is {reach}, expected 0 (as far as the map is measured) to {MAX_VIEW_DEPTH_M:g}")
    return camera, decode_pose(request.pose).pose, reach or None


def fill_view(response: Any, view: RenderedView, header: Header) -> None:
    """Put a view into a RenderView response."""
    confidence = np.rint(view.confidence * 255.0).astype(np.uint8)
    confidence[view.labels == UNKNOWN] = 0
    response.labels = conversions.image_message(view.labels, header)
    response.confidence = conversions.image_message(confidence, header)
    response.depth = conversions.image_message(view.depth, header)
    response.color = conversions.image_message(view.colors, header)
