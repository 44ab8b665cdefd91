"""python -m tests.stdlib [--only NAME ...] [--jobs N] [--refresh] [--verbose]

Runs each module unpatched twice (kept in build/, per interpreter) and once under
monkey.patch_all(). A test that passes unpatched, both times, and does not pass patched is lost. The
exit status is 1 if a test is lost that losses.py does not name, or if one it names passes.
"""

import argparse
import json
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .losses import expected
from .modules import present
from .runs import outcomes

ROOT = Path(__file__).resolve().parents[2]


def unpatched(module: str, refresh: bool) -> dict[str, str]:
    """Return how each test ends without treadle; "unsteady" if two runs differ."""
    kept = ROOT / "build" / "stdlib" / platform.python_version() / f"{module}.json"
    if not kept.exists() or refresh:
        first = outcomes(module, "plain")
        second = outcomes(module, "plain", [test for test, how in first.items() if how != "ok"])
        both = {test: how if second.get(test) == how else "unsteady" for test, how in first.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(both))
    known: dict[str, str] = json.loads(kept.read_text())
    return known


def compare(module: str, refresh: bool) -> tuple[str, int, dict[str, str]]:
    """Return the module, how many of its tests pass unpatched, and those lost with their output."""
    without_treadle = unpatched(module, refresh)
    plain = [test for test, how in without_treadle.items() if how == "ok"]
    others = without_treadle.keys() - plain
    patched = outcomes(module, "patched", others) if plain else {}
    whole = patched.get(f"test.{module}", "it was not run")
    lost = {test: patched.get(test, whole) for test in plain if patched.get(test) != "ok"}
    return module, len(plain), lost


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stdlib", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a module, may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="modules at a time (default 2)")
    parser.add_argument("--refresh", action="store_true", help="run the unpatched tests again")
    parser.add_argument("--verbose", action="store_true", help="show what lost tests said")
    given = parser.parse_args()
    passed = lost_in_all = 0
    unexpected: list[str] = []
    modules = present(given.only)
    print(f"CPython {platform.python_version()}, {len(modules)} modules")
    with ThreadPoolExecutor(given.jobs) as pool:
        for module, count, lost in pool.map(lambda name: compare(name, given.refresh), modules):
            passed += count
            lost_in_all += len(lost)
            print(f"{module:<55}{count:>6} pass unpatched {len(lost):>5} lost", flush=True)
            known = expected(module)
            for test, why in lost.items():
                print(f"    {test}{'' if test in known else '  (unexpected)'}")
                if given.verbose:
                    print("        " + "\n        ".join(why.splitlines()[-25:]))
            unexpected += [test for test in lost if test not in known]
            mended = [test for test in known if test not in lost]
            for test in mended:
                print(f"    {test}  (on the list of losses, but passes)")
            unexpected += mended
    print(f"{passed} pass unpatched, {lost_in_all} of them are lost, {len(unexpected)} surprises")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
