"""treadle.testing without pytest: runs, clocks, leaks, order, schedules."""

import os
import random
import re
import secrets
import signal
import socket as native_socket
import subprocess
import sys
import threading
import time
import unittest
import uuid
from collections.abc import Callable
from itertools import count
from typing import Any

import greenlet
import pytest

import treadle
import treadle.socket
from treadle.event import Event
from treadle.futures import GreenletPoolExecutor
from treadle.greenlet import Greenlet, getcurrent
from treadle.hub import LoopExit, get_hub
from treadle.lock import RLock, Semaphore
from treadle.queue import Queue
from treadle.testing import (
    LeakError,
    NondeterminismError,
    Report,
    Schedule,
    ScheduleFailure,
    Sequencer,
    StepLimitError,
    StrictClockError,
    at_every_park,
    clock,
    explore,
    no_leaks,
    replay,
    run,
    schedules,
    wait_all_blocked,
)
from treadle.threadpool import ThreadPool, ThreadPoolExecutor

HOUR = 3600


# ---------------------------------------------------------------- run


def test_run_returns_the_value_of_a_greenlet() -> None:
    def inner() -> tuple[object, object]:
        return getcurrent(), get_hub().main

    greenlet, main = run(inner)
    assert isinstance(greenlet, Greenlet)
    assert greenlet is not main


def test_run_raises_what_the_function_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_a_virtual_hour_takes_no_time() -> None:
    began = time.perf_counter()
    elapsed = run(lambda: (treadle.sleep(HOUR), clock.elapsed)[1])
    assert elapsed == HOUR
    assert time.perf_counter() - began < HOUR / 100


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1, 7.7, HOUR])
@pytest.mark.parametrize("name", ["time", "monotonic", "perf_counter"])
def test_no_sleep_seems_shorter_than_it_is(name: str, seconds: float) -> None:
    def inner() -> list[float]:
        differences = []
        for _ in range(50):
            began = getattr(time, name)()
            treadle.sleep(seconds)
            differences.append(getattr(time, name)() - began)
        return differences

    differences = run(inner)
    assert all(seconds <= difference < seconds + 1e-5 for difference in differences)


def test_the_functions_of_time_agree() -> None:
    def inner() -> None:
        treadle.sleep(HOUR)
        assert time.monotonic_ns() == pytest.approx(time.monotonic() * 1e9)
        assert time.perf_counter_ns() == pytest.approx(time.perf_counter() * 1e9)
        assert time.time_ns() == pytest.approx(time.time() * 1e9)
        assert time.time() - began >= HOUR

    began = time.time()
    native = time.monotonic
    run(inner)
    assert time.monotonic is native


def test_the_real_clock() -> None:
    def inner() -> float:
        began = time.monotonic()
        treadle.sleep(0.05)
        with pytest.raises(RuntimeError, match="no virtual clock"):
            clock.jump(1)
        return time.monotonic() - began

    assert 0.05 <= run(inner, clock="real") < 10


def test_a_descriptor_makes_the_clock_real() -> None:
    def inner() -> tuple[float, float]:
        a, b = treadle.socket.socketpair()
        with a, b:
            treadle.spawn_later(0.05, b.send, b"x")
            assert a.recv(1) == b"x"
            waited = clock.elapsed
            treadle.sleep(HOUR)
        return waited, clock.elapsed

    began = time.monotonic()
    waited, total = run(inner)
    assert 0.05 <= waited <= time.monotonic() - began < 10
    assert HOUR <= total - waited < HOUR + 1


def test_a_deadline_beside_a_descriptor_is_kept() -> None:
    def inner() -> float:
        a, b = treadle.socket.socketpair()
        with a, b:
            a.settimeout(0.1)
            with pytest.raises(TimeoutError):
                a.recv(1)
        return clock.elapsed

    began = time.monotonic()
    assert 0.1 <= run(inner) < 5
    assert 0.1 <= time.monotonic() - began < 5


def test_a_strict_clock_waits_for_nothing_outside() -> None:
    def inner() -> None:
        a, b = treadle.socket.socketpair()
        with a, b:
            a.recv(1)

    own = get_hub().handle_error
    with pytest.raises(StrictClockError, match="reading <descriptor") as caught:
        run(inner, strict=True)
    assert any("in inner: a.recv(1)" in note for note in caught.value.__notes__)
    assert get_hub().handle_error == own
    assert run(lambda: (treadle.sleep(HOUR), 5)[1], strict=True) == 5


