"""The hub: one per thread, its errors, waiting for it, and its end."""

import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import treadle
import treadle.resolver.blocking
import treadle.resolver.thread
from treadle._config import Config, ImportableSetting
from treadle.exceptions import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    InvalidSwitchError,
)
from treadle.hub import (
    Hub,
    Waiter,
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    set_default_hub_class,
)


class Expected(Exception):
    """The exception that these tests raise."""


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The stream to which the hub prints errors."""
    hub = get_hub()
    hub.exception_stream = io.StringIO()
    yield hub.exception_stream
    del hub.exception_stream


def in_thread(function: Callable[[], Any]) -> Any:
    """Run *function* in a new thread, end the thread's hub, and return or raise the outcome."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as exc:
            outcome.append((None, exc))
        finally:
            hub = get_hub_if_exists()
            if hub is not None:
                hub.destroy()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, exc = outcome[0]
    if exc is not None:
        raise exc
    return value


class TestWaiter:
    def test_keeps_a_value_that_comes_first(self) -> None:
        waiter = Waiter()
        assert str(waiter) == "<Waiter greenlet=None>"
        assert (waiter.ready(), waiter.successful(), waiter.exc_info) == (False, False, None)
        waiter.switch(25)
        assert str(waiter) == "<Waiter greenlet=None value=25>"
        assert (waiter.ready(), waiter.successful(), waiter.value) == (True, True, 25)
        assert waiter.get() == 25
        waiter.clear()
        assert not waiter.ready()

    def test_keeps_an_exception_that_comes_first(self) -> None:
        waiter = Waiter()
        waiter.throw(ZeroDivisionError)
        assert "ZeroDivisionError" in str(waiter)
        assert (waiter.ready(), waiter.successful()) == (True, False)
        assert waiter.exc_info == (ZeroDivisionError,)
        with pytest.raises(ZeroDivisionError):
            waiter.get()

    def test_wakes_who_waits(self) -> None:
        waiter = Waiter()
        greenlet = treadle.spawn(waiter.get)
        greenlet.name = "AName"
        treadle.sleep(0)
        assert waiter.greenlet is greenlet
        assert str(waiter).startswith('<Waiter greenlet=<Greenlet "AName"')
        waiter.switch_args(1, 2)
        assert greenlet.get() == (1, 2)
        assert waiter.greenlet is None

    def test_keeps_the_value_of_who_is_killed_before_it_runs(self) -> None:
        waiter = Waiter()
        greenlet = treadle.spawn(waiter.get)
        treadle.sleep(0)
        waiter.switch(1)
        greenlet.kill()
        assert waiter.ready()
        assert waiter.get() == 1

    def test_throws_into_who_waits(self) -> None:
        waiter = Waiter()
        get_hub().loop.run_callback(waiter.throw, Expected, Expected("text"))
        with pytest.raises(Expected, match="text"):
            waiter.get()

    def test_one_at_a_time(self) -> None:
        waiter = Waiter()
        greenlet = treadle.spawn(waiter.get)
        treadle.sleep(0)
        with pytest.raises(ConcurrentObjectUseError):
            waiter.get()
        greenlet.kill()
        assert waiter.greenlet is None

    def test_what_comes_after_a_kill_is_kept(self) -> None:
        waiter = Waiter()
        greenlet = treadle.spawn(waiter.get)
        treadle.sleep(0)
        greenlet.kill(block=False)
        waiter.switch("late")
        greenlet.join()
        assert waiter.get() == "late"

    def test_takes_over_a_result(self) -> None:
        waiter = Waiter()
        treadle.spawn(lambda: 5).rawlink(waiter)
        assert waiter.get() == 5

    def test_from_another_thread(self) -> None:
        waiter = Waiter()
        thread = threading.Thread(target=waiter.switch, args=("value",))
        thread.start()
        assert waiter.get() == "value"
        thread.join()


FOREVER = """
import treadle
try: treadle.get_hub().switch()
except treadle.exceptions.LoopExit as exc: print(exc)
treadle.sleep(0)
"""


