"""The places of the workers: each keeps one worker serving, whatever becomes of it."""

from __future__ import annotations

import math
import os
import signal
from contextlib import suppress
from time import monotonic
from typing import Any

from treadle.event import AsyncResult, Event
from treadle.greenlet import spawn
from treadle.serve.stats import Slot

__all__ = ["CANNOT_LOAD", "LAST_WORDS", "MOST_LEAVING", "Child", "Place"]

#: The time, in seconds, from the start of a worker that fails or leaves to the start of the next
#: one: at first, and at most. A worker that always fails must not keep the machine busy.
FIRST_DELAY, LONGEST_DELAY = 1.0, 5.0
#: How long a worker that replaces another may take to become ready, in seconds.
READY_TIMEOUT = 60.0
#: How long a worker takes to load if none has loaded yet, in seconds: a reload ends one that takes
#: more than twice as long as the one before, and more than a second. Its import may hang.
USUAL_LOADING = 5.0
#: How long a worker that has served max_requests serves on if its successor fails, in seconds.
RETRY_DELAY = 10.0
#: How much longer than graceful_timeout a worker that leaves may take, in seconds: until all
#: clients are told, and its last lines are in the logs.
LAST_WORDS = 2.0
#: How many workers of a place may be leaving at once. A worker that was told to stop by somebody
#: else leaves though the one before it has not ended.
MOST_LEAVING = 4
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
        self._beat = self._silent = 0.0
        self.killed: bool = False

    @property
    def serves(self) -> bool:
        """Whether it has become ready; its heart beats from then on to its end."""
        return not self.ended.is_set() and self.slot["loaded"] == 1

    def kill(self) -> bool:
        """Kill the worker; return whether this is the first attempt."""
        first, self.killed = not self.killed, True
        self.signal(signal.SIGKILL)
        return first

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
    are the worker, perhaps its successor, which is not ready yet, and its predecessors that are
    leaving. It is replaced only when these have ended, unless it leaves by itself.
    """

    def __init__(self, supervisor: Any, at: int) -> None:
        self.at = at
        self.child: Child | None = None
        self.ready = Event()  # set once the first worker serves
        self._supervisor = supervisor
        self._leaving: list[Child] = []
        self._wish: AsyncResult[bool] | None = None
        self._delay = FIRST_DELAY
        self._usual = USUAL_LOADING
        self._retry_at = 0.0
        self._retry = Event()
        self._wake = Event()

    def wake(self) -> None:
        """Look again at what the workers do."""
        self._wake.set()

    def retry(self) -> None:
        """Start a worker without delay if the last ones have failed, or one hangs as it loads."""
        self._retry_at = 0.0
        self._retry.set()
        self.wake()

    def replace(self) -> bool:
        """Replace the worker; return whether another one serves now, and the old one has ended."""
        if self._wish is None:
            self._wish = AsyncResult()
            self.wake()
        wish = self._wish
        self._await(wish)
        for child in self._leaving[:]:
            self._await(child.ended)
        return wish.ready() and wish.get()

    def _await(self, what: Event | AsyncResult[bool]) -> None:
        while not what.ready() and not self._supervisor.stopping:
            what.wait(0.2)

    def run(self) -> None:
        """Keep a worker serving until the supervisor stops."""
        while not self._supervisor.stopping:
            wish = self._wish
            child = self.child = self._start()
            served = child is not None and self._await_ready(child, math.inf)
            if child is not None and served:
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
            self._retry.wait(max(0.0, began + self._next_delay() - monotonic()))
        self._grant(self._wish, False)

    def _next_delay(self) -> float:
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_DELAY)
        return delay

    def _start(self) -> Child | None:
        self._retry.clear()
        try:
            child: Child = self._supervisor.start_worker(self)
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
            self._leaving = [each for each in self._leaving if not each.ended.is_set()]
            pause = self._pause(child)
            if pause == 0.0:
                self._succeed(child)
                continue
            self._wake.wait(pause)
            self._wake.clear()

    def _pause(self, child: Child) -> float | None:
        """Return after how many seconds to start a successor; None while there is no reason."""
        leaves = not child.slot["ready"]
        if len(self._leaving) >= (MOST_LEAVING if leaves else 1):
            return None
        if self._wish is not None:
            return 0.0
        if leaves or child.slot["spent"]:
            return max(0.0, max(self._retry_at, child.started + FIRST_DELAY) - monotonic())
        return None

    def _succeed(self, old: Child) -> None:
        """Start a successor; once it serves, tell *old* to leave."""
        if not old.slot["ready"]:
            self._supervisor.tell(f"worker {old.pid} leaves; another is started")
        wish = self._wish
        new = self._start()
        if new is None or not self._await_ready(new, READY_TIMEOUT):
            if self._supervisor.stopping:
                return  # it may serve by now: like all others, it is told to stop
            if new is not None and not new.killed and new.status != CANNOT_LOAD:  # it is said
                self._supervisor.tell(f"the new worker {new.pid} ended: {new.reason()}")
            leaves = not old.ended.is_set() and not old.slot["ready"]
            self._retry_at = monotonic() + (self._next_delay() if leaves else RETRY_DELAY)
            self._grant(wish, False)
            return
        self.child = new
        if not old.ended.is_set():
            self._leaving.append(old)
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

    def _await_ready(self, child: Child, seconds: float) -> bool:
        """Return whether *child* becomes ready in time; kill it if not, unless all stop."""
        while not child.serves:
            if child.ended.wait(0.02) or self._supervisor.stopping:
                return False
            passed = monotonic() - child.started
            hangs = self._retry.is_set() and passed > max(1.0, 2 * self._usual)
            if hangs or passed > seconds:
                told = f"worker {child.pid} loads since {passed:.0f} s: it is killed"
                self._supervisor.tell(told)
                child.kill()
                child.ended.wait()
                return False
        self._delay, self._usual = FIRST_DELAY, monotonic() - child.started
        return True

    def _see_off(self, child: Child) -> None:
        """Kill a worker that does not leave in time, and say so if it does not end as it should."""
        if not child.ended.wait(self._supervisor.settings.graceful_timeout + LAST_WORDS):
            child.kill()
        child.ended.wait()
        if child.status:
            self._supervisor.tell(f"worker {child.pid} ended: {child.reason()}")
