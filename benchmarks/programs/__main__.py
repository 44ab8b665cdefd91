"""Measures real programs on gevent and on treadle.

    python -m benchmarks.programs [--only ROW ...] [--repeat N] [--quick] [--output FOLDER]

Each sample is a fresh process, on a processor of its own where there are two; gevent and treadle
take turns. The report is printed and kept in results/, with the machine and the versions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from ..machine import describe
from ..report import quantity
from .contestants import GEVENT, NAMES, TREADLE, make_room
from .rows import ROWS, Row
from .samples import Failed

plot = import_module(".plot", __package__) if find_spec("matplotlib") else None

#: row -> contestant -> medians "cpu" and "wall" in seconds per unit, or a "note".
Found = dict[str, dict[str, dict[str, float | str]]]


def measure(row: Row, repeat: int, amount: int) -> dict[str, dict[str, float | str]]:
    """Return the medians of both contestants in one row."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    notes: dict[str, str] = {}
    with row.peer() as peer:
        for _ in range(repeat):
            for who in NAMES:
                try:
                    sample = row.take(who=who, peer=peer, amount=amount)
                except (Failed, subprocess.TimeoutExpired, RuntimeError) as error:
                    notes[who] = str(error)
                    print(f"failed: {row.name}: {who}: {error}", file=sys.stderr)
                else:
                    each = {"cpu": sample.cpu, "wall": sample.wall}
                    taken[who].append({key: value / sample.units for key, value in each.items()})
    return {
        who: {"note": notes[who]}
        if who in notes
        else {key: median(sample[key] for sample in taken[who]) for key in ("cpu", "wall")}
        for who in NAMES
    }


def render(found: Found) -> str:
    """Return a Markdown table of processor time and throughput."""
    lines = [
        "| program | unit | CPU a unit: gevent | treadle | ratio "
        "| units/s: gevent | treadle | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in ROWS:
        if row.name in found:
            cells = [row.name, row.unit, *_cells(found[row.name])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(both: dict[str, dict[str, float | str]]) -> list[str]:
    if any("note" in both[who] for who in NAMES):
        return ["failed" if "note" in both[who] else "-" for who in NAMES] + ["-"] * 4
    cpu = [both[who]["cpu"] for who in (GEVENT, TREADLE)]
    rate = [1 / both[who]["wall"] for who in (GEVENT, TREADLE)]
    cells = [*(quantity(value, "s") for value in cpu), f"{cpu[1] / cpu[0]:.2f}"]
    return [*cells, *(f"{value:,.0f}" for value in rate), f"{rate[1] / rate[0]:.2f}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", choices=names, help="a row, may be repeated")
    parser.add_argument("--repeat", type=int, default=3, help="samples of each (default 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once; not kept")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    repeat = 1 if options.quick else options.repeat
    machine = describe(sys.executable)
    make_room()
    found: Found = {}
    for row in rows:
        print(f"{row.name} ...", file=sys.stderr)
        found[row.name] = measure(row, repeat, row.small() if options.quick else row.amount)
    packages = dict.fromkeys(name for row in rows for name in (GEVENT, *row.packages))
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine,
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "settings": f"medians of {repeat}",
    }
    text = "# Real programs under gevent and under treadle\n\n"
    text += "\n".join(f"- {name}: {value}" for name, value in facts.items())
    text += f"\n\n{render(found)}\n"
    print(text)
    if not options.quick:
        keep(options.output, facts, found, text)
    return int(any("note" in entry for both in found.values() for entry in both.values()))


def keep(folder: Path, facts: dict[str, str], found: Found, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{facts['date'][:10]}-programs-cpython-{facts['python'].split()[0]}"
    stem.with_name(stem.name + ".md").write_text(text)
    stem.with_name(stem.name + ".json").write_text(
        json.dumps({"facts": facts, "rows": found}, indent=1) + "\n"
    )
    if plot is None:
        print("no plot: matplotlib is not installed", file=sys.stderr)
    else:
        plot.draw(found, facts["date"][:10], stem.with_name(stem.name + ".png"))


if __name__ == "__main__":
    sys.exit(main())
