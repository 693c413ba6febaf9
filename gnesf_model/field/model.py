"""GNeSF whole: source views and points in, class probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from gnesf_model.field.color_blending import ColorBlending, ray_difference
from gnesf_model.field.direct_head import DirectHead
from gnesf_model.field.encoding_volume import CELL_SIZES_M, Encoding, EncodingVolume
from gnesf_model.field.image_encoder import ImageEncoder
from gnesf_model.field.moments import Moments, masked_moments
from gnesf_model.field.option_checks import check_flag, check_whole
from gnesf_model.field.spatial_voting import SpatialOptions, SpatialVoting
from gnesf_model.field.statistics import others_mean, probability_statistics
from gnesf_model.field.streaming import StreamingVotes
from gnesf_model.field.views import FEATURE_STRIDES, Projections, SourceViews
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
_MOST_CLASSES = 1024


@dataclass(frozen=True)
class FieldOptions:
    """Sizes of the networks.

    Attributes:
        widths: channels of the image encoder at strides 2, 4, 8, 16.
        features: channels of F_i at strides 4, 8, 16.
        encoding: channels of M at the levels of `CELL_SIZES_M`.
        voting: inputs of the vote. Its `features` and `encoding` follow from the above.
        spatial: of the votes across space. Its `encoding` follows from the above.
        vote_level: level of M that the votes read; the same with measured and with predicted geometry.
        direct_classes: of the label space that the heads of the ablation are trained in; 0 leaves them out.
        colors: whether there is the head that blends colours, for images of new views.
        geometry: whether density and signed distance (eq. 2) have been learned; their heads are always there.
    """

    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    features: tuple[int, int, int] = (32, 32, 48)
    encoding: tuple[int, int, int] = (32, 24, 16)
    voting: VotingOptions = field(default_factory=VotingOptions)
    spatial: SpatialOptions = field(default_factory=SpatialOptions)
    vote_level: int = 1
    direct_classes: int = 0
    colors: bool = False
    geometry: bool = False

    def __post_init__(self) -> None:
        check_whole("vote_level", self.vote_level, 0, len(CELL_SIZES_M) - 1)
        check_whole("direct_classes", self.direct_classes, 0, _MOST_CLASSES)
        check_flag("colors", self.colors)
        check_flag("geometry", self.geometry)
        for name, count in (("widths", 4), ("features", len(FEATURE_STRIDES)), ("encoding", len(CELL_SIZES_M))):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} are {getattr(self, name)}, expected {count} of them")
        read = self.encoding[self.vote_level]
        object.__setattr__(self, "voting", replace(self.voting, features=self.features[0], encoding=read))
        object.__setattr__(self, "spatial", replace(self.spatial, encoding=read))


@dataclass(frozen=True, eq=False)
class PointViews:
    """What N views show of K points.

    Attributes:
        place: where the points lie in the views.
        seen: (N, K) which views are taken to see the point.
        features: (N, K, D) F_i(x).
        probabilities: (N, K, C) S_i(x).
        encoding: (K, Dm) M(x), zero where no cell is known.
        repeats: (N,) earlier votes from each viewpoint; None: not said.
    """

    place: Projections
    seen: torch.Tensor
    features: torch.Tensor
    probabilities: torch.Tensor
    encoding: torch.Tensor
    repeats: torch.Tensor | None = None

    def select(self, rows: torch.Tensor) -> PointViews:
        """Some of the points, (Q,) rows."""
        place = Projections(self.place.pixels[:, rows], self.place.displacement[:, rows], self.place.inside[:, rows])
        return PointViews(
            place,
            self.seen[:, rows],
            self.features[:, rows],
            self.probabilities[:, rows],
            self.encoding[rows],
            self.repeats,
        )


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

    @property
    def total(self) -> torch.Tensor:
        """(K,) weight of all votes: the denominator of eq. 4."""
        weight = self.seen.to(self.probabilities.dtype)
        return (weight if self.scores is None else weight * self.scores.exp()).sum(0)


class NeuralSemanticField(nn.Module):
    """The networks of the field; the scene is in its arguments."""

    def __init__(self, options: FieldOptions | None = None) -> None:
        super().__init__()
        self.options = o = options or FieldOptions()
        self.encoder = ImageEncoder(o.widths, o.features)
        self.volume = EncodingVolume(o.features, o.encoding)
        self.voting = VotingNetwork(o.voting)
        self.spatial = SpatialVoting(o.spatial)
        ablation = o.direct_classes > 0
        self.logit_voting = VotingNetwork(o.voting) if ablation else None
        self.direct = DirectHead(o.direct_classes, o.features[0], o.voting.encoding) if ablation else None
        self.blending = ColorBlending(o.features[0], o.voting.encoding) if o.colors else None

    def observe(
        self,
        cameras: Sequence[Camera],
        world_T_cam: Sequence[np.ndarray],
        images: torch.Tensor,
        probabilities: torch.Tensor,
        depth: torch.Tensor | None = None,
        colors: torch.Tensor | None = None,
    ) -> SourceViews:
        """Source views with their features (section 3.1).

        Args:
            cameras, world_T_cam: of the N views.
            images: (N, 3, H, W) in 0..1.
            probabilities: (N, C, h, w) S_i at stride 4.
            depth: (N, H, W) m, 0 where there is none.
            colors: (N, 3, H', W') the images in any resolution, where `blend` is to use them.
        """
        return SourceViews.make(cameras, world_T_cam, probabilities, self.encoder(images), depth, colors)

    def look(
        self,
        points: torch.Tensor,
        views: SourceViews,
        encoding: Encoding | None = None,
        visible: torch.Tensor | None = None,
        repeats: torch.Tensor | None = None,
    ) -> PointViews:
        """What the views show of points (K, 3).

        Args:
            encoding: M; None: as where no cell is known.
            visible: (N, K) from `visibility`; None: all that have the point in their image ("without visibility").
            repeats: (N,) as `viewpoints.earlier_repeats` gives them.
        """
        place, level = views.project(points), self.options.vote_level
        return PointViews(
            place=place,
            seen=place.inside if visible is None else place.inside & visible,
            features=views.sample_features(place.pixels),
            probabilities=views.sample_probabilities(place.pixels),
            encoding=points.new_zeros(len(points), self.options.encoding[level])
            if encoding is None
            else encoding.at(points, level)[0],
            repeats=repeats,
        )

    def vote(
        self,
        found: PointViews,
        outcome: str = "probabilities",
        weighting: str = "learned",
        without: Sequence[str] = (),
    ) -> PointVotes:
        """Eq. 3 and 4 over all views at once. The order of the views does not matter.

        Args:
            outcome: vote on `probabilities` (the paper) or `logits`, or regress the classes: `direct`.
            weighting: of the views: `learned`, or by hand: `uniform`, `distance`.
            without: inputs of the learned weights that are switched off (`VotingNetwork.without`).

        Raises:
            ValueError: another outcome or weighting, or one that this field has no head for.
        """
        for name, value, known in (("weighting", weighting, WEIGHTINGS), ("outcome", outcome, OUTCOMES)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
        if self.direct is None and (outcome == "direct" or (outcome == "logits" and weighting == "learned")):
            raise ValueError(f"outcome is {outcome!r}, but the field was made without the heads of the ablation")
        moments = masked_moments(found.features, found.seen)
        if outcome == "direct":
            classes = self.direct(moments.mean, moments.variance, found.encoding, moments.count)
            return PointVotes(classes, None, found.seen)
        if weighting == "learned":
            network = self.voting if outcome == "probabilities" else self.logit_voting
            scores = network.without(*without)(
                VoteInputs(
                    features=found.features,
                    mean=moments.mean[None],
                    variance=moments.variance[None],
                    displacement=found.place.displacement,
                    statistics=probability_statistics(
                        found.probabilities, others_mean(found.probabilities, found.seen)
                    ),
                    count=moments.count[None],
                    encoding=found.encoding,
                    repeats=None if found.repeats is None else found.repeats[:, None],
                )
            )
        else:
            scores = (uniform_scores if weighting == "uniform" else distance_scores)(found.place.displacement)
        vote = soft_vote if outcome == "probabilities" else soft_vote_on_logits
        return PointVotes(vote(found.probabilities, scores, found.seen), scores, found.seen)

    def blend(self, found: PointViews, views: SourceViews, points: torch.Tensor, eye: torch.Tensor) -> torch.Tensor:
        """Colours (K, 3) in 0..1 of points (K, 3) as seen from `eye` (3,), m; zero where no view sees the point.

        Args:
            found: what the views show of the points.
            views: the same ones, with images.

        Raises:
            ValueError: the field was made without this head; views without images.
        """
        if self.blending is None:
            raise ValueError("the field has no head for colours: train one, `gnesf train field --learn colors`")
        to_target = torch.einsum("nij,kj->nki", views.cam_T_world[:, :3, :3], points - eye)
        return self.blending(
            views.sample_colors(found.place.pixels),
            found.features,
            masked_moments(found.features, found.seen),
            ray_difference(found.place.displacement, to_target),
            found.encoding,
            found.seen,
        )

    def stream(self, found: PointViews) -> PointVotes:
        """Eq. 4 over views one after the other, each scored once, from what was known when it came: as the mapper does.

        To train with: the mapper's votes are these.
        """
        views, points, classes = found.probabilities.shape
        votes = StreamingVotes.none(points, classes, found.probabilities)
        moments = Moments.none(points, found.features.shape[-1], found.features)
        scores = []
        for view in range(views):
            moments = moments.plus(found.features[view], found.seen[view])
            score = next_score(
                self.voting,
                found.features[view],
                found.probabilities[view],
                found.place.displacement[view],
                moments,
                votes.distribution,
                found.encoding,
                None if found.repeats is None else found.repeats[view],
            )
            votes = votes.plus(view, found.probabilities[view], score, found.seen[view])
            scores.append(score)
        all_scores = torch.stack(scores) if scores else found.probabilities.new_zeros(0, points)
        return PointVotes(votes.distribution, all_scores, found.seen)


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