class TestSwitching:
    def test_a_greenlet_is_switched_to_by_a_callback(self) -> None:
        greenlet = treadle.getcurrent()
        get_hub().loop.run_callback(greenlet.switch, 1)
        assert get_hub().switch() == 1

    def test_a_callback_must_not_block(self, stream: io.StringIO) -> None:
        get_hub().loop.run_callback(treadle.sleep, 1)
        treadle.sleep(0)
        assert "BlockingSwitchOutError" in stream.getvalue()
        assert issubclass(BlockingSwitchOutError, AssertionError)

    def test_the_wrong_switch_is_an_error(self, stream: io.StringIO) -> None:
        greenlet = treadle.spawn(treadle.sleep, 60)
        treadle.sleep(0)
        get_hub().loop.run_callback(greenlet.switch)
        with pytest.raises(InvalidSwitchError):
            greenlet.get()

    def test_nothing_can_wake_us(self, fresh: Callable[..., str]) -> None:
        # In its own process: here, the watchdog of pytest (a thread or a signal) could wake it.
        assert "would block forever" in fresh(FOREVER)

    def test_the_last_that_could_wake_us_ends(self, fresh: Callable[..., str]) -> None:
        thread = "import _thread, time; _thread.start_new_thread(time.sleep, (0.1,))\n"
        assert "would block forever" in fresh(thread + FOREVER)

    @pytest.mark.parametrize("poller", ["epoll", "select"])
    @pytest.mark.parametrize(
        "handle",
        [
            "treadle.sleep(0.05); woken.set()",
            "treadle.sleep(0); woken.set(); treadle.sleep(0)",
            "treadle.spawn_later(0.05, woken.set)",
            "treadle.spawn(woken.set).join()",
            "treadle.spawn(treadle.sleep, 0.05).get(); woken.set()",
        ],
    )
    def test_a_signal_handler_may_wait(
        self, fresh: Callable[..., str], handle: str, poller: str
    ) -> None:
        program = f"""
import signal, time, treadle
from treadle.event import Event
from treadle._core import pollers
pollers.default_name = {poller!r}
woken = Event()
def handler(*_):
    {handle}
signal.signal(signal.SIGALRM, handler)
for wait in [woken.wait, lambda: treadle.spawn(woken.wait).join(), lambda: woken.wait(60)]:
    woken.clear()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    began = time.monotonic()
    with treadle.Timeout(60):
        wait()
    assert time.monotonic() - began < 20, time.monotonic() - began
print("woken in time")
"""
        assert fresh(program) == "woken in time\n"

    def test_a_signal_handler_can_wake_us(self, fresh: Callable[..., str]) -> None:
        script = """
import signal
from treadle.event import Event
event = Event()
signal.signal(signal.SIGALRM, lambda *args: event.set())
signal.setitimer(signal.ITIMER_REAL, 0.05)
print(event.wait())
signal.signal(signal.SIGALRM, signal.SIG_DFL)
event.clear()
"""
        printed = fresh(script + FOREVER)
        assert printed.startswith("True\n")
        assert "would block forever" in printed

    def test_a_watcher_is_waited_for_and_cancelled(self) -> None:
        hub = get_hub()
        with hub.loop.timer(0.001) as timer:
            hub.wait(timer)
        with hub.loop.timer(60) as timer:
            treadle.spawn(hub.cancel_wait, timer, Expected("cancelled"), True)
            with pytest.raises(Expected, match="cancelled"):
                hub.wait(timer)
        hub.cancel_wait(None, Expected)


class TestStandInForTheLoop:
    def test_is_asked_and_told_of_timers(self) -> None:
        class StandIn:
            told = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(loop, name)

            def update_now(self) -> None:
                self.told += 1

        hub = get_hub()
        loop = hub.loop
        hub.loop = stand_in = StandIn()
        try:
            assert hub.loop is stand_in
            treadle.sleep(0.001)
            assert stand_in.told == 1
            treadle.sleep(0)
            assert stand_in.told == 1
            with pytest.raises(treadle.Timeout), treadle.Timeout(0.001):
                treadle.sleep(1)
            assert stand_in.told == 3
            with hub.loop.timer(0.001) as timer:
                hub.wait(timer)
        finally:
            hub.loop = loop
        assert hub.loop is loop
        treadle.sleep(0.001)
        assert stand_in.told == 3

    def test_that_fails_fails_the_caller(self) -> None:
        hub = get_hub()
        loop, hub.loop = hub.loop, object()
        try:
            with pytest.raises(AttributeError, match="update_now"):
                treadle.sleep(0.001)
            timeout = treadle.Timeout(0.001)
            with pytest.raises(AttributeError, match="update_now"):
                timeout.start()
            assert not timeout.pending
        finally:
            hub.loop = loop
        treadle.sleep(0.002)


