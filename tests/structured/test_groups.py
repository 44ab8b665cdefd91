"""Groups: children that have ended when the block has, and what becomes of their failures."""

import re
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from math import inf
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
    fail_after,
    move_on_after,
    shield,
)
from treadle.event import AsyncResult, Event
from treadle.greenlet import Greenlet, getcurrent
from treadle.hub import get_hub
from treadle.lock import Semaphore
from treadle.pool import Pool
from treadle.queue import Queue
from treadle.testing import clock, wait_all_blocked

from .common import LONG, Base, Other, fail, forever, is_cancelled, stubborn

pytestmark = pytest.mark.treadle


# ---------------------------------------------------------------- waiting


class TestWaiting:
    def test_the_block_ends_after_its_children(self) -> None:
        with TaskGroup() as group:
            first = group.spawn(treadle.sleep, 1)
            second = group.spawn(lambda: (treadle.sleep(2), 11)[1])
        assert clock.elapsed == 2
        assert first.get() is None
        assert second.get() == 11

    def test_children_may_be_spawned_at_any_moment_of_the_block(self) -> None:
        with TaskGroup() as group:
            group.spawn(treadle.sleep, 2)
            treadle.sleep(1.5)
            group.spawn(treadle.sleep, 2)
        assert clock.elapsed == 3.5

    def test_an_empty_group(self) -> None:
        with TaskGroup():
            pass
        with TaskGroup() as group:
            assert len(group) == 0
            assert list(group) == []
        assert clock.elapsed == 0

    def test_children_take_turns(self) -> None:
        record = []

        def loop(name: str) -> None:
            for number in range(3):
                record.append((name, number))
                checkpoint()

        with TaskGroup() as group:
            group.spawn(loop, "a")
            group.spawn(loop, "b")
        assert record == [(name, number) for number in range(3) for name in "ab"]

    def test_a_child_is_a_greenlet(self) -> None:
        def add(one: int, two: int = 0) -> int:
            treadle.sleep(1)
            return one + two

        with TaskGroup() as group:
            child = group.spawn(add, 1, two=2)
            assert isinstance(child, Greenlet)
            assert not child.ready()
            assert child.get() == 3
            linked: list[object] = []
            child.link(linked.append)
            later = group.spawn(add, 3)
            later.rawlink(linked.append)
        assert linked == [child, later]
        assert later.value == 3
        assert child.successful()

    def test_it_counts_and_lists_its_live_children(self) -> None:
        with TaskGroup(name="the name") as group:
            assert group.name == "the name"
            one = group.spawn(treadle.sleep, 1)
            two = group.spawn(treadle.sleep, 2)
            assert len(group) == 2
            assert list(group) == [one, two]
            treadle.sleep(1.5)
            assert list(group) == [two]
            for each in group:
                each.kill()  # it may change while it is listed
            assert len(group) == 0
        assert len(group) == 0
        assert TaskGroup().name is None or isinstance(TaskGroup().name, str)

    def test_it_goes_on_taking_children_while_it_waits(self) -> None:
        record = []

        def child(depth: int) -> None:
            treadle.sleep(1)
            record.append(depth)
            if depth:
                group.spawn(child, depth - 1)

        with TaskGroup() as group:
            group.spawn(child, 3)
        assert record == [3, 2, 1, 0]
        assert clock.elapsed == 4

    def test_the_last_child_may_spawn_as_it_ends(self) -> None:
        record = []

        def child() -> None:
            group.spawn(record.append, "grandchild")

        with TaskGroup() as group:
            group.spawn(child)
        assert record == ["grandchild"]

    def test_a_group_that_is_over_refuses(self) -> None:
        with TaskGroup() as group:
            pass
        with pytest.raises(RuntimeError):
            group.spawn(print)
        with pytest.raises(RuntimeError):
            group.start(print)
        with pytest.raises(RuntimeError), group:
            pytest.fail("not reached")
        checkpoint()

    def test_a_group_that_failed_refuses(self) -> None:
        with suppress(ExceptionGroup), TaskGroup() as group:
            raise Other
        with pytest.raises(RuntimeError):
            group.spawn(print)

    def test_a_group_that_was_not_entered_refuses(self) -> None:
        group = TaskGroup()
        with pytest.raises(RuntimeError):
            group.spawn(print)
        with pytest.raises(RuntimeError):
            group.start(print)
        with group:
            pass

    def test_a_group_is_entered_once(self) -> None:
        with TaskGroup() as group:
            with pytest.raises(RuntimeError), group:
                pytest.fail("not reached")
            group.spawn(checkpoint)
        with pytest.raises(RuntimeError), group:
            pytest.fail("not reached")

    def test_wrong_arguments(self) -> None:
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="place"):
                TaskGroup(wrong)
        for other in ("1", 1.5):
            with pytest.raises((TypeError, ValueError)):
                TaskGroup(other)  # type: ignore[arg-type]
        with TaskGroup() as group:
            with pytest.raises(TypeError):
                group.spawn(3)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                group.start(3)  # type: ignore[arg-type]
            assert len(group) == 0

    def test_a_child_called_with_wrong_arguments_fails(self) -> None:
        with pytest.RaisesGroup(TypeError), TaskGroup() as group:
            group.spawn(forever, 1)  # type: ignore[call-arg]

    def test_children_have_a_copy_of_the_context(self) -> None:
        var = ContextVar("var", default="default")
        seen = []

        def child(value: str) -> None:
            seen.append(var.get())
            var.set(value)
            checkpoint()
            seen.append(var.get())

        with TaskGroup() as group:
            var.set("one")
            group.spawn(child, "child one")
            var.set("two")
            group.spawn(child, "child two")
        assert sorted(seen) == ["child one", "child two", "one", "two"]
        assert var.get() == "two"

    def test_the_value_of_a_return_in_the_block(self) -> None:
        def function() -> str:
            with TaskGroup() as group:
                group.spawn(treadle.sleep, 1)
                return "value"

        assert function() == "value"
        assert clock.elapsed == 1

    def test_break_and_continue(self) -> None:
        for number in range(3):
            with TaskGroup() as group:
                group.spawn(treadle.sleep, 1)
                if number == 0:
                    continue
                break
        assert clock.elapsed == 2

    def test_repr(self) -> None:
        group = TaskGroup(name="fetchers")
        assert "TaskGroup" in repr(group)
        assert "fetchers" in repr(group)
        with group:
            group.spawn(checkpoint)
            assert "TaskGroup" in repr(group)
        assert "TaskGroup" in repr(group)

    def test_thousands_of_children(self) -> None:
        with TaskGroup() as group:
            for _ in range(5000):
                group.spawn(treadle.sleep, 1)
        assert clock.elapsed == 1

    def test_groups_deep_inside_each_other(self) -> None:
        def descend(depth: int) -> None:
            with TaskGroup() as group:
                if depth:
                    group.spawn(descend, depth - 1)
                else:
                    forever()

        with move_on_after(1) as scope:
            descend(100)
        assert scope.caught
        assert clock.elapsed == 1


