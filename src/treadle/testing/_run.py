"""One run of a function: on a virtual clock, by one schedule, with all that it must not leave."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from treadle._core.chooser import FIFO, RANDOM, Chooser, count_threads, preempt
from treadle._core.crew import all_workers, any_task_runs
from treadle._core.native import allocate_lock, start_new_thread
from treadle.greenlet import Greenlet, GreenletExit, getcurrent, joinall, killall
from treadle.hub import Hub, LoopExit, get_hub
from treadle.testing import _clock
from treadle.testing._clock import StrictClockError, VirtualClock, real_time, wait_all_blocked
from treadle.testing._leaks import LeakError, Present, places, raise_leaks, spawning_stacks

T = TypeVar("T")

#: Steps after which a run is taken for one that never ends.
MOST_STEPS = 1_000_000
#: Virtual seconds that greenlets get to end after a run is over.
GRACE = 3600
#: Real seconds of the same, for those who wait for something real, or run on.
PATIENCE = 1.0
#: Steps of the same.
END_STEPS = 100_000


class StepLimitError(Exception):
    """A run took more steps than its limit: some greenlets may never stop to run in turns."""

    __module__ = __package__

    def __init__(self, steps: int) -> None:
        super().__init__(f"no end after {steps} steps")


class HangError(AssertionError):
    """A test did not end in time; the text names what each greenlet waits for."""

    __module__ = __package__


class NondeterminismError(Exception):
    """The same schedule made a program do different things; the text names the first difference.

    Likely sources are the order of sets, addresses, real time, threads, and state that an earlier
    run left behind.
    """

    __module__ = __package__


class World(NamedTuple):
    """What holds for all runs of one call."""

    clock: Literal["virtual", "real"] = "virtual"
    strict: bool = False
    seed: int = 0
    leaks: bool = True
    preempt: bool = False
    limit: int = MOST_STEPS


class Outcome(NamedTuple, Generic[T]):
    """What a run came to."""

    value: T | None
    exception: BaseException | None
    chooser: Chooser


class Failures:
    """Stands for a hub's ``handle_error`` during a run: keeps what greenlets failed with."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._own = hub.handle_error
        self._found: list[tuple[Any, BaseException]] = []

    def __call__(self, context: object, type: Any, value: Any, tb: Any) -> None:
        if isinstance(value, GreenletExit):
            return
        if isinstance(value, self._hub.SYSTEM_ERROR):
            self._own(context, type, value, tb)
        else:
            self._found.append((context, value))

    def unobserved(self, but: object) -> list[BaseException]:
        """The exceptions that no code took, except those of the greenlet *but*."""
        return [
            value
            for context, value in self._found
            if context is not but and not getattr(context, "observed", False)
        ]


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless the argument *name* is one of *choices*."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")


@contextmanager
def worlds(world: World) -> Iterator[Callable[[Callable[[], T], Chooser], Outcome[T]]]:
    """Set up what all runs share; yields the function that makes one run.

    Raises RuntimeError unless the caller is its thread's main greenlet, and no run is on.
    """
    hub = get_hub()
    if getcurrent() is not hub.main:
        raise RuntimeError("a run must be started by the main greenlet of its thread")
    if hub.probe is not None:
        raise RuntimeError("a run is on in this thread already")
    threads = count_threads() - len(all_workers())

    def awaits_others() -> bool:
        return any_task_runs() or count_threads() > threads + len(all_workers())

    restart: Callable[[], object] = lambda: None  # noqa: E731
    with ExitStack() as stack:
        if world.leaks:
            stack.enter_context(spawning_stacks())
        if world.clock == "virtual":
            virtual = VirtualClock(awaits_others, world.strict)
            restart = virtual.restart
            stack.enter_context(_clock.installed(virtual))
        reseed = stack.enter_context(_seeded(world.seed))
        stack.enter_context(_without_collections())
        stack.callback(preempt, preempt(world.preempt))

        def one(fn: Callable[[], T], chooser: Chooser) -> Outcome[T]:
            __tracebackhide__ = True
            reseed()
            restart()
            chooser.awaits = awaits_others
            return _run_once(hub, fn, chooser, world)

        yield one


