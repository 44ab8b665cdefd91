"""How children start, and how many at once; gather() and race()."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import treadle
from treadle import (
    Cancelled,
    CancelScope,
    GreenletExit,
    TaskGroup,
    Timeout,
    checkpoint,
    gather,
    move_on_after,
    race,
    started,
)
from treadle.testing import clock, wait_all_blocked

from .common import Other, fail, forever, stubborn

pytestmark = pytest.mark.treadle


# ---------------------------------------------------------------- start


class TestStart:
    def test_it_waits_for_started_and_returns_its_value(self) -> None:
        def child(seconds: float) -> None:
            treadle.sleep(seconds)
            started(seconds)
            treadle.sleep(seconds)

        for seconds in (1, 2):
            with TaskGroup() as group:
                begun = clock.elapsed
                assert group.start(child, seconds) == seconds
                assert clock.elapsed - begun == seconds
                assert len(group) == 1
            assert clock.elapsed - begun == 2 * seconds

    def test_keyword_arguments_and_no_value(self) -> None:
        def child(one: int, *, two: int) -> None:
            assert (one, two) == (1, 2)
            started()

        with TaskGroup() as group:
            assert group.start(child, 1, two=2) is None

    def test_a_second_started_is_an_error(self) -> None:
        def child() -> None:
            started(1)
            with pytest.raises(RuntimeError):
                started(2)

        with TaskGroup() as group:
            assert group.start(child) == 1

    def test_a_failure_before_started_is_raised_by_start_alone(self) -> None:
        exc = Other("oops")
        with TaskGroup() as group:
            with pytest.raises(Other) as caught:
                group.start(fail, exc, 1)
            assert caught.value is exc
            treadle.sleep(1)
        assert not group.cancel_scope.cancelled

    def test_a_failure_before_started_keeps_cause_and_context(self) -> None:
        def child() -> None:
            exc = Other("foo")
            exc.__cause__ = KeyError("bar")
            exc.__context__ = TypeError("baz")
            raise exc

        with pytest.RaisesGroup(Other) as caught, TaskGroup() as group:
            group.start(child)
        (exc,) = caught.value.exceptions
        assert isinstance(exc.__cause__, KeyError)
        assert isinstance(exc.__context__, TypeError)

    @pytest.mark.parametrize("after", [True, False])
    @pytest.mark.parametrize("exc", [Other(), ExceptionGroup("own", [Other()])])
    def test_a_failure_is_not_wrapped_twice(self, exc: Exception, after: bool) -> None:
        def child() -> None:
            if after:
                started()
            raise exc

        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            group.start(child)
        assert caught.value.exceptions == (exc,)

    def test_a_failure_after_started_is_one_of_the_group(self) -> None:
        def child() -> None:
            started("up")
            treadle.sleep(1)
            raise Other

        with pytest.RaisesGroup(Other), TaskGroup() as group:
            assert group.start(child) == "up"
            forever()

    def test_an_end_before_started(self) -> None:
        with TaskGroup() as group:
            with pytest.raises(RuntimeError, match="started"):
                group.start(lambda: None)
            treadle.sleep(1)
        assert not group.cancel_scope.cancelled

    def test_a_kill_of_the_child_before_started(self) -> None:
        with TaskGroup() as group:
            treadle.spawn_later(1, lambda: [each.kill() for each in group])
            with pytest.raises(RuntimeError, match="started"):
                group.start(forever)

    def test_a_cancelled_start_ends_the_child(self) -> None:
        steps: list[Any] = []
        with TaskGroup() as group:
            with move_on_after(1) as scope:
                group.start(stubborn, steps)
            assert scope.caught
            assert steps == [("cleaned", 6)]
            assert len(group) == 0

    def test_a_timeout_ends_the_child(self) -> None:
        steps: list[Any] = []
        with TaskGroup() as group:
            with pytest.raises(Timeout), Timeout(1):
                group.start(stubborn, steps)
            assert steps == [("cleaned", 6)]
            assert len(group) == 0

    def test_a_failure_of_the_child_after_start_was_interrupted(self) -> None:
        """It may come from start() or from the group, but it is not lost."""

        def child() -> None:
            try:
                forever()
            finally:
                raise Other

        def block() -> None:
            with TaskGroup() as group, move_on_after(1):
                group.start(child)

        with pytest.RaisesGroup(Other):
            block()

    def test_in_a_cancelled_scope(self) -> None:
        with TaskGroup() as group, CancelScope() as scope:
            scope.cancel()
            with pytest.raises(Cancelled):
                group.start(lambda: (treadle.sleep(1), started(), treadle.sleep(1)))
        assert len(group) == 0

    def test_in_a_group_that_is_cancelled_meanwhile(self) -> None:
        def child() -> None:
            treadle.sleep(2)
            started()

        with TaskGroup() as group:
            treadle.spawn_later(1, group.cancel)
            group.start(child)
            pytest.fail("not reached")
        assert clock.elapsed == 1

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_in_another_group_that_is_cancelled(self, when: str) -> None:
        def owner() -> None:
            with TaskGroup() as inner:
                started(inner)
                forever()

        def child(inner: TaskGroup) -> None:
            with TaskGroup() as nested:
                nested.spawn(forever)
                nested.spawn(forever)
                wait_all_blocked()
                if when == "before":
                    inner.cancel()
                started()

        with TaskGroup() as group:
            inner = group.start(owner)
            with suppress(RuntimeError):
                inner.start(child, inner)
            if when == "after":
                inner.cancel()
        assert clock.elapsed == 0

    def test_it_keeps_the_group_open(self) -> None:
        def child() -> None:
            treadle.sleep(2)
            started()
            treadle.sleep(3)

        with TaskGroup() as outer:
            with TaskGroup() as inner:
                outer.spawn(inner.start, child)
                treadle.sleep(1)
                outer.spawn(inner.start, child)
            assert clock.elapsed == 6

    def test_a_start_that_fails_keeps_the_group_open_until_then(self) -> None:
        def start() -> None:
            with pytest.raises(KeyError):
                inner.start(fail, KeyError, 7)

        with TaskGroup() as outer:
            with TaskGroup() as inner:
                outer.spawn(start)
                wait_all_blocked()
            assert clock.elapsed == 7

    def test_started_where_nobody_waits(self) -> None:
        """A function that calls started() may be spawned, or called, as well."""
        with TaskGroup() as group:
            group.spawn(started, 1)
        treadle.spawn(started, 1).get()
        started(1)

    def test_started_of_a_grandchild_is_not_the_childs(self) -> None:
        def child() -> None:
            treadle.spawn(started, "wrong").join()
            with suppress(RuntimeError), TaskGroup() as inner:
                inner.spawn(started, "wrong too")
            started("right")

        with TaskGroup() as group:
            assert group.start(child) == "right"

    def test_start_inside_a_started_child(self) -> None:
        def inner() -> None:
            started("inner")

        def outer() -> None:
            with TaskGroup() as group:
                started("outer " + group.start(inner))

        with TaskGroup() as group:
            assert group.start(outer) == "outer inner"


# ---------------------------------------------------------------- limits


class TestLimit:
    def test_at_most_so_many_at_once(self) -> None:
        running, most = [0], [0]

        def child() -> None:
            running[0] += 1
            most[0] = max(most[0], running[0])
            treadle.sleep(1)
            running[0] -= 1

        with TaskGroup(limit=3) as group:
            for number in range(9):
                group.spawn(child)
                assert len(group) <= 3
                assert clock.elapsed == max(0, number // 3)
        assert most == [3]
        assert clock.elapsed == 3

    def test_start_waits_for_a_place_too(self) -> None:
        def child() -> None:
            started()
            treadle.sleep(1)

        with TaskGroup(1) as group:
            for number in range(3):
                group.start(child)
                assert clock.elapsed == number
        assert clock.elapsed == 3

    def test_a_failure_ends_the_wait_for_a_place(self) -> None:
        with pytest.RaisesGroup(Other), TaskGroup(2) as group:
            group.spawn(forever)
            group.spawn(fail, Other, 1)
            group.spawn(pytest.fail, "not reached")
            pytest.fail("not reached")
        assert clock.elapsed == 1

    def test_a_wait_for_a_place_that_is_interrupted_takes_none(self) -> None:
        with TaskGroup(1) as group:
            group.spawn(treadle.sleep, 2)
            with Timeout(1, False):
                group.spawn(pytest.fail, "not reached")
            with move_on_after(0.5):
                group.spawn(pytest.fail, "not reached")
            done = group.spawn(lambda: "done")
            assert done.get() == "done"
            assert group.spawn(lambda: "again").get() == "again"
        assert clock.elapsed == 2

    def test_a_killed_child_makes_room(self) -> None:
        with TaskGroup(1) as group:
            first = group.spawn(forever)
            treadle.spawn_later(1, first.kill)
            group.spawn(lambda: None)
        assert clock.elapsed == 1

    def test_children_get_places_in_the_order_in_which_they_asked(self) -> None:
        order = []

        def ask(number: int) -> None:
            group.spawn(order.append, number)

        with TaskGroup(1) as group:
            group.spawn(treadle.sleep, 1)
            jobs = [treadle.spawn(ask, number) for number in range(5)]
            treadle.joinall(jobs)
        assert order == list(range(5))

    def test_a_spawn_that_waits_when_the_owner_is_ready_to_leave(self) -> None:
        order = []

        def ask() -> None:
            with suppress(RuntimeError):
                group.spawn(order.append, "spawned")
                order.append("asked")

        with TaskGroup(1) as group:
            group.spawn(treadle.sleep, 1)
            job = treadle.spawn(ask)
            wait_all_blocked()
        job.join()
        assert sorted(order) in ([], ["asked", "spawned"])
        assert len(group) == 0


# ---------------------------------------------------------------- gather and race


class TestGather:
    def test_results_come_in_the_order_of_the_functions(self) -> None:
        def after(seconds: float) -> float:
            treadle.sleep(seconds)
            return seconds

        assert gather(*[partial(after, seconds) for seconds in (3, 1, 2)]) == [3, 1, 2]
        assert clock.elapsed == 3

    def test_of_nothing(self) -> None:
        assert gather() == []

    def test_with_a_limit(self) -> None:
        assert gather(*[partial(treadle.sleep, 1)] * 6, limit=2) == [None] * 6
        assert clock.elapsed == 3

    def test_a_failure_ends_the_others(self) -> None:
        steps: list[Any] = []
        with pytest.RaisesGroup(Other):
            gather(partial(stubborn, steps), partial(fail, Other, 1), forever)
        assert steps == [("cleaned", 6)]

    def test_a_failure_with_a_limit_starts_no_more(self) -> None:
        with pytest.RaisesGroup(Other):
            gather(partial(fail, Other, 1), partial(pytest.fail, "not reached"), limit=1)

    def test_it_is_cancelled(self) -> None:
        with move_on_after(1) as scope:
            gather(forever, forever)
        assert scope.caught

    def test_a_timeout(self) -> None:
        with pytest.raises(Timeout), Timeout(1):
            gather(forever, forever)

    def test_what_is_no_function(self) -> None:
        with pytest.raises((TypeError, ExceptionGroup)):
            gather(lambda: 1, 3)  # type: ignore[arg-type]
        checkpoint()


class TestRace:
    def test_the_first_result(self) -> None:
        steps: list[Any] = []

        def after(seconds: float) -> float:
            treadle.sleep(seconds)
            return seconds

        value = race(partial(after, 3), partial(after, 1), partial(stubborn, steps, 5))
        assert value == 1
        assert steps == [("cleaned", 6)]

    def test_failures_before_the_first_result_do_not_count(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert race(partial(fail, Other), lambda: (treadle.sleep(1), "won")[1]) == "won"
        assert capsys.readouterr() == ("", "")

    def test_all_fail(self) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            race(partial(fail, Other, 2), partial(fail, KeyError, 1))
        assert [type(exc) for exc in caught.value.exceptions] == [KeyError, Other]

    def test_one_alone(self) -> None:
        assert race(lambda: 5) == 5
        with pytest.RaisesGroup(Other):
            race(partial(fail, Other))

    def test_a_result_of_none_or_an_exception_wins(self) -> None:
        assert race(lambda: None, forever) is None
        exc = Other()
        assert race(lambda: exc, forever) is exc

    def test_of_nothing(self) -> None:
        with pytest.raises(ValueError, match="race"):
            race()

    def test_two_results_at_once(self) -> None:
        assert race(lambda: 1, lambda: 2) == 1

    def test_it_is_cancelled(self) -> None:
        with move_on_after(1) as scope:
            race(forever, forever)
            pytest.fail("not reached")
        assert scope.caught

    def test_a_timeout(self) -> None:
        with pytest.raises(Timeout), Timeout(1):
            race(forever, forever)

    def test_an_interrupt_wins(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            race(partial(fail, KeyboardInterrupt, 1), forever)

    def test_a_racer_that_is_killed_is_out(self) -> None:
        """A kill is no result."""

        def ends_itself() -> None:
            raise GreenletExit

        assert race(ends_itself, lambda: (treadle.sleep(1), "won")[1]) == "won"

    def test_all_racers_are_killed(self) -> None:
        def ends_itself() -> None:
            raise GreenletExit

        with pytest.raises((GreenletExit, BaseExceptionGroup, RuntimeError)):
            race(ends_itself, ends_itself)
