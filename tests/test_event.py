"""Events and AsyncResults."""

import _thread
import subprocess
import sys
import time
from typing import Any

import pytest

import treadle
from treadle.event import AsyncResult, Event

pytestmark = pytest.mark.treadle


def test_set_wakes_all_who_wait() -> None:
    event = Event()
    waiters = [treadle.spawn(event.wait, 5) for _ in range(3)]
    treadle.sleep(0)
    event.set()
    assert [waiter.get() for waiter in waiters] == [True, True, True]


def test_those_who_waited_go_first() -> None:
    event, order = Event(), []

    def wait(number: int) -> None:
        event.wait(5)
        order.append(number)

    for number in range(2):
        treadle.spawn(wait, number)
    treadle.sleep(0)
    event.set()
    assert event.wait(0)  # the event is set: this returns without a switch
    assert order == []
    wait(2)
    assert order == [0, 1, 2]
    treadle.spawn(order.append, 3)
    wait(4)  # no waiter is left to wake, so this does not switch
    assert order == [0, 1, 2, 4]


def test_who_sets_and_waits_in_a_loop_lets_others_run() -> None:
    event = Event()
    waiter = treadle.spawn(event.wait)
    treadle.sleep(0)
    for _ in range(3):
        event.set()
        event.wait()
    assert waiter.dead


def test_the_hub_does_not_wait_for_those_it_woke() -> None:
    event, seen = Event(), []
    waiter = treadle.spawn(event.wait, 5)
    treadle.sleep(0)

    def set_and_wait() -> None:
        event.set()
        seen.append(event.wait())

    treadle.get_hub().loop.run_callback(set_and_wait)
    assert waiter.get() is True
    assert seen == [True]


def test_wait_gives_up() -> None:
    event = Event()
    assert event.wait(0.01) is False
    event.set()
    assert event.wait(0) is True
    event.clear()
    assert not event.is_set()


def test_a_native_thread_sets_and_waits() -> None:
    here, there, seen = Event(), Event(), []

    def thread() -> None:
        time.sleep(0.02)
        here.set()
        seen.append(there.wait(5))

    _thread.start_new_thread(thread, ())
    assert here.wait(5)
    there.set()
    with treadle.Timeout(30):
        while not seen:
            treadle.sleep(0.001)
    assert seen == [True]


@pytest.mark.parametrize("make", [Event, AsyncResult])
def test_links_are_called_in_order_and_once(make: Any) -> None:
    source, called = make(), []
    source.rawlink(lambda _: called.append(1))
    source.rawlink(lambda _: called.append(2))
    gone = called.append
    source.rawlink(gone)
    source.unlink(gone)
    source.set()
    treadle.sleep(0)
    source.set()
    treadle.sleep(0)
    assert called == [1, 2]
    with pytest.raises(TypeError, match="callable"):
        source.rawlink(5)


def test_nothing_left_to_wake_is_said_with_who_waits() -> None:
    # In a process of its own: in this one, another thread might still set the event.
    script = "import treadle.event; treadle.event.Event().wait()"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "LoopExit: This operation would block forever" in ended.stderr
    assert "main> waiting for event <Event at" in ended.stderr


class TestAsyncResult:
    def test_value(self) -> None:
        result = AsyncResult()
        treadle.spawn_later(0.01, result.set, 5)
        assert result.get() == 5
        assert result.successful()
        assert (result.value, result.exception) == (5, None)

    def test_exception(self) -> None:
        result = AsyncResult()
        result.set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            result.get()
        assert result.wait() is None
        assert not result.successful()
        assert result.exc_info[0] is ValueError

    def test_not_there_yet(self) -> None:
        with pytest.raises(treadle.Timeout):
            AsyncResult().get_nowait()
        with pytest.raises(treadle.Timeout):
            AsyncResult().get(timeout=0.01)

    def test_takes_over_a_greenlets_outcome(self) -> None:
        result = AsyncResult()
        treadle.spawn(int, "7").rawlink(result)
        assert result.get(timeout=30) == 7


def test_a_link_is_called_even_if_the_event_is_cleared_at_once() -> None:
    event = Event()
    called: list[Any] = []
    event.rawlink(called.append)
    event.set()
    event.clear()
    treadle.sleep(0)
    treadle.sleep(0)
    assert called == [event]


def test_a_link_that_links_again_lets_others_run() -> None:
    event = Event()
    calls: list[int] = []
    seen: list[int] = []

    def link(_: Any) -> None:
        calls.append(1)
        if len(calls) < 50:
            event.rawlink(link)

    event.set()
    event.rawlink(link)
    while len(calls) < 50:
        seen.append(len(calls))
        treadle.sleep(0)
    assert len(seen) > 10


def test_getting_an_error_again_does_not_lengthen_its_traceback() -> None:
    result = AsyncResult()
    lengths: list[int] = []
    result.set_exception(ValueError("no"))
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as caught:
            result.get()
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1
