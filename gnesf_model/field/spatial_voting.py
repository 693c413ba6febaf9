"""Voting across space: a surface point takes votes from its neighbours, by learned affinities (beyond the paper).

The affinities come from geometry, colour, M(x), and from numbers of the distributions that hold in any label space (how
sure they are, how much two overlap); the class count enters nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn
from torch.nn.functional import elu, embedding_bag

from gnesf_model.field.option_checks import check_number, check_whole

_PAIR_INPUTS = 9
_FURTHEST_M, _MOST_NEIGHBOURS, _MOST_ROUNDS = 2.0, 256, 50
"""Beyond these a look at a map would take hours, or all the memory there is."""
_LEAST = 1e-3
"""Of what is divided by: float32 takes much less for zero."""
_CHUNK_NUMBERS = 1 << 20
"""Numbers gathered from neighbours at a time without gradients: bounds the scratch memory."""


@dataclass(frozen=True, eq=False)
class SurfacePatch:
    """Surface points with what their affinities are made from.

    Attributes:
        points: (K, 3) m.
        normals: (K, 3) unit length, or zero where there is none.
        colors: (K, 3) in 0..1.
        encoding: (K, D) M(x); None: zero.
    """

    points: torch.Tensor
    normals: torch.Tensor
    colors: torch.Tensor
    encoding: torch.Tensor | None = None


@dataclass(frozen=True)
class SpatialOptions:
    """How far votes reach; the geometric fallback has no other settings.

    Attributes:
        radius_m: neighbours are at most this far.
        neighbours: at most so many, the nearest ones.
        rounds: how often votes are passed on.
        share: what the neighbours' mean counts against the point's own distribution, 0..1.
        doubt: neighbours count in full from this doubt (1 - highest probability) on, and not at all where there is
            none: what every view agrees on, such as a thin leg, is not outvoted by what stands beside it.
        encoding: channels of M(x).
        hidden: width of the affinity network.
    """

    radius_m: float = 0.10
    neighbours: int = 24
    rounds: int = 5
    share: float = 0.8
    doubt: float = 0.1
    encoding: int = 24
    hidden: int = 32

    def __post_init__(self) -> None:
        check_number("radius_m", self.radius_m, _LEAST, _FURTHEST_M)
        check_whole("neighbours", self.neighbours, 1, _MOST_NEIGHBOURS)
        check_whole("rounds", self.rounds, 0, _MOST_ROUNDS)
        check_number("share", self.share, _LEAST, 1 - _LEAST)
        check_number("doubt", self.doubt, _LEAST, 1)


class SpatialVoting(nn.Module):
    """Passes votes between neighbours.

    The affinity of a pair is the geometric one times exp of a small network, and what the neighbours count together has
    a gate. The network's last layers start at zero: training starts at the geometric fallback.

    Args:
        learned: False leaves the networks out: the plain geometric fallback, without weights.
    """

    def __init__(self, options: SpatialOptions | None = None, learned: bool = True) -> None:
        super().__init__()
        self.options = o = options or SpatialOptions()
        self.pair = self.gate = self.reduce = None
        if learned:
            self.reduce = nn.Linear(o.encoding, 8)
            self.pair = nn.Sequential(nn.Linear(_PAIR_INPUTS + 8, o.hidden), nn.ELU(), nn.Linear(o.hidden, 1))
            self.gate = nn.Sequential(nn.Linear(4, o.hidden), nn.ELU(), nn.Linear(o.hidden, 1))
            for net in (self.pair, self.gate):
                nn.init.zeros_(net[-1].weight)
                nn.init.zeros_(net[-1].bias)

    def forward(
        self,
        patch: SurfacePatch,
        distribution: torch.Tensor,
        neighbours: torch.Tensor,
        votes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Distributions (K, C) after all rounds.

        Args:
            distribution: (K, C) s(x) of eq. 4; rows of zeros have no vote and are filled from their neighbours.
            neighbours: (K, J) rows of other points, -1 where there is none (`find_neighbours`).
            votes: (K,) weight of the votes behind each distribution; None: 1 where there is one.
        """
        if votes is None:
            votes = (distribution.sum(-1) > 0).to(distribution.dtype)
        affinity = self.affinities(patch, distribution, neighbours)
        near, certain = neighbours.clamp_min(0), distribution.amax(-1)
        for _ in range(self.options.rounds):
            # Neighbours with many votes are surer; a neighbour without any says nothing.
            weight = affinity * (votes / (votes + 1))[near]
            total = weight.sum(1)
            # One pass over the rows of the neighbours, none of which is copied.
            mean = embedding_bag(near, distribution, mode="sum", per_sample_weights=weight)
            mean = mean / total.clamp_min(1e-6)[:, None]
            share = self._share(affinity, weight, votes, certain)
            share = torch.where(total > 1e-6, share, torch.zeros_like(share))
            filled = (votes <= 0) & (total > 1e-6)
            share = torch.where(filled, torch.ones_like(share), share)
            distribution = torch.lerp(distribution, mean, share[:, None])
            # A point that was filled passes on what it got, as one vote.
            votes = torch.where(filled, torch.ones_like(votes), votes)
        return distribution

    @property
    def reach_m(self) -> float:
        """What lies further from a point than this has no say in it."""
        return self.options.rounds * self.options.radius_m

    def neighbours(self, points: torch.Tensor) -> torch.Tensor:
        """Rows (K, J) of each point's neighbours among points (K, 3), see `find_neighbours`."""
        return find_neighbours(points, self.options.radius_m, self.options.neighbours)

    def affinities(self, patch: SurfacePatch, distribution: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        """(K, J) >= 0 of each point's neighbours; 0 where there is none."""
        # A row for each number: operations on whole rows are several times faster than on the last of many short axes.
        table = _table(patch, self.options.radius_m)
        reduced = None
        if self.reduce is not None and patch.encoding is not None:
            reduced = self.reduce(patch.encoding).T.contiguous()
        certain = distribution.amax(-1)
        found = []
        for part in _parts(neighbours, distribution):
            near = neighbours[part]
            safe = near.clamp_min(0)
            pairs = _pair_features(table[:, part], _at(table, safe))
            affinity = geometric_affinities(pairs)
            if self.pair is not None:
                overlap = torch.minimum(distribution[part][:, None], distribution[safe]).sum(-1)
                told = [pairs, certain[safe][None], overlap[None]]
                if reduced is not None:
                    told.append((reduced[:, part, None] - _at(reduced, safe)).abs())
                affinity = affinity * (3 * torch.tanh(self._pair(torch.cat(told)))).exp()
            found.append(affinity * (near >= 0))
        return torch.cat(found)

    def _pair(self, told: torch.Tensor) -> torch.Tensor:
        """What the network says of pairs (D, K, J): (K, J); what stands last may be left out where it is zero."""
        first, last = self.pair[0], self.pair[-1]
        flat = told.flatten(1)
        hidden = torch.addmm(first.bias[:, None], first.weight[:, : len(flat)], flat)
        return torch.addmm(last.bias[:, None], last.weight, elu(hidden)).view(told.shape[1:])

    def _share(
        self, affinity: torch.Tensor, weight: torch.Tensor, votes: torch.Tensor, certain: torch.Tensor
    ) -> torch.Tensor:
        base = torch.logit(torch.tensor(self.options.share, dtype=weight.dtype, device=weight.device))
        doubted = ((1 - certain) / self.options.doubt).clamp(0, 1)
        if self.gate is None:
            return torch.sigmoid(base) * doubted
        told = torch.stack([affinity.sum(1).log1p(), weight.sum(1).log1p(), votes.log1p(), certain], dim=1)
        return torch.sigmoid(base + self.gate(told)[:, 0]) * doubted


def _parts(neighbours: torch.Tensor, distribution: torch.Tensor) -> list[slice]:
    """Points (K, ...) in parts: all at once where gradients need them all anyway."""
    count, numbers = len(neighbours), max(neighbours.shape[1] * max(distribution.shape[1], 16), 1)
    step = max(count, 1) if torch.is_grad_enabled() else max(_CHUNK_NUMBERS // numbers, 1)
    return [slice(k, k + step) for k in range(0, max(count, 1), step)]


def geometric_affinities(pairs: torch.Tensor) -> torch.Tensor:
    """The plain fallback (K, J) of pairs (7, K, J): near, on one plane, of one normal, of a similar colour."""
    distance, plane, normal, _, color = pairs[:5]
    return (
        -2 * distance.square() - (plane / 0.25).square() - ((1 - normal) / 0.3).square() - (color / 0.3).square()
    ).exp()


def find_neighbours(points: torch.Tensor, radius_m: float, count: int) -> torch.Tensor:
    """Rows (K, count) int64 of the points nearest to each of points (K, 3) within a radius, not itself; -1: no more."""
    host = points.detach().cpu().numpy()
    if len(host) == 0:
        return torch.zeros(0, count, dtype=torch.int64, device=points.device)
    # One more than wanted: a point is its own nearest neighbour, save among points at the same place.
    _, rows = cKDTree(host).query(host, k=count + 1, distance_upper_bound=radius_m)
    rows = np.where((rows == len(host)) | (rows == np.arange(len(host))[:, None]), -1, rows)
    order = np.argsort(rows < 0, axis=1, kind="stable")[:, :count]
    return torch.from_numpy(np.take_along_axis(rows, order, axis=1)).to(points.device)


def _table(patch: SurfacePatch, radius_m: float) -> torch.Tensor:
    """(10, K) of points: place in radii, normal, colour, and whether there is a normal."""
    has_normal = (patch.normals.square().sum(1, keepdim=True) > 0).to(patch.normals.dtype)
    return torch.cat([patch.points / radius_m, patch.normals, patch.colors, has_normal], dim=1).T.contiguous()


def _at(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Columns (D, K, J) of a table (D, N)."""
    return table.index_select(1, rows.flatten()).view(len(table), *rows.shape)


def _pair_features(own: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """(7, Q, J) of some points (10, Q) and their neighbours (10, Q, J): distance, distance off the plane, cosine of the
    normals (clamped, as is), colour differences."""
    own = own[:, :, None]
    step, apart = there[:3] - own[:3], there[6:9] - own[6:9]
    # Without a normal nothing speaks against the pair.
    cosine = (own[3:6] * there[3:6]).sum(0) + (1 - own[9] * there[9])
    plane = (step * own[3:6]).sum(0).abs() + (step * there[3:6]).sum(0).abs()
    light = apart.mean(0)
    hue = (apart - light).square().sum(0).add(1e-12).sqrt()
    color = hue + 0.3 * light.abs()
    features = [step.square().sum(0).add(1e-12).sqrt(), plane / 2, cosine.clamp_min(0), cosine, color, light, hue]
    return torch.stack(features)
