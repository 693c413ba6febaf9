"""What the field is trained with: eq. 6, and what geometry and votes need beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_LEAST = 1e-4
_ATTAINED = 0.95
"""What a tanh is asked to reach for 1, which it never does."""


def rendered_cross_entropy(
    probabilities: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Eq. 6: -log S^(r) of the true class, the mean over rays or points.

    Args:
        probabilities: (R, C) rendered, or s(x) of points.
        labels: (R,) int64; 255 counts nothing.
        class_weights: (C,) to balance classes.
    """
    known = labels < probabilities.shape[1]
    rows, true = known.nonzero()[:, 0], labels[known]
    if len(rows) == 0:
        return probabilities.sum() * 0.0
    loss = -probabilities[rows, true].clamp_min(_LEAST).log()
    # Below the least value the slope of a clamp is zero; a straight line goes on.
    loss = loss + (_LEAST - probabilities[rows, true]).clamp_min(0) / _LEAST
    return _balanced(loss, true, class_weights)


def decision_loss(
    probabilities: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    sharpness: float = 4.0,
) -> torch.Tensor:
    """1 - p(true class) of distributions raised to a power: a smooth share of the points whose label is wrong.

    The map shows the strongest class. Votes that raise the probability of the true class where it has lost anyway
    lower eq. 6, and mend no label; here such points pull no weight, nor do those that are right anyway. (The paper's
    released code, too, trains with 1 - p, without the power.)

    Args:
        probabilities: (R, C) s(x), sums at most 1; what no view names competes like a class.
        labels, class_weights: as for `rendered_cross_entropy`.
        sharpness: the power.
    """
    known = labels < probabilities.shape[1]
    rows, true = known.nonzero()[:, 0], labels[known]
    if len(rows) == 0:
        return probabilities.sum() * 0.0
    rest = (1 - probabilities.sum(1, keepdim=True)).clamp_min(0)
    power = torch.cat([probabilities, rest], dim=1)[rows].clamp_min(_LEAST).pow(sharpness)
    wrong = 1 - power.gather(1, true[:, None])[:, 0] / power.sum(1)
    return _balanced(wrong, true, class_weights)


def occupancy_loss(logits: torch.Tensor, occupied: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy of occupancy logits (V,), the rarer kind weighted up to half of the whole."""
    truth = occupied.to(logits.dtype)
    share = truth.mean().clamp(0.02, 0.98)
    weight = torch.where(occupied, 0.5 / share, 0.5 / (1 - share))
    return F.binary_cross_entropy_with_logits(logits, truth, weight)


def log_tsdf_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """L1 between signed distances on the scale sign(d) log(|d| + 1), as NeuralRecon has it, before the tanh.

    Args:
        logits: (V,) `GeometryHead.distance_logit`.
        truth: (V,) in truncation distances; beyond -1..1 it is cut.
    """

    def scale(d: torch.Tensor) -> torch.Tensor:
        return d.sign() * d.abs().log1p()

    wanted = torch.atanh(_ATTAINED * truth.clamp(-1, 1))
    return (scale(logits) - scale(wanted)).abs().mean() if len(truth) else logits.sum()


def gain_penalty(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """(mean v)^2 of scores (N, K): a softmax leaves their common level free, votes of different times must share it."""
    count = seen.sum().clamp_min(1)
    return ((scores * seen).sum() / count).square()


def _balanced(losses: torch.Tensor, true: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor:
    """Mean of losses (R,) whose true classes are (R,), weighted by class."""
    if class_weights is None:
        return losses.mean()
    weight = class_weights[true]
    return (losses * weight).sum() / weight.sum().clamp_min(1e-9)
