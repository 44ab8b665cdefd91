"""Scopes: cancellation, deadlines, misuse."""

import copy
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from math import inf, nan

import greenlet
import pytest

import treadle
from treadle import (
    Cancelled,
    CancelScope,
    GreenletExit,
    checkpoint,
    fail_after,
    move_on_after,
    shield,
)
from treadle.event import AsyncResult, Event
from treadle.hub import get_hub
from treadle.lock import Semaphore
from treadle.queue import Channel, Queue
from treadle.testing import clock, wait_all_blocked

from .common import LONG, Other, forever, is_cancelled

pytestmark = pytest.mark.treadle

# ---------------------------------------------------------------- cancel


class TestCancel:
    @pytest.mark.parametrize(
        "wait",
        [
            checkpoint,
            lambda: treadle.sleep(0),
            lambda: treadle.sleep(LONG),
            forever,
            lambda: Event().wait(timeout=LONG),
            lambda: Queue[int]().get(timeout=LONG),
            lambda: Semaphore(0).acquire(timeout=LONG),
            lambda: AsyncResult[int]().get(timeout=LONG),
            lambda: treadle.spawn_later(LONG, print).kill(),
        ],
        ids=["checkpoint", "sleep0", "sleep", "event", "event2", "queue", "lock", "result", "kill"],
    )
    def test_every_wait_raises_from_then_on(self, wait: Callable[[], object]) -> None:
        with CancelScope() as scope:
            checkpoint()
            scope.cancel()
            for _ in range(3):
                with suppress(Cancelled):
                    wait()
                assert is_cancelled()

    @pytest.mark.parametrize(
        "wait", [checkpoint, lambda: treadle.sleep(0), lambda: treadle.sleep(LONG), forever]
    )
    def test_the_next_wait_raises_and_the_scope_swallows(self, wait: Callable[[], object]) -> None:
        with CancelScope() as scope:
            wait_all_blocked()
            scope.cancel()
            wait()
            pytest.fail("not reached")
        assert (scope.cancelled, scope.caught) == (True, True)
        checkpoint()
        assert clock.elapsed == 0

    def test_a_second_cancel_changes_nothing(self) -> None:
        with CancelScope() as scope:
            scope.cancel("first")
            scope.cancel("second")
            with pytest.raises(Cancelled) as caught:
                checkpoint()
            assert caught.value.reason == scope.reason == "first"
            scope.cancel("third")
            assert scope.reason == "first"
            checkpoint()
        assert scope.caught
        scope.cancel("fourth")
        assert scope.reason == "first"

    def test_a_cancel_without_a_reason_comes_first_too(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            scope.cancel("late")
            assert scope.reason is None
            checkpoint()

    def test_lines_that_do_not_wait_go_on(self) -> None:
        lines = []
        with CancelScope() as scope:
            scope.cancel()
            lines.append(1)
            with Semaphore(1):
                lines.append(2)
            queue = Queue[int]()
            queue.put(3)
            lines.append(queue.get())
        assert lines == [1, 2, 3]
        assert (scope.cancelled, scope.caught) == (True, False)

    def test_a_scope_that_nobody_cancels_is_not_cancelled(self) -> None:
        with CancelScope() as scope:
            treadle.sleep(1)
        assert (scope.cancelled, scope.caught, scope.reason) == (False, False, None)

    def test_what_is_pending_when_the_scope_ends_is_not_raised_later(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            with shield():
                checkpoint()
        checkpoint()
        treadle.sleep(1)
        assert not scope.caught

    def test_another_greenlet_may_cancel_it(self) -> None:
        with CancelScope() as scope:
            treadle.spawn_later(3, scope.cancel, "enough")
            forever()
        assert scope.caught
        assert scope.reason == "enough"
        assert clock.elapsed == 3

    def test_a_callback_in_the_hub_may_cancel_it(self) -> None:
        with CancelScope() as scope:
            get_hub().loop.run_callback(scope.cancel, "called back")
            forever()
        assert scope.caught
        with CancelScope() as scope:
            timer = get_hub().loop.timer(2)
            timer.start(scope.cancel)
            try:
                forever()
            finally:
                timer.close()
        assert scope.caught
        assert clock.elapsed == 2

    def test_two_cancels_at_once_raise_once_in_the_inner_scope(self) -> None:
        with CancelScope() as outer:
            with CancelScope() as middle:
                with CancelScope() as inner:
                    inner.cancel()
                    middle.cancel()
                    forever()
                pytest.fail("not reached")
            checkpoint()
        assert [each.cancelled for each in (outer, middle, inner)] == [False, True, True]
        assert [each.caught for each in (outer, middle, inner)] == [False, True, False]

    def test_the_inner_scope_does_not_take_what_is_the_outer_ones(self) -> None:
        with CancelScope() as outer:
            with CancelScope() as inner:
                inner.cancel()
                with pytest.raises(Cancelled) as caught:
                    forever()
                assert caught.value.scope is inner
                outer.cancel()
                with pytest.raises(Cancelled) as caught:
                    forever()
                assert caught.value.scope is outer
                checkpoint()
            pytest.fail("not reached")
        assert (outer.caught, inner.caught) == (True, False)

    def test_a_greenlet_that_was_woken_already_gets_it_at_its_next_wait(self) -> None:
        event = Event()
        with CancelScope() as scope:

            def both() -> None:
                event.set()
                scope.cancel()

            treadle.spawn(both)
            assert event.wait()
            assert is_cancelled()

    def test_an_item_that_was_taken_is_not_lost(self) -> None:
        queue = Queue[int]()
        with CancelScope() as scope:

            def both() -> None:
                queue.put(1)
                scope.cancel()

            treadle.spawn(both)
            assert queue.get() == 1
            assert is_cancelled()

    def test_a_wait_whose_effect_has_happened_returns(self) -> None:
        channel, taken = Channel[int](), []
        with CancelScope() as scope:

            def take() -> None:
                taken.append(channel.get())
                scope.cancel()

            treadle.spawn(take)
            channel.put(7)
            assert taken == [7]
            assert is_cancelled()

    def test_a_greenlet_spawned_inside_is_not_in_the_scope(self) -> None:
        done = []
        with CancelScope() as scope:
            job = treadle.spawn(lambda: (treadle.sleep(2), done.append(1)))
            scope.cancel()
            checkpoint()
        job.join()
        assert done == [1]

    def test_catching_greenletexit_does_not_end_the_cancellation(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                with pytest.raises(GreenletExit):
                    checkpoint()
        assert scope.cancelled
        assert not scope.caught

    def test_except_exception_does_not_catch_it(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            try:
                checkpoint()
            except Exception:
                pytest.fail("Cancelled is no Exception")
        assert scope.caught

    def test_clean_up_that_waits_needs_a_shield(self) -> None:
        steps = []
        with CancelScope() as scope:
            try:
                scope.cancel()
                forever()
            finally:
                with pytest.raises(Cancelled):
                    treadle.sleep(1)
                with shield():
                    treadle.sleep(1)
                    steps.append("cleaned up")
        assert steps == ["cleaned up"]
        assert clock.elapsed == 1

    def test_a_greenlet_that_ends_by_it_has_not_failed(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scope = CancelScope()
        escaped = []

        def job() -> None:
            with scope:
                try:
                    forever()
                except Cancelled as exc:
                    escaped.append(exc)
            raise escaped[0]

        running = treadle.spawn(job)
        wait_all_blocked()
        scope.cancel()
        running.join()
        assert running.successful()
        assert running.exception is None
        assert running.get() is escaped[0]
        assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- the exception


class TestCancelled:
    def test_it_is_a_greenletexit(self) -> None:
        assert issubclass(Cancelled, GreenletExit)
        assert not issubclass(Cancelled, Exception)

    def test_it_tells_scope_reason_and_source(self) -> None:
        with CancelScope() as scope:
            scope.cancel("no more tea")
            with pytest.raises(Cancelled, match="no more tea") as caught:
                checkpoint()
        assert caught.value.scope is scope
        assert caught.value.reason == "no more tea"
        assert caught.value.source is greenlet.getcurrent()

    def test_the_source_is_the_greenlet_that_called_cancel(self) -> None:
        with CancelScope() as scope:
            other = treadle.spawn(scope.cancel)
            with pytest.raises(Cancelled) as caught:
                forever()
        assert caught.value.source is other

    def test_a_deadline_is_a_reason_without_a_source(self) -> None:
        with CancelScope(1), pytest.raises(Cancelled, match="deadline") as caught:
            forever()
        assert "deadline" in str(caught.value.reason)
        assert caught.value.source is None

    @pytest.mark.parametrize("deadline", [-inf, 0.0])
    def test_a_deadline_that_has_passed_when_it_is_set(self, deadline: float) -> None:
        with CancelScope(deadline=deadline), pytest.raises(Cancelled, match="deadline"):
            checkpoint()
        with CancelScope() as scope:
            scope.deadline = deadline
            with pytest.raises(Cancelled, match="deadline"):
                checkpoint()

    def test_the_first_reason_stays(self) -> None:
        with CancelScope() as scope:
            scope.cancel("asked")
            scope.deadline = -inf
            with pytest.raises(Cancelled) as caught:
                checkpoint()
            assert caught.value.reason == "asked"
        with CancelScope() as scope:
            scope.deadline = -inf
            with pytest.raises(Cancelled) as first:
                checkpoint()
            scope.cancel("asked")
            with pytest.raises(Cancelled) as second:
                checkpoint()
        assert first.value.reason == second.value.reason == scope.reason
        assert "deadline" in str(scope.reason)

    def test_each_wait_raises_an_exception_of_its_own(self) -> None:
        found = []
        with CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                try:
                    checkpoint()
                except Cancelled as exc:
                    found.append(exc)
        for one, two in pairwise(found):
            assert one is not two
            assert two.__context__ is None
        depths = set()
        for each in found:
            depth, tb = 0, each.__traceback__
            while tb is not None:
                depth, tb = depth + 1, tb.tb_next
            depths.add(depth)
        assert len(depths) == 1, "tracebacks grow"

    def test_texts(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            with pytest.raises(Cancelled) as caught:
                checkpoint()
        assert str(caught.value)
        assert "Cancelled" in repr(caught.value)

    def test_a_copy_belongs_to_the_same_scope(self) -> None:
        with CancelScope() as scope:
            scope.cancel("a reason")
            with pytest.raises(Cancelled) as caught:
                checkpoint()
            other = copy.copy(caught.value)
            assert (other.scope, other.reason) == (scope, "a reason")
            raise other
        assert scope.caught

    def test_it_is_not_pickled(self) -> None:
        """A scope means nothing in another process."""
        with CancelScope() as scope:
            scope.cancel()
            with pytest.raises(Cancelled) as caught:
                checkpoint()
        with pytest.raises(TypeError):
            pickle.dumps(caught.value)


# ---------------------------------------------------------------- what a scope swallows


class TestSwallow:
    def test_another_exception_goes_on(self) -> None:
        with pytest.raises(Other), CancelScope() as scope:
            scope.cancel()
            raise Other
        assert (scope.cancelled, scope.caught) == (True, False)

    def test_clean_up_that_fails_replaces_it(self) -> None:
        with pytest.raises(Other) as caught, CancelScope() as scope:
            try:
                scope.cancel()
                forever()
            finally:
                raise Other
        assert isinstance(caught.value.__context__, Cancelled)
        assert not scope.caught

    def test_it_takes_its_own_out_of_groups(self) -> None:
        with pytest.RaisesGroup(Other) as caught, CancelScope() as scope:
            scope.cancel()
            try:
                checkpoint()
            except Cancelled as exc:
                raise BaseExceptionGroup("both", [exc, Other()]) from None
        assert scope.caught
        assert isinstance(caught.value, ExceptionGroup)

    def test_a_group_of_nothing_else_is_swallowed(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            found = []
            for _ in range(3):
                try:
                    checkpoint()
                except Cancelled as exc:
                    found.append(exc)
            inner = BaseExceptionGroup("two", found[1:])
            raise BaseExceptionGroup("three", [found[0], inner])
        assert scope.caught

    def test_it_finds_its_own_in_groups_of_groups(self) -> None:
        with (
            pytest.RaisesGroup(Other, pytest.RaisesGroup(KeyError)),
            CancelScope() as scope,
        ):
            scope.cancel()
            try:
                checkpoint()
            except Cancelled as exc:
                inner = BaseExceptionGroup("inner", [KeyError(), exc])
                raise BaseExceptionGroup("outer", [exc, Other(), inner]) from None
        assert scope.caught

    def test_it_leaves_those_of_other_scopes_in_groups(self) -> None:
        with CancelScope() as outer:
            with pytest.RaisesGroup(Cancelled, Other) as caught, CancelScope() as inner:
                found: list[BaseException] = [Other()]
                for scope in (inner, outer):
                    scope.cancel()
                    try:
                        checkpoint()
                    except Cancelled as exc:
                        found.append(exc)
                raise BaseExceptionGroup("all", found)
            assert inner.caught
            assert caught.value.exceptions[1].scope is outer  # type: ignore[union-attr]
            raise caught.value.exceptions[1]
        assert outer.caught

    def test_a_group_without_its_own_is_left_as_it_is(self) -> None:
        group = ExceptionGroup("two", [Other(), KeyError()])
        with pytest.RaisesGroup(Other, KeyError) as caught, CancelScope() as scope:
            scope.cancel()
            raise group
        assert caught.value is group
        assert not scope.caught

    def test_it_does_not_take_what_another_scope_has_left(self) -> None:
        with CancelScope() as first:
            first.cancel()
            with pytest.raises(Cancelled) as caught:
                checkpoint()
        with pytest.raises(Cancelled) as again, CancelScope() as second:
            second.cancel()
            raise caught.value
        assert again.value is caught.value
        assert not second.caught

    def test_it_does_not_take_a_greenletexit(self) -> None:
        with pytest.raises(GreenletExit) as caught, CancelScope() as scope:
            scope.cancel()
            raise GreenletExit
        assert type(caught.value) is GreenletExit
        assert not scope.caught

    def test_its_own_is_swallowed_wherever_it_was_kept(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            try:
                checkpoint()
            except Cancelled as exc:
                kept = exc
            raise kept
        assert scope.caught

    def test_one_of_a_greenlet_that_it_waits_for(self) -> None:
        """A Cancelled counts by its scope, and not by the greenlet where it was raised."""
        with CancelScope() as scope:
            scope.cancel()
            with pytest.raises(Cancelled) as caught:
                checkpoint()

            def fail() -> None:
                raise caught.value

            job = treadle.spawn(fail)
            with shield():
                job.join()
            raise job.get()
        assert scope.caught


# ---------------------------------------------------------------- entering and leaving


class TestEntering:
    @pytest.mark.parametrize("how", ["before", "after"])
    def test_cancelled_before_or_after_it_is_entered(self, how: str) -> None:
        scope, started = CancelScope(), []

        def sleeper() -> None:
            with scope, fail_after(1):
                started.append(1)
                forever()

        if how == "before":
            scope.cancel()
            assert scope.cancelled
        job = treadle.spawn(sleeper)
        if how == "after":
            wait_all_blocked()
            scope.cancel()
        job.get()
        assert started == [1]
        assert scope.caught
        assert clock.elapsed == 0

    def test_it_is_entered_once(self) -> None:
        with CancelScope() as scope:
            checkpoint()
        scope.cancel()
        checkpoint()
        assert scope.cancelled
        assert not scope.caught
        with pytest.raises(RuntimeError), scope:
            pytest.fail("not reached")
        checkpoint()

    def test_it_is_not_entered_again_inside_itself(self) -> None:
        with CancelScope() as scope:
            with pytest.raises(RuntimeError), scope:
                pytest.fail("not reached")
            checkpoint()
            scope.cancel()
            checkpoint()
        assert scope.caught

    def test_it_is_not_entered_by_two_greenlets(self) -> None:
        scope = CancelScope()

        def enter() -> None:
            with scope:
                forever()

        job = treadle.spawn(enter)
        wait_all_blocked()
        with pytest.raises(RuntimeError), scope:
            pytest.fail("not reached")
        assert not scope.cancelled
        scope.cancel()
        job.get()
        assert scope.caught

    def test_its_deadline_counts_only_while_it_is_open(self) -> None:
        with CancelScope() as scope:
            assert scope.deadline == inf
            scope.deadline = time.monotonic() + 1
        clock.jump(5)
        checkpoint()
        assert not scope.cancelled

    def test_a_scope_that_was_never_entered_leaves_nothing(self) -> None:
        timers = get_hub().timer_count()
        scope = CancelScope(1)
        CancelScope(deadline=time.monotonic() + 1)
        move_on_after(1)
        treadle.sleep(5)
        assert get_hub().timer_count() == timers
        assert not scope.cancelled

    def test_wrong_arguments(self) -> None:
        with pytest.raises(TypeError):
            CancelScope(1, deadline=2)  # type: ignore[call-overload]
        for wrong in ("1", [], object()):
            with pytest.raises(TypeError):
                CancelScope(wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                CancelScope(deadline=wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                move_on_after(wrong)  # type: ignore[arg-type]
            scope = CancelScope()
            with pytest.raises(TypeError):
                scope.deadline = wrong  # type: ignore[assignment]
            assert scope.deadline == inf

    @pytest.mark.parametrize(
        "make",
        [
            lambda: CancelScope(nan),
            lambda: CancelScope(deadline=nan),
            lambda: move_on_after(nan),
            lambda: fail_after(nan),
            lambda: shield(nan),
            lambda: setattr(CancelScope(), "deadline", nan),
        ],
    )
    def test_not_a_number(self, make: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match=r"(?i)nan|number"):
            make()

    @pytest.mark.parametrize("scope", [lambda: CancelScope(-1), lambda: move_on_after(-1)])
    def test_a_negative_timeout_is_over_at_once(self, scope: Callable[[], CancelScope]) -> None:
        """What is left of a time limit, ``end - now``, may be negative."""
        with scope() as entered:
            forever()
        assert entered.caught
        with pytest.raises(TimeoutError), fail_after(-1):
            forever()

    def test_what_is_no_truth_value_is_refused_or_taken_as_one(self) -> None:
        scope = CancelScope()
        with suppress(TypeError):
            scope.shield = "hello"  # type: ignore[assignment]
        assert scope.shield in (True, False)

    def test_reprs(self) -> None:
        scope = CancelScope()
        assert "CancelScope" in repr(scope)
        texts = [repr(scope)]
        with scope:
            texts.append(repr(scope))
            scope.deadline = time.monotonic() + 10
            texts.append(repr(scope))
            scope.cancel("why")
            texts.append(repr(scope))
            assert "cancelled" in repr(scope)
        assert len(set(texts[1:])) == 3

    def test_an_exception_passes(self) -> None:
        exc = Other()
        with pytest.raises(Other) as caught, CancelScope(), move_on_after(1), shield():
            raise exc
        assert caught.value is exc
        assert exc.__context__ is None

    def test_the_value_of_a_return_passes(self) -> None:
        def inner() -> int:
            with CancelScope(), fail_after(1), shield():
                return 4

        assert inner() == 4

    def test_it_is_usable_by_an_exitstack(self) -> None:
        with ExitStack() as stack:
            scope = stack.enter_context(CancelScope())
            stack.enter_context(shield())
            stack.enter_context(move_on_after(1))
            forever()
        assert not scope.cancelled
        assert clock.elapsed == 1

    def test_very_many_inside_each_other(self) -> None:
        with ExitStack() as stack:
            outermost = stack.enter_context(CancelScope())
            inner = [stack.enter_context(CancelScope()) for _ in range(5000)]
            outermost.cancel()
            assert is_cancelled()
            inner[2500].shield = True
            assert not is_cancelled()
            inner[2500].shield = False
            checkpoint()
        assert outermost.caught


# ---------------------------------------------------------------- misuse


class TestMisuse:
    def test_left_while_an_inner_one_is_open(self) -> None:
        outer, inner = CancelScope(), CancelScope()
        stack = ExitStack()
        stack.enter_context(outer)
        with inner:
            with pytest.raises(RuntimeError) as caught:
                stack.close()
            assert outer.cancelled
            assert inner.cancelled
            assert str(caught.value).count("CancelScope") == 2
        # Leaving the inner one after that is no second error.
        checkpoint()  # nothing of it is left

    def test_a_generator_that_yields_inside_one(self) -> None:
        opened = []

        def values() -> Iterator[int]:
            with CancelScope() as scope:
                opened.append(scope)
                yield 1
                yield 2

        generator = values()
        with pytest.raises(RuntimeError), CancelScope() as outer:
            next(generator)
        (inner,) = opened
        assert outer.cancelled
        assert inner.cancelled
        with suppress(RuntimeError):
            generator.close()  # type: ignore[attr-defined]
        checkpoint()
        with CancelScope() as scope:
            scope.cancel()
            checkpoint()
        assert scope.caught

    def test_a_generator_finished_by_another_greenlet(self) -> None:
        opened = []

        def values() -> Iterator[int]:
            with CancelScope() as scope:
                opened.append(scope)
                yield 1

        generator = values()
        done = Event()

        def first() -> None:
            next(generator)
            done.set()
            with suppress(Cancelled):
                treadle.sleep(10)
            checkpoint()

        job = treadle.spawn(first)
        done.wait()
        with pytest.raises(RuntimeError):
            next(generator)
        assert opened[0].cancelled
        job.join()
        assert clock.elapsed == 0, "the greenlet that entered the scope is cancelled"
        checkpoint()

    def test_left_by_a_greenlet_that_never_entered_it(self) -> None:
        scope = CancelScope()

        def enter() -> None:
            with scope:
                forever()

        job = treadle.spawn(enter)
        wait_all_blocked()
        with pytest.raises(RuntimeError):
            scope.__exit__(None, None, None)
        assert scope.cancelled
        job.join()
        assert job.successful() or isinstance(job.exception, RuntimeError)
        checkpoint()

    def test_left_before_it_is_entered(self) -> None:
        with pytest.raises(RuntimeError):
            CancelScope().__exit__(None, None, None)

    def test_left_twice(self) -> None:
        scope = CancelScope()
        scope.__enter__()
        scope.__exit__(None, None, None)
        with pytest.raises(RuntimeError):
            scope.__exit__(None, None, None)
        with CancelScope() as other:
            with pytest.raises(RuntimeError):
                scope.__exit__(None, None, None)
            checkpoint()
        assert not other.cancelled

    def test_the_exception_of_the_block_is_not_lost(self) -> None:
        outer = CancelScope()
        failure = Other()
        with pytest.raises(RuntimeError) as caught, outer:
            CancelScope().__enter__()
            raise failure
        assert caught.value.__context__ is failure

    def test_a_generator_that_the_collector_closes(self) -> None:
        """The end of a generator that nobody finished comes at any moment, in any greenlet."""

        def values() -> Iterator[int]:
            with CancelScope(50):
                yield 1

        timers = get_hub().timer_count()
        generator = values()

        def first() -> None:
            next(generator)

        job = treadle.spawn(first)
        job.join()
        with suppress(RuntimeError):
            generator.close()  # type: ignore[attr-defined]
        assert get_hub().timer_count() == timers
        checkpoint()

    def test_a_greenlet_that_ends_inside_a_scope(self) -> None:
        """Nothing of it reaches another greenlet."""
        timers = get_hub().timer_count()
        scope = CancelScope(50)
        treadle.spawn(scope.__enter__).join()
        scope.cancel()
        treadle.sleep(100)
        assert get_hub().timer_count() == timers

    def test_contextmanager_functions_are_no_misuse(self) -> None:
        @contextmanager
        def limited(seconds: float) -> Iterator[CancelScope]:
            with move_on_after(seconds) as scope:
                yield scope

        with limited(2) as outer, limited(1) as inner:
            forever()
        assert inner.caught
        assert not outer.cancelled
        assert clock.elapsed == 1


# ---------------------------------------------------------------- deadlines


class TestDeadlines:
    def test_move_on_after(self) -> None:
        with move_on_after(3) as scope:
            forever()
            pytest.fail("not reached")
        assert (scope.cancelled, scope.caught) == (True, True)
        assert clock.elapsed == 3

    def test_an_absolute_deadline(self) -> None:
        treadle.sleep(2)
        with CancelScope(deadline=time.monotonic() + 1) as scope:
            treadle.sleep(100)
        assert scope.caught
        assert clock.elapsed == pytest.approx(3)

    def test_in_time(self) -> None:
        timers = get_hub().timer_count()
        with move_on_after(3) as scope:
            treadle.sleep(2)
        with fail_after(3):
            treadle.sleep(2)
        assert not scope.cancelled
        assert get_hub().timer_count() == timers
        treadle.sleep(10)

    def test_zero_is_over_at_the_first_wait(self) -> None:
        steps = []
        with move_on_after(0) as scope:
            steps.append(1)
            treadle.sleep(0)
            pytest.fail("not reached")
        assert scope.caught
        assert steps == [1]

    def test_the_time_counts_from_entering(self) -> None:
        scopes = [CancelScope(5), move_on_after(5)]
        treadle.sleep(3)
        for scope in scopes:
            start = clock.elapsed
            with scope as entered:
                assert entered is scope
                assert scope.deadline == pytest.approx(time.monotonic() + 5)
                forever()
            assert clock.elapsed == start + 5

    def test_the_deadline_may_be_moved(self) -> None:
        with move_on_after(5) as scope:
            treadle.sleep(4)
            scope.deadline += 5
            treadle.sleep(5)
            scope.deadline = time.monotonic() + 2
            forever()
        assert scope.caught
        assert clock.elapsed == pytest.approx(11)

    def test_it_may_be_moved_into_the_past(self) -> None:
        with CancelScope() as scope:
            checkpoint()
            scope.deadline = time.monotonic() + 10
            checkpoint()
            treadle.sleep(5)
            scope.deadline = time.monotonic() - 1
            assert is_cancelled()
            assert is_cancelled()

    def test_it_may_be_taken_away(self) -> None:
        timers = get_hub().timer_count()
        with move_on_after(5) as scope:
            scope.deadline = inf
            assert get_hub().timer_count() == timers
            treadle.sleep(100)
        assert not scope.cancelled

    def test_another_greenlet_may_move_it(self) -> None:
        with move_on_after(10) as scope:

            def sooner() -> None:
                treadle.sleep(1)
                scope.deadline = time.monotonic() + 1

            treadle.spawn(sooner)
            forever()
        assert scope.caught
        assert clock.elapsed == pytest.approx(2)

    def test_another_greenlet_may_move_it_into_the_past(self) -> None:
        with move_on_after(10) as scope:

            def now() -> None:
                treadle.sleep(1)
                scope.deadline = -inf

            treadle.spawn(now)
            forever()
        assert scope.caught
        assert clock.elapsed == 1

    def test_it_may_be_moved_after_the_end_without_effect(self) -> None:
        timers = get_hub().timer_count()
        with CancelScope() as scope:
            pass
        scope.deadline = time.monotonic() + 1
        assert get_hub().timer_count() == timers
        treadle.sleep(5)
        assert not scope.cancelled

    def test_a_scope_never_becomes_uncancelled(self) -> None:
        with move_on_after(1) as scope:
            with suppress(Cancelled):
                treadle.sleep(2)
            assert scope.cancelled
            scope.deadline = inf
            assert is_cancelled()
        assert scope.cancelled

    def test_moving_it_often_costs_no_timers(self) -> None:
        timers = get_hub().timer_count()
        now = time.monotonic()
        with CancelScope() as scope:
            for _ in range(2000):
                scope.deadline = now + 9998
                scope.deadline = now + 9999
            assert get_hub().timer_count() == timers + 1
            treadle.sleep(0.01)
        assert get_hub().timer_count() == timers

    def test_the_earliest_of_nested_ones_fires_first(self) -> None:
        with move_on_after(3) as outer:
            with move_on_after(1) as inner:
                forever()
            assert clock.elapsed == 1
            with move_on_after(10) as late:
                forever()
            pytest.fail("not reached")
        assert clock.elapsed == 3
        assert [each.caught for each in (outer, inner, late)] == [True, True, False]
        assert not late.cancelled

    def test_equal_deadlines_are_the_outer_ones(self) -> None:
        with move_on_after(1) as outer:
            with move_on_after(1) as inner:
                forever()
            pytest.fail("not reached")
        assert outer.caught
        assert not inner.caught

    def test_a_deadline_that_passed_without_a_wait(self) -> None:
        with move_on_after(1) as scope, shield():
            treadle.sleep(5)
        assert (scope.cancelled, scope.caught) == (True, False)
        checkpoint()

    def test_a_wait_of_no_time_looks_at_the_clock(self) -> None:
        with CancelScope(5):
            checkpoint()
            with shield():
                clock.jump(10)
            with pytest.raises(Cancelled):
                checkpoint()

    def test_a_deadline_does_not_keep_the_loop_from_a_deadlock_report(self) -> None:
        """What ends a wait for ever is the scope, not LoopExit."""
        with move_on_after(1) as scope:
            forever()
        assert scope.caught

    def test_fail_after_raises_timeouterror(self) -> None:
        with pytest.raises(TimeoutError) as caught, fail_after(2):
            forever()
        assert type(caught.value) is TimeoutError
        assert clock.elapsed == 2

    def test_fail_after_gives_its_scope(self) -> None:
        with pytest.raises(TimeoutError), fail_after(2) as scope:
            assert isinstance(scope, CancelScope)
            scope.deadline += 1
            forever()
        assert scope.caught
        assert clock.elapsed == 3

    def test_fail_after_does_not_fail_for_a_cancel(self) -> None:
        with fail_after(2) as scope:
            scope.cancel()
            forever()
        assert scope.caught

    def test_fail_after_does_not_fail_for_an_outer_cancel(self) -> None:
        with CancelScope() as outer:
            with fail_after(1) as inner:
                outer.cancel()
                forever()
            pytest.fail("not reached")
        assert not inner.caught

    def test_an_outer_cancel_at_the_moment_of_the_deadline_wins(self) -> None:
        with CancelScope() as outer:
            treadle.spawn_later(1, outer.cancel)
            with fail_after(1) as inner:
                forever()
            pytest.fail("not reached")
        assert outer.caught
        assert (inner.cancelled, inner.caught) == (True, False)

    def test_fail_after_lets_the_exception_of_clean_up_pass(self) -> None:
        with pytest.raises(Other), fail_after(1):
            try:
                forever()
            finally:
                raise Other

    def test_fail_after_with_both_raises_both_or_the_other(self) -> None:
        def block() -> None:
            with fail_after(1):
                try:
                    forever()
                except Cancelled as exc:
                    raise BaseExceptionGroup("both", [exc, Other()]) from None

        with pytest.RaisesGroup(Other, allow_unwrapped=True):
            block()

    def test_fail_after_ended_late_without_a_wait(self) -> None:
        with fail_after(1) as scope, suppress(Cancelled):
            treadle.sleep(5)
        assert not scope.caught

    def test_the_first_wait_after_a_late_clean_up_is_outside(self) -> None:
        with move_on_after(1):
            try:
                forever()
            finally:
                with shield():
                    treadle.sleep(5)
        treadle.sleep(1)
        assert clock.elapsed == 7
