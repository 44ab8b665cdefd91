"""One run of a function: on a virtual clock, by one schedule, with all that it must not leave."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context, ContextVar
from functools import wraps
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from treadle._core.chooser import FIFO, RANDOM, Chooser, preempt
from treadle._core.crew import all_workers, count_tasks
from treadle._core.descriptor import renew_budget
from treadle._core.local import stand_for_main
from treadle._core.trial import count_threads, newest_thread
from treadle.greenlet import Greenlet, GreenletExit, getcurrent, joinall
from treadle.hub import Hub, LoopExit, get_hub
from treadle.testing import _clock
from treadle.testing._clock import StrictClockError, VirtualClock, real_time, wait_all_blocked
from treadle.testing._leaks import LeakError, Present, Started, places, prepare, raise_leaks
from treadle.testing._openings import forget_openings, recording
from treadle.testing._threads import in_main_greenlet, registered, threads_of_run

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
        super().__init__(steps)

    def __str__(self) -> str:
        return f"no end after {self.args[0]} steps"


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
    #: Whether the program has the identity and the context of the main greenlet: what it sets in
    #: thread-local and context variables stays. Else it has a copy of the latter.
    shared: bool = False


class Outcome(NamedTuple, Generic[T]):
    """What a run came to."""

    value: T | None
    exception: BaseException | None
    chooser: Chooser


#: What a program may raise: a class, or one exception.
Allowed = BaseException | type[BaseException] | tuple[()]


class One(Protocol):
    """Makes one run. Looks at what is left even if the function raises what it may."""

    def __call__(
        self, fn: Callable[[], T], chooser: Chooser, allowed: Allowed = ()
    ) -> Outcome[T]: ...


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


def check_number(name: str, value: object, least: int) -> None:
    """Raise ValueError unless the argument *name* is a whole number, and not below *least*."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number from {least}, not {value!r}")


def check_seed(seed: object) -> None:
    """Raise ValueError unless *seed* is a whole number, or None."""
    if seed is not None and not isinstance(seed, int):
        raise ValueError(f"seed must be a whole number, or None, not {seed!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless the argument *name* is one of *choices*."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")


@contextmanager
def worlds(world: World, name: str = "?") -> Iterator[One]:
    """Set up what all runs of *name* share; yields the function that makes one run.

    Raises RuntimeError unless the caller is its thread's main greenlet, and no run is on.
    """
    hub = get_hub()
    if getcurrent() is not hub.main:
        raise RuntimeError("a run must be started by the main greenlet of its thread")
    if hub.probe is not None:
        raise RuntimeError("a run is on in this thread already")
    newest, workers = newest_thread(), set(all_workers())
    threads = threads_of_run()
    # Their tasks are this run.
    held = sum(worker.ident in threads for worker in workers)

    def awaits_others() -> bool:
        more = count_threads(newest)
        if more == 0 and not workers:
            return False
        return count_tasks() > held or more > sum(each not in workers for each in all_workers())

    restart: Callable[[Chooser], object] = lambda chooser: None  # noqa: E731
    with registered(name), ExitStack() as stack:
        if world.leaks:
            prepare()
            stack.enter_context(recording())
        if world.clock == "virtual":
            virtual = VirtualClock(awaits_others, world.strict)
            restart = virtual.restart
            stack.enter_context(_clock.installed(virtual))
        reseed = stack.enter_context(_seeded(world.seed))
        stack.enter_context(_without_collections())
        stack.callback(preempt, preempt(world.preempt))

        def one(fn: Callable[[], T], chooser: Chooser, allowed: Allowed = ()) -> Outcome[T]:
            __tracebackhide__ = True
            reseed()
            renew_budget()
            restart(chooser)
            chooser.awaits = awaits_others
            try:
                return _run_once(hub, fn, chooser, world, allowed)
            finally:
                chooser.forget()

        yield one


def _run_once(
    hub: Hub, fn: Callable[[], T], chooser: Chooser, world: World, allowed: Allowed
) -> Outcome[T]:
    __tracebackhide__ = True
    forget_openings()
    before = Present.now() if world.leaks else None
    known = Started.now()
    killed: list[BaseException] = []

    @wraps(fn)
    def program() -> T:
        try:
            value = fn()
            if isinstance(value, Coroutine) or isgeneratorfunction(fn) or isasyncgenfunction(fn):
                if isinstance(value, Coroutine):
                    value.close()
                raise TypeError(
                    f"{name_of(fn)} has not run: it returned {value!r}. "
                    "Give a function that runs that to its end, as asyncio.run() does"
                )
            return value
        except GreenletExit as exc:  # a greenlet's get() would return it
            killed.append(exc)
            raise

    failures = Failures(hub)
    hub.__dict__.setdefault("handle_error", failures)  # a program may take them itself
    chooser.limit = StepLimitError
    greenlet = Greenlet(program)
    if world.shared:
        stand_for_main(greenlet)
        greenlet.gr_context = _own_context()
    exception: BaseException | None = None
    expected: BaseException | None = None
    hub.probe = chooser
    try:
        if chooser.watched is not None:
            chooser.watched = greenlet
        greenlet.start()
        greenlet.join()
        wait_all_blocked()
        exception = greenlet.exception
        if exception is None and killed:
            exception = killed[0]
        if exception is not None and is_allowed(exception, allowed):
            exception, expected = None, exception
        if exception is None:
            exception = _one_of(failures.unobserved(greenlet))
        hub.probe = None
        if exception is None and before is not None:
            raise_leaks(before)
    except (LoopExit, StepLimitError, HangError, StrictClockError) as exc:
        exception = exc
        for place in places(known.greenlets):
            exc.add_note(place)
    except LeakError as exc:
        exception = exc
    finally:  # also after what ends the program
        hub.probe = None
        try:
            _end(hub, known)
        finally:
            if hub.__dict__.get("handle_error") is failures:
                del hub.__dict__["handle_error"]
    if exception is None:
        exception = expected
    return Outcome(greenlet.value if exception is None else None, exception, chooser)


def _own_context() -> Context | None:
    """The context of the current greenlet itself."""
    _any.set(None)  # a thread has none until a variable is set
    return getcurrent().gr_context


_any: ContextVar[None] = ContextVar("any")


def is_allowed(exception: BaseException, allowed: Allowed) -> bool:
    """Whether a program may raise the exception."""
    if isinstance(allowed, BaseException):
        return exception is allowed
    return isinstance(exception, allowed)


def name_of(fn: Callable[..., object]) -> str:
    """What a program is called in messages."""
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _one_of(exceptions: list[BaseException]) -> BaseException | None:
    if len(exceptions) > 1:
        return BaseExceptionGroup("greenlets failed, and no code took their exceptions", exceptions)
    return exceptions[0] if exceptions else None


def _end(hub: Hub, known: Started) -> None:
    """End what a run left, so that the next finds nothing of it.

    It waits for GRACE virtual seconds, or PATIENCE real ones: some greenlets refuse to end.
    """
    greenlets = known.end_later()
    if not greenlets:
        return
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
        limited.forget()
        known.end_later()  # what they set while they ended


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
    check_number("limit", limit, 1)
    check_seed(seed)
    world = World(clock, strict, seed or 0, leaks, False, limit, shared=True)
    chooser = Chooser(RANDOM if order == "random" else FIFO, seed=seed or 0, most=limit)

    def once() -> T:
        __tracebackhide__ = True
        with worlds(world, name_of(fn)) as one:
            outcome = one(fn, chooser)
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.value  # type: ignore[return-value]

    __tracebackhide__ = True
    return in_main_greenlet(once)
