"""Weights in a file: what comes back is what was written, and nothing else is taken for it."""

import json
from dataclasses import replace

import pytest
import torch
from field_scene import random_points, random_views, randomised, voted

pytest.importorskip("safetensors", reason="weights are kept as safetensors")

from safetensors.torch import load_file, save_file

from gnesf_model.field.depth_network import DepthNetwork, DepthOptions
from gnesf_model.field.model import FieldOptions, NeuralSemanticField
from gnesf_model.field.spatial_voting import SpatialOptions
from gnesf_model.field.voting import VotingOptions
from gnesf_model.field.weights import load_depth, load_field, save_depth, save_field

SMALL = FieldOptions(
    widths=(4, 8, 8, 8), features=(8, 6, 5), encoding=(6, 7, 4), voting=VotingOptions(use_repeats=True, bound=1.5)
)
TINY_DEPTH = DepthOptions(widths=(4, 8, 8, 8), matching=4, groups=2, context=(4, 4, 4), planes=8, hidden=(8, 8, 8))


def test_a_field_comes_back_in_half_precision(tmp_path):
    field = randomised(NeuralSemanticField(SMALL), scale=0.1)
    save_field(field, tmp_path / "field.safetensors")
    loaded = load_field(tmp_path / "field.safetensors")
    assert loaded.options == field.options and not loaded.training
    views, points = random_views(dtype=torch.float32), random_points(dtype=torch.float32)
    with torch.no_grad():
        a, b = voted(field.eval(), points, views), voted(loaded, points, views)
    torch.testing.assert_close(b.scores, a.scores, atol=0.02, rtol=0)
    assert (tmp_path / "field.safetensors").stat().st_size < 2.2 * sum(p.numel() for p in field.parameters()) + 20_000


def test_all_options_come_back(tmp_path):
    spatial = SpatialOptions(radius_m=0.2, hidden=8)
    for number, changes in enumerate(
        ({"spatial": spatial}, {"direct_classes": 7}, {"vote_level": 2}, {"colors": True}, {"geometry": True})
    ):
        options = replace(SMALL, **changes)
        save_field(NeuralSemanticField(options), tmp_path / f"{number}.safetensors")
        assert load_field(tmp_path / f"{number}.safetensors").options == options


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "field.safetensors"
    with pytest.raises(OSError):
        load_field(path)
    path.write_bytes(b"\x10" * 100)
    with pytest.raises(OSError, match=r"field\.safetensors is no readable safetensors file"):
        load_field(path)
    save_file({"a": torch.zeros(3)}, str(path))
    with pytest.raises(ValueError, match="says nothing of a field"):
        load_field(path)
    field = NeuralSemanticField(SMALL)
    save_field(field, path)
    weights, header = load_file(str(path)), options_of(path)
    save_file({**weights, "voting.last.bias": torch.zeros(5)}, str(path), metadata={"gnesf_field": json.dumps(header)})
    with pytest.raises(ValueError, match=r"voting\.last\.bias with shape \[5\], expected \[1\]"):
        load_field(path)
    for wrong in (
        {"widths": [4, 8, 8, 10**9]},
        {"spatial": {"radius_m": -1}},
        {"spatial": {"hidden": 10**9}},
        {"other": 1},
        {"features": None},
        {"features": [8, 6]},
        {"vote_level": 1.0},
        {"colors": "no"},
        {"geometry": 1},
    ):
        save_file(weights, str(path), metadata={"gnesf_field": json.dumps({**header, **wrong})})
        with pytest.raises(ValueError, match="options that this version does not know"):
            load_field(path)
    save_file(weights, str(path), metadata={"gnesf_field": "[" * 100_000})
    with pytest.raises(ValueError, match="options that this version does not know"):
        load_field(path)
    weights["voting.last.bias"] = torch.tensor([torch.nan]).half()
    save_file(weights, str(path), metadata={"gnesf_field": json.dumps(header)})
    with pytest.raises(ValueError, match="not finite"):
        load_field(path)


IMPOSSIBLE = {
    "voting": {
        "bound": (float("inf"), 1e300, 10**400, 20.5, float("nan"), "2", True, None),
        "drop": (1, -0.1, float("nan"), "0.3", False),
        "use_features": (1, "false", None),
    },
    "spatial": {
        "rounds": (10**9, 51, 2.0, "5", True, float("nan")),
        "radius_m": (float("inf"), 2.5, 0, 1e-300, float("nan"), "0.1", True),
        "neighbours": (10**9, 257, 24.0, "24", True),
        "share": (float("nan"), 1, "0.8", True),
        "doubt": (float("nan"), 0, 1e-300, "x", True),
        "hidden": (10**9, 32.0, True),
    },
    "depth": {
        "planes": (10**9, 8.0, "8", True),
        "nearest_m": (float("nan"), 0, 1e-300, "0.4", True),
        "farthest_m": (float("inf"), 1e300, "8", True),
        "groups": (0, "2", 2.0, True),
        "evidence": (10**9, 8.0, True),
    },
}
"""What a header may claim of one option while the weights are of the shapes that it says."""


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [(part, name, value) for part, names in IMPOSSIBLE.items() for name, values in names.items() for value in values],
    ids=lambda value: str(value)[:12],
)
def test_options_that_would_break_a_map_are_refused_as_the_file_is_read(tmp_path, part, name, value):
    """Not when the first look at the map never ends, or its votes are no numbers."""
    path, depth = tmp_path / "weights.safetensors", part == "depth"
    save, load, key = (save_depth, load_depth, "gnesf_depth") if depth else (save_field, load_field, "gnesf_field")
    save(DepthNetwork(TINY_DEPTH) if depth else NeuralSemanticField(SMALL), path)
    header = options_of(path, key)
    (header if depth else header[part])[name] = value
    save_file(load_file(str(path)), str(path), metadata={key: json.dumps(header)})
    with pytest.raises(ValueError, match=f"options that this version does not know: .*({name}|sizes)"):
        load(path)


def options_of(path, key="gnesf_field") -> dict:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return json.loads(file.metadata()[key])
