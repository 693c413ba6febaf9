"""3 x 3 x 3 convolutions over the cells that exist, in plain torch: gathers and one matrix product."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from gnesf_model.field.cells import CellIndex, grouped_cells, parents

_CHUNK_CELLS = 8192
"""Cells gathered at a time: bounds the scratch memory without gradients at 27 x 8192 rows."""


class SparseConvolution(nn.Module):
    """What `torch.nn.functional.conv3d` gives at the cells that exist, all others being zero.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.empty(27 * inputs, outputs))
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / (27 * inputs)))

    def forward(self, values: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        """(V, outputs) of values (V, inputs), with the `CellIndex.neighbours` (V, 27) of the cells."""
        table = F.pad(values, (0, 0, 0, 1))  # row -1 is zero
        parts = []
        for rows in neighbours.split(_CHUNK_CELLS):
            gathered = table.index_select(0, (rows % len(table)).reshape(-1))
            parts.append(gathered.view(len(rows), 27 * self.inputs) @ self.weight)
        return torch.cat(parts) if parts else values @ self.weight[: self.inputs]


class SparseBlock(nn.Module):
    """Residual block of two sparse convolutions; normalised within each cell, so that cells do not see the rest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = SparseConvolution(channels, channels), SparseConvolution(channels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, values: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.norms[0](self.first(values, neighbours)))
        return F.relu(values + self.norms[1](self.second(hidden, neighbours)))


class SparseUNet(nn.Module):
    """H_g of eq. 1b at one level: a block, a block among cells of twice the size beside it, a block.

    Args:
        inputs: channels of B(k).
        channels: of M.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(inputs, channels), nn.LayerNorm(channels), nn.ReLU())
        self.before, self.wide, self.after = (SparseBlock(channels) for _ in range(3))
        self.mix = nn.Linear(2 * channels, channels)

    def forward(self, values: torch.Tensor, cells: torch.Tensor, index: CellIndex) -> torch.Tensor:
        """M (V, channels) of B (V, inputs) at cells (V, 3), which `index` finds."""
        neighbours = index.neighbours(cells)
        x = self.before(self.stem(values), neighbours)
        coarse, place = grouped_cells(parents(cells))
        number = torch.bincount(place, minlength=len(coarse)).to(x.dtype)
        pooled = x.new_zeros(len(coarse), x.shape[1]).index_add(0, place, x) / number.clamp_min(1)[:, None]
        wide = self.wide(pooled, CellIndex(coarse).neighbours(coarse))
        return self.after(F.relu(self.mix(torch.cat([x, wide[place]], dim=1))), neighbours)
