"""How the bundled segmenter is trained, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gnesf_model.data.procrooms.splits import SEGMENTER_SEEDS


@dataclass(frozen=True)
class SegmenterRecipe:
    """How the bundled segmenter is trained; `RECIPES` has one for a CPU and one for a GPU.

    Attributes:
        rooms, views: pictures to train on: rooms of the first half of the training seeds (the rest is for
            what learns to trust the segmenter), and pictures of each.
        first_room: how many of those seeds are left out before the first room.
        permuted: share of the rooms whose materials belong to other classes; natural and varied looks share the rest.
        validation_rooms: of the validation seeds, two pictures each; they choose nothing, they show.
        small_epochs: passes over the pictures at 5/8 of their size first, which is cheaper.
        epochs: passes in all.
        width, height: of the pictures, and of the network's input.
        batch: pictures of a step.
        learning_rate, warm_up, weight_decay: of AdamW; after `warm_up` steps the rate falls linearly to 0.
        smoothing: of the labels.
        averaging: decay per step of the averaged weights, which are what is kept.
        repaint: share of the pictures in which every class is painted anew.
        prior: exponent of the classes' weights that is taken back in the end; chosen on validation rooms.
        seed: of everything random.
    """

    rooms: int
    views: int
    validation_rooms: int
    small_epochs: int
    epochs: int
    first_room: int = 0
    permuted: float = 0.2
    width: int = 256
    height: int = 192
    batch: int = 8
    learning_rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    smoothing: float = 0.05
    averaging: float = 0.998
    repaint: float = 0.3
    prior: float = 0.5
    seed: int = 0

    def with_changes(self, **changes: float | None) -> SegmenterRecipe:
        """The recipe with every change that is not None.

        Raises:
            ValueError: a number that must be positive is not, or two do not go together.
        """
        recipe = replace(self, **{name: value for name, value in changes.items() if value is not None})
        for name in ("rooms", "views", "validation_rooms", "epochs", "width", "height", "batch"):
            if getattr(recipe, name) < 1:
                raise ValueError(f"{name} is {getattr(recipe, name)}, expected at least 1")
        if recipe.batch < 2:
            raise ValueError("batch is 1, expected at least 2: the network normalises over the pictures of a step")
        if not 0 <= recipe.small_epochs < recipe.epochs:
            raise ValueError(
                f"small_epochs is {recipe.small_epochs} of {recipe.epochs} epochs, expected fewer, so that the last "
                "passes are at full size: give --small-epochs too"
            )
        for name in ("permuted", "repaint"):
            if not 0 <= getattr(recipe, name) <= 1:
                raise ValueError(f"{name} is {getattr(recipe, name)}, expected a share between 0 and 1")
        if not 0 <= recipe.first_room <= len(SEGMENTER_SEEDS) - recipe.rooms:
            raise ValueError(
                f"rooms is {recipe.rooms} from room {recipe.first_room} on, expected at most {len(SEGMENTER_SEEDS)} "
                "together, the seeds there are, and no negative number"
            )
        if not recipe.learning_rate > 0:
            raise ValueError(f"learning_rate is {recipe.learning_rate}, expected a number > 0")
        return recipe

    def check_batches(self, devices: int) -> None:
        """Raise ValueError where there are not enough pictures for one step of `devices` devices."""
        pictures, step = self.rooms * self.views, self.batch * devices
        if pictures < step:
            raise ValueError(
                f"{self.rooms} rooms of {self.views} views are {pictures} pictures, and a step takes {step} (batch "
                f"{self.batch} on {devices} devices): give more rooms or a smaller batch"
            )

    def size(self, epoch: int) -> tuple[int, int]:
        """Width and height of the pictures in pass number `epoch`, multiples of 32."""
        factor = 5 / 8 if epoch < self.small_epochs else 1.0
        return round(self.width * factor / 32) * 32, round(self.height * factor / 32) * 32


RECIPES = {
    "cpu": SegmenterRecipe(rooms=2000, views=4, validation_rooms=100, small_epochs=4, epochs=6),
    "gpu": SegmenterRecipe(rooms=8000, views=4, validation_rooms=200, small_epochs=8, epochs=24, batch=64),
}
"""What the device calls for: 'cpu' for a few cores, 'gpu' for one large GPU."""


def check_devices(devices: int, gpus: int) -> None:
    """Raise ValueError for more devices than there are; the CPU, where `gpus` is 0, counts as one."""
    if devices > max(1, gpus):
        there = f"this machine has {gpus}" if gpus else "training on the CPU takes one (--workers says how many cores)"
        raise ValueError(f"devices is {devices}, but {there}: give --devices {max(1, gpus)}")
