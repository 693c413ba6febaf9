"""Geometry from the encoding volume, eq. 2: sigma(x) = f_theta(M(x))."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class GeometryHead(nn.Module):
    """f_theta of one level: signed distance, density, and whether a cell is near a surface.

    Args:
        channels: of M.
        hidden: width of the two small MLPs.
    """

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.to_distance = nn.Sequential(nn.Linear(channels, hidden), nn.ELU(), nn.Linear(hidden, 1))
        self.to_density = nn.Sequential(nn.Linear(channels, hidden), nn.ELU(), nn.Linear(hidden, 1))
        self.to_occupancy = nn.Linear(channels, 1)
        nn.init.constant_(self.to_density[-1].bias, -2.0)  # nearly empty at first

    def distance(self, encoding: torch.Tensor) -> torch.Tensor:
        """Eq. 2 for 3D segmentation: SDF (K,) in truncation distances, -1..1, positive in front, of M(x) (K, D)."""
        return torch.tanh(self.distance_logit(encoding))

    def distance_logit(self, encoding: torch.Tensor) -> torch.Tensor:
        """What `distance` is the tanh of (K,): to learn by, since a tanh at its end teaches nothing any more."""
        return self.to_distance(encoding)[:, 0]

    def density(self, encoding: torch.Tensor) -> torch.Tensor:
        """Eq. 2 for view synthesis: density (K,) >= 0 per sample (eq. 7 has no interval length) of M(x) (K, D)."""
        return F.softplus(self.to_density(encoding)[:, 0])

    def occupancy(self, encoding: torch.Tensor) -> torch.Tensor:
        """Logit (V,) that a surface lies within the truncation distance of a cell with M (V, D)."""
        return self.to_occupancy(encoding)[:, 0]