@pytest.mark.parametrize("argument", ["clock", "order"])
def test_wrong_choices_of_run(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be '.*' or '.*', not 'x'"):
        run(lambda: None, **{argument: "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["strategy", "preempt"])
def test_wrong_choices_of_explore(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be '.*' or '.*', not 'x'"):
        explore(lambda: None, **{argument: "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value"), [("limit", 0), ("limit", 1.5), ("seed", "x"), ("seed", 1.5)]
)
@pytest.mark.parametrize("call", [run, explore])
def test_numbers_that_no_run_takes(call: Any, argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a whole number.*, not {value!r}"):
        call(lambda: None, **{argument: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "pct", "bound": 0}, "bound must be a whole number from 1, not 0"),
        ({"strategy": "dfs", "bound": -1}, "bound must be a whole number from 0, not -1"),
        ({"schedules": 0}, "schedules must be a whole number from 1, not 0"),
    ],
)
def test_numbers_that_explore_does_not_take(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore(lambda: None, **arguments)


def test_run_raises_an_exit_of_the_function_and_returns_one_of_another() -> None:
    def leave() -> None:
        raise treadle.GreenletExit("gone")

    with pytest.raises(treadle.GreenletExit, match="gone"):
        run(leave)
    with pytest.raises(treadle.GreenletExit):
        run(lambda: getcurrent().kill())  # type: ignore[attr-defined]
    assert isinstance(run(lambda: treadle.spawn(leave).get()), treadle.GreenletExit)


def test_a_run_in_a_greenlet_has_a_thread_of_its_own() -> None:
    def inner() -> int:
        treadle.sleep(HOUR)
        return threading.get_native_id()

    assert treadle.spawn(run, inner).get() != threading.get_native_id()
    assert run(lambda: run(inner)) != threading.get_native_id()


def test_a_deadlock_names_the_places() -> None:
    event = Event()

    def other() -> None:
        event.wait()  # never

    def inner() -> None:
        treadle.spawn(other).join()

    with pytest.raises(LoopExit) as caught:
        run(inner)
    notes = "\n".join(caught.value.__notes__)
    assert "in other: event.wait()" in notes
    assert "in inner: treadle.spawn(other).join()" in notes


def test_exceptions_that_no_code_takes() -> None:
    def fail(text: str) -> None:
        raise KeyError(text)

    def inner(*texts: str) -> None:
        for text in texts:
            treadle.spawn(fail, text)
        treadle.sleep(1)

    with pytest.raises(KeyError, match="one"):
        run(lambda: inner("one"))
    with pytest.raises(BaseExceptionGroup, match="no code took") as caught:
        run(lambda: inner("one", "two"))
    assert [each.args for each in caught.value.exceptions] == [("one",), ("two",)]

    def looks() -> None:
        job = treadle.spawn(fail, "one")
        with pytest.raises(KeyError):
            job.get()

    run(looks)


def test_a_run_ends_greenlets_that_it_finds_left() -> None:
    ended = []

    def endless() -> None:
        try:
            treadle.sleep(10 * HOUR)
        finally:
            ended.append(1)

    run(lambda: treadle.spawn(endless) and None, leaks=False)
    assert ended == [1]


def test_what_ends_the_program_leaves_the_hub_as_it_was() -> None:
    def inner() -> None:
        get_hub().interrupt_main(KeyboardInterrupt())
        treadle.sleep(HOUR)

    own = get_hub().handle_error
    with pytest.raises(KeyboardInterrupt):
        run(inner)
    assert get_hub().handle_error == own
    assert run(lambda: 5) == 5


def test_too_many_steps() -> None:
    def spin() -> None:
        while True:
            treadle.sleep(0)

    def inner() -> None:
        treadle.joinall([treadle.spawn(spin), treadle.spawn(spin)])

    with pytest.raises(StepLimitError, match="no end after 1000 steps") as caught:
        run(inner, limit=1000)
    assert any("in spin: treadle.sleep(0)" in note for note in caught.value.__notes__)
    with pytest.raises(ScheduleFailure, match="StepLimitError"):
        explore(inner, limit=1000, schedules=3)


# ---------------------------------------------------------------- seeds


def draw() -> list[object]:
    return [
        random.random(),
        random.SystemRandom().random(),
        uuid.uuid4(),
        secrets.token_hex(8),
        os.urandom(8),
    ]


def test_equal_seeds_give_equal_random_values() -> None:
    assert run(draw, seed=3) == run(draw, seed=3)
    assert run(draw) == run(draw, seed=0)
    first, second = run(draw, seed=3), run(draw, seed=4)
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_a_run_leaves_random_as_it_was() -> None:
    native, state = os.urandom, random.getstate()
    run(draw)
    assert os.urandom is native
    assert random.getstate() == state
    assert os.urandom(16) != os.urandom(16)


def test_the_seed_decides_a_random_order() -> None:
    def inner() -> list[int]:
        order: list[int] = []
        treadle.joinall([treadle.spawn(order.append, n) for n in range(20)])
        return order

    assert run(inner) == list(range(20))
    assert run(inner, order="random", seed=1) == run(inner, order="random", seed=1)
    assert run(inner, order="random", seed=1) != run(inner, order="random", seed=2)


def test_each_schedule_draws_the_same() -> None:
    drawn = []
    explore(lambda: drawn.append(random.random()), schedules=5, seed=9)
    assert len(set(drawn)) == 1
    values: set[bytes] = set()
    explore(lambda: values.add(os.urandom(8)), schedules=5, seed=9)
    assert len(values) == 1


# ---------------------------------------------------------------- the clock, order


def test_jump_runs_what_is_due() -> None:
    def inner() -> list[float]:
        seen: list[float] = []
        for seconds in (1, 5, 10):
            treadle.spawn_later(seconds, lambda s=seconds: seen.append(s))
        clock.jump(5)
        assert seen == [1, 5]
        assert clock.elapsed == 5
        clock.jump(4.5)
        assert seen == [1, 5]
        clock.jump(0.5)
        return seen

    assert run(inner) == [1, 5, 10]


def test_jump_needs_a_run_and_goes_forward() -> None:
    with pytest.raises(RuntimeError, match="no virtual clock"):
        clock.jump(1)
    with pytest.raises(RuntimeError, match="no virtual clock"):
        _ = clock.elapsed
    with pytest.raises(ValueError, match="does not go back"):
        run(lambda: clock.jump(-1))


def test_wait_all_blocked() -> None:
    def inner() -> None:
        steps = []

        def worker() -> None:
            for n in range(5):
                treadle.sleep(0)
                steps.append(n)
            treadle.sleep(HOUR)
            steps.append("late")

        job = treadle.spawn(worker)
        wait_all_blocked()
        assert steps == [0, 1, 2, 3, 4]
        assert clock.elapsed == 0
        job.join()
        assert steps[-1] == "late"

    run(inner)


@pytest.mark.parametrize("order", ["fifo", "random"])
def test_a_sequencer_orders_blocks(order: str) -> None:
    def inner() -> list[int]:
        sequencer, seen = Sequencer(), []

        def one(*positions: int) -> None:
            for position in positions:
                with sequencer(position):
                    treadle.sleep(random.random())
                    seen.append(position)

        treadle.joinall([treadle.spawn(one, 1, 4), treadle.spawn(one, 2, 3), treadle.spawn(one, 0)])
        return seen

    assert run(inner, order=order) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]


def test_a_sequencer_refuses_numbers() -> None:
    sequencer = Sequencer()
    with sequencer(0):
        pass
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"the number {number} is negative, or was used"):
            sequencer(number).__enter__()


def test_a_sequencer_goes_on_after_a_block_that_raises() -> None:
    def inner() -> None:
        sequencer = Sequencer()
        with pytest.raises(KeyError), sequencer(0):
            raise KeyError
        with sequencer(1):
            pass

    run(inner)


# ---------------------------------------------------------------- leaks


def test_no_leaks_names_a_greenlet_and_where_it_started() -> None:
    jobs = []
    with pytest.raises(LeakError) as caught, no_leaks():
        jobs.append(treadle.spawn(treadle.sleep, HOUR))  # started here
    text = str(caught.value)
    assert re.search(r"sleep\(3600\)> runs on, sleeping", text)
    assert "started at" in text
    assert "jobs.append(treadle.spawn(treadle.sleep, HOUR))  # started here" in text
    treadle.killall(jobs)
    with no_leaks():
        treadle.spawn(treadle.sleep, 0)  # it may still end


def test_no_leaks_lets_the_exception_of_the_block_out() -> None:
    jobs = []

    def leave() -> None:
        with no_leaks():
            jobs.append(treadle.spawn(treadle.sleep, HOUR))
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    treadle.killall(jobs)


def leave_descriptor(kept: list[Callable[[], object]]) -> None:
    left = native_socket.socket()
    kept.append(left.close)


def leave_timer(kept: list[Callable[[], object]]) -> None:
    kept.append(get_hub().loop.timer(HOUR).stop)
    timer = kept[-1].__self__  # type: ignore[attr-defined]
    timer.start(lambda: None)


def leave_timeout(kept: list[Callable[[], object]]) -> None:
    kept.append(treadle.Timeout.start_new(HOUR).cancel)


def leave_start(kept: list[Callable[[], object]]) -> None:
    kept.append(treadle.spawn_later(HOUR, treadle.sleep, 1).kill)


def leave_watcher(kept: list[Callable[[], object]]) -> None:
    watcher = get_hub().loop.prepare()
    watcher.start(lambda: None)
    kept.append(watcher.stop)


def leave_raw(kept: list[Callable[[], object]]) -> None:
    event = Event()
    raw = greenlet.greenlet(event.wait, get_hub())
    get_hub().loop.run_callback(raw.switch)
    treadle.sleep(0)
    kept.append(lambda: (event.set(), treadle.sleep(0)))


def leave_file(kept: list[Callable[[], object]]) -> None:
    file = open(os.devnull)  # noqa: SIM115
    kept.append(file.close)


def leave_handler(kept: list[Callable[[], object]]) -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    kept.append(lambda: signal.signal(signal.SIGUSR1, before))


def leave_signal_watcher(kept: list[Callable[[], object]]) -> None:
    kept.append(treadle.signal_handler(signal.SIGUSR1, int).cancel)


def leave_pool(kept: list[Callable[[], object]]) -> None:
    pool = ThreadPool(1)
    pool.apply(int)
    kept.append(pool.kill)


def leave_thread(kept: list[Callable[[], object]]) -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    kept.append(lambda: (go.set(), thread.join()))


def leave_child(kept: list[Callable[[], object]]) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    kept.append(lambda: child.communicate(b"\n"))


@pytest.mark.parametrize(
    ("leave", "message"),
    [
        (leave_descriptor, r"is open: socket:.*; opened at .*: left = native_socket\.socket\(\)"),
        (leave_file, r"is open: /dev/null; opened at .* in leave_file: file = open\("),
        (leave_timeout, r"<Timeout at .* seconds=3600 pending> has a timer"),
        (leave_start, r"sleep\(1\)> has a timer; started at .* in leave_start"),
        (leave_watcher, r"<Prepare at .* is active"),
        (leave_raw, r"<greenlet\.greenlet .*> waits"),
        (
            leave_handler,
            rf"the handler of signal {signal.SIGUSR1:d} is <function.*no more .*SIG_DFL",
        ),
        (leave_signal_watcher, rf"<Signal at .* signalnum={signal.SIGUSR1:d} active .*> is active"),
        (leave_pool, r"<ThreadPool at .*> has threads"),
        (leave_timer, r"<Timer at .* after=3600 .*> is active"),
        (leave_thread, r"native thread 0x[0-9a-f]+ runs, at .*threading\.py"),
        (leave_child, r"child \d+ was not waited for: .*python.* -c input"),
    ],
)
def test_leaks_of_a_run(leave: Callable[[list[Callable[[], object]]], None], message: str) -> None:
    kept: list[Callable[[], object]] = []
    try:
        with pytest.raises(LeakError, match=message):
            run(lambda: leave(kept))
        while kept:
            kept.pop()()
        run(lambda: leave(kept), leaks=False)

        def tidy() -> None:
            leave(kept)
            kept.pop()()

        run(tidy)
    finally:
        while kept:
            kept.pop()()


FIRST_USE = """
import treadle.subprocess
from treadle import monkey
from treadle.testing import run

monkey.patch_all()


def use():
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=1)
    memory.close()
    memory.unlink()
    treadle.subprocess.run(["cat"], input=b"x", capture_output=True)


run(use)
"""


def test_what_a_process_makes_once_is_no_leak(fresh: Callable[..., str]) -> None:
    fresh(FIRST_USE)


def test_an_executor_that_has_ended_is_no_leak() -> None:
    def use() -> None:
        for kind in (GreenletPoolExecutor, ThreadPoolExecutor):
            with kind(1) as executor:
                assert executor.submit(int).result() == 0

    run(use)


def test_a_timer_that_ends_does_not_hide_one_that_is_left() -> None:
    early = treadle.spawn_later(0.001, int)

    def leave() -> None:
        early.join()
        treadle.Timeout.start_new(HOUR)

    with pytest.raises(LeakError, match="seconds=3600 pending"):
        run(leave)


def test_what_a_run_left_does_nothing_in_the_next() -> None:
    fired: list[str] = []

    def leave() -> None:
        treadle.Timeout.start_new(10)
        treadle.spawn_later(10, fired.append, "greenlet")
        timer = get_hub().loop.timer(10)
        timer.start(fired.append, "timer")
        check = get_hub().loop.check()
        check.start(fired.append, "check")

    with pytest.raises(LeakError):
        run(leave)
    before = get_hub().timer_count()
    run(leave, leaks=False)
    fired.clear()
    run(lambda: treadle.sleep(HOUR))
    assert fired == []
    assert get_hub().timer_count() == before


def test_what_at_every_park_raises_does_not_hide_a_leak() -> None:
    def leave() -> None:
        job = treadle.spawn(treadle.sleep, HOUR)
        treadle.sleep(1)
        job.kill()

    with pytest.raises(LeakError):
        at_every_park(leave, raises=KeyError)


# ---------------------------------------------------------------- schedules


class Counter:
    """Loses an update if two add() at the same moment."""

    def __init__(self) -> None:
        self.value = 0

    def add(self) -> None:
        seen = self.value
        treadle.sleep(1)
        self.value = seen + 1


def two_orders() -> None:
    order: list[str] = []

    def note(name: str) -> None:
        treadle.sleep(1)
        order.append(name)

    treadle.joinall([treadle.spawn(note, name) for name in "ab"])
    assert order == ["a", "b"]


@pytest.mark.parametrize("strategy", ["random", "pct", "dfs"])
def test_explore_finds_shrinks_and_replays(strategy: str) -> None:
    with pytest.raises(ScheduleFailure) as caught:
        explore(two_orders, strategy=strategy)  # type: ignore[arg-type]
    failure = caught.value
    assert isinstance(failure.exception, AssertionError)
    assert failure.schedules <= 1000
    assert re.fullmatch(r"t1:0:parks:\d+\.1", failure.token)
    text = str(failure)
    assert "it departs from first in, first out" in text
    assert f"replay(fn, {failure.token!r})" in text
    if strategy == "dfs":
        assert "note('b')> runs:" in text
        assert re.search(r'\n    File ".*", line \d+, in note\n      treadle\.sleep\(1\)\n', text)
    with pytest.raises(AssertionError) as again:
        replay(two_orders, failure.token)
    assert not isinstance(again.value, ScheduleFailure)
    assert replay(lambda: 5, failure.token) == 5


def test_a_fault_in_every_order() -> None:
    def inner() -> None:
        counter = Counter()
        treadle.joinall([treadle.spawn(counter.add) for _ in range(2)])
        assert counter.value == 2

    with pytest.raises(ScheduleFailure, match="no order is to blame") as caught:
        explore(inner)
    assert caught.value.schedules == 1
    assert caught.value.token == "t1:0:parks:"


def test_only_interrupted_operations_show_it() -> None:
    def inner() -> None:
        lock, left = RLock(), [1]

        def take() -> None:
            with lock:
                enough = left[0] > 0
            if enough:
                with lock:
                    left[0] -= 1

        treadle.joinall([treadle.spawn(take) for _ in range(2)])
        assert left == [0]

    report = explore(inner, strategy="dfs", bound=None, schedules=None)
    assert report.exhausted
    with pytest.raises(ScheduleFailure, match="lets the others run first") as caught:
        explore(inner, preempt="ops")
    assert caught.value.token.startswith("t1:0:ops:")
    with pytest.raises(AssertionError):
        replay(inner, caught.value.token)


def test_a_function_that_fails_only_once() -> None:
    runs = []

    def inner() -> None:
        runs.append(1)
        assert len(runs) > 1

    with pytest.raises(NondeterminismError, match=r"failed by AssertionError.*: passed") as caught:
        explore(inner)
    assert isinstance(caught.value.__cause__, AssertionError)


def test_shrinking_keeps_to_the_line_that_raised() -> None:
    failures: list[str] = []

    def inner() -> None:
        order: list[int] = []
        treadle.joinall([treadle.spawn(order.append, n) for n in range(4)])
        if order[:2] == [3, 2]:
            failures.append("rare")
            raise AssertionError
        if order[0] == 1:
            failures.append("common")
            raise AssertionError

    found = set()
    for seed in range(100):
        failures.clear()
        with pytest.raises(ScheduleFailure):
            explore(inner, seed=seed)
        assert failures[-1] == failures[0]
        found.add(failures[0])
        if len(found) == 2:
            break
    assert found == {"rare", "common"}


def test_a_skipped_test_has_not_failed() -> None:
    def skip() -> None:
        pytest.skip("not here")

    def skip_unittest() -> None:
        raise unittest.SkipTest("not here")

    def expect_failure() -> None:
        pytest.xfail("not yet")

    for function in (skip, skip_unittest, expect_failure):
        with pytest.raises(BaseException, match="not ") as caught:
            explore(function)
        assert not isinstance(caught.value, ScheduleFailure)
    with pytest.raises(ScheduleFailure):
        explore(lambda: pytest.fail("it did"))


def test_many_ready_greenlets_take_linear_time() -> None:
    def inner(n: int) -> None:
        treadle.joinall([treadle.spawn(treadle.sleep, 0) for _ in range(n)])
        treadle.joinall([treadle.spawn(treadle.sleep, 1) for _ in range(n)])

    def seconds(n: int) -> float:
        began = time.thread_time()
        run(lambda: inner(n))
        return time.thread_time() - began

    assert seconds(16_000) < 32 * min(seconds(1000) for _ in range(3)) + 1


def test_a_choice_by_priority_does_not_read_all_that_is_ready() -> None:
    def seconds(n: int) -> float:
        def inner() -> None:
            treadle.joinall([treadle.spawn(treadle.sleep, 0) for _ in range(n)])

        began = time.thread_time()
        explore(inner, strategy="pct", schedules=2, leaks=False)
        return time.thread_time() - began

    assert seconds(4000) < 32 * min(seconds(500) for _ in range(3)) + 0.5


@pytest.mark.parametrize("order", ["fifo", "random"])
def test_descriptors_that_one_poll_reports_are_read_in_any_order(order: str) -> None:
    orders = set()

    def inner() -> None:
        seen: list[int] = []
        pairs = [treadle.socket.socketpair() for _ in range(3)]

        def read(n: int) -> None:
            assert pairs[n][0].recv(1) == b"x"
            seen.append(n)

        jobs = [treadle.spawn(read, n) for n in range(3)]
        wait_all_blocked()
        for _, writer in pairs:
            writer.send(b"x")
        treadle.joinall(jobs)
        orders.add(tuple(seen))
        for pair in pairs:
            for each in pair:
                each.close()

    if order == "fifo":
        assert explore(inner, strategy="dfs", bound=2, schedules=None).exhausted
    else:
        explore(inner, schedules=200)
    assert len(orders) == 6


def test_dfs_tries_each_order_once() -> None:
    orders = []

    def inner() -> None:
        order: list[int] = []
        treadle.joinall([treadle.spawn(order.append, n) for n in range(4)])
        orders.append(tuple(order))

    report = explore(inner, strategy="dfs", bound=None, schedules=None)
    assert report == Report(24, True, report.choices, report.seconds)
    # One of twenty runs twice, to see whether it does the same again.
    assert len(orders) - 24 == len(range(1, 24, 20))
    assert len(set(orders)) == 24
    assert not explore(inner, strategy="dfs", bound=None, schedules=10).exhausted
    assert explore(inner, strategy="dfs", bound=1, schedules=None).schedules < 24


def test_explore_stops_after_seconds() -> None:
    report = explore(lambda: time.sleep(0.01), schedules=None, seconds=0.1)
    assert 1 <= report.schedules <= 20
    assert 0.1 <= report.seconds < 5


def test_a_function_that_differs_each_time() -> None:
    numbers = count()

    def inner() -> None:
        for _ in range(next(numbers) % 7 + 1):
            treadle.sleep(0)
            treadle.joinall([treadle.spawn(treadle.sleep, 0) for _ in range(2)])

    with pytest.raises(NondeterminismError, match="the same schedule was run twice") as caught:
        explore(inner)
    assert re.search(r"differs at step \d+: first '.*', then '.*'", str(caught.value))


@pytest.mark.parametrize(
    "text", ["", "t1", "t1:0:parks", "t2:0:parks:", "t1:0:parks:1", "t1:x:ops:"]
)
def test_no_token(text: str) -> None:
    with pytest.raises(ValueError, match="is no token of a schedule"):
        replay(lambda: None, text)


def test_at_every_park_counts_and_disturbs() -> None:
    released = []

    def inner() -> None:
        semaphore = Semaphore(1)
        for _ in range(3):
            with semaphore:
                treadle.sleep(1)
        released.append(semaphore.counter)

    assert at_every_park(inner, raises=treadle.Timeout(1)) == 3
    assert released == [1]

    calls = []
    assert at_every_park(inner, call=lambda: calls.append(1)) == 3
    assert len(calls) == 3


def test_at_every_park_calls_a_class() -> None:
    class Note:
        made = 0

        def __init__(self) -> None:
            Note.made += 1

    class Error(Exception):
        made = 0

        def __init__(self) -> None:
            Error.made += 1

    assert at_every_park(lambda: treadle.sleep(1), call=Note) == 1
    assert at_every_park(lambda: treadle.sleep(1), call=Error) == 1
    assert (Note.made, Error.made) == (1, 1)
    with pytest.raises(ValueError, match="raises must be an exception"):
        at_every_park(lambda: treadle.sleep(1), raises=int)  # type: ignore[arg-type]


def test_at_every_park_says_where() -> None:
    left: list[str] = []

    def inner() -> None:
        treadle.sleep(1)
        left.append("open")
        treadle.sleep(1)
        left.clear()

    def check() -> None:
        found, left[:] = left[:], []
        assert found == []

    with pytest.raises(AssertionError) as caught:
        at_every_park(inner, raises=treadle.GreenletExit, check=check)
    assert caught.value.__notes__ == ["treadle.testing.at_every_park: disturbed at wait 1 of 2"]
    with pytest.raises(ValueError, match="give one of raises and call"):
        at_every_park(inner)


# ---------------------------------------------------------------- Hypothesis


def test_hypothesis_finds_a_schedule() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    tried = []

    @hypothesis.settings(max_examples=200, database=None, derandomize=True, deadline=None)
    @hypothesis.given(schedules())
    def inner(schedule: object) -> None:
        tried.append(schedule)
        schedule.run(two_orders)  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match=r"\['b', 'a'\] == \['a', 'b'\]"):
        inner()
    assert repr(tried[0]) == "Schedule()"


def test_hypothesis_finds_nothing_in_a_correct_function() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    orders = set()

    @hypothesis.settings(max_examples=50, database=None, derandomize=True, deadline=None)
    @hypothesis.given(schedules(), hypothesis.strategies.integers(2, 4))
    def inner(schedule: object, n: int) -> None:
        def sum_of_all() -> int:
            queue: Queue[int] = Queue()
            order = []

            def put(value: int) -> None:
                order.append(value)
                queue.put(value)

            treadle.joinall([treadle.spawn(put, value) for value in range(n)])
            orders.add(tuple(order))
            return sum(queue.get() for _ in range(n))

        assert schedule.run(sum_of_all) == n * (n - 1) // 2  # type: ignore[attr-defined]

    inner()
    assert len(orders) > 3


def test_an_exception_while_a_schedule_is_drawn_ends_the_run() -> None:
    def draw(n: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Schedule(draw).run(two_orders)
    assert Schedule(lambda n: 0).run(lambda: two_orders() or 5) == 5


def test_operations_that_succeed_at_once_yield_at_the_same_place_in_each_run() -> None:
    # A greenlet yields after 128 of them. What runs before must not count.
    left, right = treadle.socket.socketpair()
    done: list[int] = []
    places: set[int] = set()

    def program() -> None:
        done.clear()
        other = treadle.spawn(lambda: places.add(len(done)))
        for n in range(50):
            right.send(b"x")
            left.recv(1)
            done.append(n)
        other.join()

    with left, right:
        for _ in range(3):
            run(program)
    assert len(places) == 1
