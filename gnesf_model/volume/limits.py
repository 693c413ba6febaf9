"""What a map cannot take."""

from __future__ import annotations


class MapFull(RuntimeError):
    """What a frame adds does not fit the memory, or the disk, given to the map."""


class OutOfReach(ValueError):
    """A pose or a range for which there are no block coordinates, or too many blocks."""
