"""docs/inputs.md tells every reason for a drop that the code knows, and none that it does not."""

import re
from pathlib import Path

from gnesf_model.data.messages import COLOR_ENCODINGS, DEPTH_ENCODINGS
from gnesf_model.data.pose_chain import POSE_SOURCES
from gnesf_model.data.rectify import COEFFICIENTS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
MADE = re.compile(r'(?:FrameDropped|NotReady|_count)\(\s*"([a-z_]+)"|notices\["([a-z_]+)"\]|Counter\(([a-z_]+)=')


def reasons() -> set[str]:
    """Every reason in the two packages."""
    found = set()
    for path in (p for package in ("gnesf_model", "gnesf_ros") for p in (ROOT / package).rglob("*.py")):
        for match in MADE.finditer(path.read_text(encoding="utf-8")):
            found.add(match[1] or match[2] or match[3])
    return found


def test_every_reason_has_its_line():
    table = set(re.findall(r"^\| `([a-z_]+)` \|", TEXT.split("## Why a frame")[1], re.MULTILINE))
    assert len(table) > 20
    assert reasons() - table == set(), "reasons without a line"
    assert table - reasons() == set(), "lines of reasons that do not exist"


def test_what_is_accepted_is_listed():
    for name in (*COLOR_ENCODINGS, *DEPTH_ENCODINGS, *COEFFICIENTS, *POSE_SOURCES):
        assert re.search(rf"\b{name}\b", TEXT), name
