"""docs/faults.md names tests and reasons that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_every_fault_has_its_test() -> None:
    tests = {
        name
        for path in (ROOT / "test").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| what happens")]
    assert len(rows) > 30
    for row in rows:
        last = row.strip("| ").split(" | ")[-1]
        named = set(re.findall(r"`(test_\w+)`", last))
        assert named or last == "the same", f"no test makes this fault: {row}"
        assert named <= tests, f"{named - tests} do not exist"


def test_reasons_are_those_of_the_inputs() -> None:
    known = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    counted = {
        reason
        for line in TEXT.split("## Files")[0].splitlines()
        if line.startswith("| ")
        for reason in re.findall(r"`([a-z_]+)`", line.split(" | ")[2])
    }
    assert len(counted) > 12
    assert not {reason for reason in counted if f"| `{reason}` |" not in known}
