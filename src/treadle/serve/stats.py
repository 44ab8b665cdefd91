"""Counters of the workers, in memory that they share with the supervisor."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

from treadle.http.counters import Counters

__all__ = ["BUCKETS", "Board", "Slot"]

#: Upper bounds of the latency histogram, in seconds. A request is counted only in the first bucket
#: that holds it, and in none if it took longer; the metrics' cumulative buckets are sums of these.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NAMES = (
    "pid",
    "beat",  # time of the worker's last heartbeat, by the monotonic clock
    "loaded",  # 1 once the worker serves
    "ready",  # 1 while the worker serves and is not leaving
    "spent",  # 1 once another worker is to serve in its place
    "succeeded",  # 1 once another worker serves in its place
    "connections",
    "connections_total",
    "refused_total",  # connections and requests over a limit
    "requests_active",
    "requests_1xx",
    "requests_2xx",
    "requests_3xx",
    "requests_4xx",
    "requests_5xx",
    "seconds_sum",
    "queue_seconds_sum",
    "queued_total",
    "queued",
    "sent_bytes_total",
    "log_lost_total",  # writes to the logs that were lost
    *(f"le_{bucket}" for bucket in BUCKETS),
)
#: The names of the metrics without their prefix, their types, and their help.
METRICS = (
    ("workers", "gauge", "Workers that serve."),
    ("connections", "gauge", "Open connections."),
    ("connections_total", "counter", "Connections that were accepted."),
    ("refused_total", "counter", "Connections and requests over a limit, and failed handshakes."),
    ("requests_active", "gauge", "Requests that are being answered."),
    ("queued", "gauge", "Requests that wait for the application."),
    ("queued_total", "counter", "Requests that have waited for the application."),
    ("sent_bytes_total", "counter", "Bytes of bodies that were sent."),
    ("log_lost_total", "counter", "Writes to the logs that were lost."),
    ("requests_total", "counter", "Requests that were answered, by the class of their status."),
    ("request_seconds", "histogram", "Time from a request's head to the end of its response."),
    ("queue_seconds_total", "counter", "Time that requests have waited for the application."),
)
_AT = {name: at for at, name in enumerate(_NAMES)}
_SIZE = len(_NAMES)
_COUNTED = ("requests_1xx", "seconds_sum", "sent_bytes_total", f"le_{BUCKETS[0]}")


class Slot:
    """The numbers of one worker: an array of doubles, indexed by name."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def counters(self) -> Counters:
        """Return a :class:`Counters` that counts requests in this slot."""
        codes, seconds, sent, buckets = (_AT[name] for name in _COUNTED)
        return Counters(self.values, codes, seconds, sent, buckets, BUCKETS)

    def __getitem__(self, name: str) -> float:
        return self.values[_AT[name]]  # type: ignore[no-any-return]

    def __setitem__(self, name: str, value: float) -> None:
        self.values[_AT[name]] = value

    def add(self, name: str, amount: float = 1) -> None:
        """Add *amount* to the number *name*."""
        self.values[_AT[name]] += amount

    def clear(self) -> None:
        """Set all numbers to 0, for the next worker."""
        for at in range(_SIZE):
            self.values[at] = 0.0


class Board:
    """The slots of all workers, and the totals of workers that have ended."""

    #: The numbers whose totals keep the counts of workers that have ended.
    LASTING = tuple(
        name for name in _NAMES if name.endswith(("_total", "_sum", "xx")) or name.startswith("le_")
    )

    def __init__(self, workers: int) -> None:
        # Anonymous and shared: a forked worker writes where the supervisor reads.
        self._memory = mmap.mmap(-1, max(workers, 1) * _SIZE * 8)
        values = memoryview(self._memory).cast("d")
        self.slots: list[Slot] = [
            Slot(values[at * _SIZE : (at + 1) * _SIZE]) for at in range(workers)
        ]
        self._gone = dict.fromkeys(self.LASTING, 0.0)

    def retire(self, slot: Slot) -> None:
        """Keep the counts of a worker that has ended, and clear its slot for the next worker."""
        for name in self.LASTING:
            self._gone[name] += slot[name]
        slot.clear()

    def total(self, name: str) -> float:
        """Return the sum of *name* over all workers, with those that have ended."""
        return sum(slot[name] for slot in self.slots) + self._gone.get(name, 0.0)

    def ready(self) -> int:
        """Return how many workers serve."""
        return sum(slot["ready"] == 1 for slot in self.slots)

    def prometheus(self) -> Iterator[str]:
        """Yield the metrics as lines of Prometheus's text format, version 0.0.4."""
        for name, kind, text in METRICS:
            yield f"# HELP treadle_{name} {text}"
            yield f"# TYPE treadle_{name} {kind}"
            yield from self._samples(name)

    def _samples(self, name: str) -> Iterator[str]:
        count = sum(self.total(f"requests_{code}xx") for code in range(1, 6))
        if name == "workers":
            yield f"treadle_workers {self.ready()}"
        elif name == "requests_total":
            for code in range(1, 6):
                number = self.total(f"requests_{code}xx")
                yield f'treadle_requests_total{{code="{code}xx"}} {number:.0f}'
        elif name == "request_seconds":
            within = 0.0
            for bucket in BUCKETS:
                within += self.total(f"le_{bucket}")
                yield f'treadle_request_seconds_bucket{{le="{bucket}"}} {within:.0f}'
            yield f'treadle_request_seconds_bucket{{le="+Inf"}} {count:.0f}'
            yield f"treadle_request_seconds_sum {self.total('seconds_sum'):.6f}"
            yield f"treadle_request_seconds_count {count:.0f}"
        elif name == "queue_seconds_total":
            yield f"treadle_queue_seconds_total {self.total('queue_seconds_sum'):.6f}"
        else:
            yield f"treadle_{name} {self.total(name):.0f}"
