"""The pytest plugin: each test runs in a greenlet, in a run of :mod:`treadle.testing`.

``pytest --treadle`` patches the standard library and does so for all tests; the marker
``@pytest.mark.treadle(...)`` does so for one. A test fails if no code takes the exception of a
greenlet, if it leaves greenlets, timers, descriptors or threads, and if it does not end in time.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the native functions
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Literal, NamedTuple

import pytest
from _pytest.unittest import TestCaseFunction

from treadle import monkey
from treadle._core.native import allocate_lock, start_new_thread
from treadle._core.trial import raise_in_thread
from treadle.hub import get_hub
from treadle.observe.deadlock import describe_deadlock
from treadle.testing._explore import (
    PREEMPTIONS,
    STRATEGIES,
    ScheduleFailure,
    explore,
    replay,
)
from treadle.testing._run import HangError, check_choice, run
from treadle.testing._threads import POLITE, in_main_greenlet
from treadle.testing._token import Token

#: Real seconds after which a test is taken for one that hangs.
TIMEOUT = 300.0
#: The longest wait for a native lock.
LONGEST = 1e6


class Options(NamedTuple):
    """The arguments of the marker."""

    clock: Literal["virtual", "real"] = "virtual"
    timeout: float | None = TIMEOUT
    leaks: bool = True
    strict: bool = False
    seed: int | None = None
    schedules: int | None = None
    strategy: Literal["random", "pct", "dfs"] = "random"
    bound: int | None = 3
    preempt: Literal["parks", "ops"] = "parks"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("treadle", "concurrent programs (treadle.testing)")
    group.addoption(
        "--treadle",
        action="store_true",
        help="patch the standard library, and run each test in a greenlet",
    )
    group.addoption(
        "--treadle-clock",
        choices=["virtual", "real"],
        default="virtual",
        help="the clock of tests whose marker names none (default: virtual)",
    )
    group.addoption(
        "--treadle-timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"real seconds after which a test hangs, unless its marker says (default: {TIMEOUT})",
    )
    group.addoption(
        "--treadle-replay",
        metavar="TOKEN",
        help="run tests that explore schedules under this one alone",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Patch before the tests are imported."""
    if early_config.known_args_namespace.treadle:
        monkey.patch_all()
        pytest_timeout = sys.modules.get("pytest_timeout")
        if pytest_timeout is not None:
            names = {**vars(threading), "Timer": NativeTimer}
            pytest_timeout.threading = SimpleNamespace(**names)  # type: ignore[attr-defined]


class NativeTimer:
    """What pytest-timeout needs of :class:`threading.Timer`, in a native thread.

    A patched timer would follow the virtual clock, and would not fire while a test keeps the
    thread busy.
    """

    def __init__(self, interval: float, function: Callable[..., None], args: tuple[object, ...]):
        self.name = ""
        self._interval = interval
        self._call = partial(function, *args)
        self._over = allocate_lock()
        self._ended = allocate_lock()

    def start(self) -> None:
        self._over.acquire()
        self._ended.acquire()
        start_new_thread(self._run, ())

    def _run(self) -> None:
        if not self._over.acquire(timeout=min(self._interval, LONGEST)):
            self._call()
        self._ended.release()

    def cancel(self) -> None:
        self._over.release()

    def join(self) -> None:
        self._ended.acquire()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "treadle(clock='virtual', timeout=300, leaks=True, strict=False, seed=None, "
        "schedules=None, strategy='random', bound=3, preempt='parks'): run the test in a greenlet, "
        "by treadle.testing.run(); with schedules=N, by explore()",
    )


@pytest.hookimpl(trylast=True)  # after those that deselect tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say before the first test what is wrong with the arguments of a marker, or a token."""
    token: str | None = config.getoption("treadle_replay")
    try:
        if token is not None:
            Token.parse(token)
        for item in items:
            _options(item)
    except ValueError as exc:
        raise pytest.UsageError(str(exc)) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    __tracebackhide__ = True
    options = _options(item)
    if options is None:
        return (yield)
    runtest: Callable[[], None] = item.runtest
    token: str | None = item.config.getoption("treadle_replay")
    if isinstance(item, TestCaseFunction):
        runtest = partial(_raising, item, runtest)
    item.runtest = partial(_run, runtest, options, token)  # type: ignore[method-assign]
    try:
        return (yield)
    finally:
        del item.runtest


def _raising(item: TestCaseFunction, runtest: Callable[[], None]) -> None:
    """Run a test of unittest, which notes with the item what it raises, and raise that."""
    __tracebackhide__ = True
    noted = vars(item)
    try:
        runtest()
    finally:
        errors = [each.value for each in noted.pop("_excinfo", None) or ()]
    if len(errors) > 1:
        raise BaseExceptionGroup(f"{item.name} and what tidies up after it failed", errors)
    if errors:
        raise errors[0]


