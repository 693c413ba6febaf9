"""No file breaks what reads it: damaged and hostile ones end in the documented error, in no more memory than they have.

A file that was damaged and reads all the same must say what it said before, or be a file of its own right.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from damage import FILES, damaged, memory
from hypothesis import given
from hypothesis import strategies as st

from gnesf_model.config import Config, VolumeConfig
from gnesf_model.data.bag import BagSource
from gnesf_model.data.bag_writer import write_bag
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.evaluation.labelled_points import load_labelled_points
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.weights import load_field, save_field
from gnesf_model.frame import Frame
from gnesf_model.labels import LabelSpace
from gnesf_model.map_file import MapFileError, load_map, save_map
from gnesf_model.mapper import SemanticMapper
from gnesf_model.resources import config_dir
from gnesf_model.segment.oracle import OracleSegmenter
from gnesf_model.segment.sidecar import Sidecar

SPACE = LabelSpace.load("scannet20")
EXTRA_MB = 256


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(RoomSource(1, frames=2, width=32, height=24, shading=False))


@pytest.fixture(scope="module")
def mapper(frames: list[Frame]) -> SemanticMapper:
    """With one frame in it."""
    images = {frame.stamp_ns: frame.labels for frame in frames}
    config = Config(device="cpu", volume=VolumeConfig(voxel_size_m=0.16))
    made = SemanticMapper(config, OracleSegmenter(images.__getitem__, SPACE))
    made.integrate(frames[0])
    return made


@pytest.fixture(scope="module")
def map_bytes(mapper: SemanticMapper, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("map") / "map"
    save_map(path, mapper)
    return path.read_bytes()


@FILES
@given(data=st.data())
def test_a_map(mapper: SemanticMapper, map_bytes: bytes, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(data.draw(damaged(map_bytes)))
    before = {name: tensor.clone() for name, tensor in mapper.contents().blocks.items()}
    with memory(EXTRA_MB):
        try:
            load_map(path, mapper)
        except (MapFileError, OSError) as error:
            assert str(path) in str(error)
    for name, tensor in mapper.contents().blocks.items():  # the map of before, or the same from the file
        assert torch.equal(tensor, before[name]), name


@pytest.fixture(scope="module")
def points_bytes() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, xyz=np.random.default_rng(0).random((50, 3)), label=np.arange(50, dtype=np.uint8))
    return file.getvalue()


@FILES
@given(data=st.data())
def test_labelled_points(points_bytes: bytes, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "points.npz"
    path.write_bytes(data.draw(damaged(points_bytes)))
    with memory(EXTRA_MB):
        try:
            points, labels = load_labelled_points(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert points.shape == (len(labels), 3)


@FILES
@given(
    header=st.text(max_size=80) | st.binary(max_size=80).map(lambda b: b.decode("latin-1")), version=st.integers(0, 4)
)
def test_arrays_with_any_header(tmp_path: Path, header: str, version: int) -> None:
    """NumPy's own header is a Python literal."""
    text = header.encode()
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    with zipfile.ZipFile(tmp_path / "points.npz", "w") as archive:
        for name in ("xyz", "label"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + bytes([version, 0]) + length + text + b"\n")
    with memory(EXTRA_MB), pytest.raises(ValueError, match="points.npz"):
        load_labelled_points(tmp_path / "points.npz")


LABELS = [path.read_bytes() for path in sorted((config_dir() / "labels").glob("*.yaml"))]


@FILES
@given(data=st.data())
def test_a_label_space(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "labels.yaml"
    path.write_bytes(data.draw(st.sampled_from(LABELS).flatmap(damaged)))
    with memory(EXTRA_MB):
        try:
            LabelSpace.load(str(path))
        except ValueError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "!!timestamp x", "!!int ''", "!!bool x", "!!float ''", "2001-99-99", "!!binary =", "{[]: 1}", "&a [*a]",
        "!!python/object/apply:os.system ['true']",
        "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20))]),
        "name: x\nclasses: [" + "x, " * 100_000 + "]",
    ],
    ids=[
        "nested", "timestamp", "int", "bool", "float", "date", "binary", "unhashable", "endless", "object", "laughs",
        "long",
    ],
)  # fmt: skip
def test_hostile_yaml(tmp_path: Path, text: str) -> None:
    """Values of the wrong kind, of no end, and nine to the power of nineteen of them in four hundred bytes."""
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    (tmp_path / "net.yaml").write_text(text)
    with memory(EXTRA_MB):
        with pytest.raises(ValueError, match="labels.yaml") as refused:
            LabelSpace.load(str(path))
        assert len(str(refused.value)) < 2000
        with pytest.raises(ValueError, match="net.yaml"):
            Sidecar.of(tmp_path / "net.onnx")


