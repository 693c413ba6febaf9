"""Views and points that several tests of the field share."""

import pytest
import torch
from field_scene import random_points, random_views

from gnesf_model.field.views import SourceViews


@pytest.fixture
def views() -> SourceViews:
    return random_views()


@pytest.fixture
def points() -> torch.Tensor:
    return random_points()
