"""Programs that fail in the runner itself: the hub, and what a run replaces, are as before."""

import copy
import pickle
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import pytest

import treadle
from treadle import socket, testing
from treadle._core.chooser import ASK, Chooser
from treadle.testing import HangError
from treadle.testing._run import StepLimitError, World, worlds

NATIVE = time.monotonic
native_sleep = time.sleep


@pytest.fixture(autouse=True)
def all_is_as_before() -> Iterator[None]:
    yield
    hub = treadle.get_hub()
    assert not hub.dead
    assert hub.probe is None
    assert "handle_error" not in vars(hub)
    assert time.monotonic is NATIVE
    treadle.spawn(treadle.sleep, 0.001).get()


def three() -> None:
    treadle.joinall([treadle.spawn(treadle.sleep, 0) for _ in range(3)])


def test_who_is_asked_for_a_choice_raises() -> None:
    def ask(n: int) -> int:
        raise KeyError(n)

    with pytest.raises(KeyError), worlds(World()) as one:
        one(three, Chooser(ASK, ask=ask))


def test_a_token_names_an_option_that_there_is_not() -> None:
    testing.replay(three, "t1:0:parks:0.99999999999999999999999")


def test_a_repr_raises_while_a_failure_is_shown() -> None:
    class Bad(treadle.Greenlet[None]):
        def __repr__(self) -> str:
            raise OSError

    def race() -> None:
        ran: list[int] = []
        greenlets = [Bad(ran.append, number) for number in range(2)]
        for greenlet in greenlets:
            greenlet.start()
        treadle.joinall(greenlets)
        assert ran == [0, 1]

    with pytest.raises((testing.ScheduleFailure, OSError)):
        testing.explore(race, schedules=50)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, treadle.Timeout])
def test_what_ends_the_program_passes_through(kind: type[BaseException]) -> None:
    def end() -> None:
        treadle.spawn(treadle.sleep, 100)
        treadle.get_hub().interrupt_main(kind())
        treadle.sleep(1)

    before = set(treadle.get_hub().fibers())
    with pytest.raises(kind):
        testing.run(end)
    assert set(treadle.get_hub().fibers()) <= before


def test_a_false_exception_is_one() -> None:
    class Empty(Exception):
        def __len__(self) -> int:
            return 0

    def fail() -> None:
        raise Empty

    with pytest.raises(Empty):
        testing.run(fail)


def test_greenlets_that_refuse_to_end_hold_up_nothing() -> None:
    over: list[bool] = []

    def spin() -> None:
        while not over:
            try:
                treadle.sleep(0)
            except treadle.GreenletExit:
                continue

    with pytest.raises(StepLimitError):
        testing.run(lambda: treadle.spawn(spin), limit=1000)
    over.append(True)


def test_greenlets_that_wait_for_data_and_refuse_to_end_hold_up_nothing() -> None:
    reader, writer = socket.socketpair()

    def read() -> None:
        while True:
            try:
                assert reader.recv(1) == b"x"
                return
            except treadle.GreenletExit:
                continue

    begun = time.monotonic()
    with reader, writer:
        with pytest.raises(testing.LeakError):
            testing.run(lambda: treadle.spawn(read))
        assert time.monotonic() - begun < 30
        writer.sendall(b"x")
        treadle.sleep(0.01)


def test_a_nested_exploration_leaves_the_outer_one_as_it_is() -> None:
    def inner() -> None:
        testing.explore(three, preempt="ops", schedules=2)

    def program() -> None:
        semaphore = treadle.lock.Semaphore(1)

        def use() -> None:
            semaphore.acquire()
            semaphore.release()

        treadle.joinall([treadle.spawn(use) for _ in range(2)])

    def nesting() -> None:
        inner()
        program()

    alone = testing.explore(program, strategy="dfs", preempt="ops")
    assert testing.explore(nesting, strategy="dfs", preempt="ops").schedules == alone.schedules


