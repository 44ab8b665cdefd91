"""What became of every request, and whether that had to be."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from .connections import Connection, CutError
from .requests import Answer, Request

#: How long a worker that leaves lets a connection rest before it ends it, in seconds. Nobody can
#: answer what a client sends at that moment, on a connection that has rested for longer.
REST = 0.04
#: How long it waits for the first request of a new connection, in seconds.
FIRST = 1.0
#: How long a worker that leaves may take to end, in seconds.
LEAVING = 15.0


@dataclass(frozen=True)
class Cut:
    """A request that was sent and not answered."""

    request: Request
    since: float  # when it was sent, or the connection opened if there was no answer on it before
    until: float
    worker: int  # the process id; 0 if there was no answer on the connection before
    may_cross: bool  # the connection was new or had rested, and no part of the answer came
    why: str


class Ledger:
    """Counts requests; :meth:`faults` says which of them are the server's fault."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.killed: dict[int, float] = {}  # by process id: when, as exactly as is known
        self.ended: dict[int, float] = {}  # all workers that have ended
        self.workers: Counter[int] = Counter()  # how many answers of each
        self.pauses: list[tuple[float, float]] = []  # while this process did not run, nor read
        self._cuts: list[Cut] = []
        self._wrong: list[str] = []

    def answered(self, request: Request, answer: Answer, worker: int) -> None:
        """Count an answer."""
        fault = answer.fault(request)
        if fault:
            self.wrong(request, f"{fault} (worker {worker})")
            return
        self.counts["answered"] += 1
        self.counts[f"answered: {request.kind}"] += 1
        self.workers[answer.worker] += 1
        if answer.status == 503:
            self.counts["without a descriptor"] += 1

    def wrong(self, request: Request, why: str) -> None:
        """Count what is a fault whatever happened."""
        self._wrong.append(f"{request.method} {request.path}: {why}")

    def cut(self, request: Request, connection: Connection, sent: float, error: CutError) -> None:
        """Note a request whose connection ended; :meth:`faults` finds the cause."""
        known = connection.worker
        rested = sent - connection.used
        where = f"{connection.PROTOCOL}, after {connection.answered} answers"
        self._cuts.append(
            Cut(
                request,
                sent if known else connection.opened,
                time.monotonic(),
                known,
                not error.began and (not known or rested >= REST),
                f"{error}, {where} and {rested:.3f} s of rest",
            )
        )

    def cut_in_handshake(self, opened: float, why: Exception) -> None:
        """Note a connection that ended before a request could be sent."""
        nothing = Request(0, "handshake")
        self._cuts.append(Cut(nothing, opened, time.monotonic(), 0, True, repr(why)))

    def faults(self, slack: float) -> list[str]:
        """Return what is the server's fault; times may be wrong by *slack* seconds."""
        faults = list(self._wrong)
        for cut in self._cuts:
            cause = self._cause(cut, slack)
            if cause:
                self.counts[cause] += 1
            else:
                since = "it was sent" if cut.worker else "the connection"
                faults.append(
                    f"{cut.request.method} {cut.request.path} was cut by worker {cut.worker}, "
                    f"which was not killed, {cut.until - cut.since:.3f} s after {since}: {cut.why}"
                )
        return faults

    def _cause(self, cut: Cut, slack: float) -> str:
        if cut.worker in self.killed:
            return "cut by a kill"
        if not cut.worker:
            return self._cause_unknown(cut, slack)
        leaves = self.ended.get(cut.worker, 0) >= cut.since - slack
        soon = self.ended.get(cut.worker, 0) <= cut.until + LEAVING
        if leaves and soon and cut.may_cross:
            return "crossed the end of a connection, sent again"
        paused = any(begin < cut.until and end > cut.since for begin, end in self.pauses)
        return "not read in time" if leaves and soon and paused else ""

    def _cause_unknown(self, cut: Cut, slack: float) -> str:
        """Return why a connection ended without any answer, so that its worker is unknown."""
        if any(cut.since - slack <= at <= cut.until + slack for at in self.killed.values()):
            return "cut by a kill, before any answer"
        late = cut.may_cross and cut.until - cut.since >= FIRST
        ends = (at for pid, at in self.ended.items() if pid not in self.killed)
        if late and any(cut.since - slack <= at <= cut.until + LEAVING for at in ends):
            return "crossed the end of a new connection, sent again"
        return ""
