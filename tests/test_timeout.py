"""Timeouts on blocks of code, alone and nested."""

from typing import Any

import pytest

import treadle
import treadle.event
import treadle.lock
import treadle.queue
from treadle.hub import get_hub
from treadle.timeout import Timeout, with_timeout

pytestmark = pytest.mark.treadle


class Expected(Exception):
    """The exception that these tests raise."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """Fail a test that leaves a timer set."""
    before = (get_hub().timer_count(), get_hub().unref_timers)
    yield
    assert (get_hub().timer_count(), get_hub().unref_timers) == before


def test_raises_itself_in_the_greenlet_that_set_it() -> None:
    timeout = Timeout(0.001)
    assert not timeout.pending
    timeout.start()
    assert timeout.pending
    with pytest.raises(Timeout) as caught:
        treadle.sleep(1)
    assert caught.value is timeout
    assert not timeout.pending


@pytest.mark.parametrize("exception", [Expected, Expected("instance")])
def test_raises_what_it_was_given(exception: Any) -> None:
    with pytest.raises(Expected), Timeout(0.001, exception):
        treadle.sleep(1)


def test_false_is_swallowed_by_its_own_with_statement_alone() -> None:
    with Timeout(0.001, False) as timeout:
        treadle.sleep(1)
        pytest.fail("not reached")
    with pytest.raises(Timeout) as caught, Timeout(1, False):
        raise timeout
    assert caught.value is timeout


def test_the_inner_one_leaves_the_outer_alone() -> None:
    with Timeout(1) as outer:
        with pytest.raises(Timeout) as caught, Timeout(0.001) as inner:
            treadle.sleep(1)
        assert caught.value is inner
        assert outer.pending


def test_the_outer_one_passes_through_the_inner() -> None:
    with pytest.raises(Timeout) as caught, Timeout(0.001) as outer, Timeout(1, False) as inner:
        treadle.sleep(1)
    assert caught.value is outer
    assert not inner.pending


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_left_means_the_next_wait(seconds: float) -> None:
    with pytest.raises(Timeout), Timeout(seconds):
        treadle.sleep(0.01)


def test_none_never_expires() -> None:
    with Timeout(None) as timeout:
        assert not timeout.pending
        treadle.sleep(0.001)


def test_cancelling_and_starting_again() -> None:
    timeout = Timeout.start_new(60)
    timeout.cancel()
    timeout.cancel()
    timeout.close()
    assert not timeout.pending
    timeout.start()
    with pytest.raises(AssertionError, match="already started"):
        timeout.start()
    timeout.cancel()


def test_start_new_takes_what_is_a_timeout() -> None:
    timeout = Timeout(60)
    assert Timeout.start_new(timeout) is timeout
    assert timeout.pending
    assert Timeout.start_new(timeout) is timeout
    timeout.cancel()


def test_an_unreferenced_one_does_not_keep_the_loop_going() -> None:
    with Timeout(60, ref=False):
        assert get_hub().join(5)


@pytest.mark.treadle(clock="real")  # it spins
def test_it_expires_while_others_run() -> None:
    busy = treadle.spawn(lambda: [treadle.sleep(0) for _ in iter(int, 1)])
    with Timeout(0.005, False):
        treadle.sleep(60)
    busy.kill()


def test_a_cancelled_one_raises_nothing_later() -> None:
    with Timeout(0.001):
        pass
    treadle.sleep(0.003)


def test_subclasses_may_take_over() -> None:
    expired = []

    class Mine(Timeout):
        def _on_expiration(self, prev_greenlet: Any, ex: BaseException) -> None:
            expired.append((prev_greenlet, ex))
            super()._on_expiration(prev_greenlet, ex)

    with pytest.raises(Mine) as caught, Mine(0.001):
        treadle.sleep(1)
    assert expired == [(treadle.getcurrent(), caught.value)]


class TestText:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ((), ""),
            ((1,), "1 second"),
            ((1.5,), "1.5 seconds"),
            ((2, False), "2 seconds (silent)"),
            ((2, "why"), "2 seconds: why"),
        ],
    )
    def test_str(self, arguments: tuple[Any, ...], text: str) -> None:
        assert str(Timeout(*arguments)) == text

    def test_repr(self) -> None:
        with Timeout(5, Expected) as timeout:
            assert repr(timeout).startswith(f"<Timeout at {id(timeout):#x} seconds=5")
            assert "pending" in repr(timeout)
        assert "pending" not in repr(timeout)

    def test_what_is_no_number(self) -> None:
        with pytest.raises(TypeError):
            Timeout("soon").start()  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="NaN"):
            Timeout(float("nan")).start()


class TestWithTimeout:
    def test_in_time(self) -> None:
        assert with_timeout(1, lambda a, b: (a, b), 1, b=2) == (1, 2)
        assert with_timeout(None, int) == 0

    def test_too_late(self) -> None:
        with pytest.raises(Timeout):
            with_timeout(0.001, treadle.sleep, 1)
        assert with_timeout(0.001, treadle.sleep, 1, timeout_value="late") == "late"
        assert with_timeout(0.001, treadle.sleep, 1, timeout_value=None) is None

    def test_another_timeout_inside_is_not_its_own(self) -> None:
        def inner() -> None:
            raise Timeout(7)

        with pytest.raises(Timeout, match="7 seconds"):
            with_timeout(1, inner, timeout_value="late")


def test_a_timeout_stands_for_its_seconds() -> None:
    sleeper = treadle.spawn(treadle.sleep, 10)
    for wait in (
        treadle.event.AsyncResult().get,
        treadle.queue.Queue().get,
        treadle.queue.Channel().get,
        lambda timeout: treadle.queue.Channel().put(1, timeout=timeout),
        sleeper.get,
    ):
        timeout = treadle.Timeout(0.005)
        with pytest.raises(treadle.Timeout) as caught:
            wait(timeout=timeout)
        assert caught.value is timeout
        with pytest.raises(KeyError):
            wait(timeout=treadle.Timeout(0.005, KeyError))
    sleeper.kill()
    assert not treadle.event.Event().wait(treadle.Timeout(0.005))
    assert not treadle.lock.Semaphore(0).acquire(timeout=treadle.Timeout(0.005))


def test_only_exceptions_are_raised() -> None:
    with pytest.raises(TypeError, match="exceptions must be"), treadle.Timeout(0.001, object()):
        treadle.sleep(1)
