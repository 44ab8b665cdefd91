"""Looks at the processes all the time: their number, their memory, and when they end."""

from __future__ import annotations

import time
from pathlib import Path

import treadle

from .ledger import Ledger
from .script import RECOVERY
from .site import WORKERS, Site

#: How often to look, in seconds.
LOOK = 0.02
#: The fair clock ticks so often, and adds so much at most, in seconds.
TICK, FAIR = 0.01, 0.02
#: How slowly that clock runs at most, as a part of the monotonic one.
SLOWEST = 0.1
#: How long it takes until caches and allocators have what they need: for the supervisor in seconds,
#: for a worker in requests.
WARM_UP = {"supervisor": 10, "worker": 500}
#: For so long, in seconds, a server that leaves waits for a client to read, at least.
PAUSE = 1.0
#: How far the memory of a process may grow after that, in KiB. Allocators vary, and a worker keeps
#: 1 MiB of lines for a log that nobody reads.
GROWTH = {"supervisor": 1024, "worker": 4096}
#: What a connection may cost, in KiB. Clients that a stopped worker could not answer come at once.
CONNECTION = 64


class Watch:
    """Watches *site*; :attr:`faults` are what was not as it must be.

    Times within which something must happen are taken from :attr:`clock`. It runs as the monotonic
    clock does, but slower while the machine does not let this process run, nor the supervisor or a
    worker that has not served yet, and while any process waits for a processor: otherwise the load
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
        self._memory: dict[int, Memory] = {}
        self._queued: dict[int, float] = {}  # how long processes have waited to run; 0: any process
        self._said = ""  # what is wrong since the last look
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
            if passed > PAUSE:
                self._ledger.pauses.append((before, before + passed))
            self.clock += max(SLOWEST * passed, min(passed, FAIR) - self._waited())

    def _waited(self) -> float:
        """Return for how long a process waited to run since the last tick."""
        new = (pid for pid in self._alive if not self._ledger.workers[pid])
        before = self._queued
        self._queued = {pid: _queued(pid) for pid in (self._site.supervisor, *new)}
        self._queued[0] = _pressure()
        return max(0.0, *(now - before.get(pid, now) for pid, now in self._queued.items()))

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
        for pid in (self._site.supervisor, *workers):
            size, descriptors = self._site.resident(pid), self._site.descriptors(pid)
            if pid == self._site.supervisor:
                warm = self.at() >= WARM_UP["supervisor"]
            else:
                warm = self._ledger.workers[pid] >= WARM_UP["worker"]
            if size:
                self._memory.setdefault(pid, Memory(now)).note(now, size, descriptors, warm)

    def _check_serving(self) -> None:
        """Fail if a worker is missing for longer than it may."""
        try:
            serving = self._site.serving()
        except OSError as exc:
            self.say(f"the admin server does not answer: {exc!r}")
            return
        self._missing = [until for until in self._missing if until > self.clock]
        least = WORKERS - len(self._missing) - self._hindered
        wrong = ""
        if serving < least:
            wrong = f"{serving} workers serve, not {least}"
        if serving > self._site.most_workers:
            wrong = f"{serving} workers serve"
        if wrong and wrong != self._said:
            self.say(wrong)
        self._said = wrong

    def _check_memory(self) -> None:
        for pid, memory in self._memory.items():
            which = "supervisor" if pid == self._site.supervisor else "worker"
            if memory.growth > GROWTH[which]:
                self.faults.append(f"{which} {pid} grew by {memory.growth} KiB: {memory}")

    def memory(self) -> str:
        """Return the memory of the supervisor and of the worker that grew most, for people."""
        supervisor = self._memory[self._site.supervisor]
        workers = [each for pid, each in self._memory.items() if pid != self._site.supervisor]
        grown = max(workers, key=lambda each: each.growth, default=None)
        return f"supervisor {supervisor}; the worker that grew most: {grown}"


class Memory:
    """The memory of a process that was first seen at the time *began*, in KiB.

    :attr:`growth` is how much more it has needed since the warm-up than before, beyond what its
    connections cost.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._latest = 0.0
        self._descriptors = 0  # at most, so far
        self._before = self._after = 0  # the most beyond what connections cost
        self._sizes: list[int] = []  # the largest of each 10 seconds

    def note(self, now: float, size: int, descriptors: int, warm: bool) -> None:
        self._latest = now
        self._descriptors = max(self._descriptors, descriptors)
        beyond = size - CONNECTION * self._descriptors
        if warm:
            self._after = max(self._after, beyond)
        else:
            self._before = max(self._before, beyond)
        at = int((now - self._began) / 10)
        self._sizes += [0] * (at + 1 - len(self._sizes))
        self._sizes[at] = max(self._sizes[at], size)

    @property
    def growth(self) -> int:
        return max(0, self._after - self._before)

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self._sizes if len(self._sizes) < 9 else self._sizes[::6]))
        return f"{sizes} KiB in {self._latest - self._began:.0f} s"


def _queued(pid: int) -> float:
    """Return for how many seconds a process was ready to run, and no processor was free."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # it has ended, or the system does not count that
        return 0.0


def _pressure() -> float:
    """Return for how many seconds any process was ready to run, and no processor was free."""
    try:
        return int(Path("/proc/pressure/cpu").read_text().split("total=")[1].split()[0]) / 1e6
    except (OSError, IndexError):  # the system does not count that
        return 0.0