class TestErrors:
    def test_are_printed_with_their_context(self, stream: io.StringIO) -> None:
        def fail() -> None:
            raise Expected("why")

        treadle.spawn_raw(fail)
        treadle.sleep(0)
        text = stream.getvalue()
        assert "Expected: why" in text
        assert text.rstrip().endswith("failed with Expected")

    def test_a_handler_on_the_instance(self, monkeypatch: pytest.MonkeyPatch) -> None:
        caught: list[Any] = []
        monkeypatch.setattr(get_hub(), "handle_error", lambda *args: caught.append(args))
        greenlet = treadle.spawn(lambda: 1 / 0)
        greenlet.join()
        ((context, kind, value, tb),) = caught
        assert (context, kind, value) == (greenlet, ZeroDivisionError, greenlet.exception)
        assert tb is not None

    def test_a_handler_that_fails_does_not_end_the_hub(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", seen.append)
        monkeypatch.setattr(get_hub(), "handle_error", lambda *args: 1 / 0)
        treadle.spawn(int, "x").join()
        treadle.sleep(0.001)
        assert [one.exc_type for one in seen] == [ZeroDivisionError]

    def test_a_handler_that_fails_is_reported_by_the_default_hook(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
        monkeypatch.setattr(get_hub(), "handle_error", lambda *args: 1 / 0)
        treadle.spawn(int, "x").join()
        treadle.sleep(0.001)
        assert "ZeroDivisionError" in capsys.readouterr().err

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, SystemError])
    def test_system_errors_reach_the_main_greenlet(
        self, kind: type[BaseException], stream: io.StringIO
    ) -> None:
        def fail() -> None:
            raise kind("from a greenlet")

        treadle.spawn(fail)
        with pytest.raises(kind, match="from a greenlet"):
            treadle.sleep(1)
        assert ("from a greenlet" in stream.getvalue()) is (kind is not SystemExit)

    def test_not_error_may_be_set_on_the_instance(
        self, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO
    ) -> None:
        monkeypatch.setattr(get_hub(), "NOT_ERROR", (*Hub.NOT_ERROR, Expected), raising=False)

        def fail() -> None:
            raise Expected

        treadle.spawn(fail).join()
        assert stream.getvalue() == ""

    def test_without_a_context_or_parts(self) -> None:
        try:
            raise Expected("current")
        except Expected:
            get_hub().exception_stream = None
            get_hub().handle_error(None, None, None, None)
            del get_hub().exception_stream
        with pytest.raises(Expected, match="current"):
            treadle.sleep(1)


class TestThreads:
    def test_each_has_its_own(self) -> None:
        assert get_hub() is get_hub_if_exists()
        assert get_hub().main_hub

        def other() -> tuple[Any, ...]:
            assert get_hub_if_exists() is None
            hub = get_hub()
            treadle.spawn(treadle.sleep, 0.001).join()
            return hub, hub.main_hub, hub.loop.default, hub.thread_ident

        hub, main_hub, default, ident = in_thread(other)
        assert hub is not get_hub()
        assert (main_hub, default) == (False, False)
        assert ident != get_hub().thread_ident
        assert hub.closed
        assert "destroyed" in repr(hub)

    def test_of_another_class(self) -> None:
        class Mine(Hub):
            """A hub class without changes."""

        assert get_hub_class() is type(get_hub())
        default = get_hub_class()
        set_default_hub_class(Mine)
        try:
            assert type(in_thread(get_hub)) is Mine
        finally:
            set_default_hub_class(default)

    def test_idents_differ(self) -> None:
        assert in_thread(get_hub).minimal_ident != in_thread(get_hub).minimal_ident

    def test_a_destroyed_one_is_replaced(self) -> None:
        def other() -> bool:
            hub = get_hub()
            greenlet = treadle.spawn(treadle.sleep, 60)
            treadle.sleep(0)
            hub.destroy()
            hub.destroy()
            treadle.sleep(0.001)
            return hub.loop is None and get_hub() is not hub and not greenlet.ready()

        assert in_thread(other)


