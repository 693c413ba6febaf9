"""Thousands of small operations: one thread is faster, above all beside other work."""

from collections.abc import Iterator

import pytest

from gnesf_model.device import single_thread


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield
