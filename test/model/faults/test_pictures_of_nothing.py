"""Pictures in which there is nothing to see, through the bundled network: their depth is mapped all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnesf_model.build import build_mapper
from gnesf_model.config import Config
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.frame import Frame
from gnesf_model.mapper import SemanticMapper


@pytest.fixture(scope="module")
def mapper() -> SemanticMapper:
    return build_mapper(Config.from_flat({"device": "cpu", "cpu_threads": 1, "volume.min_weight": 0.5}))


@pytest.fixture(scope="module")
def frame() -> Frame:
    return next(iter(RoomSource(1, frames=1, width=160, height=120)))


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (127, 127, 127), (255, 0, 0)])
def test_pictures_of_nothing_are_mapped_by_their_depth(mapper: SemanticMapper, frame: Frame, color: tuple) -> None:
    mapper.reset()
    update = mapper.integrate(replace(frame, rgb=np.full_like(frame.rgb, color)))
    assert update.keyframe is not None
    assert float(update.segmentation.probabilities.sum(0).max()) < 1.001
    surface = mapper.surface()
    assert len(surface.points) > 500
    assert (surface.colors == color).all()
    assert np.isfinite(surface.confidence).all()
