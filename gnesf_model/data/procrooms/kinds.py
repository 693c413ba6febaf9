"""Kinds of rooms: how large they are and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoomKind:
    """What a kind of room is: its size and the groups of furniture that go in, in this order.

    Attributes:
        width, depth: ranges of the inner size in metres.
        required: groups without which the layout is drawn again.
        optional: groups that go in where there is room.
        tiled: are floor and walls tiled, and pictures out of place?
    """

    width: tuple[float, float]
    depth: tuple[float, float]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    tiled: bool = False


KINDS = {
    "studio": RoomKind(
        (6.6, 7.4),
        (5.6, 6.4),
        ("kitchen", "bed", "lounge", "desk", "dining", "bookshelf", "cabinet"),
        ("wardrobe", "plant", "bin", "floor_lamp"),
    ),
    "living room": RoomKind(
        (5.0, 6.4),
        (4.4, 5.4),
        ("lounge", "tv", "bookshelf"),
        ("dining", "cabinet", "armchair", "bookshelf", "floor_lamp", "plant", "plant"),
    ),
    "kitchen": RoomKind((4.4, 5.6), (4.0, 5.0), ("kitchen", "dining"), ("cabinet", "bin", "cabinet", "plant")),
    "office": RoomKind(
        (4.6, 6.0),
        (4.2, 5.2),
        ("desk", "desk", "bookshelf", "cabinet"),
        ("meeting", "bookshelf", "bin", "desk", "plant", "wardrobe"),
    ),
    "bedroom": RoomKind(
        (4.2, 5.4),
        (4.0, 4.8),
        ("bed", "wardrobe"),
        ("desk", "cabinet", "armchair", "bookshelf", "floor_lamp", "bin", "plant"),
    ),
    "bathroom": RoomKind(
        (2.7, 3.5), (2.6, 3.3), ("bathtub", "toilet", "washbasin"), ("cabinet", "towel", "bin", "towel"), tiled=True
    ),
    "meeting room": RoomKind(
        (5.2, 6.6), (4.4, 5.2), ("conference", "whiteboard"), ("screen", "cabinet", "plant", "bin", "plant")
    ),
}
"""Kind of room `seed % 7`; a studio holds nearly everything but a bathroom."""
