"""A segmentation network in an ONNX file, described by the YAML sidecar beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnesf_model.device import torch_device
from gnesf_model.labels import LabelSpace
from gnesf_model.segment.network import ClassOutput, Resampler, round_to_multiple
from gnesf_model.segment.segmenter import Segmentation, check_rgb
from gnesf_model.segment.sidecar import Sidecar

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxSegmenter:
    """Runs the network through onnxruntime: TensorRT or CUDA where present, else the CPU.

    One small image is segmented while loading, so that a file which does not fit its sidecar is
    refused before the first frame.

    Args:
        path: the .onnx file; `Sidecar.of` reads the YAML beside it.
        labels: space of the output; None keeps the network's own.
        device: 'auto', 'cpu' or 'cuda'.
        input_size: (height, width) at which a network of dynamic size runs, rounded to its
            multiple; None: `process_size` of the sidecar, else the size of the image.
        network_labels: replaces the label space which the sidecar names.
        cpu_threads: threads of one operator on the CPU; None lets onnxruntime decide.

    Raises:
        OSError: no such file, or no sidecar.
        ValueError: the file is no ONNX network, or it does not fit its sidecar or labels.
        RuntimeError: 'cuda' without CUDA, or the network does not run.
        ImportError: onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        labels: LabelSpace | None = None,
        *,
        device: str = "auto",
        input_size: tuple[int, int] | None = None,
        network_labels: LabelSpace | None = None,
        cpu_threads: int | None = None,
    ) -> None:
        path = Path(path).expanduser()
        if not path.is_file():
            raise OSError(f"ONNX file {path} does not exist")
        if cpu_threads is not None and cpu_threads < 1:
            raise ValueError(f"cpu_threads is {cpu_threads}; expected at least 1, or None")
        self._name = f"the network {path.name}"
        self._sidecar = Sidecar.of(path, network_labels)
        self._size = self._fixed_size(input_size)
        providers = _providers(device)
        self._device = torch_device("auto" if device == "cuda" else device)
        self._output = ClassOutput(self._name, self._sidecar.labels, labels, self._device)
        self.labels = self._output.labels
        self._resample = Resampler()
        self._session = _open(path, providers, cpu_threads)
        if device == "cuda" and "CUDAExecutionProvider" not in self.providers:
            raise RuntimeError(
                f"onnxruntime could not start CUDA for {path} (in use: {self.providers}); check "
                "that the CUDA and cuDNN versions are those of onnxruntime-gpu, or use 'cpu'"
            )
        self._dtype = self._check_ends()
        self._try()

    @property
    def providers(self) -> list[str]:
        """Execution providers of onnxruntime in use, best first."""
        return self._session.get_providers()

    def __call__(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Segmentation:
        """Segmentation (see there) of an (H, W, 3) uint8 image; `stamp_ns` is not used.

        Raises:
            ValueError: the image is something else.
            RuntimeError: the network failed, or its output is not finite.
        """
        height, width = check_rgb(rgb).shape[:2]
        scores = self._resample(self._run(rgb), height, width)
        probabilities = scores if self._sidecar.probabilities else scores.softmax(dim=0)
        if self._output.has_unlabelled_first(len(scores)):
            probabilities = probabilities[1:]
        return self._output.segmentation(probabilities)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of `height` x `width` goes through the network."""
        return self._size or round_to_multiple((height, width), self._sidecar.multiple_of)

    def _fixed_size(self, wanted: tuple[int, int] | None) -> tuple[int, int] | None:
        sidecar = self._sidecar
        if sidecar.size is not None:
            if wanted not in (None, sidecar.size):
                raise ValueError(
                    f"input_size is {list(wanted)}, but {self._name} accepts only "
                    f"{list(sidecar.size)} ({sidecar.path}); leave input_size out"
                )
            return sidecar.size
        size = wanted or sidecar.process_size
        return None if size is None else round_to_multiple(size, sidecar.multiple_of)

    def _check_ends(self) -> type[np.floating]:
        """The input's type, once both ends have the names and types that the sidecar gives."""
        sidecar = self._sidecar
        inputs = {end.name: end for end in self._session.get_inputs()}
        outputs = {end.name: end for end in self._session.get_outputs()}
        for side, name, ends in (
            ("input", sidecar.input_name, inputs),
            ("output", sidecar.output_name, outputs),
        ):
            if name not in ends:
                raise ValueError(
                    f"{sidecar.path}: {side}: name is '{name}', but {self._name} has "
                    f"{', '.join(ends)}; expected one of these"
                )
            if ends[name].type not in _DTYPES:
                raise ValueError(
                    f"{self._name}: {side} '{name}' has the type {ends[name].type}; expected class "
                    "scores and images as float or float16"
                )
        if len(inputs) > 1:
            raise ValueError(f"{self._name} needs {len(inputs)} inputs ({', '.join(inputs)}); expected the image alone")
        shape = outputs[sidecar.output_name].shape
        channels = shape[1 if sidecar.output_layout == "NCHW" else -1] if len(shape) == 4 else None
        if isinstance(channels, int):
            self._output.has_unlabelled_first(channels)
        return _DTYPES[inputs[sidecar.input_name].type]

    def _try(self) -> None:
        """Segments one grey image, so that what does not fit fails here."""
        side = -(-64 // self._sidecar.multiple_of) * self._sidecar.multiple_of
        height, width = self._size or (side, side)
        try:
            self(np.full((height, width, 3), 127, np.uint8))
        except RuntimeError as error:
            raise ValueError(f"{self._sidecar.path} does not describe {self._name}: {error}") from error

    def _run(self, rgb: np.ndarray) -> torch.Tensor:
        """(C, rows, columns) raw output, on the device."""
        sidecar = self._sidecar
        size = self.input_size(*rgb.shape[:2])
        image = sidecar.normalisation.apply(rgb, size).astype(self._dtype, copy=False)
        if sidecar.input_layout == "NHWC":
            image = np.ascontiguousarray(image.transpose(1, 2, 0))
        try:
            (scores,) = self._session.run([sidecar.output_name], {sidecar.input_name: image[None]})
        except Exception as error:  # onnxruntime's errors share no base class
            raise RuntimeError(f"{self._name} failed on an input of {size[0]} x {size[1]}: {error}") from error
        if scores.ndim != 4 or scores.shape[0] != 1:
            raise RuntimeError(
                f"{self._name}: output '{sidecar.output_name}' has the shape {scores.shape}; "
                "expected one map of class scores, (1, classes, rows, columns)"
            )
        scores = scores[0] if sidecar.output_layout == "NCHW" else scores[0].transpose(2, 0, 1)
        stride = sidecar.stride
        if stride and scores.shape[1:] != tuple(-(-side // stride) for side in size):
            raise RuntimeError(
                f"{self._name}: {scores.shape[1]} x {scores.shape[2]} cells for an input of "
                f"{size[0]} x {size[1]}; expected stride {stride}"
            )
        self._output.has_unlabelled_first(len(scores))
        return torch.from_numpy(np.ascontiguousarray(scores, np.float32)).to(self._device)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"ONNX networks need onnxruntime; install it with: {sys.executable} -m pip install onnxruntime "
            "(or onnxruntime-gpu for CUDA and TensorRT)"
        ) from error
    return onnxruntime


def _providers(device: str) -> list[Any]:
    """Execution providers to try for `device`, best first; ValueError for another device."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {device!r}; expected auto, cpu or cuda")
    present = _onnxruntime().get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in present:
        raise RuntimeError(
            f"device is 'cuda', but this onnxruntime has only {', '.join(present)}; install "
            "onnxruntime-gpu, or use 'auto' or 'cpu'"
        )
    chosen: list[Any] = []
    if device != "cpu" and "TensorrtExecutionProvider" in present:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnesf_ros"
        options = {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(cache / "tensorrt"),
        }
        chosen.append(("TensorrtExecutionProvider", options))
    if device != "cpu" and "CUDAExecutionProvider" in present:
        chosen.append("CUDAExecutionProvider")
    return [*chosen, "CPUExecutionProvider"]


def _open(path: Path, providers: list[Any], cpu_threads: int | None) -> Any:
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if cpu_threads is not None:
        options.intra_op_num_threads = cpu_threads
    # By default its threads wait for each other at work for long (docs/performance.md). Versions that do not know this
    # entry ignore it.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base class
        raise ValueError(f"{path} is not an ONNX network that onnxruntime loads: {error}") from error
