"""The virtual clock of a run, and what a test does with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from treadle._core.chooser import Chooser
from treadle._core.clock import replace
from treadle._core.native import get_ident
from treadle._core.thread_hub import shift_timers
from treadle._core.trial import holders, thread_usage
from treadle.hub import Hub, get_hub, sleep
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
#: For how many nanoseconds a thread may wait natively, between reads of the time and without a
#: switch, before the virtual clock counts that.
STALL = 1_000_000_000
#: From how many nanoseconds on a wait is counted as soon as it is made again.
WAIT = 10_000_000
#: By how many two equal waits may differ, or by a tenth of them.
UNEQUAL = 1_000_000
#: The last moment to which a jump may go.
LAST = 1 << 62
#: The last time that there is, in nanoseconds: the deadline of each wait that would end later.
END = (1 << 63) - 1


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
    takes from the time, and wait again until the time has come. So the clock counts what the run's
    thread has waited, if that is more than STALL, or if it waits again at the same place for as
    long. Disks make a thread wait too, but not twice for the same time.

    Greenlets that waited for a descriptor before the run, and still do, wait for the next request,
    not for something of this run.
    """

    def __init__(self, awaits_others: Callable[[], bool], strict: bool) -> None:
        #: Whether this is the clock of a run that was begun in another.
        self._inner = _current is not None
        self._awaits_others = awaits_others
        self._strict = strict
        self._now: int = _NATIVE["monotonic_ns"]()
        self.epoch: int = _NATIVE["time_ns"]() - self._now
        self._late = 0
        #: Up to when the system's clock was followed; None: time stands still.
        self._real_since: int | None = None
        self._reads = 0
        self._chooser: Chooser | None = None
        self._thread = get_ident()
        self._steps = -1
        #: At the last read of the time: real time, and what the thread had used and waited.
        self._real = self._used = self._waits = 0
        #: What the thread has waited natively since the last step, and the last such wait.
        self._waited = 0
        self._last_wait: tuple[object, int] | None = None
        #: The waits for descriptors of before the run: greenlets, reasons and descriptors.
        self._before: list[tuple[Any, str, Any]] = []
        #: What else kept the hub's loop alive.
        self._more_before = 0
        self.start: int = self._now

    def now(self) -> int:
        if self._real_since is not None:
            real = _NATIVE["monotonic_ns"]()
            self._now += real - self._real_since
            self._real_since = real
        return self._now

    def restart(self, chooser: Chooser) -> None:
        """Go back to the time of the first run, so that all runs see the same times."""
        hub = get_hub()
        self.shift_timers_to(self.start)
        self._chooser, self._steps = chooser, -1
        self._now, self._late, self._real_since, self._reads = self.start, 0, None, 0
        self._before = [(w.greenlet, w.reason, w.on) for w in hub.waits() if w.in_refs]
        self._more_before = hub.refs - len(self._before)

    def shift_timers_to(self, now: int) -> None:
        """Let what is left of each timer's time be left if it is *now* from here on.

        During a run in a run that does not matter: the greenlets of the outer one stand still.
        """
        if not self._inner:
            shift_timers(now - self.now())

    def told(self) -> int:
        """The time for the functions of :mod:`time`."""
        self._reads += 1
        if self._reads > SPINS:
            self._now += SPIN_STEP
        if self._real_since is None and get_ident() == self._thread:
            self._count_native_waits()
        return self.now() + self._late

    def _count_native_waits(self) -> None:
        real = _NATIVE["monotonic_ns"]()
        used, waits = thread_usage()
        waited = real - self._real - max(used - self._used, 0)
        times = waits - self._waits
        self._real, self._used, self._waits = real, used, waits
        steps = 0 if self._chooser is None else self._chooser.steps
        if steps != self._steps:
            self._steps, self._waited, self._last_wait = steps, 0, None
            return
        self._waited += waited
        counted = self._waited > STALL
        if times > 0 and waited > WAIT * times:
            frame = sys._getframe(3)  # whose code reads the time
            place = frame.f_code, frame.f_lasti, times
            if self._last_wait is not None:
                before, length = self._last_wait
                counted |= place == before and abs(waited - length) < max(UNEQUAL, waited // 10)
            self._last_wait = place, waited
        elif waited > WAIT:
            self._last_wait = None
        if counted:
            self._now += self._waited
            self._waited, self._last_wait = 0, None

    def idle(self, deadline: int | None) -> bool:
        self._reads = 0
        hub = get_hub()
        self.now()
        self._real_since = None
        if self._waits_for_descriptors(hub) or self._awaits_others():
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
            return False
        if deadline == END:
            raise OverflowError("the virtual clock has come to an end: it has only 290 years")
        self._advance(max(self._now, deadline))
        return True

    def _waits_for_descriptors(self, hub: Hub) -> bool:
        if hub.refs == 0:
            return False
        now = {(id(w.greenlet), w.reason, id(w.on)) for w in hub.waits() if w.in_refs}
        still = sum((id(who), reason, id(on)) in now for who, reason, on in self._before)
        return hub.refs > still + self._more_before

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
        virtual.shift_timers_to(_NATIVE["monotonic_ns"]())
        replace(before)
        if previous is None:
            _exchange(_VIRTUAL, _NATIVE)  # also in modules that the run imported


#: The module time, for modules that keep to real time. It has the native functions.
_real_module = ModuleType("time", time.__doc__)


def _exchange(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Replace functions of one table, by those of the other, in all modules."""
    replacements = {id(function): new[name] for name, function in old.items()}
    modules = list(sys.modules.values())
    if new is _VIRTUAL:
        vars(_real_module).update(vars(time))
        module, other = time, _real_module
    else:
        module, other = _real_module, time
    for namespace, name, value in holders(modules, [*old.values(), module]):
        title = namespace.get("__name__")
        keeps_real = type(title) is str and title.partition(".")[0] in _REAL_TIME
        if value is module:
            if keeps_real:
                namespace[name] = other
        elif not keeps_real and not (type(title) is str and title.partition(".")[0] == "treadle"):
            namespace[name] = replacements[id(value)]


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