def test_a_hang_is_not_made_smaller() -> None:
    runs: list[int] = []

    def hang() -> None:
        runs.append(1)
        treadle.get_hub().interrupt_main(HangError())
        treadle.sleep(1)

    with pytest.raises(HangError):
        testing.explore(hang)
    assert runs == [1]


def test_finalizers_run_at_exit_after_a_run_that_ends_the_program() -> None:
    program = """
import os, sys
from treadle.testing import run

class Final:
    def __del__(self, write=os.write):
        write(1, b"final")

kept = []

def leave():
    kept.append(Final())
    sys.exit(3)

run(leave)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, b"final")


async def coroutine() -> None:
    pass


def generator() -> Iterator[int]:
    yield 1


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "function", [coroutine, lambda: coroutine(), generator, asynchronous_generator]
)
def test_a_function_that_only_makes_what_is_to_run_has_not_run(
    function: Callable[[], object],
) -> None:
    for call in (testing.run, partial(testing.at_every_park, raises=KeyError)):
        with pytest.raises(TypeError, match="has not run: it returned"):
            call(function)  # type: ignore[operator]
    with pytest.raises(testing.ScheduleFailure, match="has not run: it returned"):
        testing.explore(function)


def test_exceptions_can_be_pickled_and_copied() -> None:
    def race() -> None:
        ran: list[int] = []
        treadle.joinall([treadle.spawn(ran.append, number) for number in range(2)])
        assert ran == [0, 1]

    with pytest.raises(testing.ScheduleFailure) as caught:
        testing.explore(race)
    caught.value.add_note("a note")
    for make in (copy.copy, lambda exc: pickle.loads(pickle.dumps(exc))):
        other = make(caught.value)
        assert (str(other), other.token) == (str(caught.value), caught.value.token)
        assert other.__notes__ == ["a note"]
        assert str(make(StepLimitError(5))) == "no end after 5 steps"
        assert str(make(HangError("text"))) == "text"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise OSError

    __repr__ = __str__


class UnprintableJob:
    def __call__(self) -> None:
        treadle.sleep(100)

    def __repr__(self) -> str:
        raise OSError


def test_what_cannot_be_shown_is_reported_all_the_same() -> None:
    calls: list[int] = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise Unprintable

    def fail() -> None:
        raise Unprintable

    with pytest.raises(testing.ScheduleFailure, match=r"whose str\(\) raises OSError"):
        testing.explore(fail)
    with pytest.raises(testing.NondeterminismError, match=r"whose repr\(\) raises OSError"):
        testing.explore(fail_once)
    with pytest.raises(testing.LeakError, match=r"whose repr\(\) raises OSError"):
        testing.run(lambda: treadle.spawn(UnprintableJob()))


class Equal(treadle.Greenlet[None]):
    """Cannot be hashed, and equals all others."""

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("strategy", ["random", "pct", "dfs"])
def test_greenlets_are_told_apart_by_identity(strategy: str) -> None:
    orders: set[tuple[int, ...]] = set()

    def program() -> None:
        order: list[int] = []
        jobs = [Equal(order.append, number) for number in range(3)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        orders.add(tuple(order))

    testing.explore(program, strategy=strategy, schedules=100)  # type: ignore[arg-type]
    assert len(orders) == 6
    with pytest.raises(testing.LeakError) as caught:
        testing.run(lambda: [Equal.spawn(treadle.sleep, 100) for _ in range(2)])
    assert str(caught.value).count("runs on, sleeping") == 2
    assert all(not isinstance(each, Equal) for each in treadle.get_hub().fibers())


def test_there_is_one_audit_hook_however_often_the_package_is_loaded() -> None:
    program = """
import sys
events = []
sys.addaudithook(lambda event, args: events.append(event) if event == "sys.addaudithook" else None)
for _ in range(3):
    from treadle.testing import LeakError, run
    run(list)
    try:
        run(lambda: open("/dev/null"))
    except LeakError as exc:
        assert "opened at <string>:9" in str(exc), exc
    for name in [name for name in sys.modules if name.startswith("treadle.testing")]:
        del sys.modules[name]
print(len(events))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"1\n", b"")
