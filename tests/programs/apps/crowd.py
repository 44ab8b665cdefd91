"""Shared by the programs: run calls concurrently, and print a report.

``python PROGRAM STYLE URL waits COUNT`` makes COUNT slow calls at once, ``... load COUNT`` makes
COUNT quick ones, SIZE of them at a time. STYLE names what makes the calls concurrent: ``threads``
(a program that knows neither gevent nor treadle), ``gevent`` or ``treadle``.
"""

import sys

STYLE = sys.argv[1]
if STYLE == "gevent":
    from gevent import monkey
    from gevent.pool import Pool

    monkey.patch_all()
elif STYLE == "treadle":
    from treadle import monkey
    from treadle.pool import Pool

    monkey.patch_all()
else:
    from multiprocessing.pool import ThreadPool as Pool

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

URL = sys.argv[2]
SIZE = 50


def at_once(call: Callable[[int], Any], numbers: Iterable[int]) -> list[Any]:
    """Return ``call(number)`` for each of *numbers*, with SIZE calls running at a time."""
    return Pool(SIZE).map(call, numbers)


def main(wait: Callable[[int], Any], load: Callable[[int], Any]) -> None:
    """Run what the command line asks for, and print results and seconds as JSON."""
    what, count = sys.argv[3], int(sys.argv[4])
    call = wait if what == "waits" else load
    if call is load:
        at_once(wait, range(SIZE))  # opens all connections
    wall, cpu = time.perf_counter(), time.process_time()
    results = at_once(call, range(count))
    report = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps(report | {"results": results}))
