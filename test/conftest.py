"""Comes before every test."""

import gnesf_model  # noqa: F401 - before torch, like in every program of the package: it sets how its threads wait
