"""What scopes and groups leave in memory.

These tests run without treadle.testing, whose schedules keep some objects.
"""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import greenlet
import pytest

import treadle
from treadle import (
    Cancelled,
    CancelScope,
    TaskGroup,
    Timeout,
    checkpoint,
    fail_after,
    gather,
    move_on_after,
    race,
    shield,
    started,
)
from treadle.greenlet import Greenlet, getcurrent
from treadle.testing import wait_all_blocked

from .common import Base, Other, fail, forever, is_cancelled

SOON = 0.001


@contextmanager
def no_cyclic_garbage() -> Iterator[None]:
    """Fail if the block leaves what only the collector frees."""
    gc.collect()
    flags = gc.get_debug()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        yield
        gc.collect()
        assert not gc.garbage
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()


# ---------------------------------------------------------------- scopes


class TestScopes:
    def test_cancelling_makes_no_cycles(self) -> None:
        def cancelled() -> None:
            with CancelScope() as scope:
                scope.cancel()
                forever()

        def late() -> None:
            with move_on_after(SOON):
                forever()

        def failed() -> None:
            with suppress(TimeoutError), fail_after(SOON):
                forever()

        def shielded() -> None:
            with CancelScope() as scope:
                scope.cancel()
                with shield(grace=SOON):
                    forever()

        def nested() -> None:
            with suppress(Other), CancelScope() as scope, CancelScope():
                scope.cancel()
                try:
                    checkpoint()
                finally:
                    raise Other

        for block in (cancelled, late, failed, shielded, nested):
            block()  # what is made once
        with no_cyclic_garbage():
            for block in (cancelled, late, failed, shielded, nested):
                block()

    @pytest.mark.parametrize("how", ["cancel", "deadline", "unused"])
    def test_a_scope_dies_with_its_last_reference(self, how: str) -> None:
        def block() -> Any:
            with CancelScope(SOON if how == "deadline" else None) as scope:
                if how == "cancel":
                    scope.cancel()
                if how != "unused":
                    forever()
            return weakref.ref(scope)

        assert block()() is None

    def test_the_locals_of_a_cancelled_greenlet_die_at_once(self) -> None:
        class Local:
            pass

        scope, gone = CancelScope(), []

        def job() -> None:
            local = Local()
            weakref.finalize(local, gone.append, 1)
            with scope:
                forever()

        running = treadle.spawn(job)
        wait_all_blocked()
        scope.cancel()
        running.join()
        assert gone == [1]

    @pytest.mark.parametrize("how", ["kill", "timeout", "cancel"])
    def test_nobody_keeps_what_was_raised_in_a_wait(self, how: str) -> None:
        class Local:
            pass

        def block() -> None:
            local = Local()
            weakref.finalize(local, gone.append, 1)
            with suppress(Other), CancelScope() as scope:
                if how == "kill":
                    treadle.spawn(job.kill, Other(), block=False)
                elif how == "cancel":
                    scope.cancel()
                with Timeout(SOON if how == "timeout" else None, Other()):
                    forever()

        def outer() -> None:
            with CancelScope():
                block()
                assert gone == [1]

        gone: list[int] = []
        job = treadle.spawn(outer)
        job.get()

    def test_an_exception_that_was_swallowed_is_gone(self) -> None:
        class Local:
            pass

        gone = []

        def block() -> None:
            local = Local()
            weakref.finalize(local, gone.append, 1)
            forever()

        with CancelScope() as scope:
            scope.cancel()
            block()
        assert gone == [1]


# ---------------------------------------------------------------- groups


def alive(*kinds: type) -> list[object]:
    """Objects of these classes that the collector knows."""
    return [each for each in gc.get_objects() if isinstance(each, kinds)]


