"""The command: ``python -m conformance [--only MODULE] [--jobs N]``."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from conformance import internals
from conformance.environment import prepare
from conformance.report import Row, table
from conformance.run import isolation, kept, modules, run_module


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
    environments = prepare()
    gevent, weft = environments["gevent"], environments["weft"]
    tests = gevent.site / "gevent" / "tests"
    chosen = options.only or [
        module for module in modules(tests) if options.internals or module not in internals.MODULES
    ]
    prefix = isolation()
    if not prefix:
        print("no network namespaces here: tests may ask the network outside", file=sys.stderr)

    def measure(module: str) -> Row:
        expected = None if options.fresh else kept(gevent, module)
        expected = expected or run_module(gevent, tests, module, prefix)
        row = Row(module, expected, run_module(weft, tests, module, prefix))
        print(row.line(), flush=True)
        return row

    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(measure, chosen))
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
