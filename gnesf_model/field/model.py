"""GNeSF whole: source views and points in, class probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from gnesf_model.field.direct_head import DirectHead
from gnesf_model.field.encoding_volume import CELL_SIZES_M, Encoding, EncodingVolume
from gnesf_model.field.image_encoder import ImageEncoder
from gnesf_model.field.moments import Moments, masked_moments
from gnesf_model.field.statistics import others_mean, probability_statistics
from gnesf_model.field.streaming import StreamingVotes
from gnesf_model.field.views import SourceViews
from gnesf_model.field.voting import (
    VoteInputs,
    VotingNetwork,
    VotingOptions,
    distance_scores,
    soft_vote,
    soft_vote_on_logits,
    uniform_scores,
)
from gnesf_model.frame import Camera

WEIGHTINGS = ("learned", "uniform", "distance")
OUTCOMES = ("probabilities", "logits", "direct")


@dataclass(frozen=True)
class FieldOptions:
    """Sizes of the networks, and which variant of the paper's ablation this is.

    Attributes:
        widths: channels of the image encoder at strides 2, 4, 8, 16.
        features: channels of F_i at strides 4, 8, 16.
        encoding: channels of M at the levels of `CELL_SIZES_M`.
        voting: inputs of the vote. Its `features` and `encoding` follow from the above.
        weighting: of the views: `learned`, or by hand: `uniform`, `distance`.
        outcome: vote on `probabilities` (the paper) or `logits`, or regress the classes: `direct`.
        visibility: whether views that do not see a point are left out (else: all that have it in their image).
        vote_level: level of M that the vote reads; the same with measured and with predicted geometry.
        classes: of the label space; for `direct` alone.
    """

    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    features: tuple[int, int, int] = (32, 32, 48)
    encoding: tuple[int, int, int] = (32, 24, 16)
    voting: VotingOptions = field(default_factory=VotingOptions)
    weighting: str = "learned"
    outcome: str = "probabilities"
    visibility: bool = True
    vote_level: int = 1
    classes: int = 0

    def __post_init__(self) -> None:
        for name, known in (("weighting", WEIGHTINGS), ("outcome", OUTCOMES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        if not 0 <= self.vote_level < len(CELL_SIZES_M):
            raise ValueError(f"vote_level is {self.vote_level}, expected 0 to {len(CELL_SIZES_M) - 1}")
        if (self.outcome == "direct") != (self.classes > 0):
            raise ValueError(f"classes is {self.classes} with outcome {self.outcome!r}: only `direct` has classes, > 0")
        voting = replace(self.voting, features=self.features[0], encoding=self.encoding[self.vote_level])
        object.__setattr__(self, "voting", voting)


@dataclass(frozen=True, eq=False)
class PointVotes:
    """What the views say of K points.

    Attributes:
        probabilities: (K, C) s(x); 1 - sum is unknown.
        scores: (N, K) v_i(x); None for `direct`.
        seen: (N, K) which views were taken to see the point.
    """

    probabilities: torch.Tensor
    scores: torch.Tensor | None
    seen: torch.Tensor


class NeuralSemanticField(nn.Module):
    """The networks of the field; the scene is in its arguments."""

    def __init__(self, options: FieldOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or FieldOptions()
        self.encoder = ImageEncoder(o.widths, o.features)
        self.volume = EncodingVolume(o.features, o.encoding)
        self.voting = VotingNetwork(o.voting) if o.weighting == "learned" and o.outcome != "direct" else None
        direct = o.outcome == "direct"
        self.direct = DirectHead(o.classes, o.features[0], o.voting.encoding) if direct else None

    def observe(
        self,
        cameras: Sequence[Camera],
        world_T_cam: Sequence[np.ndarray],
        images: torch.Tensor,
        probabilities: torch.Tensor,
        depth: torch.Tensor | None = None,
    ) -> SourceViews:
        """Source views with their features (section 3.1).

        Args:
            cameras, world_T_cam: of the N views.
            images: (N, 3, H, W) in 0..1.
            probabilities: (N, C, h, w) S_i at stride 4.
            depth: (N, H, W) m, 0 where there is none.
        """
        return SourceViews.make(cameras, world_T_cam, probabilities, self.encoder(images), depth)

    def forward(
        self,
        points: torch.Tensor,
        views: SourceViews,
        encoding: Encoding | None = None,
        visible: torch.Tensor | None = None,
        repeats: torch.Tensor | None = None,
    ) -> PointVotes:
        """Eq. 3 and 4 over all views at once: s(x) of points (K, 3). The order of the views does not matter.

        Args:
            encoding: M; None: as where no cell is known.
            visible: (N, K) from `visibility`; None: all that have the point in their image.
            repeats: (N,) as `viewpoints.earlier_repeats` gives them.
        """
        place = views.project(points)
        seen = place.inside if visible is None or not self.options.visibility else place.inside & visible
        encoded = self._encoded(points, encoding)
        if self.direct is not None:
            moments = masked_moments(views.sample_features(place.pixels), seen)
            found = self.direct(moments.mean, moments.variance, encoded, moments.count)
            return PointVotes(found, None, seen)
        probabilities = views.sample_probabilities(place.pixels)
        if self.voting is None:
            by_hand = uniform_scores if self.options.weighting == "uniform" else distance_scores
            scores = by_hand(place.displacement)
        else:
            features = views.sample_features(place.pixels)
            moments = masked_moments(features, seen)
            scores = self.voting(
                VoteInputs(
                    features=features,
                    mean=moments.mean[None],
                    variance=moments.variance[None],
                    displacement=place.displacement,
                    statistics=probability_statistics(probabilities, others_mean(probabilities, seen)),
                    count=moments.count[None],
                    encoding=encoded,
                    repeats=None if repeats is None else repeats[:, None],
                )
            )
        vote = soft_vote if self.options.outcome == "probabilities" else soft_vote_on_logits
        return PointVotes(vote(probabilities, scores, seen), scores, seen)

    def stream(
        self,
        points: torch.Tensor,
        views: SourceViews,
        encoding: Encoding | None = None,
        visible: torch.Tensor | None = None,
        repeats: torch.Tensor | None = None,
    ) -> PointVotes:
        """Eq. 4 over views one after the other, each scored once, from what was known when it came: as the mapper does.

        Arguments as for `forward`. To train with: the mapper's votes are these.

        Raises:
            ValueError: a variant that does not vote on probabilities by learned scores.
        """
        if self.voting is None or self.options.outcome != "probabilities":
            raise ValueError(
                f"weighting {self.options.weighting!r}, outcome {self.options.outcome!r}: only learned votes on "
                "probabilities accumulate over time"
            )
        place = views.project(points)
        seen = place.inside if visible is None or not self.options.visibility else place.inside & visible
        features = views.sample_features(place.pixels)
        probabilities = views.sample_probabilities(place.pixels)
        encoded = self._encoded(points, encoding)
        votes = StreamingVotes.none(len(points), probabilities.shape[-1], probabilities)
        moments = Moments.none(len(points), features.shape[-1], features)
        scores = []
        for view in range(len(views)):
            moments = moments.plus(features[view], seen[view])
            score = next_score(
                self.voting,
                features[view],
                probabilities[view],
                place.displacement[view],
                moments,
                votes.distribution,
                encoded,
                None if repeats is None else repeats[view],
            )
            votes = votes.plus(view, probabilities[view], score, seen[view])
            scores.append(score)
        found = torch.stack(scores) if scores else probabilities.new_zeros(0, len(points))
        return PointVotes(votes.distribution, found, seen)

    def _encoded(self, points: torch.Tensor, encoding: Encoding | None) -> torch.Tensor:
        if encoding is None:
            return points.new_zeros(len(points), self.options.encoding[self.options.vote_level])
        return encoding.at(points, self.options.vote_level)[0]


def next_score(
    network: VotingNetwork,
    features: torch.Tensor,
    probabilities: torch.Tensor,
    displacement: torch.Tensor,
    moments: Moments,
    before: torch.Tensor,
    encoding: torch.Tensor | None,
    repeats: torch.Tensor | None = None,
) -> torch.Tensor:
    """v_i(x) (K,) of eq. 3 for the newest view, from nothing that came later.

    Args:
        features: (K, D) F_i(x).
        probabilities: (K, C) S_i(x).
        displacement: (K, 3) d_i in the view's axes, m.
        moments: of the features over the views up to and including this one.
        before: (K, C) s(x) of the views before this one, zero where there is none.
        encoding: (K, Dm) M(x).
        repeats: () earlier votes from this viewpoint.
    """
    return network(
        VoteInputs(
            features=features[None],
            mean=moments.mean[None],
            variance=moments.variance[None],
            displacement=displacement[None],
            statistics=probability_statistics(probabilities, before)[None],
            count=moments.count[None],
            encoding=encoding,
            repeats=None if repeats is None else repeats.view(1, 1),
        )
    )[0]
