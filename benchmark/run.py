"""All benchmarks that are here, or those that are named: `make bench ARGS=tsdf`.

Prints a table, and writes each result to benchmark/out/<name>.json.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HELPERS = ("run", "machine")


def main(names: list[str]) -> int:
    """Run them; 0 when none failed. What a machine does not have is skipped, with the reason."""
    present = [m.name for m in pkgutil.iter_modules([str(HERE)]) if m.name not in HELPERS]
    unknown = sorted(set(names) - set(present))
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(present)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or present:
        try:
            result = importlib.import_module(f"benchmark.{name}").measure([])
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}\n")
            continue
        except RuntimeError as error:
            print(f"{name}: failed, {error}\n")
            failed = 1
            continue
        rows = result.pop("rows")
        path = HERE / "out" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        machine = result["machine"]
        print(f"{name}: {machine['processor']}, {machine['cores']} cores, commit {result['commit']}")
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        print(f"  -> {path.relative_to(HERE.parent)}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
