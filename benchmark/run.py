"""All benchmarks that are here, or one with its options: `make bench ARGS='tsdf --rounds 9'`.

Prints a table, and writes each result to benchmark/out/<name>.json.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
HELPERS = ("run", "machine", "node_player", "peer", "recordings", "table")


def names() -> list[str]:
    """Every benchmark that is here."""
    return [m.name for m in pkgutil.iter_modules([str(HERE)]) if m.name not in HELPERS]


def main(arguments: list[str]) -> int:
    """Run them; 0 when none failed. What a machine does not have is skipped, with the reason."""
    present = names()
    if arguments and arguments[0] not in present:
        print(f"there is no benchmark {arguments[0]!r}; there are {', '.join(present)}", file=sys.stderr)
        return 2
    failed = 0
    for name in arguments[:1] or present:
        module = importlib.import_module(f"benchmark.{name}")
        if not hasattr(module, "measure"):
            print(f"{name}: to be run by hand, python -m benchmark.{name}\n")
            continue
        try:
            result = module.measure(arguments[1:])
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}\n")
            continue
        except RuntimeError as error:
            print(f"{name}: failed, {error}\n")
            failed = 1
            continue
        rows = result["rows"]
        OUT.mkdir(exist_ok=True)
        path = OUT / f"{name}.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        machine = result["machine"]
        print(f"{name}: {machine['processor']}, {machine['cores']} cores, commit {result['commit']}")
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        print(f"  -> {os.path.relpath(path)}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
