"""Names of devices, and the number of threads."""

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
