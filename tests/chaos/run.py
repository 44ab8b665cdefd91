"""One run: a server, its clients, and the events of the script."""

from __future__ import annotations

import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import treadle

from .dialler import Dialler
from .ledger import Ledger
from .load import Load
from .script import Event, write
from .site import INFINITE, WORKERS, Site
from .watch import Watch

RATE = 300
#: How long requests go on after the script, at least, in seconds.
CALM = 15.0
#: Descriptors that a limited process may still open.
SPARE = 3
#: Within this time a HUP has replaced all workers, in seconds, if nothing else happens.
REPLACED = 20.0
#: How long a worker that was killed before it served may be missing: the longest pause between
#: attempts to start one, and the time to start it.
RETRY = 8.0
#: So many requests, at most, a worker that is killed has counted and not logged.
UNLOGGED = 8
#: How a worker may end: as told, because it cannot load the application, as one application does,
#: or by a kill.
ENDS = ("exit status 0", "exit status 3", "exit status 7", "killed by SIGKILL")


class Run:
    """A run of *seconds* in *folder*, decided by *seed*; :attr:`faults` is its result."""

    def __init__(self, folder: Path, seconds: float, seed: int, tls: bool) -> None:
        self.seed, self.seconds, self.tls = seed, seconds, tls
        self.faults: list[str] = []
        self.events: Counter[str] = Counter()
        self.ledger = Ledger()
        self.site = Site(folder, tls)
        self.watch = Watch(self.site, self.ledger)
        self._rate = 0.0
        self._trace: list[str] = []
        self._reading = True  # whether standard output is read
        self._stopped: set[int] = set()

    def go(self) -> None:
        """Run everything to its end."""
        try:
            self._go()
        finally:
            self.site.kill()

    def _go(self) -> None:
        site = self.site
        reader = treadle.spawn(self._read_output)
        dialler = Dialler(site.port, site.authority)
        load = Load(dialler, RATE, self.ledger, self.seed)
        self._settle()
        descriptors = site.descriptors(site.supervisor)
        began = time.monotonic()
        clients = treadle.spawn(load.run, self.seconds)
        events = []
        for event in write(self.seed, self.seconds, self.tls):
            treadle.sleep(max(0.0, began + event.at - time.monotonic()))
            self.events[event.what] += 1
            events.append(treadle.spawn(self._happen, event))
        treadle.joinall(events, raise_error=True)
        clients.get()
        self._rate = load.rate
        self._settle()
        self._check_calm(descriptors)
        # Workers that nobody replaces: their memory must stay as it is.
        Load(dialler, RATE, self.ledger, self.seed).run(max(CALM, self.seconds / 10))
        if self.tls:
            self._check_log()
        self.watch.stop()
        status = site.stop()
        if status:
            self.faults.append(f"the server's exit status is {status}")
        reader.kill()
        self.faults += self.watch.faults
        self.faults += self.ledger.faults(slack=0.1 + self.watch.latest)
        self.faults += self._bad_lines()

    def _settle(self) -> None:
        """Wait until each place has one worker, which serves."""
        deadline = self.watch.clock + RETRY + REPLACED
        while len(self.site.workers()) != WORKERS or self.site.serving() != WORKERS:
            if self.watch.clock > deadline:
                self.watch.say(f"{self.site.workers()} remain, {self.site.serving()} serve")
                return
            treadle.sleep(0.05)

    def _check_calm(self, descriptors: int) -> None:
        """Have all workers replaced when nothing else happens; nothing may have stayed behind."""
        old = set(self.site.workers())
        self.site.signal(self.site.supervisor, signal.SIGHUP)
        deadline = self.watch.clock + REPLACED
        while old & set(self.site.workers()) and self.watch.clock < deadline:
            treadle.sleep(0.05)
        self._settle()
        stayed = old & set(self.site.workers())
        if stayed:
            self.watch.say(f"a HUP does not replace {sorted(stayed)}")
        deadline = self.watch.clock + REPLACED
        while (now := self.site.descriptors(self.site.supervisor)) > descriptors + 1:
            if self.watch.clock > deadline:
                self.watch.say(f"the supervisor has {now} descriptors, at first {descriptors}")
                return
            treadle.sleep(0.02)  # the admin server may just be serving the watch

    def _check_log(self) -> None:
        """Compare the lines of the access log with the requests."""
        requests = self.site.counted("treadle_requests_total")
        lost = self.site.counted("treadle_log_lost_total")
        lines = self.site.whole_lines()
        self.events["lines in the access log"] = lines
        self.events["lines lost and counted"] = lost
        # A line that a full disk cuts short may run into one of another worker.
        missing = UNLOGGED * len(self.ledger.killed) + self.events["fill the disk"]
        if lines + lost < requests - missing:
            self.watch.say(f"{requests} requests, {lines} lines in the log, {lost} counted as lost")

    def _bad_lines(self) -> list[str]:
        """Return what the error log and standard error have and should not."""
        bad = (self.site.folder / "stderr").read_text().splitlines()
        before = ""
        for line in self.site.said().splitlines():
            found = re.search(r"worker (\d+) (ended: ([^;]*)|hangs since)", line)
            if line.count("treadle serve: ") > 1 and self.events["fill the disk"]:
                pass  # the disk became full within a line, and another process wrote the next one
            elif found:
                hangs = found[3] is None and int(found[1]) not in self.ledger.killed
                if hangs or (found[3] and found[3] not in ENDS):
                    bad.append(line)
            elif line.startswith("Traceback") and not before.endswith("a worker failed:"):
                bad.append(line)
            before = line
        return [f"it said: {each}" for each in bad]

    def _read_output(self) -> None:
        while True:
            if self._reading:
                self.events["lines on stdout"] += self.site.read_output()
            treadle.sleep(0.05)

    # -- what happens

    def _happen(self, event: Event) -> None:
        action: Callable[[Event], None] = getattr(self, "_" + _ACTIONS[event.what])
        self._trace.append(f"{self.watch.at():.2f} s: {event.what}, {self.site.workers()}")
        action(event)
        if event.lasts:
            self._trace.append(f"{self.watch.at():.2f} s: no more: {event.what}")

    def _victim(self, event: Event) -> int:
        while not (workers := self.site.workers()):
            treadle.sleep(0.01)
        return workers[int(event.choice * len(workers))]

    def _lose(self, pid: int) -> None:
        self.watch.lose() if self.ledger.workers[pid] else self.watch.lose(RETRY)

    def _hup(self, event: Event) -> None:
        self.site.signal(self.site.supervisor, signal.SIGHUP)

    def _term(self, event: Event) -> None:
        pid = self._victim(event)
        if pid not in self._stopped:
            self._trace.append(f"  worker {pid}")
            self._lose(pid)
            self.site.signal(pid, signal.SIGTERM)

    def _kill(self, event: Event) -> None:
        pid = self._victim(event)
        self._trace.append(f"  worker {pid}")
        self.ledger.killed.setdefault(pid, time.monotonic())
        self._lose(pid)
        self.site.signal(pid, signal.SIGKILL)

    def _stop(self, event: Event) -> None:
        pid = self._victim(event)
        if pid not in self._stopped:
            self._stopped.add(pid)
            self.site.signal(pid, signal.SIGSTOP)
            treadle.sleep(event.lasts)
            self.watch.lose()  # it may be leaving
            self.site.signal(pid, signal.SIGCONT)
            self._stopped.discard(pid)

    def _hang(self, event: Event) -> None:
        """Stop a worker until the supervisor kills it."""
        pid = self._victim(event)
        if not self.ledger.workers[pid] or pid in self._stopped:
            return
        self._stopped.add(pid)
        self.ledger.killed.setdefault(pid, float("inf"))
        self.site.signal(pid, signal.SIGSTOP)
        deadline = self.watch.clock + event.lasts
        while pid in self.site.workers() and self.watch.clock < deadline:
            treadle.sleep(0.01)
        self.watch.lose()
        if pid in self.site.workers():
            self.watch.say(f"worker {pid} hangs and is not killed")
            self.site.signal(pid, signal.SIGKILL)

    def _limit(self, event: Event) -> None:
        pid = self._victim(event)
        most = self.site.descriptors(pid) + SPARE
        self.site.limit([pid], resource.RLIMIT_NOFILE, most)
        treadle.sleep(event.lasts)
        self.site.limit([pid], resource.RLIMIT_NOFILE, INFINITE)

    def _rotate(self, event: Event) -> None:
        self.site.rotate()

    def _fill(self, event: Event) -> None:
        self.site.fill_disk()
        treadle.sleep(event.lasts)
        self.site.free_disk()

    def _close_reader(self, event: Event) -> None:
        self.site.close_reader()
        treadle.sleep(event.lasts)
        self.site.reader = self.site.open_reader()

    def _stall(self, event: Event) -> None:
        self._reading = False
        treadle.sleep(event.lasts)
        self._reading = True

    def _break_application(self, event: Event) -> None:
        self.site.break_application(int(event.choice * 1000))
        self._hinder(event, self.site.mend_application)

    def _break_certificate(self, event: Event) -> None:
        which = int(event.choice * 1000)
        self.site.break_certificate(which)
        self._hinder(event, lambda: self.site.mend_certificate(which))

    def _starve(self, event: Event) -> None:
        """Leave the supervisor, and so each worker that it starts, no descriptors."""
        pid = self.site.supervisor
        most = self.site.descriptors(pid) + 1
        self.site.limit([pid], resource.RLIMIT_NOFILE, most)
        self._hinder(
            event,
            lambda: self.site.limit([pid, *self.site.workers()], resource.RLIMIT_NOFILE, INFINITE),
        )

    def _hinder(self, event: Event, mend: Callable[[], None]) -> None:
        """Let the server find that it cannot start workers; mend that and say so by a HUP."""
        self.watch.hinder(True)
        self.site.signal(self.site.supervisor, signal.SIGHUP)
        treadle.sleep(event.lasts)
        mend()
        self.site.signal(self.site.supervisor, signal.SIGHUP)
        self.watch.hinder(False)

    def report(self) -> str:
        """Return what was done and found."""
        protocol = "TLS" if self.tls else "plain"
        lines = [
            f"{self.seconds:.0f} s over {protocol}, seed {self.seed}, {self._rate:.0f} requests/s"
        ]
        for title, counter in (("requests", self.ledger.counts), ("events", self.events)):
            lines.append(f"{title}: " + ", ".join(f"{v} {k}" for k, v in sorted(counter.items())))
        lines.append(
            f"workers: {len(self.ledger.workers)} answered, at most {self.watch.most} at once"
        )
        lines.append(f"memory: {self.watch.memory()}")
        lines.append(f"this process was at most {self.watch.latest * 1000:.0f} ms late")
        if self.faults:
            lines += self._trace
        lines += [f"FAULT: {each}" for each in self.faults]
        return "\n".join(lines)


_ACTIONS = {
    "HUP": "hup",
    "TERM a worker": "term",
    "KILL a worker": "kill",
    "STOP a worker": "stop",
    "STOP a worker until it is killed": "hang",
    "limit a worker's descriptors": "limit",
    "rotate the logs": "rotate",
    "fill the disk": "fill",
    "close the reader of stdout": "close_reader",
    "do not read stdout": "stall",
    "break the application": "break_application",
    "break the certificate": "break_certificate",
    "limit the supervisor's descriptors": "starve",
}