def _run_once(hub: Hub, fn: Callable[[], T], chooser: Chooser, world: World) -> Outcome[T]:
    __tracebackhide__ = True
    before = Present.now() if world.leaks else None
    known = set(hub.fibers())
    failures = Failures(hub)
    hub.__dict__.setdefault("handle_error", failures)  # a program may take them itself
    chooser.limit = StepLimitError
    greenlet = Greenlet(fn)
    exception: BaseException | None = None
    hub.probe = chooser
    try:
        if chooser.watched is not None:
            chooser.watched = greenlet
        greenlet.start()
        greenlet.join()
        wait_all_blocked()
        exception = greenlet.exception
        if exception is None:
            exception = _one_of(failures.unobserved(greenlet))
        hub.probe = None
        if exception is None and before is not None:
            raise_leaks(before)
    except (LoopExit, StepLimitError, HangError, StrictClockError) as exc:
        exception = exc
        for place in places(known):
            exc.add_note(place)
    except LeakError as exc:
        exception = exc
    finally:  # also after what ends the program
        hub.probe = None
        try:
            _end(hub, [each for each in hub.fibers() if each not in known])
        finally:
            if hub.__dict__.get("handle_error") is failures:
                del hub.__dict__["handle_error"]
    return Outcome(greenlet.value if exception is None else None, exception, chooser)


def _one_of(exceptions: list[BaseException]) -> BaseException | None:
    if len(exceptions) > 1:
        return BaseExceptionGroup("greenlets failed, and no code took their exceptions", exceptions)
    return exceptions[0] if exceptions else None


def _end(hub: Hub, greenlets: list[Any]) -> None:
    """Kill what a run left, so that the next finds nothing of it.

    It waits for GRACE virtual seconds, or PATIENCE real ones: some greenlets refuse to end.
    """
    if not greenlets:
        return
    killall(greenlets, block=False)
    waited = [each for each in greenlets if hasattr(each, "rawlink")]
    limited = Chooser(most=END_STEPS)
    limited.limit = StepLimitError
    end = real_time() + PATIENCE
    hub.probe = limited
    try:
        for _ in range(GRACE):
            if all(each.dead for each in waited) or real_time() > end:
                break
            joinall(waited, timeout=1)
    except (LoopExit, StepLimitError):
        pass
    finally:
        hub.probe = None


@contextmanager
def _seeded(seed: int) -> Iterator[Callable[[], None]]:
    """Make :mod:`random`, :func:`os.urandom` and what stands on them begin at *seed*.

    Yields a function that makes them begin anew.
    """
    state = random.getstate()
    native: Any = os.urandom
    source = random.Random(seed)
    internals: Any = random
    own = internals._urandom
    os.urandom = internals._urandom = source.randbytes

    def reseed() -> None:
        random.seed(seed)
        source.seed(seed)

    try:
        yield reseed
    finally:
        os.urandom = native
        internals._urandom = own
        random.setstate(state)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Keep the garbage collector, and so finalizers, from running at moments of its own choice."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        (gc.enable if enabled else gc.disable)()


def in_main_greenlet(call: Callable[[], T]) -> T:
    """Do it here if the caller is a main greenlet, else in a native thread of its own."""
    __tracebackhide__ = True
    hub = get_hub()
    if getcurrent() is hub.main and hub.probe is None:
        return call()
    values: list[T] = []
    errors: list[BaseException] = []
    done = allocate_lock()
    done.acquire()

    def main() -> None:
        try:
            values.append(call())
        except BaseException as exc:
            errors.append(exc)
        finally:
            done.release()

    start_new_thread(main, ())
    done.acquire()  # natively: the caller's hub stands still, and so does its clock
    if errors:
        raise errors[0]
    return values[0]


def run(
    fn: Callable[[], T],
    *,
    seed: int | None = None,
    clock: Literal["virtual", "real"] = "virtual",
    order: Literal["fifo", "random"] = "fifo",
    leaks: bool = True,
    strict: bool = False,
    limit: int = MOST_STEPS,
) -> T:
    """Call *fn* in a greenlet, by one schedule, and return its value.

    With *clock* "virtual" time stands still while anything can run, and jumps when all wait: a
    ``sleep(3600)`` takes no time. It runs with the system's clock while a greenlet waits for a
    descriptor, a child or a thread; with *strict* that raises :class:`StrictClockError`. *order*
    "random" runs ready greenlets in an order that *seed* decides; *seed* also seeds :mod:`random`,
    :func:`os.urandom`, :mod:`uuid` and :mod:`secrets` (None: 0).

    Raises what *fn* raises; LoopExit if all greenlets wait and nothing can wake them; the
    exception of a greenlet that failed if no code took it; :class:`LeakError` if *leaks* is true
    and something is left; :class:`StepLimitError` after *limit* steps.
    """
    check_choice("clock", clock, ("virtual", "real"))
    check_choice("order", order, ("fifo", "random"))
    world = World(clock, strict, seed or 0, leaks, False, limit)
    chooser = Chooser(RANDOM if order == "random" else FIFO, seed=seed or 0, most=limit)

    def once() -> T:
        __tracebackhide__ = True
        with worlds(world) as one:
            outcome = one(fn, chooser)
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.value  # type: ignore[return-value]

    __tracebackhide__ = True
    return in_main_greenlet(once)
