"""The places of the workers: each keeps one worker serving, whatever becomes of it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from time import monotonic
from typing import Any

from treadle.event import AsyncResult, Event
from treadle.greenlet import spawn, spawn_later
from treadle.serve.stats import Slot

__all__ = ["CANNOT_LOAD", "LAST_WORDS", "Child", "Place"]

#: The time, in seconds, from the start of a worker that fails to the start of its replacement: at
#: first, and at most. A worker that always fails must not keep the machine busy.
FIRST_DELAY, LONGEST_DELAY = 0.5, 5.0
#: How long a worker that replaces another may take to become ready, in seconds.
READY_TIMEOUT = 60.0
#: How long a worker that has served max_requests serves on if its successor fails, in seconds.
RETRY_DELAY = 10.0
#: How much longer than graceful_timeout a worker that leaves may take, in seconds: until all
#: clients are told, and its last lines are in the logs.
LAST_WORDS = 2.0
#: Exit status of a worker that cannot load the application; a restart would not help.
CANNOT_LOAD = 3


class Child:
    """A worker process, as the supervisor tracks it."""

    def __init__(self, pid: int, slot: Slot) -> None:
        self.pid: int = pid
        self.slot: Slot = slot
        self.started: float = monotonic()
        self.ended: Event = Event()
        self.status: int = 0
        #: Whether it has become ready; its heart beats from then on to its end.
        self.serves: bool = False
        self._beat = self._silent = 0.0

    def listen(self, passed: float) -> float:
        """Return for how many seconds its heart has not beaten; *passed* since the last call."""
        beat = self.slot["beat"]
        self._silent = self._silent + passed if beat == self._beat else 0.0
        self._beat = beat
        return self._silent

    def signal(self, number: int) -> None:
        """Send the signal *number* to the worker, unless it has ended."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def reason(self) -> str:
        """Return why it has ended."""
        if self.status >= 0:
            return f"exit status {self.status}"
        return f"killed by {signal.Signals(-self.status).name}"


class Place:
    """Keeps one worker serving, with the listeners at the index *at*.

    Its greenlet, :meth:`run`, alone starts workers for it and decides what becomes of them. There
    are at most two at once: the worker, and either its successor, which is not ready yet, or its
    predecessor, which is leaving.
    """

    def __init__(self, supervisor: Any, at: int) -> None:
        self.at = at
        self.child: Child | None = None
        self.ready = Event()  # set once the first worker serves
        self._supervisor = supervisor
        self._leaving: Child | None = None
        self._wish: AsyncResult[bool] | None = None
        self._retry_at = 0.0
        self._retry = Event()
        self._wake = Event()

    def wake(self) -> None:
        """Look again at what the workers do."""
        self._wake.set()

    def retry(self) -> None:
        """Start a worker without delay if the last ones have failed."""
        self._retry.set()

    def replace(self) -> bool:
        """Replace the worker; return whether another one serves now, and the old one has ended."""
        if self._wish is None:
            self._wish = AsyncResult()
            self.wake()
        wish = self._wish
        self._await(wish)
        if self._leaving is not None:
            self._await(self._leaving.ended)
        return wish.ready() and wish.get()

    def _await(self, what: Event | AsyncResult[bool]) -> None:
        while not what.ready() and not self._supervisor.stopping:
            what.wait(0.2)

    def run(self) -> None:
        """Keep a worker serving until the supervisor stops."""
        delay = FIRST_DELAY
        while not self._supervisor.stopping:
            self._retry.clear()
            wish = self._wish
            child = self.child = self._start(replacing=False)
            served = child is not None and self._await_ready(child, None)
            if child is not None and served:
                delay = FIRST_DELAY
                self.ready.set()
                self._grant(wish, True)
                child = self._accompany()
            if self._supervisor.stopping:
                break
            if child is not None:
                self._supervisor.worker_failed(child)
            if not served:
                self._grant(wish, False)
            began = monotonic() if child is None else child.started
            self._retry.wait(max(0.0, began + delay - monotonic()))
            delay = min(2 * delay, LONGEST_DELAY)
        self._grant(self._wish, False)

    def _start(self, replacing: bool) -> Child | None:
        try:
            child: Child = self._supervisor.start_worker(self, replacing)
        except OSError as exc:
            self._supervisor.tell(f"cannot start a worker: {exc}")
            return None
        return child

    def _accompany(self) -> Child:
        """Stay with the worker, and its successors, until one ends unasked; return that one."""
        while True:
            child = self.child
            assert child is not None
            if child.ended.is_set() or self._supervisor.stopping:
                return child
            if self._leaving is not None and self._leaving.ended.is_set():
                self._leaving = None
            spent = child.slot["spent"] and monotonic() >= self._retry_at
            if self._leaving is None and (spent or self._wish is not None):
                if not child.slot["ready"]:
                    self._supervisor.tell(f"worker {child.pid} leaves; another is started")
                self._succeed(child)
                continue
            self._wake.wait()
            self._wake.clear()

    def _succeed(self, old: Child) -> None:
        """Start a successor; once it serves, tell *old* to leave."""
        wish = self._wish
        new = self._start(replacing=True)
        if new is None or not self._await_ready(new, READY_TIMEOUT):
            if self._supervisor.stopping:
                return  # it may serve by now: like all others, it is told to stop
            if new is not None:
                new.signal(signal.SIGKILL)
                new.ended.wait()
            self._retry_at = monotonic() + RETRY_DELAY
            spawn_later(RETRY_DELAY, self.wake)
            self._grant(wish, False)
            return
        self.child = new
        if not old.ended.is_set():
            self._leaving = old
            old.slot["succeeded"] = 1
            old.signal(signal.SIGTERM)
        spawn(self._see_off, old)
        self._grant(wish, True)

    def _grant(self, wish: AsyncResult[bool] | None, done: bool) -> None:
        """Say what became of *wish*.

        A wish made since the worker was started stays: it may be for a newer application.
        """
        if wish is not None and wish is self._wish:
            self._wish = None
            wish.set(done)

    def _await_ready(self, child: Child, seconds: float | None) -> bool:
        deadline = None if seconds is None else monotonic() + seconds
        while not child.slot["ready"]:
            late = deadline is not None and monotonic() > deadline
            if child.ended.wait(0.02) or late or self._supervisor.stopping:
                return False
        child.serves = not child.ended.is_set()
        return child.serves

    def _see_off(self, child: Child) -> None:
        """Kill a worker that does not leave in time, and say so if it does not end as it should."""
        if not child.ended.wait(self._supervisor.settings.graceful_timeout + LAST_WORDS):
            child.signal(signal.SIGKILL)
        child.ended.wait()
        if child.status:
            self._supervisor.tell(f"worker {child.pid} ended: {child.reason()}")
