"""The child process: measures one contestant in one row, or runs its echo server.

It prints one line of JSON: {"version": ..., "sample": {...}} or {"missing": reason}. A server
prints {"version": ..., "port": ...} and runs until it is killed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time

from .contestants import Call, Contestant, load

SLICES = 5

Sample = dict[str, float]


def measure_calls(call: Call, count: int) -> Sample:
    """Return seconds per operation in the fastest slice, which was least disturbed."""
    call(count)
    slices = []
    for _ in range(SLICES):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        call(count)
        slices.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = min(slices)
    return {"wall": wall / count, "cpu": cpu / count}


def measure_sleepers(call: Call, count: int) -> Sample:
    """Return seconds and bytes of resident memory per sleeper, from spawning until all sleep."""
    call(10)
    gc.collect()
    before, wall, cpu = _resident_bytes(), time.perf_counter(), time.process_time()
    sleepers = call(count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = _resident_bytes()
    assert sleepers
    return {"wall": wall / count, "cpu": cpu / count, "rss": (after - before) / count}


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main() -> None:
    options = _parse()
    try:
        contestant = load(options.contestant)
        if options.serve:
            contestant.serve_echo(
                lambda port: reply(version=contestant.version, port=port), options.certificate
            )
        else:
            reply(**measure(contestant, options))
    except ImportError as error:
        reply(missing=str(error))
    # Ending a million sleepers one by one takes longer than measuring them.
    os._exit(0)


def measure(contestant: Contestant, options: argparse.Namespace) -> dict[str, object]:
    call = contestant.calls[options.call]
    measured = measure_sleepers if options.call == "sleepers" else measure_calls
    return {"version": contestant.version, "sample": measured(call, options.count)}


def reply(**values: object) -> None:
    print(json.dumps(values), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("contestant")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--call")
    what.add_argument("--serve", action="store_true")
    parser.add_argument("--certificate", help="serve over TLS with this certificate and key")
    parser.add_argument("--count", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
