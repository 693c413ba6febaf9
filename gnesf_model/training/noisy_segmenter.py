"""Weaker versions of a trained segmenter: their errors are those of a real network, and each has its own."""

from __future__ import annotations

import functools

import numpy as np
import torch

from gnesf_model.resources import weights_dir
from gnesf_model.segment import build_segmenter


class NoisySegmenter:
    """The bundled network with its convolutions disturbed.

    Args:
        size: (width, height) at which it runs.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._segmenter = build_segmenter(str(weights_dir() / "segmenter"), device="cpu", input_size=(size[1], size[0]))
        self._network = self._segmenter.scores.model
        self._weights = {name: value.clone() for name, value in self._network.state_dict().items()}

    def __call__(self, rgb: np.ndarray, noise: float, seed: int) -> np.ndarray:
        """Probabilities (T, C, h, w) float32 of images (T, H, W, 3) uint8, at stride 4.

        Args:
            noise: standard deviation of the kernels' relative change; 0.3 costs a tenth of the accuracy.
            seed: of the change.
        """
        generator = torch.Generator().manual_seed(seed)
        changed = {
            name: value * (1 + noise * torch.randn(value.shape, generator=generator)) if value.ndim == 4 else value
            for name, value in self._weights.items()
        }
        self._network.load_state_dict(changed)
        return np.stack([self._segmenter(image).probabilities.numpy() for image in rgb])


@functools.lru_cache(maxsize=1)
def noisy_segmenter(size: tuple[int, int]) -> NoisySegmenter:
    """The one of this process for pictures of a (width, height)."""
    return NoisySegmenter(size)
