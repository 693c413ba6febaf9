"""Soft voting, eq. 3 and 4: views vote on points, how much a view counts is learned; the class count enters nowhere."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import nn

from gnesf_model.field.option_checks import check_flag, check_number
from gnesf_model.field.precision import full_precision
from gnesf_model.field.statistics import STATISTICS

_CHUNK_VOTES = 16384
"""Votes scored at a time without gradients: the hidden layers stay in the cache."""
_DISPLACEMENT = 4
_CIRCUMSTANCES = 2
_HIDDEN = 32
_HIGHEST_BOUND = 20.0
"""exp of it is 5e8: sums of float32 hold as many of them as there may be. Training takes 2."""


@dataclass(frozen=True)
class VotingOptions:
    """What the voting network reads; sizes are as it was trained.

    Attributes:
        features: channels of F_i.
        encoding: channels of M(x).
        hidden, summary: widths on the way to F'_i.
        bound: v = bound * tanh(f_v), so that exp(v) needs no running maximum; 0 is plain averaging.
        use_features: F_i with its mean and variance over the views.
        use_encoding: M(x).
        use_displacement: d_i.
        use_statistics: of S_i itself (`STATISTICS`); not in the paper.
        use_repeats: how often this viewpoint has voted; not in the paper.
        drop: how often features, encoding and statistics are each left out in training, so that none is leant upon.
    """

    features: int = 32
    encoding: int = 24
    hidden: int = 64
    summary: int = 32
    bound: float = 2.0
    use_features: bool = True
    use_encoding: bool = True
    use_displacement: bool = True
    use_statistics: bool = True
    use_repeats: bool = False
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_number("bound", self.bound, 0, _HIGHEST_BOUND, ": v lies within +-bound, and exp(v) is summed over views")
        check_number("drop", self.drop, 0, 1)
        if self.drop == 1:
            raise ValueError("drop is 1, expected a probability below 1: nothing would be learned from")
        for entry in fields(self):
            if entry.name.startswith("use_"):
                check_flag(entry.name, getattr(self, entry.name))


@dataclass(frozen=True, eq=False)
class VoteInputs:
    """What is known of N views' votes on K points. A leading 1 stands for "the same for all views".

    Attributes:
        features: (N, K, D) F_i(x).
        mean, variance: (N or 1, K, D) of the features over the views.
        displacement: (N, K, 3) d_i in the view's axes, m.
        statistics: (N, K, len(STATISTICS)) of S_i(x).
        count: (N or 1, K) views that the mean is over.
        encoding: (K, Dm) M(x); None: zero, as where no cell is known.
        repeats: (N, K) or (N, 1) earlier votes from this viewpoint; None: zero.
    """

    features: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    displacement: torch.Tensor
    statistics: torch.Tensor
    count: torch.Tensor
    encoding: torch.Tensor | None = None
    repeats: torch.Tensor | None = None


class VotingNetwork(nn.Module):
    """f_v of eq. 3. Its last layer starts at zero: training starts exactly at averaging."""

    def __init__(self, options: VotingOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or VotingOptions()
        # Linear layers of a concatenation, in parts: what all views of a point share is multiplied once.
        self.feature = nn.Linear(o.features, o.hidden)
        self.consistency = nn.Linear(2 * o.features, o.hidden, bias=False)
        self.summary = nn.Linear(o.hidden, o.summary)
        self.view = nn.Linear(o.summary + _DISPLACEMENT + len(STATISTICS) + _CIRCUMSTANCES, _HIDDEN)
        self.place = nn.Linear(o.encoding, _HIDDEN, bias=False)
        self.middle = nn.Linear(_HIDDEN, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def without(self, *inputs: str) -> VotingNetwork:
        """The same weights with inputs switched off (the names of `VotingOptions`, less their use_): for an ablation.

        Raises:
            ValueError: there is no such input.
        """
        off = {f"use_{name}": False for name in inputs}
        if unknown := off.keys() - {each.name for each in fields(self.options)}:
            raise ValueError(f"there are no inputs {', '.join(sorted(unknown))} of the vote to switch off")
        other = copy.copy(self)
        other.options = replace(self.options, **off)
        return other

    def forward(self, inputs: VoteInputs) -> torch.Tensor:
        """v_i(x) (N, K) of eq. 3, within +- `bound`."""
        views, points = inputs.features.shape[:2]
        keep = self._kept_inputs(inputs.features)
        if torch.is_grad_enabled() or points == 0:
            return self._score(inputs, slice(0, points), keep)
        step = max(1, _CHUNK_VOTES // max(views, 1))
        return torch.cat([self._score(inputs, slice(k, k + step), keep) for k in range(0, points, step)], dim=1)

    def _score(self, inputs: VoteInputs, part: slice, keep: dict[str, torch.Tensor]) -> torch.Tensor:
        f, displacement = inputs.features[:, part], inputs.displacement[:, part]
        moments = torch.cat([inputs.mean[:, part], inputs.variance[:, part]], dim=-1)
        hidden = F.elu(self.feature(f) + self.consistency(moments))
        summary = F.elu(self.summary(hidden)) * keep["features"]  # F'_i
        distance = displacement.norm(dim=-1, keepdim=True)
        # 4 m are far in a room; the logarithm tells near views apart.
        near = torch.cat([displacement / 4, (distance + 0.1).log() / 2], dim=-1) * keep["displacement"]
        statistics = inputs.statistics[:, part] * keep["statistics"]
        count = (inputs.count[:, part].log1p() / 3).expand(f.shape[:2])
        repeats = torch.zeros_like(count)
        if inputs.repeats is not None:
            repeats = (inputs.repeats.expand(inputs.features.shape[:2])[:, part].log1p() / 3) * keep["repeats"]
        circumstances = torch.stack([count, repeats], dim=-1)
        x = self.view(torch.cat([summary, near, statistics, circumstances], dim=-1))
        if inputs.encoding is not None:
            x = x + self.place(inputs.encoding[part] * keep["encoding"])
        x = F.elu(self.middle(F.elu(x)))
        return self.options.bound * torch.tanh(self.last(x)[..., 0].to(displacement.dtype))

    def _kept_inputs(self, like: torch.Tensor) -> dict[str, torch.Tensor]:
        """0 or 1 for each kind of input."""
        o, drop = self.options, self.options.drop if self.training else 0.0
        keep = {
            "features": o.use_features,
            "encoding": o.use_encoding,
            "statistics": o.use_statistics,
            "displacement": o.use_displacement,
            "repeats": o.use_repeats,
        }
        dropped = {"features", "encoding", "statistics"}
        return {
            name: like.new_tensor(float(used))
            * ((torch.rand((), device=like.device) >= drop) if drop and name in dropped else 1)
            for name, used in keep.items()
        }


def vote_shares(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """exp(v_i) / sum_j exp(v_j) of eq. 4 (N, K) over the views with `seen` (N, K); all zero where there is none."""
    if len(scores) == 0:
        return scores
    hidden = scores.masked_fill(~seen, -torch.inf)
    largest = hidden.detach().amax(dim=0).clamp_min(torch.finfo(scores.dtype).min)
    votes = (scores - largest).masked_fill(~seen, -torch.inf).exp()
    total = votes.sum(dim=0)
    return votes / torch.where(total > 0, total, torch.ones_like(total))


@full_precision
def soft_vote(probabilities: torch.Tensor, scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Eq. 4: s(x) (K, C) of S_i(x) (N, K, C) and v_i(x) (N, K) over the views that see the point.

    1 - sum is unknown; all of it where no view sees the point.
    """
    return torch.einsum("nk,nkc->kc", vote_shares(scores, seen), probabilities)


@full_precision
def soft_vote_on_logits(probabilities: torch.Tensor, scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The paper's ablation: as `soft_vote`, but the views' logits are averaged, and the softmax comes after.

    The logarithm of a softmax differs from its logits by a number that all classes share: the softmax takes it out.
    """
    shares = vote_shares(scores, seen)
    logits = torch.einsum("nk,nkc->kc", shares, probabilities.clamp_min(1e-6).log())
    known = torch.einsum("nk,nk->k", shares, probabilities.sum(-1))
    return logits.softmax(dim=-1) * known[:, None]


def uniform_scores(displacement: torch.Tensor) -> torch.Tensor:
    """Hand-made baseline: every view counts the same; v_i (N, K) of displacements (N, K, 3)."""
    return torch.zeros_like(displacement[..., 0])


def distance_scores(displacement: torch.Tensor) -> torch.Tensor:
    """Hand-made baseline: a view counts 1 / |d_i|^2; v_i (N, K) of displacements (N, K, 3) in m."""
    return -displacement.square().sum(-1).clamp_min(1e-4).log()
