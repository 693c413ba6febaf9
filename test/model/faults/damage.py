"""Files with something wrong in them, and a bound on the memory that reading one may take."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FILES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""For tests that read a file in every example."""


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that were `whole` once: cut, with bits flipped, parts overwritten, taken out or doubled; or others."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        # Headers, which decide about everything else, are short.
        at = min(at, draw(st.sampled_from([len(data), 64, 512])))
        length = draw(st.integers(1, 64))
        how = draw(st.sampled_from(["cut", "flip", "overwrite", "insert", "remove", "double", "other"]))
        if how == "cut":
            del data[at:]
        elif how == "flip" and data:
            data[min(at, len(data) - 1)] ^= 1 << draw(st.integers(0, 7))
        elif how == "overwrite":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=length))
        elif how == "remove":
            del data[at : at + length]
        elif how == "double":
            data[at:at] = data[at : at + length]
        elif how == "other":
            return draw(st.binary(max_size=512))
    return bytes(data)


@contextlib.contextmanager
def memory(extra_mb: int) -> Iterator[None]:
    """Nothing inside may take more than that beside what the process has; a MemoryError tells that it tried."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra_mb * 1_000_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
