"""Measures another checkout of treadle and this one in one run, to show the effect of a change.

    python -m benchmarks.compare ROOT PYTHON [--only ROW ...] [--repeat N]

ROOT is the other checkout, and PYTHON is an interpreter in which its build is installed. The two
checkouts take turns (A B A B ...). Each sample is a new process, which is bound to processor 0 if
the machine has several. Read the ratio of the fastest samples, because noise only adds time. It is
above 1 if this checkout is slower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from .rows import ROWS

HERE = Path(__file__).parents[1]
CONTESTANT = "treadle"


def sample(root: Path, python: str, contestant: str, row: str, count: int) -> float:
    """Take one sample; return seconds of processor time per operation."""
    call = "sleepers" if row.startswith("sleepers") else row
    command = [python, "-m", "benchmarks.worker", contestant, "--call", call, "--count", str(count)]
    if os.cpu_count() != 1:
        command = ["taskset", "-c", "0", *command]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=root, env=environment, check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout)["sample"]["cpu"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    rows = {row.name: row for row in ROWS if row.kind not in ("echo", "tls_echo")}
    parser.add_argument("root", type=Path)
    parser.add_argument("python")
    parser.add_argument("--only", action="append", choices=list(rows), help="may be repeated")
    parser.add_argument("--repeat", type=int, default=7, help="samples of each (default 7)")
    parser.add_argument(
        "--contestant", default=CONTESTANT, help="what the other one is called there"
    )
    options = parser.parse_args()
    sides = (
        (options.root, options.python, options.contestant),
        (HERE, sys.executable, CONTESTANT),
    )
    print("| row | other, ns | this, ns | ratio of fastest | ratio of medians |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in options.only or [name for name in rows if not name.startswith("sleepers_1m")]:
        taken: list[list[float]] = [[], []]
        for _ in range(options.repeat):
            for side, found in zip(sides, taken, strict=True):
                found.append(sample(*side, name, rows[name].count) * 1e9)
        other, this = taken
        print(
            f"| {name} | {min(other):.1f} | {min(this):.1f} | {min(this) / min(other):.3f} "
            f"| {median(this) / median(other):.3f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
