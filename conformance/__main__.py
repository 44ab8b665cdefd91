"""Run gevent's own tests on gevent, then on treadle, and report which pass on gevent only.

Such tests are called lost. The run fails if a test is lost that ``internals.py`` does not list, if
one passes that it lists, if less than 96.5 % pass, or if gevent's public names are not those that
are recorded. A module with an unexpected result is run once more, alone: its tests have 2 s each,
which may be too short while two modules share the machine.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from conformance import internals
from conformance.environment import GEVENT, VERSION, Environment, prepare, treadle_package
from conformance.report import Row, faults, table
from conformance.run import Outcome, isolation, kept, modules, run_module
from conformance.table import listed_by, unrecorded


class Run:
    """Runs test modules in the two environments."""

    def __init__(self, environments: dict[str, Environment], fresh: bool) -> None:
        self.gevent, self.treadle = environments["gevent"], environments["treadle"]
        self.tests = self.gevent.site / "gevent" / "tests"
        self.fresh = fresh
        self.prefix = isolation()

    def measure(self, module: str) -> Row:
        """Run *module* on treadle, and on gevent unless its results are kept."""
        expected = None if self.fresh else kept(self.gevent, module)
        expected = expected or run_module(self.gevent, self.tests, module, self.prefix)
        return self.told(Row(module, expected, self.on_treadle(module)))

    def again(self, row: Row) -> Row:
        """Run the module on treadle once more if it had an unexpected result."""
        if not row.surprises:
            return row
        print(f"{row.module} again, alone: {', '.join(row.surprises)}", flush=True)
        return self.told(Row(row.module, row.gevent, self.on_treadle(row.module)))

    def on_treadle(self, module: str) -> Outcome:
        """Run *module* on treadle."""
        return run_module(self.treadle, self.tests, module, self.prefix)

    def told(self, row: Row) -> Row:
        """Print the result of a module, and return it."""
        print(row.line(), flush=True)
        return row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument(
        "--only", metavar="MODULE", action="append", help="run this module; may be repeated"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="modules at a time")
    parser.add_argument(
        "--internals", action="store_true", help="run the modules about gevent's insides too"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="measure gevent again, whose results are kept"
    )
    options = parser.parse_args()
    package = treadle_package()
    print(f"CPython {VERSION}, {GEVENT}, treadle of {package}", flush=True)
    run = Run(prepare(package), options.fresh)
    if not run.prefix:
        print("no network namespaces here: tests may ask the network outside", file=sys.stderr)
    chosen = options.only or [
        module
        for module in modules(run.tests)
        if options.internals or module not in internals.MODULES
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(run.measure, chosen))
    rows = [run.again(row) for row in rows]
    print(table(rows))
    wrong = faults(rows, whole=not (options.only or options.internals))
    wrong += unrecorded(listed_by(run.gevent.python))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
