"""What a view's class probabilities say of themselves, whatever the classes are (beyond the paper).

Everything here is the same when the classes are put in another order and when classes without probability are added,
so a network that reads it serves any label space.
"""

from __future__ import annotations

import torch

STATISTICS = (
    "highest probability",
    "margin to the second",
    "exp(-entropy): 1 for certainty, 1/n for n equal classes",
    "unknown remainder",
    "cosine with the other views' mean",
    "overlap with it: sum of the lesser probabilities",
    "the mean's probability of this view's class",
    "this view's probability of the mean's class",
    "highest probability of the mean",
    "whether there are other views",
)
"""The numbers that `probability_statistics` gives, each within 0..1."""


def probability_statistics(probabilities: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(..., len(STATISTICS)) of S_i(x) (..., C) beside the other views' mean (..., C), zero where there is none."""
    p, m = probabilities, others
    top, label = p.max(dim=-1)
    second = p.scatter(-1, label[..., None], 0.0).amax(dim=-1)
    mean_top, mean_label = m.max(dim=-1)
    known = p.sum(-1).clamp_min(1e-9)
    q = p / known[..., None]
    # -q log q has no finite slope at 0.
    entropy = -(q * q.clamp_min(1e-9).log()).sum(-1)
    norms = (p.square().sum(-1) * m.square().sum(-1) + 1e-12).sqrt()
    return torch.stack(
        [
            top,
            top - second,
            (-entropy).exp() * (top > 0),
            (1 - p.sum(-1)).clamp(0, 1),
            (p * m).sum(-1) / norms,
            torch.minimum(p, m).sum(-1),
            # Where all are zero, the highest is whichever class comes first.
            m.gather(-1, label[..., None])[..., 0] * (top > 0),
            p.gather(-1, mean_label[..., None])[..., 0] * (mean_top > 0),
            mean_top,
            (mean_top > 0).to(p.dtype),
        ],
        dim=-1,
    )


def others_mean(probabilities: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """(N, K, C): for each view, the mean of S_j(x) (N, K, C) over the other views j with `seen` (N, K)."""
    weight = seen.to(probabilities.dtype)[..., None]
    own = probabilities * weight
    count = weight.sum(0) - weight
    return (own.sum(0) - own) * (count > 0) / count.clamp_min(1.0)