class TestGroups:
    def test_groups_make_no_cycles(self) -> None:
        def failing() -> None:
            with suppress(ExceptionGroup), TaskGroup() as group:
                group.spawn(fail, Other)
                group.spawn(forever)

        def body_fails() -> None:
            with suppress(ExceptionGroup), TaskGroup() as group:
                group.spawn(forever)
                raise Other

        def cancelled() -> None:
            with TaskGroup() as group:
                group.spawn(forever)
                group.cancel()

        def timed_out() -> None:
            with Timeout(SOON, False), TaskGroup() as group:
                group.spawn(forever)

        def outer_cancelled() -> None:
            with move_on_after(SOON), TaskGroup() as group:
                group.spawn(forever)

        def outer_cancelled_and_failing() -> None:
            with suppress(ExceptionGroup), CancelScope() as outer, TaskGroup() as group:
                group.spawn(forever)
                outer.cancel()
                group.spawn(fail, Other)

        def values() -> None:
            with TaskGroup(2) as group:
                jobs = [group.spawn(lambda: 1) for _ in range(4)]
            assert sum(job.get() for job in jobs) == 4

        def starting() -> None:
            with TaskGroup() as group:
                group.start(started, 1)
                with suppress(Other):
                    group.start(fail, Other)

        def gathering() -> None:
            gather(checkpoint, checkpoint)
            race(checkpoint, forever)
            with suppress(ExceptionGroup):
                gather(partial(fail, Other), forever)

        def adopting() -> None:
            with suppress(ExceptionGroup), TaskGroup(adopt=True):
                treadle.spawn(fail, Other)
                treadle.spawn(forever)

        blocks = [
            *[failing, body_fails, cancelled, timed_out, outer_cancelled],
            *[outer_cancelled_and_failing, values, starting, gathering, adopting],
        ]
        for block in blocks:
            block()  # what is made once
        for block in blocks:
            with no_cyclic_garbage():
                block()

    def test_the_group_dies_with_its_last_reference(self) -> None:
        def block() -> list[Any]:
            with suppress(ExceptionGroup), TaskGroup() as group:
                jobs = [group.spawn(forever), group.spawn(fail, Other)]
            return [
                weakref.ref(each) for each in (group, group.cancel_scope, group.cancel_scope, *jobs)
            ]

        refs = block()
        assert [ref() for ref in refs] == [None] * len(refs)

    def test_a_thousand_groups_leave_nothing(self) -> None:
        kinds = (Greenlet, TaskGroup, CancelScope, Other, Cancelled, BaseExceptionGroup)

        def tree() -> None:
            with suppress(ExceptionGroup), TaskGroup() as group:
                group.spawn(forever)
                with move_on_after(SOON), TaskGroup() as inner:
                    inner.spawn(forever)
                    group.spawn(fail, Other)

        tree()
        gc.collect()
        before = len(alive(*kinds))
        for _ in range(1000):
            tree()
        assert len(alive(*kinds)) == before, "only the collector frees them"
        gc.collect()
        assert len(alive(*kinds)) == before

    def test_children_that_have_ended_are_not_kept_by_an_open_group(self) -> None:
        class Result:
            pass

        gone = []

        def child() -> Result:
            result = Result()
            weakref.finalize(result, gone.append, 1)
            return result

        with TaskGroup() as group:
            for _ in range(10):
                group.spawn(child)
            treadle.sleep(SOON)
            assert len(gone) == 10

    def test_an_exception_handled_in_a_child_is_gone(self) -> None:
        kept: list[Any] = []

        def child() -> None:
            try:
                raise Other
            except Other as exc:
                kept.append(exc)

        with TaskGroup() as group:
            group.spawn(child)
        ref = weakref.ref(kept[0])
        kept.clear()
        assert ref() is None

    @pytest.mark.parametrize("exc", [Other, Base, KeyboardInterrupt, GeneratorExit])
    @pytest.mark.parametrize("where", ["body", "child", "nested"])
    def test_nobody_keeps_what_was_raised(self, exc: type[BaseException], where: str) -> None:
        def block() -> None:
            with TaskGroup() as group:
                if where == "body":
                    raise exc
                elif where == "child":
                    group.spawn(fail, exc)
                else:
                    with TaskGroup() as inner:
                        inner.spawn(fail, exc)
                        forever()

        found: BaseException | None = None
        try:
            block()
        except BaseException as raised:
            found = raised
        while found is not None:
            while isinstance(found, BaseExceptionGroup):
                assert gc.get_referrers(found) == []
                found = found.exceptions[0]
            assert isinstance(found, exc)
            assert [each for each in gc.get_referrers(found) if type(each) is not tuple] == []
            found = None

    def test_nothing_is_cancelled_later(self) -> None:
        for _ in range(3):
            with suppress(ExceptionGroup), TaskGroup() as group:
                group.spawn(fail, Other)
                forever()
            assert not is_cancelled()
            assert isinstance(getcurrent(), greenlet.greenlet)
