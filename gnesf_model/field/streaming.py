"""Eq. 4 over views that come one after the other: a softmax accumulated with a running maximum (beyond the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class StreamingVotes:
    """sum_i exp(v_i) S_i and sum_i exp(v_i) over all views so far, for K points: constant memory, no view twice.

    Both sums are kept times exp(-largest), so no score overflows.

    Attributes:
        numerator: (K, C).
        denominator: (K,); 0 where no view has voted.
        largest: (K,) highest score so far, -inf where no view has voted.
        first, last: indices of the first and the last view that were offered; -1 before any.
    """

    numerator: torch.Tensor
    denominator: torch.Tensor
    largest: torch.Tensor
    first: int = -1
    last: int = -1

    @classmethod
    def none(cls, points: int, classes: int, like: torch.Tensor) -> StreamingVotes:
        """Without a vote, with dtype and device of `like`."""
        return cls(like.new_zeros(points, classes), like.new_zeros(points), like.new_full((points,), -torch.inf))

    def plus(self, view: int, probabilities: torch.Tensor, scores: torch.Tensor, seen: torch.Tensor) -> StreamingVotes:
        """With the votes of one view more.

        Args:
            view: its index; higher than that of every view before.
            probabilities: (K, C) S_i(x).
            scores: (K,) v_i(x).
            seen: (K,) points that the view sees.

        Raises:
            ValueError: the view, or a later one, has voted.
        """
        if view <= self.last:
            raise ValueError(f"view {view} comes after view {self.last}: each view votes once, in order of its index")
        one = StreamingVotes(
            probabilities * seen[:, None],
            seen.to(scores.dtype),
            scores.detach().masked_fill(~seen, -torch.inf),
            view,
            view,
        )
        # exp(v - largest) is 1 in value; its slope with respect to v is kept.
        slope = (scores - scores.detach()).exp()
        one = StreamingVotes(one.numerator * slope[:, None], one.denominator * slope, one.largest, view, view)
        return self.merged(one)

    def merged(self, other: StreamingVotes) -> StreamingVotes:
        """The votes of both.

        Raises:
            ValueError: `other` holds views that are not all later: some might vote twice.
        """
        if self.last >= 0 and 0 <= other.first <= self.last:
            raise ValueError(
                f"views {self.first} to {self.last} and {other.first} to {other.last} overlap: a view may vote twice; "
                "merge disjoint parts in order"
            )
        largest = torch.maximum(self.largest, other.largest)
        finite = torch.where(largest == -torch.inf, torch.zeros_like(largest), largest)
        mine, theirs = (self.largest - finite).exp(), (other.largest - finite).exp()
        return StreamingVotes(
            self.numerator * mine[:, None] + other.numerator * theirs[:, None],
            self.denominator * mine + other.denominator * theirs,
            largest,
            self.first if self.first >= 0 else other.first,
            max(self.last, other.last),
        )

    @property
    def distribution(self) -> torch.Tensor:
        """Eq. 4: s(x) (K, C) over all views so far; 1 - sum is unknown, all of it where no view has voted."""
        total = torch.where(self.denominator > 0, self.denominator, torch.ones_like(self.denominator))
        return self.numerator / total[:, None]