class TestJoin:
    def test_waits_for_greenlets_timers_and_watchers(self) -> None:
        ran: list[int] = []
        treadle.spawn_later(0.001, ran.append, 1)
        timer = get_hub().loop.timer(0.002)
        timer.start(ran.append, 2)
        assert get_hub().join()
        assert ran == [1, 2]
        assert get_hub().join(timeout=0.001)

    def test_gives_up(self) -> None:
        greenlet = treadle.spawn(treadle.sleep, 60)
        assert not get_hub().join(0.001)
        greenlet.kill()

    def test_native_threads_are_not_waited_for(self) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        assert get_hub().join()
        stop.set()
        thread.join()


class TestWhatItWorksWith:
    def test_pool_and_resolver_are_made_on_demand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[tuple[Any, dict[str, Any]]] = []

        class Part:
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                made.append((args, kwargs))

        def close(self: Part) -> None:
            made.append(((self,), {}))

        def other() -> None:
            Part.kill = Part.close = close  # type: ignore[attr-defined]
            hub = get_hub()
            hub.threadpool_size = 3
            pool, resolver = hub.threadpool, hub.resolver
            assert made == [((3,), {"hub": hub, "idle_task_timeout": 5.0}), ((), {"hub": hub})]
            assert hub.threadpool is pool
            hub.destroy()
            assert made[2:] == [((resolver,), {}), ((pool,), {})]

        monkeypatch.setattr(treadle.config, "threadpool", Part)
        monkeypatch.setattr(treadle.config, "resolver", ["treadle.nothing.Resolver", Part])
        in_thread(other)

    def test_a_subclass_chooses_what_it_works_with(self) -> None:
        class Other(treadle.hub.Hub):
            threadpool_size = 2
            resolver_class = treadle.resolver.blocking.Resolver

        def other() -> None:
            hub = get_hub()
            assert (type(hub.resolver), hub.threadpool.maxsize) == (Other.resolver_class, 2)
            assert hub.threadpool_class is treadle.threadpool.ThreadPool
            assert type(hub.loop) is hub.loop_class
            assert hub.backend is None
            hub.destroy()

        treadle.hub.set_default_hub_class(Other)
        try:
            in_thread(other)
        finally:
            treadle.hub.set_default_hub_class(treadle.hub.Hub)

    def test_signal_handlers_run_in_greenlets_of_a_chosen_class(
        self, fresh: Callable[..., str]
    ) -> None:
        source = """
import signal, treadle.hub
class Other(treadle.Greenlet):
    pass
class Handler(treadle.hub.signal):
    greenlet_class = Other
seen = treadle.event.AsyncResult()
handler = Handler(signal.SIGUSR1, lambda: seen.set(treadle.getcurrent()))
signal.raise_signal(signal.SIGUSR1)
print(type(seen.get(timeout=30)).__name__)
"""
        assert fresh("import treadle.event\n" + source) == "Other\n"


def test_the_engine_names_itself() -> None:
    assert (
        treadle.core.get_version()
        == f"treadle-{treadle.__version__}"
        == treadle.core.get_header_version()
    )
    assert treadle.core.recommended_backends() == treadle.core.supported_backends()
    for name in treadle.core.embeddable_backends():
        loop = treadle.core.loop(name, default=False)
        assert loop.backend == name
        assert loop.fileno() > 0
        loop.destroy()


