"""Looks at the processes all the time: their number, their memory, and when they end."""

from __future__ import annotations

import time

import treadle

from .ledger import Ledger
from .script import RECOVERY
from .site import WORKERS, Site

#: How often to look, in seconds.
LOOK = 0.02
#: The fair clock ticks so often, and adds so much at most, in seconds.
TICK, FAIR = 0.01, 0.02
#: How far memory may grow from the first half of a run to the second, in KiB. Allocators vary, and
#: a worker keeps 1 MiB of lines for a log that nobody reads.
GROWTH = {"supervisor": 2048, "worker": 8192}


class Watch:
    """Watches *site*; :attr:`faults` are what was not as it must be.

    Times within which something must happen are taken from :attr:`clock`. It runs as the monotonic
    clock does, but stands still while the machine does not let this process run: otherwise the load
    of the machine would be tested.
    """

    def __init__(self, site: Site, ledger: Ledger) -> None:
        self.faults: list[str] = []
        self.clock = 0.0
        self.latest = 0.0  # how late a tick was at most, in seconds
        self.most = 0  # workers at once
        self._site, self._ledger = site, ledger
        self._missing: list[float] = []  # until when a worker may be missing
        self._hindered = False
        self._alive: dict[int, float] = {}  # workers, and since when
        self._memory: dict[str, list[tuple[float, int]]] = {"supervisor": [], "worker": []}
        self._began = time.monotonic()
        self._greenlets = [treadle.spawn(self._tick), treadle.spawn(self._run)]

    def lose(self, seconds: float = RECOVERY) -> None:
        """Note that a worker was taken away: another one serves within *seconds*."""
        self._missing.append(self.clock + seconds)

    def hinder(self, hindered: bool) -> None:
        """Note that no worker can be started, or that this has been mended.

        While it lasts, one worker that is lost remains missing.
        """
        self._hindered = hindered
        if not hindered:
            self.lose()

    def stop(self) -> None:
        """Look no more."""
        for each in self._greenlets:
            each.kill()
            each.get()
        self._check_memory()

    def say(self, fault: str) -> None:
        """Note a fault and when it was."""
        self.faults.append(f"{self.at():.2f} s: {fault}")

    def at(self) -> float:
        """Return for how many seconds it has looked."""
        return time.monotonic() - self._began

    def _tick(self) -> None:
        while True:
            before = time.monotonic()
            treadle.sleep(TICK)
            passed = time.monotonic() - before
            self.latest = max(self.latest, passed - TICK)
            self.clock += min(passed, FAIR)

    def _run(self) -> None:
        while True:
            workers = self._site.workers()
            self._note_processes(workers, time.monotonic())
            self._check_serving()
            treadle.sleep(LOOK)

    def _note_processes(self, workers: list[int], now: float) -> None:
        for pid in workers:
            self._alive.setdefault(pid, now)
        for pid in self._alive.keys() - set(workers):
            self._ledger.ended[pid] = now
            if pid in self._ledger.killed:
                self._ledger.killed[pid] = min(self._ledger.killed[pid], now)
            del self._alive[pid]
        self.most = max(self.most, len(workers))
        if len(workers) > self._site.most_workers:
            self.say(f"{len(workers)} workers: {workers}")
        self._note("supervisor", now, self._site.resident(self._site.supervisor))
        for pid in workers:
            self._note("worker", now, self._site.resident(pid))

    def _note(self, which: str, now: float, size: int) -> None:
        """Note the largest size of each second."""
        sizes = self._memory[which]
        at = int(now - self._began)
        if not sizes or sizes[-1][0] != at:
            sizes.append((at, size))
        elif sizes[-1][1] < size:
            sizes[-1] = (at, size)

    def _check_serving(self) -> None:
        """Fail if a worker is missing for longer than it may."""
        try:
            serving = self._site.serving()
        except OSError as exc:
            self.say(f"the admin server does not answer: {exc!r}")
            return
        self._missing = [until for until in self._missing if until > self.clock]
        least = WORKERS - len(self._missing) - self._hindered
        if serving < least:
            self.say(f"{serving} workers serve, not {least}")
        if serving > self._site.most_workers:
            self.say(f"{serving} workers serve")

    def _check_memory(self) -> None:
        for which, sizes in self._memory.items():
            half = len(sizes) // 2
            first = max((size for _, size in sizes[:half]), default=0)
            second = max((size for _, size in sizes[half:]), default=0)
            if second > first + GROWTH[which]:
                self.faults.append(f"the memory of a {which} grew from {first} to {second} KiB")

    def memory(self) -> str:
        """Return the most memory in each quarter of the run, for people to read."""
        parts = []
        for which, sizes in self._memory.items():
            quarter = max(len(sizes) // 4, 1)
            most = [
                max(size for _, size in sizes[at : at + quarter]) // 1024
                for at in range(0, quarter * 4, quarter)
                if sizes[at : at + quarter]
            ]
            parts.append(f"{which} {', '.join(map(str, most))} MiB")
        return "; ".join(parts)