# ---------------------------------------------------------------- failures


class TestFailures:
    def test_the_body_fails(self) -> None:
        exc = Other("whoops")
        with pytest.RaisesGroup(pytest.RaisesExc(check=lambda each: each is exc)), TaskGroup():
            raise exc

    def test_a_child_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        exc = Other("whoops")
        with (
            pytest.RaisesGroup(pytest.RaisesExc(check=lambda each: each is exc)) as caught,
            TaskGroup() as group,
        ):
            group.spawn(fail, exc)
        assert isinstance(caught.value, ExceptionGroup)
        assert capsys.readouterr() == ("", "")

    def test_a_failure_cancels_the_other_children(self) -> None:
        record = []

        def loop() -> None:
            try:
                while True:
                    checkpoint()
            except Cancelled as exc:
                record.append(exc)
                raise

        with pytest.RaisesGroup(pytest.RaisesExc(Other, match="argh")), TaskGroup() as group:
            looping = group.spawn(loop)
            failing = group.spawn(fail, Other("argh"))
        assert looping.successful()
        (exc,) = record
        assert exc.scope is group.cancel_scope
        assert exc.source is failing
        assert "failed" in str(exc.reason)

    def test_a_failure_of_a_child_ends_a_wait_of_the_body(self) -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(Other, match="crash")), TaskGroup() as group:
            group.spawn(fail, Other("crash"))
            forever()
        assert group.cancel_scope.cancelled

    def test_a_failure_of_the_body_cancels_the_children(self) -> None:
        owner, record = getcurrent(), []

        def child() -> None:
            try:
                forever()
            except Cancelled as exc:
                record.append(exc.source)
                raise

        with pytest.RaisesGroup(Other), TaskGroup() as group:
            jobs = [group.spawn(child), group.spawn(treadle.sleep, LONG)]
            treadle.sleep(1)
            raise Other
        assert all(job.successful() for job in jobs)
        assert isinstance(jobs[0].value, Cancelled)
        assert record == [owner]
        assert clock.elapsed == 1

    def test_a_failure_of_the_body_before_the_children_have_begun(self) -> None:
        record = []

        def child() -> None:
            record.append("begun")
            forever()
            record.append("not reached")

        with pytest.RaisesGroup(Other), TaskGroup() as group:
            jobs = [group.spawn(child) for _ in range(2)]
            raise Other
        assert record == ["begun", "begun"]
        assert all(isinstance(job.value, Cancelled) for job in jobs)

    def test_body_and_child_fail(self) -> None:
        with pytest.RaisesGroup(KeyError, ValueError), TaskGroup() as group:
            group.spawn(fail, ValueError)
            raise KeyError

    def test_two_children_fail(self) -> None:
        with pytest.RaisesGroup(KeyError, ValueError), TaskGroup() as group:
            group.spawn(fail, KeyError)
            group.spawn(fail, ValueError)

    def test_failures_come_in_the_order_in_which_they_happened(self) -> None:
        def late(exc: Exception, seconds: float) -> None:
            try:
                forever()
            finally:
                with shield():
                    treadle.sleep(seconds)
                raise exc

        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            group.spawn(late, Other(3), 3)
            group.spawn(late, Other(1), 1)
            group.spawn(late, Other(2), 2)
            group.spawn(fail, Other(0), 1)
        assert [exc.args for exc in caught.value.exceptions] == [(0,), (1,), (2,), (3,)]

    def test_the_bodys_failure_has_its_place_in_the_order(self) -> None:
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            group.spawn(fail, Other("child"), 1)
            try:
                forever()
            finally:
                raise Other("body")
        assert [exc.args for exc in caught.value.exceptions] == [("child",), ("body",)]

    def test_no_context_makes_a_loop(self) -> None:
        with pytest.RaisesGroup(ValueError, KeyError) as caught, TaskGroup() as group:
            group.spawn(fail, KeyError)
            raise ValueError
        assert caught.value.__context__ is None
        for exc in caught.value.exceptions:
            seen = set()
            each: BaseException | None = exc
            while each is not None:
                assert id(each) not in seen
                seen.add(id(each))
                each = each.__context__

    def test_an_exception_that_get_raised_in_the_body_appears_once(self) -> None:
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            child = group.spawn(fail, Other("once"))
            child.get()
        assert len(caught.value.exceptions) == 1
        assert str(caught.value.exceptions[0]) == "once"

    def test_an_exception_of_two_children_appears_once(self) -> None:
        exc = Other()
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            for _ in range(3):
                group.spawn(fail, exc)
        assert caught.value.exceptions == (exc,)

    def test_what_the_body_makes_of_a_childs_failure_comes_too(self) -> None:
        with pytest.RaisesGroup(Other, KeyError) as caught, TaskGroup() as group:
            child = group.spawn(fail, Other)
            try:
                child.get()
            except Other as exc:
                raise KeyError from exc
        assert caught.value.exceptions[1].__cause__ is caught.value.exceptions[0]

    def test_a_child_whose_failure_the_body_handles_has_failed_all_the_same(self) -> None:
        with pytest.RaisesGroup(Other), TaskGroup() as group:
            child = group.spawn(fail, Other)
            with suppress(Other):
                child.get()

    def test_exceptions_that_are_no_exception(self) -> None:
        with pytest.RaisesGroup(Base, Other) as caught, TaskGroup() as group:
            group.spawn(fail, Other)
            try:
                forever()
            finally:
                raise Base
        assert not isinstance(caught.value, ExceptionGroup)

    def test_a_child_raises_what_is_no_exception(self) -> None:
        with pytest.RaisesGroup(Base, TypeError), TaskGroup() as group:
            group.spawn(fail, Base)
            try:
                forever()
            finally:
                raise TypeError

    def test_stop_iteration(self) -> None:
        with pytest.RaisesGroup(StopIteration, ValueError), TaskGroup() as group:
            group.spawn(fail, ValueError)
            raise StopIteration

    def test_closing_a_generator_in_its_group(self) -> None:
        """GeneratorExit alone goes on bare, so that close() and the collector are satisfied."""
        jobs = []

        def values() -> Generator[int, None, None]:
            with TaskGroup() as outer, CancelScope(), TaskGroup() as group:
                jobs.append(group.spawn(forever))
                outer.spawn(forever)
                yield 1

        generator = values()
        next(generator)
        generator.close()
        assert isinstance(jobs[0].value, Cancelled)

    def test_closing_a_generator_whose_child_failed(self) -> None:
        def values() -> Generator[int, None, None]:
            with TaskGroup() as group:
                group.spawn(fail, Other)
                yield 1

        generator = values()
        next(generator)
        with pytest.RaisesGroup(Other, GeneratorExit):
            with suppress(Cancelled):
                forever()
            generator.close()

    def test_a_child_that_raises_generatorexit(self) -> None:
        with pytest.RaisesGroup(GeneratorExit), TaskGroup() as group:
            group.spawn(fail, GeneratorExit)
        with pytest.RaisesGroup(GeneratorExit, Other), TaskGroup() as group:
            group.spawn(fail, GeneratorExit)
            group.spawn(fail, Other)

    def test_clean_up_that_fails_in_every_child(self) -> None:
        def child() -> None:
            try:
                forever()
            finally:
                raise Other

        scopes = []

        def runner() -> None:
            with CancelScope() as scope:
                scopes.append(scope)
                with TaskGroup() as group:
                    for _ in range(5):
                        group.spawn(child)
                    forever()

        job = treadle.spawn(runner)
        wait_all_blocked()
        scopes[0].cancel()
        with pytest.RaisesGroup(*[Other] * 5):
            job.get()
        assert not scopes[0].caught

    def test_a_body_that_replaces_its_cancellation(self) -> None:
        scopes = []

        def runner() -> None:
            with CancelScope() as scope:
                scopes.append(scope)
                with TaskGroup():
                    try:
                        forever()
                    except Cancelled:
                        raise Other from None

        job = treadle.spawn(runner)
        wait_all_blocked()
        scopes[0].cancel()
        with pytest.RaisesGroup(Other):
            job.get()

    def test_an_exit_of_the_body_that_fails_after_a_child_failed(self) -> None:
        @contextmanager
        def database() -> Iterator[None]:
            try:
                yield
            finally:
                raise Other

        found: list[BaseException] = []

        def main() -> None:
            try:
                with TaskGroup() as group, database():
                    group.spawn(fail, Other)
                    forever()
            except* Other as both:
                found.extend(both.exceptions)
            treadle.sleep(1)  # nothing of the cancellation is left

        treadle.spawn(main).get()
        assert len(found) == 2

    def test_except_star(self) -> None:
        seen: list[tuple[object, ...]] = []
        try:
            with TaskGroup() as group:
                group.spawn(fail, KeyError("key"))
                group.spawn(fail, Other("other"))
                group.spawn(forever)
        except* KeyError as keys:
            seen.append(keys.exceptions[0].args)
        except* Other as others:
            seen.append(others.exceptions[0].args)
        assert seen == [("key",), ("other",)]

    def test_a_group_of_the_body_is_a_failure_as_it_is(self) -> None:
        exc = ExceptionGroup("own", [Other()])
        with pytest.raises(ExceptionGroup) as caught, TaskGroup():
            raise exc
        assert caught.value.exceptions == (exc,)

    def test_two_runs_of_the_same_code_do_not_share_exceptions(self) -> None:
        found = []
        for _ in range(2):
            with suppress(ExceptionGroup):
                try:
                    with TaskGroup() as group:
                        group.spawn(fail, Other)
                except ExceptionGroup as exc:
                    found.append(exc)
                    raise
        assert found[0] is not found[1]
        assert found[0].exceptions[0] is not found[1].exceptions[0]

    def test_a_traceback_begins_with_the_childs_own_stack(self) -> None:
        def child() -> None:
            raise Other

        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            group.spawn(child)
        names = [
            frame.name for frame in traceback.extract_tb(caught.value.exceptions[0].__traceback__)
        ]
        assert names[-1] == "child"
        assert all(name in ("child", "run", "_run") or "treadle" in name for name in names), names

    def test_a_note_says_where_the_child_was_spawned(self) -> None:
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            line = sys._getframe().f_lineno + 1
            child = group.spawn(fail, Other)
        (note,) = caught.value.exceptions[0].__notes__
        assert "\n" not in note
        assert "test_groups.py" in note
        assert re.search(rf"\b{line}\b", note)
        assert "test_a_note_says_where_the_child_was_spawned" in note
        assert hex(id(child)) in note or "fail" in note

    def test_each_child_has_a_note_of_its_own(self) -> None:
        def spawn_one() -> None:
            group.spawn(fail, Other)

        def inner() -> None:
            with TaskGroup() as nested:
                nested.spawn(fail, KeyError)

        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            spawn_one()
            group.spawn(inner)
        other, nested_group = caught.value.exceptions
        assert len(other.__notes__) == 1
        assert "spawn_one" in other.__notes__[0]
        assert len(nested_group.__notes__) == 1
        assert isinstance(nested_group, ExceptionGroup)
        assert len(nested_group.exceptions[0].__notes__) == 1
        assert "inner" in nested_group.exceptions[0].__notes__[0]

    def test_the_bodys_failure_has_no_note(self) -> None:
        with pytest.raises(ExceptionGroup) as caught, TaskGroup():
            raise Other
        assert not getattr(caught.value.exceptions[0], "__notes__", [])

    def test_an_exception_that_takes_no_notes(self) -> None:
        class Slotted(Exception):
            def add_note(self, note: str) -> None:
                raise TypeError("no notes here")

        with pytest.RaisesGroup(Slotted), TaskGroup() as group:
            group.spawn(fail, Slotted)

    def test_the_text_of_the_traceback_has_everything(self) -> None:
        with pytest.raises(ExceptionGroup) as caught, TaskGroup(name="fetchers") as group:
            group.spawn(fail, Other("one"))
            group.spawn(fail, KeyError("two"))
        text = "".join(traceback.format_exception(caught.value))
        assert "Other: one" in text
        assert "KeyError: 'two'" in text
        assert "fetchers" in text

    def test_a_failure_is_not_printed_and_not_reported(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reported: list[object] = []
        with pytest.MonkeyPatch.context() as patch:  # within the run, which replaces it too
            patch.setattr(get_hub(), "handle_error", lambda *args: reported.append(args))
            with suppress(BaseExceptionGroup), TaskGroup() as group:
                for exc in (Other, Base, GreenletExit):
                    group.spawn(fail, exc)
            with suppress(KeyboardInterrupt), TaskGroup() as group:
                group.spawn(fail, KeyboardInterrupt)
            wait_all_blocked()
        assert reported == []
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_what_ends_a_program_goes_on_bare(self, kind: type[BaseException]) -> None:
        exc = kind()
        steps: list[Any] = []
        with pytest.raises(kind) as caught, TaskGroup() as group:
            group.spawn(stubborn, steps)
            group.spawn(fail, exc, 1)
        assert caught.value is exc
        assert steps == [("cleaned", 6)]

    def test_an_interrupt_of_the_body_goes_on_bare(self) -> None:
        steps: list[Any] = []
        with pytest.raises(KeyboardInterrupt), TaskGroup() as group:
            group.spawn(stubborn, steps)
            treadle.sleep(1)
            raise KeyboardInterrupt
        assert steps == [("cleaned", 6)]

    def test_the_first_interrupt_comes_before_other_failures(self) -> None:
        first = KeyboardInterrupt(1)
        with pytest.raises(KeyboardInterrupt) as caught, TaskGroup() as group:
            group.spawn(fail, Other)
            try:
                forever()
            finally:
                group.spawn(fail, SystemExit)
                raise first
        assert caught.value is first

    def test_an_interrupt_in_a_child_after_a_failure(self) -> None:
        def child() -> None:
            try:
                forever()
            finally:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), TaskGroup() as group:
            group.spawn(child)
            group.spawn(fail, Other)

    def test_an_interrupt_in_a_child_beside_a_failure_of_the_body(self) -> None:
        with pytest.raises(KeyboardInterrupt), TaskGroup() as group:
            group.spawn(fail, KeyboardInterrupt, 1)
            try:
                forever()
            finally:
                raise TypeError

    def test_an_interrupt_passes_nested_groups_bare(self) -> None:
        def inner() -> None:
            with TaskGroup() as group:
                group.spawn(fail, KeyboardInterrupt)

        with pytest.raises(KeyboardInterrupt), TaskGroup() as outer:
            outer.spawn(inner)
            outer.spawn(forever)


