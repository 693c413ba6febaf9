"""A TF tree without tf2: chains of static and moving edges, interpolated at one stamp."""

from __future__ import annotations

import math

import numpy as np

from gnesf_model.frame import FrameDropped
from gnesf_model.geometry import invert
from gnesf_model.trajectory import CLOCK_JUMP_NS, NotReady, PoseBuffer

_MANY_EDGES = 256
"""Up to so many edges none is forgotten, so that an edge that fell silent can still be named."""


def clean_frame_id(name: str) -> str:
    """A frame's name without the leading slash that ROS 1 used."""
    return name.lstrip("/")


class TransformTree:
    """Frames and the transforms between them, as /tf and /tf_static describe them.

    A frame has one parent. A transform with another parent replaces the edge, history included; the
    latest message also decides whether an edge is static. A moving edge whose stamps step back by more than
    `CLOCK_JUMP_NS` starts a new history; the others stay. Where new frames keep coming (``object_1``,
    ``object_2``, ...), moving edges without a transform for `max_age_s` are forgotten.

    Args:
        max_gap_s: transforms of a moving edge further apart are not interpolated between.
        max_age_s: how far back in time moving edges are kept.
        max_jump_m: as `PoseBuffer`, for every moving edge.
    """

    def __init__(self, max_gap_s: float, max_age_s: float = 10.0, max_jump_m: float = math.inf) -> None:
        self._parents: dict[str, str] = {}
        self._edges: dict[str, np.ndarray | PoseBuffer] = {}
        """By child: parent_T_child of a static edge, or its history."""
        self.adjust(max_gap_s, max_age_s, max_jump_m)
        self._restarted: set[str] = set()
        """Children of moving edges whose stamps stepped back since the last reset."""
        self._sweep_above = _MANY_EDGES

    def adjust(self, max_gap_s: float, max_age_s: float, max_jump_m: float) -> None:
        """Go on with other limits; the transforms stay."""
        self._max_gap_s, self._max_age_s, self._max_jump_m = max_gap_s, max_age_s, max_jump_m
        for child in self._moving():
            self._edges[child].adjust(max_gap_s, max_age_s, max_jump_m)

    def reset(self, now_ns: int | None = None) -> None:
        """Forget the moving edges; static ones are true at every time.

        Args:
            now_ns: the stamp that time stepped back to, if known. Edges that stepped back to it already
                stay: their messages came before the one that told of the step.
        """
        for child in self._moving():
            newest_ns = self._edges[child].newest_ns
            ahead = now_ns is not None and newest_ns is not None and newest_ns > now_ns + CLOCK_JUMP_NS
            if ahead or child not in self._restarted:
                self._forget(child)
        self._restarted.clear()

    def add(self, parent: str, child: str, stamp_ns: int, parent_T_child: np.ndarray, static: bool) -> None:
        """Remember the (4, 4) transform `parent_T_child`; a static one holds at every stamp.

        Raises:
            FrameDropped: (``bad_tf``) an empty name, or an edge that would close a cycle.
        """
        parent, child = clean_frame_id(parent), clean_frame_id(child)
        if not parent or not child:
            raise FrameDropped("bad_tf", f"transform {parent!r} -> {child!r} lacks a frame's name")
        if self._parents.get(child) != parent:
            if child in self._ancestors(parent):
                raise FrameDropped(
                    "bad_tf",
                    f"transform {parent} -> {child} closes a cycle ({' -> '.join(self._ancestors(parent))}"
                    " from child to parent): check who publishes it",
                )
            self._parents[child] = parent
            self._edges.pop(child, None)
        if static:
            self._edges[child] = np.array(parent_T_child, dtype=np.float64)
            return
        edge = self._edges.get(child)
        if not isinstance(edge, PoseBuffer):
            name = f"transform {parent} -> {child}"
            edge = PoseBuffer(self._max_gap_s, self._max_age_s, name, self._max_jump_m)
            self._edges[child] = edge
            if len(self._edges) > self._sweep_above:
                self._forget_silent(stamp_ns)
        elif edge.newest_ns is not None and stamp_ns < edge.newest_ns - CLOCK_JUMP_NS:
            edge.reset()
            self._restarted.add(child)
        edge.add(stamp_ns, parent_T_child)

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """`target_T_source` (4, 4) at a stamp, through the frames' common ancestor.

        Raises:
            NotReady: (``no_pose``) `why` is ``unconnected`` when no chain of edges joins the frames, else
                what the edge that the message names lacks at this stamp.
        """
        target, source = clean_frame_id(target), clean_frame_id(source)
        if target == source:
            return np.eye(4)
        up_from_target, up_from_source = self._ancestors(target), self._ancestors(source)
        common = next((frame for frame in up_from_source if frame in up_from_target), None)
        if common is None:
            raise NotReady("no_pose", self._unconnected(target, source), "unconnected")
        common_T_source = self._climb(up_from_source[: up_from_source.index(common)], stamp_ns)
        common_T_target = self._climb(up_from_target[: up_from_target.index(common)], stamp_ns)
        return invert(common_T_target) @ common_T_source

    def _moving(self) -> list[str]:
        return [child for child, edge in self._edges.items() if isinstance(edge, PoseBuffer)]

    def _forget(self, child: str) -> None:
        del self._edges[child], self._parents[child]
        self._restarted.discard(child)

    def _forget_silent(self, now_ns: int) -> None:
        """Forget moving edges that are too old; the next time is when there are twice as many as are left."""
        oldest_ns = now_ns - round(self._max_age_s * 1e9)
        for child in self._moving():
            newest_ns = self._edges[child].newest_ns
            if newest_ns is not None and newest_ns < oldest_ns:
                self._forget(child)
        self._sweep_above = max(_MANY_EDGES, 2 * len(self._edges))

    def _climb(self, frames: list[str], stamp_ns: int) -> np.ndarray:
        """Transform from the first of `frames` to the parent of the last."""
        top_T_start = np.eye(4)
        for child in frames:
            edge = self._edges[child]
            pose = edge.at(stamp_ns) if isinstance(edge, PoseBuffer) else edge
            top_T_start = pose @ top_T_start
        return top_T_start

    def _ancestors(self, frame: str) -> list[str]:
        """`frame`, its parent, and so on up to the root."""
        chain = [frame]
        while chain[-1] in self._parents:
            chain.append(self._parents[chain[-1]])
        return chain

    def _unconnected(self, target: str, source: str) -> str:
        known = {*self._parents, *self._parents.values()}
        unknown = [frame for frame in (target, source) if frame not in known]
        if unknown:
            detail = f"TF has never named {' or '.join(unknown)}"
        else:
            roots = (self._ancestors(target)[-1], self._ancestors(source)[-1])
            detail = f"they hang in separate trees with the roots {roots[0]} and {roots[1]}"
        return f"no transform {target} -> {source}: {detail}"
