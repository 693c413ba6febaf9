"""How depth from images is trained, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gnesf_model.data.procrooms.splits import DEPTH_SEEDS


@dataclass(frozen=True)
class DepthRecipe:
    """How the network of `geometry: rgb` is trained.

    Attributes:
        rooms, views: walks to train on, of the last quarter of the training seeds, and keyframes of each.
        first_room: so many rooms of those seeds are left out before them, for a training that goes on in others.
        validation_rooms: of the validation seeds.
        epochs: passes over the rooms.
        rooms_per_step: how many rooms give the gradient of a step, on each device.
        targets: views of a room whose depth is learned in one pass.
        sources: at most so many other views are compared with each.
        width, height: of the views.
        shift_m, turn_deg: standard deviation of the errors of the poses, of half of the examples.
        learning_rate, warm_up, weight_decay: of AdamW.
        seed: of everything random.
    """

    rooms: int = 240
    views: int = 9
    first_room: int = 0
    validation_rooms: int = 16
    epochs: int = 12
    rooms_per_step: int = 2
    targets: int = 2
    sources: int = 4
    width: int = 256
    height: int = 192
    shift_m: float = 0.004
    turn_deg: float = 0.15
    learning_rate: float = 8e-4
    warm_up: int = 100
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rooms", "validation_rooms", "epochs", "width", "height", "rooms_per_step", "targets", "sources"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.views < 2:
            raise ValueError(f"views is {self.views}, expected at least 2: depth shows between views")
        if not 0 <= self.first_room <= len(DEPTH_SEEDS) - self.rooms:
            raise ValueError(
                f"first_room is {self.first_room} and rooms {self.rooms}, expected at least 0 and together at most "
                f"{len(DEPTH_SEEDS)}, the seeds there are"
            )

    def with_changes(self, **changes: float | None) -> DepthRecipe:
        """The recipe with every change that is not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


RECIPES = {
    "cpu": DepthRecipe(),
    "gpu": DepthRecipe(rooms=4000, width=320, height=240, epochs=20, targets=4, validation_rooms=50),
}
