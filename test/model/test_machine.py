"""What a run tells of the machine it ran on."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gnesf_model.machine import peak_memory_mb


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells it of each program by itself")
def test_the_peak_memory_is_that_of_the_program_and_not_of_who_started_it():
    held = np.ones(50_000_000)  # 400 MB
    before = peak_memory_mb()
    code = "from gnesf_model.machine import peak_memory_mb; print(peak_memory_mb())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert before > held.nbytes / 1e6
    assert 1 < float(told) < 300