class TestConfig:
    def test_the_environment_and_its_errors(self, fresh: Callable[..., str]) -> None:
        source = (
            "import os; os.environ['TREADLE_POLLER'] = 'select'\n"
            "os.environ['TREADLE_THREADPOOL_SIZE'] = '4'\n"
            "import treadle\n"
            "print(treadle.get_hub().loop.backend, treadle.config.threadpool_size)\n"
        )
        assert fresh(source).split() == ["select", "4"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("poller", "carrier pigeon"),
            ("track_greenlet_tree", "maybe"),
            ("threadpool_size", -1),
            ("threadpool_idle_task_timeout", 0),
        ],
    )
    def test_what_makes_no_sense(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"{name}.*TREADLE_{name.upper()}"):
            treadle.config.set(name, value)

    def test_values_are_understood(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value, meant in (
            ("poller", "linux_aio,select", "select"),
            ("poller", "poll", None),
            ("ares_tries", "3", 3),
            ("ares_flags", "", None),
            ("track_greenlet_tree", " On ", True),
            ("threadpool_idle_task_timeout", "-1", -1),
            ("max_memory_usage", "2kB", 2048),
            ("resolver_nameservers", "::1, 127.0.0.1", ["::1", "127.0.0.1"]),
            ("resolver", "treadle.no.such, block", treadle.resolver.blocking.Resolver),
        ):
            monkeypatch.setattr(treadle.config, name, value)
            assert getattr(treadle.config, name) == meant
        del treadle.config.resolver
        assert treadle.config.resolver is treadle.resolver.thread.Resolver

    def test_what_cannot_be_imported(self) -> None:
        setting = ImportableSetting()
        with pytest.raises(ImportError, match="empty list"):
            setting.import_one_of([])
        for path in ("nothing", "no/such.thing", "treadle.pool.Puddle", "treadle.puddle.Pool"):
            with pytest.raises(ImportError):
                setting.import_one_of([path])
        assert (
            setting.import_one_of(["treadle.puddle.Pool", "treadle.pool.Pool"]) is treadle.pool.Pool
        )

    def test_the_environment_is_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TREADLE_MAX_BLOCKING_TIME", "2.5")
        config = Config()
        assert config.max_blocking_time == 2.5
        monkeypatch.setenv("TREADLE_MAX_BLOCKING_TIME", "3")
        assert config.max_blocking_time == 2.5

    def test_unknown_names(self) -> None:
        with pytest.raises(AttributeError, match="no setting is named"):
            treadle.config.colour = "red"
        with pytest.raises(AttributeError, match="poller"):
            assert treadle.config.colour

    def test_help_names_each(self, capsys: pytest.CaptureFixture[str]) -> None:
        treadle.config.print_help()
        text = capsys.readouterr().out
        assert all(
            f"TREADLE_{name.upper()}" in text
            for name in dir(treadle.config)
            if name.islower() and name not in ("print_help", "set")
        )


@pytest.mark.parametrize(
    ("make", "wait", "end"),
    [
        ("event.Event()", "it.wait()", "it.set()"),
        ("event.AsyncResult()", "it.get()", "it.set(1)"),
        ("event.AsyncResult()", "treadle.wait([it])", "it.set(1)"),
        ("lock.Semaphore(0)", "it.acquire()", "it.release()"),
        ("lock.Semaphore(0)", "it.wait()", "it.release()"),
        ("lock.RLock()", "it.acquire()", "release()"),
        ("queue.Queue()", "it.get()", "it.put(1)"),
        ("queue.Queue()", "it.peek()", "it.put(1)"),
        ("queue.PriorityQueue()", "it.get()", "it.put(1)"),
        ("queue.Queue(1, [0])", "it.put(1)", "it.get()"),
        ("queue.PriorityQueue(1, [0])", "it.put(1)", "it.get()"),
        ("queue.Queue(None, [0])", "it.join()", "it.task_done()"),
    ],
)
def test_what_comes_while_the_hub_is_made_is_noticed(
    fresh: Callable[..., str], make: str, wait: str, end: str
) -> None:
    # The first wait of the main thread makes its hub, and other threads may run meanwhile.
    program = f"""
import threading, treadle, treadle.hub
from treadle import event, lock, queue
from treadle._core import hub
class Slow(treadle.hub.Hub):
    def __init__(self, *args):
        go.set()
        done.wait(5)
        super().__init__(*args)
def run():
    start()
    ready.set()
    go.wait()
    {end}
    done.set()
def start():
    {"it.acquire()" if make == "lock.RLock()" else "pass"}
def release():
    it.release()
it = {make}
go, done, ready = threading.Event(), threading.Event(), threading.Event()
hub.hub_class = Slow
threading.Thread(target=run, daemon=True).start()
ready.wait()
{wait}
print("noticed")
"""
    assert fresh(program, timeout=20) == "noticed\n"


def test_what_comes_while_a_replaced_clock_is_asked_is_noticed(fresh: Callable[..., str]) -> None:
    program = """
import threading, time, treadle
from treadle._core import clock
from treadle.event import Event
event, started = Event(), []
class Clock:
    def now(self):
        return time.monotonic_ns()
    def idle(self, deadline):
        if not started:
            started.append(threading.Thread(target=event.set))
            started[0].start()
            started[0].join()
        return False
clock.replace(Clock())
began = time.monotonic()
assert event.wait(60)
assert time.monotonic() - began < 20
print("noticed")
"""
    assert fresh(program, timeout=20) == "noticed\n"


TRACED = """
import signal, sys, treadle
hub, seen = treadle.get_hub(), {}
def trace(*args): return None
def set_all(*args):
    sys.settrace(trace)
    sys.setprofile(trace)
    sys.set_asyncgen_hooks(trace, trace)
def note(name):
    seen[name] = sys.gettrace(), sys.getprofile(), *sys.get_asyncgen_hooks()
def sleep_and_note(seconds):
    treadle.sleep(seconds)
    note("parked")
def begin(seconds, poller):
    treadle.spawn(sleep_and_note, seconds) if poller != "other" else None
    treadle.spawn_later(seconds, note, "new")
    treadle.spawn_later(seconds, hub.loop.run_callback, note, "callback")
def others_have_nothing():
    return all(values == (None,) * 4 for name, values in seen.items() if name != "main")

begin(0.01, "callback")
hub.loop.run_callback(set_all)
treadle.sleep(0.02)
note("main")
assert len(seen) == 4 and others_have_nothing() and seen["main"] == (None,) * 4, seen

begin(0.02, "watcher")
watcher = hub.loop.prepare()
watcher.start(set_all)
treadle.sleep(0.03)
note("main")
watcher.stop()
assert others_have_nothing() and seen["main"] == (None,) * 4, seen

# A signal handler runs for the main greenlet, whoever polls.
if hasattr(signal, "setitimer"):
    signal.signal(signal.SIGALRM, set_all)
    for poller in "main", "other", "hub":
        if poller == "other":
            treadle.spawn_later(0.01, sleep_and_note, 0.03)
        if poller == "hub":
            watcher.start(int)
        begin(0.04, poller)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        treadle.sleep(0.06)
        note("main")
        assert others_have_nothing() and seen["main"] == (trace,) * 4, (poller, seen)
        sys.settrace(None)
        sys.setprofile(None)
        sys.set_asyncgen_hooks(None, None)
"""


def test_tracing_belongs_to_the_greenlet_that_sets_it(fresh):
    fresh(TRACED)


def test_only_its_own_thread_can_join_a_hub() -> None:
    raised: list[str] = []

    def join(hub: Any) -> None:
        try:
            hub.join()
        except RuntimeError as exc:
            raised.append(str(exc))

    thread = threading.Thread(target=join, args=(get_hub(),))
    thread.start()
    thread.join()
    assert [text.endswith("runs in another thread") for text in raised] == [True]


def test_finalizers_at_the_end_of_the_interpreter_do_not_wait_for_watchers() -> None:
    code = """if True:
        import builtins, treadle
        class Kept:
            def __init__(self):
                self.idle, self.hub = treadle.idle, treadle.get_hub()
                self.timer = self.hub.loop.timer(0.01)
            def __del__(self):
                self.idle()
                try:
                    self.hub.wait(self.timer)
                except RuntimeError as exc:
                    print(exc, flush=True)
        treadle.idle()
        builtins.kept = Kept()
    """
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert "at interpreter shutdown" in done.stdout
    assert done.stderr == ""
