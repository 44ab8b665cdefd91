"""Runs in several threads, the calls that wait for them, and threads beside a run."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import pytest

import treadle
import treadle.local
import treadle.socket
import treadle.thread
from treadle import signal as treadle_signal
from treadle.event import Event
from treadle.hub import LoopExit
from treadle.testing import LeakError, Schedule, _threads, at_every_park, explore, run
from treadle.testing._threads import _runs
from treadle.threadpool import ThreadPool

native_sleep = time.sleep


def test_a_second_thread_is_refused_and_disturbs_nothing() -> None:
    errors: list[BaseException] = []
    natively = _thread.allocate_lock()
    natively.acquire()

    def second() -> None:
        try:
            run(lambda: None)
        except RuntimeError as exc:
            errors.append(exc)
        natively.release()

    def first_of_all() -> float:
        _thread.start_new_thread(second, ())
        natively.acquire()
        began = time.monotonic()
        treadle.sleep(3600)
        return time.monotonic() - began

    native = time.monotonic
    assert run(first_of_all, leaks=False) >= 3600
    assert "first_of_all, in thread" in str(errors[0])
    assert time.monotonic is native
    assert _runs == []


def test_threads_may_run_one_after_the_other_and_runs_may_be_nested() -> None:
    values: list[int] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: values.append(run(lambda: 1)))
        thread.start()
        thread.join()
    assert values == [1, 1]
    assert run(lambda: run(lambda: run(lambda: 3))) == 3


class Interrupted(Exception):
    pass


@pytest.fixture(params=["signal", "treadle.signal"])
def alarm(request: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    """A call that lets a handler raise Interrupted a little later."""

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    install = signal.signal if request.param == "signal" else treadle_signal.signal
    before = signal.getsignal(signal.SIGALRM)
    install(signal.SIGALRM, handler)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def run_for_hypothesis(program: Callable[[], None]) -> None:
    Schedule(lambda n: 0).run(program)


def run_in_a_greenlet(program: Callable[[], None]) -> None:
    treadle.spawn(run, program).get()


@pytest.mark.parametrize("start", [run_in_a_greenlet, run_for_hypothesis])
@pytest.mark.parametrize("kind", ["waits", "computes"])
def test_a_signal_ends_a_wait_for_a_run_in_another_thread_and_the_run(
    kind: str,
    start: Callable[[Callable[[], None]], None],
    alarm: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_threads, "POLITE", 0.1)
    ended: list[BaseException] = []

    def work() -> None:
        alarm()  # not before: a busy machine may take long to start the thread
        while kind == "computes":
            pass
        reader, writer = treadle.socket.socketpair()
        with reader, writer:
            reader.recv(1)

    # The loop has a function of its own: CPython may compile the jump of a loop to be outside of
    # the try statement that the loop is in.
    def program() -> None:
        try:
            work()
        except BaseException as exc:
            ended.append(exc)
            raise

    began, native = time.monotonic(), time.monotonic
    with pytest.raises(Interrupted):
        start(program)
    assert time.monotonic() - began < 10
    assert len(ended) == 1
    assert time.monotonic is native
    assert _runs == []
    assert run(lambda: 5) == 5


def test_a_thread_that_ends_without_waking_anyone_leaves_a_deadlock() -> None:
    def wait() -> None:
        _thread.start_new_thread(native_sleep, (0.1,))
        Event().wait()

    with pytest.raises(LoopExit):
        run(wait, leaks=False)


def test_a_thread_of_before_that_ends_does_not_hide_one_that_is_to_wake_the_run() -> None:
    _thread.start_new_thread(native_sleep, (0.1,))

    def wait() -> bool:
        event = Event()

        def wake() -> None:
            native_sleep(0.3)
            event.set()

        _thread.start_new_thread(wake, ())
        native_sleep(0.2)
        return event.wait()

    assert run(wait, leaks=False)


def test_the_clock_jumps_again_when_a_thread_has_ended() -> None:
    def wait() -> bool:
        _thread.start_new_thread(native_sleep, (0.1,))
        return Event().wait(3600)

    began = time.monotonic()
    assert not run(wait, leaks=False)
    assert time.monotonic() - began < 30


def test_a_thread_that_has_only_just_been_started_is_not_taken_for_another() -> None:
    def start() -> None:
        _thread.start_new_thread(len, ("",))

    for _ in range(5):
        run(start)


def test_a_thread_with_the_ident_of_one_that_ended_is_seen() -> None:
    go, ended = _thread.allocate_lock(), _thread.allocate_lock()
    go.acquire()
    ended.acquire()

    def wait() -> None:
        go.acquire()
        ended.release()

    before = _thread.start_new_thread(wait, ())
    native_sleep(0.05)

    def one_ends_and_one_starts() -> None:
        go.release()
        ended.acquire()
        while before in sys._current_frames():
            native_sleep(0.001)
        # The system gives it the ident of the other, as a rule.
        _thread.start_new_thread(wait, ())
        native_sleep(0.05)

    try:
        with pytest.raises(LeakError, match="native thread"):
            run(one_ends_and_one_starts)
    finally:
        go.release()
        ended.acquire()


def test_a_thread_that_is_about_to_end_is_no_leak() -> None:
    over = _thread.allocate_lock()
    over.acquire()

    def end_soon() -> None:
        over.release()
        native_sleep(0.05)

    def use() -> None:
        _thread.start_new_thread(end_soon, ())
        over.acquire()

    run(use)


def test_the_thread_of_an_inner_run_has_ended_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_slow(call: Callable[..., object], arguments: tuple[object, ...]) -> int:
        def linger() -> None:
            call(*arguments)
            native_sleep(0.05)

        return _thread.start_new_thread(linger, ())

    monkeypatch.setattr(_threads, "start_new_thread", start_slow)
    inner: list[int] = []
    treadle.spawn(run, lambda: inner.append(_thread.get_ident())).get(timeout=5)
    assert inner
    assert inner[0] not in sys._current_frames()


def test_a_thread_that_was_started_just_before_the_run_is_none_of_it() -> None:
    go, ended = _thread.allocate_lock(), _thread.allocate_lock()
    go.acquire()
    ended.acquire()
    for _ in range(20):
        _thread.start_new_thread(lambda: (go.acquire(), ended.release()), ())
    try:
        run(lambda: native_sleep(0.05))  # some of them begin only now
    finally:
        for _ in range(20):
            go.release()
            ended.acquire()


place: ContextVar[str] = ContextVar("place", default="nowhere")


@pytest.mark.parametrize(
    "start",
    [
        lambda program: run(lambda: run(program)),
        lambda program: Schedule(lambda n: 0).run(program),
        lambda program: run(lambda: explore(program, schedules=1)),
        lambda program: run(lambda: at_every_park(program, raises=KeyError)),
    ],
)
def test_a_run_in_another_thread_has_the_context_of_its_caller(
    start: Callable[[Callable[[], None]], object],
) -> None:
    seen: list[str] = []
    token = place.set("here")
    try:
        start(lambda: seen.append(place.get()))
    finally:
        place.reset(token)
    assert set(seen) == {"here"}


def test_the_program_of_a_run_stands_for_its_caller() -> None:
    values = treadle.local.local()
    values.of_caller = 1

    def program() -> None:
        assert values.of_caller == 1
        assert treadle.thread.get_ident() == threading.get_ident()
        values.of_program = 2
        place.set("program")
        other = treadle.spawn(lambda: (hasattr(values, "of_caller"), treadle.thread.get_ident()))
        assert other.get() == (False, id(other))

    token = place.set("caller")
    try:
        run(program)
        assert place.get() == "program"
        assert values.of_program == 2
    finally:
        place.reset(token)


def test_schedules_do_not_see_what_others_set() -> None:
    values = treadle.local.local()

    def program() -> None:
        assert not hasattr(values, "name")
        assert place.get() == "nowhere"
        values.name = 1
        place.set("program")

    explore(program, schedules=3)
    assert place.get() == "nowhere"


def test_a_run_in_a_thread_of_a_pool_does_not_wait_for_that() -> None:
    pool = ThreadPool(1)
    began = time.monotonic()
    try:
        for program in (treadle.sleep, lambda hours: run(lambda: treadle.sleep(hours))):
            pool.apply(run, (lambda program=program: program(3600),))
    finally:
        pool.kill()
    assert time.monotonic() - began < 30
