"""The virtual clock of a run, and what a test does with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from treadle._core.chooser import Chooser
from treadle._core.clock import replace
from treadle.hub import get_hub, sleep
from treadle.observe.deadlock import describe_deadlock

#: The functions that a run replaces, and how each tells the time: nanoseconds of the virtual clock
#: and of the wall clock at the run's start.
_FUNCTIONS: dict[str, Callable[[int, int], float]] = {
    "time": lambda now, epoch: (now + epoch) / 1e9,
    "time_ns": lambda now, epoch: now + epoch,
    "monotonic": lambda now, epoch: now / 1e9,
    "monotonic_ns": lambda now, epoch: now,
    "perf_counter": lambda now, epoch: now / 1e9,
    "perf_counter_ns": lambda now, epoch: now,
}
_NATIVE = {name: getattr(time, name) for name in _FUNCTIONS}
#: Nanoseconds by which a jump ends late, for those who ask the time. A real sleep ends late too,
#: and programs rely on it: a difference of rounded times may be less than what was slept.
LATE = 1000
#: Whose references to these functions stay: they time the tests themselves.
_REAL_TIME = ("_pytest", "hypothesis", "pluggy", "pytest", "pytest_timeout")

#: Reads of the time without an advance after which a program may spin. It is more than a burst of
#: log records or of short calls that are timed, and less than a loop does in a tenth of a second.
SPINS = 100_000
#: How far each further read advances it, in nanoseconds.
SPIN_STEP = 1_000_000
#: For how many nanoseconds a thread may wait natively, between two reads of the time and without a
#: switch, before the virtual clock counts that.
STALL = 1_000_000_000
#: The last moment from which the longest wait still ends within 63 bits of nanoseconds.
LAST = 1 << 62


class StrictClockError(RuntimeError):
    """A greenlet waits for a descriptor, a child or a thread, and the clock is strict."""

    __module__ = __package__


#: The system's clock, in seconds, also during a run.
real_time: Callable[[], float] = time.perf_counter


class VirtualClock:
    """Advances only when nothing can run: it jumps to the next deadline.

    From when a greenlet waits for a real descriptor, a child or a thread until all wait for time
    again, it runs with the system's clock instead; with *strict* that is an error. A program that
    reads the time SPINS times before the clock advances may spin until a moment comes: then each
    read advances it by SPIN_STEP. Code that is not patched may wait natively, by a limit that it
    takes from the time, and wait again until the time has come; so the clock counts what a thread
    has waited, if that is more than STALL.
    """

    def __init__(self, awaits_others: Callable[[], bool], strict: bool) -> None:
        self._awaits_others = awaits_others
        self._strict = strict
        self._now: int = _NATIVE["monotonic_ns"]()
        self.epoch: int = _NATIVE["time_ns"]() - self._now
        self._late = 0
        #: Up to when the system's clock was followed; None: time stands still.
        self._real_since: int | None = None
        self._reads = 0
        self._chooser: Chooser | None = None
        self._steps = -1
        #: When the greenlet that reads the time came to run: real time, and what the thread used.
        self._began = self._used = 0
        self.start: int = self._now

    def now(self) -> int:
        if self._real_since is not None:
            real = _NATIVE["monotonic_ns"]()
            self._now += real - self._real_since
            self._real_since = real
        return self._now

    def restart(self, chooser: Chooser) -> None:
        """Go back to the time of the first run, so that all runs see the same times."""
        self._chooser, self._steps = chooser, -1
        self._now, self._late, self._real_since, self._reads = self.start, 0, None, 0

    def told(self) -> int:
        """The time for the functions of :mod:`time`."""
        self._reads += 1
        if self._reads > SPINS:
            self._now += SPIN_STEP
        if self._real_since is None:
            self._count_stall()
        return self.now() + self._late

    def _count_stall(self) -> None:
        real = _NATIVE["monotonic_ns"]()
        steps = 0 if self._chooser is None else self._chooser.steps
        if steps == self._steps:
            if real - self._began <= STALL:
                return
            waited = real - self._began - (time.thread_time_ns() - self._used)
            if waited > STALL:
                self._now += waited
        self._steps, self._began, self._used = steps, real, time.thread_time_ns()

    def idle(self, deadline: int | None) -> bool:
        self._reads = 0
        hub = get_hub()
        self.now()
        self._real_since = None
        if hub.refs > 0 or self._awaits_others():
            if self._strict:
                hub.interrupt_main(
                    StrictClockError(
                        "a strict virtual clock waits for something outside of the program\n"
                        + describe_deadlock(hub).partition("\n")[2]
                    )
                )
                return True
            self._real_since = _NATIVE["monotonic_ns"]()
            return False
        if deadline is None:
            if self._now > LAST:  # the deadline was out of range
                raise OverflowError("the virtual clock has come to an end: it has only 140 years")
            return False
        self._advance(max(self._now, deadline))
        return True

    def jump(self, seconds: float) -> None:
        if not seconds >= 0:
            raise ValueError(f"time does not go back: jump({seconds!r})")
        if seconds > (LAST - self.now()) / 1e9:
            raise ValueError(f"a clock has no time as late as that: jump({seconds!r})")
        self._advance(self.now() + int(seconds * 1e9))

    def _advance(self, to: int) -> None:
        self._now = to
        self._late += LATE


#: The clock of the run that is on.
_current: VirtualClock | None = None


def _function(name: str, tell: Callable[[int, int], float]) -> Callable[[], float]:
    def function() -> float:
        virtual = _current
        return _NATIVE[name]() if virtual is None else tell(virtual.told(), virtual.epoch)

    function.__name__ = function.__qualname__ = name
    return function


_VIRTUAL = {name: _function(name, tell) for name, tell in _FUNCTIONS.items()}


@contextmanager
def installed(virtual: VirtualClock) -> Iterator[None]:
    """Make every loop, and the functions of :mod:`time`, tell the time of *virtual*."""
    global _current
    previous, before = _current, replace(virtual)
    try:
        _current = virtual
        _exchange(_NATIVE, _VIRTUAL)
        yield
    finally:
        _current = previous
        replace(before)
        if previous is None:
            _exchange(_VIRTUAL, _NATIVE)  # also in modules that the run imported


def _exchange(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Replace functions of one table, by those of the other, in all modules."""
    # By identity: to hash or compare the values of foreign modules may run anything.
    replacements = {id(function): new[name] for name, function in old.items()}
    for module in list(sys.modules.values()):
        namespace = getattr(module, "__dict__", None)
        if type(namespace) is not dict:
            continue
        title = namespace.get("__name__")
        if type(title) is not str or title.partition(".")[0] in (*_REAL_TIME, "treadle"):
            continue
        if replacements.keys().isdisjoint(map(id, list(namespace.values()))):
            continue  # nearly always
        for key, value in list(namespace.items()):
            if id(value) in replacements:
                namespace[key] = replacements[id(value)]


class Clock:
    """The time of the run that is on, as :data:`treadle.testing.clock`."""

    def _running(self) -> VirtualClock:
        if _current is None:
            raise RuntimeError("there is no virtual clock here: use treadle.testing.run()")
        return _current

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the run began. Raises RuntimeError outside of a run."""
        virtual = self._running()
        return (virtual.now() - virtual.start) / 1e9

    def jump(self, seconds: float) -> None:
        """Advance the clock by *seconds* once all others wait, and let run what is due then.

        Raises ValueError if *seconds* is negative, or above some 140 years; RuntimeError outside of
        a run.
        """
        running = self._running()
        wait_all_blocked()
        running.jump(seconds)
        sleep(0)
        wait_all_blocked()


clock = Clock()


def wait_all_blocked() -> None:
    """Let all other greenlets of this thread run until each of them waits or has ended.

    The virtual clock does not advance meanwhile.
    """
    hub = get_hub()
    while hub.pending():
        sleep(0)
