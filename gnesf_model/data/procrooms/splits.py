"""Which seeds train, which choose, which test."""

from __future__ import annotations

SPLITS = {
    "train": range(1_000_000),
    "validation": range(1_000_000, 2_000_000),
    "test": range(2_000_000, 3_000_000),
}
"""Name -> seeds. Test rooms also have furniture of shapes that no other room has; see `Style.held_out_variant`."""

SEGMENTER_SEEDS, FIELD_SEEDS, DEPTH_SEEDS = range(500_000), range(500_000, 750_000), range(750_000, 1_000_000)
"""Parts of the training seeds. What learns how far to trust the segmenter must not learn it on rooms that the
segmenter knows by heart."""


def split_of(seed: int) -> str:
    """Name of the split that a seed belongs to; ``none`` from three million on."""
    return next((name for name, seeds in SPLITS.items() if seed in seeds), "none")
