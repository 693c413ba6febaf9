"""How the votes of the field are trained, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gnesf_model.data.procrooms.splits import FIELD_SEEDS

LEARN = ("votes", "geometry", "colors")


@dataclass(frozen=True)
class FieldRecipe:
    """How the votes are trained.

    Attributes:
        rooms, views: sequences to train on, of the third quarter of the training seeds: the first half is the
            segmenter's, and what it has learned by heart says nothing of its errors.
        validation_rooms: of the validation seeds.
        epochs: passes over the rooms.
        rooms_per_step: how many rooms give the gradient of a step, on each device.
        width, height: of the views.
        sources: the fewest and the most views that vote on a point.
        points: of a step: they lie together, as far apart as the voxels of a map.
        telling: how many of them the votes of views learn from; half where views disagree and one of them is right.
        invented: how often segmentations are made up from the truth (`corruption`) instead of a network's.
        shift_m, turn_deg: standard deviation of the errors of the source poses; there are none where colours are
            learned, which pictures beside their place would only teach to blur.
        merge: how often classes are merged to a coarser label space.
        drop: how often the votes go without features, without M, without statistics.
        penalty: weight of `gain_penalty`.
        learning_rate, warm_up, weight_decay: of AdamW.
        occlude: how often something stands in the way of a source view.
        learn: ``votes``; ``geometry``, beside them the heads of eq. 2 and with them all of M, from colour alone; or
            afterwards ``colors``, during which the rest stays as it is (see `train_field`).
        seed: of everything random.
    """

    rooms: int = 240
    views: int = 28
    validation_rooms: int = 24
    epochs: int = 7
    rooms_per_step: int = 2
    width: int = 160
    height: int = 120
    sources: tuple[int, int] = (6, 24)
    points: int = 3000
    telling: int = 1200
    invented: float = 0.35
    shift_m: float = 0.01
    turn_deg: float = 0.5
    merge: float = 0.3
    drop: float = 0.3
    penalty: float = 0.05
    learning_rate: float = 6e-4
    warm_up: int = 100
    weight_decay: float = 0.01
    occlude: float = 0.1
    learn: str = "votes"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rooms", "validation_rooms", "epochs", "width", "height", "points", "telling", "rooms_per_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.rooms > len(FIELD_SEEDS):
            raise ValueError(f"rooms is {self.rooms}, expected at most {len(FIELD_SEEDS)}, the seeds there are")
        if not 0 <= self.occlude <= 1:
            raise ValueError(f"occlude is {self.occlude}, expected a share of the views, 0 to 1")
        if self.learn not in LEARN:
            raise ValueError(f"learn is {self.learn!r}, expected one of {', '.join(LEARN)}")
        fewest, most = self.sources
        if not 2 <= fewest <= most < self.views:
            raise ValueError(
                f"sources is {self.sources} with {self.views} views, expected at least 2, and a view left as the target"
            )

    def with_changes(self, **changes: float | str | None) -> FieldRecipe:
        """The recipe with every change that is not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


RECIPES = {
    "cpu": FieldRecipe(),
    "gpu": FieldRecipe(rooms=4000, width=256, height=192, epochs=10, validation_rooms=50),
}
