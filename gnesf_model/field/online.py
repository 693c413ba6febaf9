"""The learned vote inside the mapper: eq. 3 for each new keyframe, once, from what is known when it comes."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from gnesf_model.field.image_encoder import image_tensor
from gnesf_model.field.model import NeuralSemanticField, next_score
from gnesf_model.field.moment_table import MomentTable
from gnesf_model.field.precision import reduced_precision
from gnesf_model.field.shrunk import shrunk
from gnesf_model.field.viewpoints import repeats_of
from gnesf_model.field.views import SourceViews
from gnesf_model.field.volume_memory import VolumeMemory
from gnesf_model.frame import Frame
from gnesf_model.fusion import ViewSamples
from gnesf_model.segment.segmenter import grid_size
from gnesf_model.volume.map_disk import MapDisk

_POSES_REMEMBERED = 256
_ORIGIN_M = 1024.0
"""The field's origin is a whole multiple of this, which all its cells fit into: near the map's origin they are one."""


class LearnedFusion:
    """A `ViewFusion` with the weights of a trained field.

    It keeps the running mean and variance of the features for every row of the vote table, the volume's for every cell
    near the surface, and no view. Its own origin lies near the first view: in a map of a country float32 would
    place points by centimetres, and cells run out.

    Args:
        field: trained.
        image_side_px: longer side that images are brought to before the encoder; 0 leaves them.
        device: where everything lives.
        disk: takes what was not seen for long; None: all stays in memory.
        reduced: networks compute in half the bits.
    """

    def __init__(
        self,
        field: NeuralSemanticField,
        *,
        image_side_px: int = 160,
        device: torch.device | str = "cpu",
        disk: MapDisk | None = None,
        reduced: bool = False,
    ) -> None:
        self._reduced = reduced
        self.field = field.to(device).eval()
        self.image_side_px, self.device = image_side_px, torch.device(device)
        self.volume = VolumeMemory(field.volume, depth=field.options.vote_level + 1, device=device, disk=disk)
        self.rows = MomentTable(field.options.features[0], device=device, disk=disk)
        self.poses: deque[np.ndarray] = deque(maxlen=_POSES_REMEMBERED)
        self._origin = np.zeros(3)

    def clear(self) -> None:
        """Forget every view."""
        self.volume.clear()
        self.rows.clear()
        self.poses.clear()

    def forget(self, rows: torch.Tensor) -> None:
        """Forget what was seen at rows (M,) of the vote table; M(x) goes on, as it tells of the surroundings."""
        self.rows.forget(rows)

    @property
    def memory_bytes(self) -> int:
        """Memory that is reserved now."""
        return self.volume.memory_bytes + self.rows.memory_bytes

    def bytes_per_block(self, block_size_m: float, rows: int) -> int:
        """Memory that a block of voxels with so many rows of votes is to be budgeted with."""
        return rows * MomentTable.bytes_per_row(self.field.options.features[0]) + self.volume.bytes_within(block_size_m)

    @torch.inference_mode()
    def weights(self, samples: ViewSamples) -> torch.Tensor:
        """exp(v_i(x)) of eq. 4 (M,) for the newest view: positive, within exp(+- bound).

        Raises:
            MapFull, OutOfReach: the volume does not fit.
        """
        if len(samples.points) == 0:
            return torch.ones_like(samples.depth)
        if not self.poses:
            self._origin = np.round(samples.frame.world_T_cam[:3, 3] / _ORIGIN_M) * _ORIGIN_M
        with reduced_precision(self.device, self._reduced):
            return self._weights(samples)

    def _weights(self, samples: ViewSamples) -> torch.Tensor:
        view = self._view(samples.frame)
        points = (samples.points - torch.from_numpy(self._origin).to(samples.points)).float()
        place = view.project(points)
        features = view.sample_features(place.pixels)[0]
        encoding = self.volume.add(view, points)
        repeats = None
        if self.field.options.voting.use_repeats:
            repeats = samples.depth.new_tensor(repeats_of(samples.frame.world_T_cam, self.poses))
        self.poses.append(samples.frame.world_T_cam)
        score = next_score(
            self.field.voting,
            features,
            samples.probabilities,
            place.displacement[0],
            self.rows.add(samples.rows, features),
            samples.mean,
            encoding.at(points, self.field.options.vote_level)[0],
            repeats,
        )
        return score.float().exp()

    def _view(self, frame: Frame) -> SourceViews:
        """The frame with its features, at the encoder's resolution; its classes were sampled by the mapper."""
        small = shrunk(frame, self.image_side_px)
        field_T_cam = small.world_T_cam.copy()
        field_T_cam[:3, 3] -= self._origin
        nothing = torch.zeros(1, 0, *grid_size(*small.rgb.shape[:2]), device=self.device)
        depth = None if small.depth is None else torch.from_numpy(small.depth)[None].to(self.device)
        image = image_tensor(small.rgb, self.device)[None]
        return self.field.observe([small.camera], [field_T_cam], image, nothing, depth)