SIDECAR = yaml.safe_dump(
    {
        "file": "net.onnx",
        "input": {"name": "image", "layout": "NCHW", "range": [0, 1], "colour": "RGB", "size": "dynamic"},
        "output": {"name": "logits", "layout": "NCHW", "kind": "logits", "stride": 8},
        "labels": ["wall", "floor", "person"],
        "to_scannet20": {"wall": 0, "floor": "floor"},
    }
).encode()


@FILES
@given(data=st.data())
def test_a_sidecar(tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "net.yaml").write_bytes(data.draw(damaged(SIDECAR)))
    with memory(EXTRA_MB):
        try:
            Sidecar.of(tmp_path / "net.onnx")
        except (ValueError, OSError) as error:  # OSError: it names a label file that is not there
            assert "net.yaml" in str(error) or isinstance(error, OSError)


@FILES
@given(data=st.data())
def test_the_settings(tmp_path: Path, data: st.DataObject) -> None:
    whole = (config_dir() / "gnesf.yaml").read_bytes()
    path = tmp_path / "gnesf.yaml"
    path.write_bytes(data.draw(damaged(whole)))
    with memory(EXTRA_MB):
        try:
            Config.load(path)
        except ValueError as error:  # of the file, or of one of its settings
            assert str(path) in str(error) or "." in str(error)


@pytest.fixture(scope="module")
def bag(frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bag") / "bag"
    write_bag(RoomSource(1, frames=2, width=32, height=24, shading=False), path)
    return path


def read_all(path: Path) -> int:
    """Frames of a bag; everything that may be wrong with it is an OSError, a ValueError or a counted drop."""
    try:
        return len(list(BagSource(path)))
    except (OSError, ValueError) as error:
        assert str(path) in str(error) or path.parent.name in str(error)
        return 0


@FILES
@given(data=st.data())
def test_the_description_of_a_bag(bag: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "bag"
    folder.mkdir(exist_ok=True)
    for file in bag.glob("*.mcap"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "metadata.yaml").write_bytes(data.draw(damaged((bag / "metadata.yaml").read_bytes())))
    with memory(EXTRA_MB):
        assert read_all(folder) <= 2


@FILES
@given(data=st.data())
def test_the_file_of_a_bag(bag: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "bag.mcap"
    path.write_bytes(data.draw(damaged(next(bag.glob("*.mcap")).read_bytes())))
    with memory(EXTRA_MB):
        assert read_all(path) <= 2


@FILES
@given(data=st.data())
def test_the_weights_of_a_field(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "field.safetensors"
    if not path.exists():
        small = FieldOptions(widths=(8, 8, 8, 8), features=(4, 4, 4), encoding=(4, 4, 4))
        save_field(NeuralSemanticField(small), tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path.write_bytes(data.draw(damaged(whole)))
    with memory(EXTRA_MB):
        try:
            load_field(path)
        except (ValueError, OSError) as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("sizes", [(1024, 1024, 1024, 1024), (10**9, 1, 1, 1), (-1, 8, 8, 8), (True, 8, 8, 8)])
def test_a_field_that_claims_wide_layers(tmp_path: Path, sizes: tuple) -> None:
    """The layers are in the header; their weights are not there."""
    path = tmp_path / "field.safetensors"
    save_field(NeuralSemanticField(FieldOptions(widths=(8, 8, 8, 8))), path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    options = json.loads(header["__metadata__"]["gnesf_field"])
    header["__metadata__"]["gnesf_field"] = json.dumps({**options, "widths": sizes})
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with memory(1024), pytest.raises(ValueError, match="field.safetensors"):
        load_field(path)