# ---------------------------------------------------------------- cancelling


class TestCancelling:
    def test_cancel_ends_the_group_without_an_exception(self) -> None:
        with TaskGroup() as group:
            jobs = [group.spawn(forever) for _ in range(3)]
            treadle.sleep(1)
            group.cancel("enough")
        assert all(isinstance(job.value, Cancelled) for job in jobs)
        assert group.cancel_scope.cancelled
        assert group.cancel_scope.reason == "enough"

    def test_cancel_ends_the_body_too(self) -> None:
        with TaskGroup() as group:
            group.cancel()
            forever()
            pytest.fail("not reached")
        assert group.cancel_scope.caught

    def test_a_child_may_cancel_its_group(self) -> None:
        with TaskGroup() as group:
            group.spawn(group.cancel)
            forever()
            pytest.fail("not reached")
        assert group.cancel_scope.caught

    def test_it_reaches_all_descendants(self) -> None:
        record = set()

        def leaf(name: str) -> None:
            try:
                forever()
            except Cancelled as exc:
                if exc.scope is group.cancel_scope:
                    record.add(name)
                raise

        def branch(name: str) -> None:
            with TaskGroup() as inner:
                inner.spawn(leaf, name + "1")
                inner.spawn(leaf, name + "2")

        with TaskGroup() as group:
            group.spawn(branch, "a")
            group.spawn(branch, "b")
            wait_all_blocked()
            group.cancel()
        assert record == {"a1", "a2", "b1", "b2"}

    def test_children_are_cancelled_in_the_order_in_which_they_were_spawned(self) -> None:
        record = []

        def child(number: int) -> None:
            try:
                forever()
            finally:
                record.append(number)

        def branch(number: int) -> None:
            with TaskGroup() as inner:
                inner.spawn(child, number)
                inner.spawn(child, number + 1)

        with TaskGroup() as group:
            for number in range(3):
                group.spawn(child, number)
            group.spawn(branch, 3)
            wait_all_blocked()
            group.cancel()
        assert record == [0, 1, 2, 3, 4]

    def test_a_child_spawned_into_a_cancelled_group_begins(self) -> None:
        record = []

        def child() -> None:
            record.append("begun")
            forever()
            record.append("not reached")

        with TaskGroup() as group:
            group.cancel()
            group.spawn(child)
        assert record == ["begun"]

    def test_the_scope_around_cancels_the_children(self) -> None:
        steps: list[Any] = []
        with move_on_after(1) as scope:
            with TaskGroup() as group:
                job = group.spawn(stubborn, steps)
            pytest.fail("not reached")
        assert scope.caught
        assert steps == [("cleaned", 6)]
        assert job.successful()
        assert not group.cancel_scope.caught

    def test_the_scope_around_ends_the_body_first(self) -> None:
        with move_on_after(1) as scope:
            with TaskGroup() as group:
                job = group.spawn(forever)
                forever()
            pytest.fail("not reached")
        assert scope.caught
        assert isinstance(job.value, Cancelled)
        assert job.value.scope is scope

    def test_a_failure_while_the_scope_around_is_cancelled(self) -> None:
        """The failure goes on, and every Cancelled of what is around is left out of it."""
        with pytest.RaisesGroup(KeyError), CancelScope() as outer:
            with pytest.RaisesGroup(KeyError) as caught, TaskGroup() as group:
                group.spawn(forever)
                group.cancel()
                with shield():
                    wait_all_blocked()
                group.spawn(forever)
                outer.cancel()
                group.spawn(fail, KeyError)
            raise caught.value

    def test_a_scope_in_the_body_does_not_reach_the_children(self) -> None:
        with TaskGroup() as group, CancelScope() as scope:
            job = group.spawn(treadle.sleep, 3)
            scope.cancel()
            checkpoint()
        assert clock.elapsed == 3
        assert job.value is None

    def test_a_child_is_in_the_scopes_of_its_group_and_not_of_its_spawner(self) -> None:
        def spawner() -> None:
            with CancelScope() as scope:
                jobs.append(group.spawn(treadle.sleep, 3))
                scope.cancel()
                checkpoint()

        jobs: list[Greenlet[None]] = []
        with TaskGroup() as group:
            group.spawn(spawner)
        assert jobs[0].value is None
        assert clock.elapsed == 3

    def test_a_shield_in_the_body_does_not_protect_the_children(self) -> None:
        with TaskGroup() as group, shield():
            job = group.spawn(forever)
            wait_all_blocked()
            group.cancel()
            job.join()
        assert clock.elapsed == 0

    def test_a_shield_around_the_group_protects_the_children(self) -> None:
        with CancelScope() as outer:
            outer.cancel()
            with shield(), TaskGroup() as group:
                job = group.spawn(treadle.sleep, 3)
        assert job.value is None
        assert clock.elapsed == 3

    def test_the_scope_of_a_group_may_be_a_shield(self) -> None:
        record = []

        def sleeper() -> None:
            record.append("sleeping")
            try:
                forever()
            except Cancelled:
                record.append("cancelled")
                raise

        with CancelScope() as outer, TaskGroup() as group:
            outer.cancel()
            group.cancel_scope.shield = True
            group.spawn(sleeper)
            wait_all_blocked()
            assert record == ["sleeping"]
            group.cancel_scope.shield = False
            with shield():
                wait_all_blocked()
                assert record == ["sleeping", "cancelled"]

    def test_the_scope_of_a_group_may_have_a_deadline(self) -> None:
        with TaskGroup() as group:
            assert group.cancel_scope.deadline == inf
            group.cancel_scope.deadline = time.monotonic() + 2
            group.spawn(forever)
        assert clock.elapsed == 2
        assert group.cancel_scope.cancelled

    def test_opening_and_closing_a_group_is_no_checkpoint(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            with TaskGroup():
                pass
        assert not scope.caught

    def test_a_child_that_does_not_wait_in_a_cancelled_scope(self) -> None:
        record = []
        with CancelScope() as scope:
            scope.cancel()
            with suppress(Cancelled), TaskGroup() as group:
                group.spawn(record.append, 1)
        assert record == [1]

    def test_a_child_that_handles_its_cancellation(self) -> None:
        """A child that has handled its Cancelled ends as it likes."""

        def child() -> str:
            with suppress(Cancelled):
                forever()
            return "handled"

        with TaskGroup() as group:
            job = group.spawn(child)
            wait_all_blocked()
            group.cancel()
        assert job.get() == "handled"

    @pytest.mark.parametrize("body", [True, False])
    @pytest.mark.parametrize("before", [True, False])
    def test_a_cancel_just_before_or_after_a_failure(self, body: bool, before: bool) -> None:
        def child() -> None:
            try:
                if before:
                    group.cancel()
                raise Other
            finally:
                group.cancel()

        with pytest.RaisesGroup(Other), TaskGroup() as group:
            if body:
                child()
            group.spawn(child)
            forever()

    def test_a_cancel_from_outside_while_the_group_is_being_cancelled(self) -> None:
        steps: list[Any] = []
        with CancelScope() as outer:
            with TaskGroup() as group:
                group.spawn(stubborn, steps)
                checkpoint()
                group.cancel()
                treadle.spawn_later(1, outer.cancel)
            checkpoint()
            pytest.fail("not reached")
        assert outer.caught
        assert steps == [("cleaned", 5)]

    def test_a_child_that_cancels_before_its_first_wait(self) -> None:
        def child() -> None:
            group.cancel()
            forever()

        with TaskGroup() as group:
            job = group.spawn(child)
        assert isinstance(job.value, Cancelled)

    def test_a_child_spawned_by_one_that_is_cancelled_meanwhile(self) -> None:
        record = []

        def second() -> None:
            group.spawn(fail, Other)
            with pytest.raises(Cancelled):
                treadle.sleep(1)
            record.append("cancelled")

        with pytest.RaisesGroup(Other), TaskGroup() as group:
            group.spawn(second)
        assert record == ["cancelled"]

    def test_inner_and_outer_group_fail_at_once(self) -> None:
        record = []
        try:
            with TaskGroup() as outer:
                try:
                    with TaskGroup() as inner:
                        inner.spawn(fail, Other)
                        outer.spawn(fail, KeyError)
                except* Other:
                    record.append("inner")
                assert is_cancelled()
                checkpoint()
                pytest.fail("not reached")
        except* KeyError:
            record.append("outer")
        assert record == ["inner", "outer"]
        assert not is_cancelled()

    def test_the_first_of_several_to_win(self) -> None:
        event, record, results = Event(), [], []

        def run(number: int, begin: Callable[[], object]) -> None:
            record.append(f"{number} begun")
            begin()
            record.append(f"{number} ended")
            results.append(number)
            group.cancel()

        with TaskGroup() as group:
            group.spawn(run, 1, event.wait)
            group.spawn(run, 2, lambda: (event.wait(), checkpoint()))
            group.spawn(run, 3, lambda: (event.set(), forever()))
        assert results == [1]
        assert record == ["1 begun", "2 begun", "3 begun", "1 ended"]

    def test_a_failure_in_a_cancelled_scope_is_no_cancellation(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            with pytest.RaisesGroup(KeyError), TaskGroup():
                raise KeyError
        assert not scope.caught

    def test_cancel_while_the_exit_waits(self) -> None:
        steps: list[Any] = []
        with TaskGroup() as group:
            group.spawn(stubborn, steps)
            treadle.spawn_later(1, group.cancel)
        assert steps == [("cleaned", 6)]

    def test_a_deadline_while_the_exit_waits_for_clean_up(self) -> None:
        """What comes then is raised by the exit, when the children have ended."""
        steps: list[Any] = []
        with pytest.raises(TimeoutError), fail_after(2), TaskGroup() as group:
            group.spawn(stubborn, steps)
            treadle.spawn_later(1, group.cancel)
        assert steps == [("cleaned", 6)]
        with pytest.raises(Timeout), Timeout(2), TaskGroup() as group:
            group.spawn(stubborn, steps)
            treadle.spawn_later(1, group.cancel)
        assert steps == [("cleaned", 6), ("cleaned", 12)]

    def test_cancelling_a_group_that_is_over(self) -> None:
        with TaskGroup() as group:
            pass
        group.cancel()
        checkpoint()
        assert group.cancel_scope.cancelled

    def test_cancelling_a_group_before_it_is_entered(self) -> None:
        group = TaskGroup()
        group.cancel("early")
        record = []
        with group:
            group.spawn(lambda: (record.append("begun"), forever(), record.append("no")))
        assert record == ["begun"]
        assert group.cancel_scope.cancelled

    def test_nested_groups_report_in_groups(self) -> None:
        def inner() -> None:
            with TaskGroup() as nested:
                nested.spawn(stubborn_failure)
                forever()

        def stubborn_failure() -> None:
            try:
                forever()
            finally:
                raise Other

        with pytest.RaisesGroup(pytest.RaisesGroup(Other)), TaskGroup() as outer:
            outer.spawn(inner)
            wait_all_blocked()
            outer.cancel()

    @pytest.mark.parametrize("outer_first", [True, False])
    def test_a_failure_in_one_of_two_nested_groups(self, outer_first: bool) -> None:
        after = {True: (1, 10), False: (10, 1)}[outer_first]
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
            outer.spawn(fail, Other, after[0])
            with TaskGroup() as inner:
                inner.spawn(fail, Other, after[1])
        (failure,) = caught.value.exceptions
        if outer_first:
            assert isinstance(failure, Other)
        else:
            assert isinstance(failure, ExceptionGroup)
        assert clock.elapsed == 1

    def test_failures_of_inner_and_outer_group(self) -> None:
        with pytest.RaisesGroup(Other, pytest.RaisesGroup(KeyError)), TaskGroup() as outer:
            outer.spawn(forever)
            outer.spawn(fail, Other)
            with TaskGroup() as inner:
                inner.spawn(forever)
                inner.spawn(fail, KeyError)
                outer.cancel()

    def test_clean_up_that_waits_after_a_cancel_and_then_a_failure(self) -> None:
        scopes = []

        def runner() -> None:
            with CancelScope() as scope:
                scopes.append(scope)
                with TaskGroup() as group:
                    group.spawn(fail_in_shield)
                    try:
                        forever()
                    except Cancelled:
                        with shield():
                            treadle.sleep(0.5)
                        raise

        def fail_in_shield() -> None:
            with shield():
                treadle.sleep(0.3)
            raise Other

        job = treadle.spawn(runner)
        treadle.sleep(0.1)
        scopes[0].cancel()
        with pytest.RaisesGroup(Other):
            job.get()
        assert clock.elapsed == pytest.approx(0.6)

    def test_children_that_never_stop_spawning(self) -> None:
        born = []

        def hydra() -> None:
            born.append(1)
            treadle.sleep(0.01)
            group.spawn(hydra)
            group.spawn(hydra)

        def hercules() -> None:
            while len(born) < 10:
                treadle.sleep(0.015)
            raise Other

        with pytest.RaisesGroup(Other), TaskGroup() as group:
            group.spawn(hydra)
            group.spawn(hercules)
        assert len(born) >= 10

    def test_locals_of_a_cancelled_child_die_before_the_group_is_over(self) -> None:
        class Local:
            pass

        gone = []

        def child() -> None:
            local = Local()
            weakref.finalize(local, gone.append, 1)
            checkpoint()

        with TaskGroup() as group:
            group.spawn(child)
            group.cancel()
        assert gone == [1]

    def test_the_owner_may_wait_for_a_child_after_cancel(self) -> None:
        with TaskGroup() as group:
            job = group.spawn(forever)
            wait_all_blocked()
            group.cancel()
            with shield():
                assert isinstance(job.get(), Cancelled)

    @pytest.mark.parametrize("kind", ["lock", "queue", "event", "result", "sleep", "join", "pool"])
    def test_children_that_wait_for_each_kind_of_thing(self, kind: str) -> None:
        pool = Pool(1)
        blocker = pool.spawn(forever)
        waits: dict[str, Callable[[], object]] = {
            "lock": Semaphore(0).acquire,
            "queue": Queue[int]().get,
            "event": Event().wait,
            "result": AsyncResult[int]().get,
            "sleep": partial(treadle.sleep, LONG),
            "join": blocker.join,
            "pool": partial(pool.spawn, print),
        }
        with TaskGroup() as group:
            jobs = [group.spawn(waits[kind]) for _ in range(3)]
            wait_all_blocked()
            group.cancel()
        assert all(isinstance(job.value, Cancelled) for job in jobs)
        blocker.kill()
