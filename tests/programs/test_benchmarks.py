"""The output of the benchmark of programs, run on a quick program."""

import subprocess
import sys
from pathlib import Path


def test_both_are_measured_side_by_side(root: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.programs", "--quick", "--only", "urllib3"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    table = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line[:1] == "|"]
    (row,) = table[2:]
    program, unit, *_, cpu_ratio, gevents, treadles, rate_ratio = row
    assert (program, unit) == ("urllib3", "request")
    assert 0.1 < float(cpu_ratio) < 10
    rates = [float(rate.replace(",", "")) for rate in (gevents, treadles)]
    assert min(rates) > 10
    assert abs(rates[1] / rates[0] - float(rate_ratio)) < 0.1
