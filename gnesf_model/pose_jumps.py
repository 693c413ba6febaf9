"""What a map does when poses jump: it does not deform, so it goes on, pauses or begins anew."""

from __future__ import annotations

from gnesf_model.frame import Frame, FrameDropped


class PoseJumpResponse:
    """Looks at the running number of jumps that frames carry, which tells of those of frames that never came, too.

    Attributes:
        count: jumps so far; one that several cameras see is one.
        paused: why nothing is mapped; empty while it is.
    """

    def __init__(self) -> None:
        self.count = 0
        self.paused = ""
        self._jumps: dict[str, int] = {}
        """Jumps of the latest frame, by camera."""

    def demands_reset(self, frame: Frame, reaction: str) -> bool:
        """Whether the map must be emptied before this frame goes into it.

        Args:
            frame: the next one.
            reaction: ``warn``, ``pause`` or ``reset``.

        Raises:
            FrameDropped: (``paused``) a jump has paused the mapping.
        """
        before = max(self._jumps.values(), default=0)
        self._jumps[frame.source] = frame.pose_jumps
        fresh = max(max(self._jumps.values()) - before, 0)
        self.count += fresh
        if fresh and reaction == "pause":
            self.paused = (
                "mapping is paused, because the camera's pose jumped (input.on_pose_jump: pause): call ~/resume, or "
                "~/reset to begin a new map"
            )
        if self.paused:
            raise FrameDropped("paused", self.paused)
        return fresh > 0 and reaction == "reset"

    def forget(self) -> None:
        """Frames come from new inputs, which count jumps from zero."""
        self._jumps.clear()

    def resume(self) -> None:
        """Map again after a jump has paused it."""
        self.paused = ""