def _options(item: pytest.Item) -> Options | None:
    """How to run a test in a greenlet; None: not at all.

    Raises ValueError for arguments that the marker does not take.
    """
    config = item.config
    marker = item.get_closest_marker("treadle")
    if marker is None and not config.getoption("treadle"):
        return None
    given = {
        "clock": config.getoption("treadle_clock"),
        "timeout": config.getoption("treadle_timeout"),
    }
    if marker is None:
        return Options(**given)
    unknown = [*map(repr, marker.args), *(marker.kwargs.keys() - set(Options._fields))]
    if unknown:
        raise ValueError(
            f"{item.nodeid}: the marker treadle does not take {', '.join(unknown)}; "
            f"its arguments are {', '.join(Options._fields)}, each by name"
        )
    options = Options(**{**given, **marker.kwargs})
    try:
        _check(options)
    except ValueError as exc:
        raise ValueError(f"{item.nodeid}: the marker treadle: {exc}") from None
    return options


def _check(options: Options) -> None:
    check_choice("clock", options.clock, ("virtual", "real"))
    check_choice("strategy", options.strategy, STRATEGIES)
    check_choice("preempt", options.preempt, PREEMPTIONS)
    for name in ("timeout", "schedules"):
        value = getattr(options, name)
        if value is not None and not (isinstance(value, int | float) and value > 0):
            raise ValueError(f"{name} must be a number above 0, or None, not {value!r}")
    for name in ("seed", "bound"):
        value = getattr(options, name)
        if value is not None and not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, or None, not {value!r}")


def _run(runtest: Callable[[], None], options: Options, token: str | None) -> None:
    __tracebackhide__ = True
    in_main_greenlet(partial(_run_limited, runtest, options, token))


def _run_limited(runtest: Callable[[], None], options: Options, token: str | None) -> None:
    __tracebackhide__ = True
    with _limited(options.timeout):
        if options.schedules is None:
            run(
                runtest,
                seed=options.seed,
                clock=options.clock,
                leaks=options.leaks,
                strict=options.strict,
            )
        elif token is not None:
            replay(runtest, token, leaks=options.leaks, strict=options.strict)
        else:
            _explore(runtest, options, options.schedules)


def _explore(runtest: Callable[[], None], options: Options, schedules: int) -> None:
    __tracebackhide__ = True
    try:
        explore(
            runtest,
            strategy=options.strategy,
            schedules=schedules,
            bound=options.bound,
            seed=options.seed,
            preempt=options.preempt,
            leaks=options.leaks,
            strict=options.strict,
        )
    except ScheduleFailure as failure:
        failure.add_note(f"With pytest: --treadle-replay {failure.token}")
        raise


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise HangError in the caller, a main greenlet, if the block takes longer.

    If the hub does not come to that, the error is raised in whatever code runs or waits natively.
    """
    if seconds is None:
        yield
        return
    hub = get_hub()
    over = allocate_lock()
    over.acquire()
    turn = allocate_lock()  # released when the thread has begun, and when it is about to end
    turn.acquire()

    told = False  # by one of the two ways
    message = f"the test has not ended within {seconds} s"

    def expire() -> None:
        nonlocal told
        if told:
            return
        told = True
        try:
            text = describe_deadlock(hub).partition("\n")[2]
        except Exception as exc:  # of a repr()
            text = f"what waits cannot be shown: {type(exc).__name__}"
        hub.interrupt_main(HangError(f"{message}\n{text}"))

    def watch() -> None:
        nonlocal told
        turn.release()
        if not over.acquire(timeout=min(seconds, LONGEST)):
            hub.loop.run_callback_threadsafe(expire)
            if not over.acquire(timeout=POLITE) and not told:
                told = True
                interrupt()
        turn.release()

    with _interrupting(hub.thread_ident, f"{message}, and runs on without a switch") as interrupt:
        start_new_thread(watch, ())
        turn.acquire()  # a run counts the threads that were there before
        try:
            yield
        finally:
            over.release()
            turn.acquire()


@contextmanager
def _interrupting(thread: int, message: str) -> Iterator[Callable[[], None]]:
    """Yield what raises HangError in this thread, called by another.

    In the main thread a signal does that: it ends system calls as well.
    """
    if not (hasattr(_signal, "pthread_kill") and get_hub().main_hub):
        yield partial(raise_in_thread, thread, HangError)
        return

    def handle(number: int, frame: object) -> None:
        __tracebackhide__ = True
        raise HangError(message)

    # SIGALRM is pytest-timeout's. treadle's signal() would leave it to the main greenlet to raise
    # what the handler raises, and that would not come to run.
    before = _signal.signal(_signal.SIGVTALRM, handle)
    try:
        yield partial(_signal.pthread_kill, thread, _signal.SIGVTALRM)
    finally:
        _signal.signal(_signal.SIGVTALRM, _signal.SIG_DFL if before is None else before)
