"""Names of devices, and the number of threads."""

import os
import subprocess
import sys

import cv2
import pytest
import torch

from gnesf_model.device import set_cpu_threads, torch_device


def test_devices():
    assert torch_device("cpu").type == "cpu"
    assert torch_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device is 'gpu'; expected one of auto, cpu, cuda"):
        torch_device("gpu")


def test_cuda_without_a_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="install a CUDA build of torch and the driver, or use device: auto or cpu"):
        torch_device("cuda")


def test_threads():
    set_cpu_threads(0)  # whatever limit another test has left
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        set_cpu_threads(1)
        assert torch.get_num_threads() == cv2.getNumThreads() == 1
        set_cpu_threads(0)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == before, "what they had before the limit"
        torch.set_num_threads(3)
        set_cpu_threads(0)
        assert torch.get_num_threads() == 3, "what somebody else chose is left alone"
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@pytest.mark.parametrize("module", ["gnesf_model.commands.map_recording", "gnesf_ros.gnesf_node"])
@pytest.mark.parametrize(
    ("own", "expected"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")]
)
def test_threads_soon_sleep_while_they_wait_unless_told_otherwise(
    module: str, own: dict[str, str], expected: str
) -> None:
    if module.startswith("gnesf_ros"):
        pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    env |= {"OMP_DISPLAY_ENV": "VERBOSE"} | own
    command = [sys.executable, "-c", f"import {module}"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    if "GOMP_SPINCOUNT" not in run.stderr:
        pytest.skip("this torch does not use GNU's OpenMP")
    assert f"GOMP_SPINCOUNT = '{expected}'" in run.stderr
