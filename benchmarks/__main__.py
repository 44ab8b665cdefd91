"""The command `python -m benchmarks`: measures, prints the report and saves it."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .contestants import NAMES
from .machine import describe
from .measure import measure
from .report import render
from .results import Results
from .rows import ROWS
from .samples import Sampler

plot = import_module(".plot", __package__) if find_spec("matplotlib") else None
KEPT = Path(__file__).parent / "results"


def main() -> int:
    options = _parse()
    repeat = options.repeat or (1 if options.quick else 7)
    results = Results(
        datetime.now(UTC).isoformat(timespec="seconds"),
        describe(options.python),
        {"repeat": repeat, "quick": options.quick},
    )
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    with TemporaryDirectory(prefix="benchmarks-") as programs:
        sampler = Sampler(options.python, options.quick, Path(programs))
        measure(results, sampler, rows, options.contestant or NAMES, repeat, _progress)
    print(render(results))
    if not options.quick or options.output:
        _keep(results, options.output or KEPT)
    for failure in results.failures():
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if results.failures() else 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}\r", end="", file=sys.stderr, flush=True)


def _keep(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    version = results.machine["python"].split()[0]
    stem = folder / f"{results.date[:10]}-cpython-{version}"
    results.save(stem.with_name(stem.name + ".json"))
    stem.with_name(stem.name + ".md").write_text(render(results))
    if plot is None:
        print("no plot: matplotlib is not installed", file=sys.stderr)
    elif "gevent" in results.versions:
        plot.draw(results, stem.with_name(stem.name + ".png"))
    print(f"kept as {stem}.*", file=sys.stderr)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure treadle and its peers side by side."
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, once; kept only with --output"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="ROW",
        choices=[row.name for row in ROWS],
        help="a row to measure, may be repeated: " + ", ".join(row.name for row in ROWS),
    )
    parser.add_argument(
        "--contestant",
        action="append",
        metavar="NAME",
        choices=NAMES,
        help="who takes part, may be repeated: " + ", ".join(NAMES),
    )
    parser.add_argument("--repeat", type=_positive, metavar="N", help="samples of each (default 7)")
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter to measure (default: this one)"
    )
    parser.add_argument("--output", type=Path, help=f"where to keep the results ({KEPT.name}/)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
