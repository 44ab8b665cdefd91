"""Groups beside what gevent has: kills, Timeouts, its groups and pools, greenlets of others."""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, suppress
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
    move_on_after,
    race,
    shield,
    started,
)
from treadle.event import Event
from treadle.greenlet import Greenlet
from treadle.pool import Group, Pool
from treadle.testing import at_every_park, clock, explore, wait_all_blocked

from .common import Other, fail, forever, stubborn

pytestmark = pytest.mark.treadle


# ---------------------------------------------------------------- kills and Timeouts


class TestEdges:
    def test_killing_a_child_is_no_failure(self) -> None:
        steps: list[Any] = []
        with TaskGroup() as group:
            child = group.spawn(stubborn, steps)
            other = group.spawn(lambda: (treadle.sleep(10), "went on")[1])
            treadle.sleep(1)
            child.kill()
            assert steps == [("cleaned", 6)]
        assert child.successful()
        assert type(child.value) is GreenletExit
        assert other.value == "went on"
        assert not group.cancel_scope.cancelled

    def test_killing_a_child_that_has_not_begun(self) -> None:
        with TaskGroup() as group:
            child = group.spawn(pytest.fail, "not reached")
            child.kill()
        assert child.successful()

    def test_killing_a_child_by_an_exception_is_a_failure(self) -> None:
        with pytest.RaisesGroup(Other), TaskGroup() as group:
            child = group.spawn(forever)
            wait_all_blocked()
            child.kill(Other)

    def test_a_child_killed_before_it_begins_by_an_exception(self) -> None:
        exc = Other()
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            child = group.spawn(forever)
            child.kill(exc)
        assert caught.value.exceptions == (exc,)

    def test_killall_of_the_children(self) -> None:
        with TaskGroup() as group:
            jobs = [group.spawn(forever) for _ in range(3)]
            treadle.killall(jobs)
        assert not group.cancel_scope.cancelled

    def test_a_child_that_raises_greenletexit(self) -> None:
        with TaskGroup() as group:
            group.spawn(fail, GreenletExit)
            group.spawn(treadle.sleep, 2)
        assert clock.elapsed == 2

    def test_killing_the_owner_in_the_body(self) -> None:
        steps: list[Any] = []

        def owner() -> None:
            try:
                with TaskGroup() as group:
                    group.spawn(stubborn, steps)
                    forever()
            except GreenletExit as exc:
                steps.append((type(exc).__name__, clock.elapsed))
                raise

        job = treadle.spawn(owner)
        treadle.sleep(1)
        job.kill()
        assert steps == [("cleaned", 6), ("GreenletExit", 6)]
        assert type(job.value) is GreenletExit

    def test_killing_the_owner_while_the_exit_waits(self) -> None:
        steps: list[Any] = []

        def owner() -> None:
            try:
                with TaskGroup() as group:
                    group.spawn(stubborn, steps)
            except GreenletExit as exc:
                steps.append((type(exc).__name__, clock.elapsed))
                raise

        job = treadle.spawn(owner)
        treadle.sleep(1)
        job.kill()
        assert steps == [("cleaned", 6), ("GreenletExit", 6)]
        assert type(job.value) is GreenletExit

    def test_a_kill_while_the_group_is_being_cancelled(self) -> None:
        steps: list[Any] = []

        def owner() -> None:
            with TaskGroup() as group:
                group.spawn(stubborn, steps)
                checkpoint()
                group.cancel()
            steps.append("left")
            treadle.sleep(1)
            steps.append("not reached")

        job = treadle.spawn(owner)
        treadle.sleep(1)
        job.kill()
        assert steps[0] == ("cleaned", 5)
        assert "not reached" not in steps
        assert type(job.value) is GreenletExit

    def test_a_second_kill_is_held_until_the_exit_is_over(self) -> None:
        steps: list[Any] = []

        def owner() -> None:
            try:
                with TaskGroup() as group:
                    group.spawn(stubborn, steps)
            except Other as exc:
                steps.append((exc.args, clock.elapsed))
            try:
                treadle.sleep(10)
            except Other as exc:
                steps.append((exc.args, clock.elapsed))

        job = treadle.spawn(owner)
        treadle.sleep(1)
        job.kill(Other(1), block=False)
        treadle.sleep(1)
        job.kill(Other(2), block=False)
        job.join()
        assert steps == [("cleaned", 6), ((1,), 6), ((2,), 6)]

    def test_an_exception_for_the_owner_alone_goes_on_bare(self) -> None:
        exc = Other()

        def owner() -> None:
            with TaskGroup() as group:
                group.spawn(forever)

        def in_the_body() -> None:
            with TaskGroup() as group:
                group.spawn(forever)
                forever()

        for function in (owner, in_the_body):
            job = treadle.spawn(function)
            wait_all_blocked()
            job.kill(exc)
            assert job.exception is exc
            with suppress(Other):
                job.get()

    def test_a_failure_of_the_kind_of_an_earlier_kill_is_a_failure(self) -> None:
        def owner() -> None:
            with CancelScope():
                with suppress(Other):
                    forever()
                with TaskGroup():
                    raise Other

        job = treadle.spawn(owner)
        wait_all_blocked()
        job.kill(Other)
        with pytest.RaisesGroup(Other):
            job.get()

    def test_an_exception_for_the_owner_beside_failures_is_one_of_them(self) -> None:
        def child() -> None:
            try:
                forever()
            finally:
                raise KeyError

        def owner() -> None:
            with TaskGroup() as group:
                group.spawn(child)

        job = treadle.spawn(owner)
        wait_all_blocked()
        job.kill(Other)
        with pytest.RaisesGroup(Other, KeyError):
            job.get()

    def test_a_kill_and_a_failure_of_a_child(self) -> None:
        """The owner was killed, but a failure is not lost for that."""

        def child() -> None:
            try:
                forever()
            finally:
                raise KeyError

        def owner() -> None:
            with TaskGroup() as group:
                group.spawn(child)

        job = treadle.spawn(owner)
        wait_all_blocked()
        job.kill()
        with pytest.RaisesGroup(KeyError):
            job.get()

    def test_a_killed_owner_that_handles_the_failures_does_not_go_on(self) -> None:
        """Where a group has raised failures in the place of a kill, the kill comes after them."""
        steps = []

        def child() -> None:
            try:
                forever()
            finally:
                raise KeyError

        def owner() -> None:
            try:
                with TaskGroup() as group:
                    group.spawn(child)
            except* KeyError:
                steps.append("handled")
            treadle.sleep(1)
            steps.append("not reached")

        job = treadle.spawn(owner)
        wait_all_blocked()
        job.kill()
        assert steps == ["handled"]

    @pytest.mark.parametrize("body_waits", [True, False])
    def test_a_timeout_around_a_group(self, body_waits: bool) -> None:
        steps: list[Any] = []
        with pytest.raises(Timeout) as caught, Timeout(1) as timeout, TaskGroup() as group:
            group.spawn(stubborn, steps)
            if body_waits:
                forever()
        assert caught.value is timeout
        assert steps == [("cleaned", 6)]

    @pytest.mark.parametrize("body_waits", [True, False])
    def test_a_silent_timeout_around_a_group(self, body_waits: bool) -> None:
        with Timeout(1, False), TaskGroup() as group:
            group.spawn(forever)
            if body_waits:
                forever()
        assert clock.elapsed == 1

    @pytest.mark.parametrize("body_waits", [True, False])
    @pytest.mark.parametrize("exc", [None, False, Other, ExceptionGroup("own", [Other()])])
    def test_a_timeout_around_nested_groups(self, exc: Any, body_waits: bool) -> None:
        steps: list[Any] = []

        def block() -> None:
            with Timeout(1, exc), TaskGroup() as outer:
                outer.spawn(stubborn, steps)
                with shield(grace=1), TaskGroup() as middle, TaskGroup() as inner:
                    middle.spawn(forever)
                    inner.spawn(stubborn, steps)
                    if body_waits:
                        forever()

        if exc is False:
            block()
        else:
            kind = Timeout if exc is None else exc if isinstance(exc, type) else type(exc)
            with pytest.raises(kind) as caught:
                block()
            assert exc in (None, Other, caught.value)
            assert not hasattr(caught.value, "__notes__")
        assert steps == [("cleaned", 7), ("cleaned", 12)]

    def test_a_kill_of_an_owner_of_nested_groups(self) -> None:
        exc = Other()

        def owner() -> None:
            with TaskGroup() as outer, TaskGroup() as inner:
                outer.spawn(forever)
                inner.spawn(forever)

        job = treadle.spawn(owner)
        wait_all_blocked()
        job.kill(exc)
        with pytest.raises(Other) as caught:
            job.get()
        assert caught.value is exc

    def test_a_kill_of_a_child_that_owns_a_group_is_a_failure_of_the_outer_one_alone(self) -> None:
        exc = Other()

        def child() -> None:
            with TaskGroup() as inner:
                inner.spawn(forever)

        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
            job = outer.spawn(child)
            wait_all_blocked()
            job.kill(exc)
        assert caught.value.exceptions == (exc,)

    @pytest.mark.parametrize("exc", [Other, Other("instance")])
    def test_a_timeout_with_an_exception_around_a_group(self, exc: Any) -> None:
        with pytest.raises(Other), Timeout(1, exc), TaskGroup() as group:
            group.spawn(forever)

    def test_with_timeout_around_a_group(self) -> None:
        def function() -> None:
            with TaskGroup() as group:
                group.spawn(forever)

        value = treadle.with_timeout(1, function, timeout_value="late")
        assert value == "late"

    def test_a_timeout_around_a_group_whose_child_fails_meanwhile(self) -> None:
        def child() -> None:
            try:
                forever()
            finally:
                raise KeyError

        with pytest.RaisesGroup(Timeout, KeyError), Timeout(1), TaskGroup() as group:
            group.spawn(child)

    def test_a_timeout_inside_the_body_that_the_body_handles(self) -> None:
        with TaskGroup() as group:
            job = group.spawn(lambda: (treadle.sleep(3), "went on")[1])
            with Timeout(1, False):
                forever()
            with pytest.raises(Timeout), Timeout(1):
                job.get()
        assert job.value == "went on"

    def test_a_timeout_that_starts_and_escapes_in_the_body_is_a_failure_or_bare(self) -> None:
        with pytest.raises((Timeout, BaseExceptionGroup)), TaskGroup() as group:
            group.spawn(forever)
            with Timeout(1):
                forever()
        assert clock.elapsed == 1

    def test_a_timeout_that_escapes_from_a_child_is_its_failure(self) -> None:
        def child() -> None:
            with Timeout(1):
                forever()

        with pytest.RaisesGroup(Timeout) as caught, TaskGroup() as group:
            group.spawn(child)
            group.spawn(forever)
        assert not isinstance(caught.value, ExceptionGroup)

    def test_a_timeout_of_the_owner_does_not_reach_a_child(self) -> None:
        """The child ends by a Cancelled of the group."""
        with Timeout(1, False), TaskGroup() as group:
            job = group.spawn(forever)
        assert isinstance(job.value, Cancelled)

    def test_the_earliest_of_a_timeout_and_a_deadline(self) -> None:
        with Timeout(2, False), move_on_after(1) as scope, TaskGroup() as group:
            group.spawn(forever)
        assert scope.caught
        assert clock.elapsed == 1
        with pytest.raises(Timeout), move_on_after(2) as scope, Timeout(1), TaskGroup() as group:
            group.spawn(forever)
        assert not scope.cancelled
        assert clock.elapsed == 2

    def test_a_shield_around_a_group_holds_a_timeout(self) -> None:
        with pytest.raises(Timeout), Timeout(1):
            with shield(), TaskGroup() as group:
                group.spawn(treadle.sleep, 3)
            checkpoint()
        assert clock.elapsed == 3

    def test_a_shield_with_grace_around_a_group(self) -> None:
        with CancelScope() as outer:
            treadle.spawn_later(1, outer.cancel)
            with shield(grace=2), TaskGroup() as group:
                job = group.spawn(forever)
            pytest.fail("not reached")
        assert outer.caught
        assert isinstance(job.value, Cancelled)
        assert job.value.scope is outer
        assert clock.elapsed == 3

    def test_a_kill_of_the_owner_in_a_shield_around_the_group_is_held(self) -> None:
        steps = []

        def owner() -> None:
            with shield(), TaskGroup() as group:
                group.spawn(treadle.sleep, 3)
            steps.append(clock.elapsed)
            checkpoint()
            pytest.fail("not reached")

        job = treadle.spawn(owner)
        treadle.sleep(1)
        job.kill()
        assert steps == [3]
        assert job.successful()

    def test_a_kill_while_spawn_waits_for_a_place(self) -> None:
        def owner() -> None:
            with TaskGroup(1) as group:
                group.spawn(forever)
                group.spawn(pytest.fail, "not reached")

        job = treadle.spawn(owner)
        wait_all_blocked()
        job.kill()
        assert type(job.value) is GreenletExit

    def test_throw_into_a_child(self) -> None:
        with pytest.RaisesGroup(Other), TaskGroup() as group:
            child = group.spawn(forever)
            wait_all_blocked()
            treadle.kill(child, Other)

    @pytest.mark.parametrize("raises", [GreenletExit, Timeout, Other])
    def test_no_child_survives_whichever_wait_is_hit(self, raises: type[BaseException]) -> None:
        groups: list[TaskGroup] = []
        jobs: list[Greenlet[Any]] = []

        def child() -> None:
            try:
                treadle.sleep(1)
            finally:
                with shield():
                    treadle.sleep(1)

        def program() -> None:
            jobs.clear()
            try:
                with TaskGroup(3) as group:
                    groups.append(group)
                    jobs.append(group.spawn(child))
                    checkpoint()
                    assert group.start(ready) == 5
                    for _ in range(3):
                        jobs.append(group.spawn(child))
            finally:
                assert len(group) == 0
                assert all(job.ready() for job in jobs)

        def ready() -> None:
            treadle.sleep(1)
            started(5)
            treadle.sleep(1)

        assert at_every_park(program, raises=raises) >= 4

    def test_no_child_survives_whenever_the_scope_is_cancelled(self) -> None:
        scopes: list[CancelScope] = []
        groups: list[TaskGroup] = []

        def ready() -> None:
            treadle.sleep(1)
            started(5)
            treadle.sleep(1)

        def program() -> None:
            scopes.append(CancelScope())
            with scopes[-1], TaskGroup(2) as group:
                groups.append(group)
                group.spawn(treadle.sleep, 1)
                group.start(ready)
                with TaskGroup() as inner:
                    for _ in range(3):
                        inner.spawn(treadle.sleep, 2)
                group.spawn(treadle.sleep, 1)

        def check() -> None:
            assert len(groups[-1]) == 0

        assert at_every_park(program, call=lambda: scopes[-1].cancel(), check=check) >= 3


# ---------------------------------------------------------------- gevent's words


class TestGeventsWords:
    def test_spawn_is_independent(self) -> None:
        with TaskGroup() as group:
            job = treadle.spawn(treadle.sleep, 5)
            inner: list[Greenlet[None]] = []
            group.spawn(lambda: inner.append(treadle.spawn(treadle.sleep, 6)))
            treadle.sleep(1)
            group.cancel()
        assert clock.elapsed == 1
        assert not job.ready()
        treadle.joinall([job, *inner])
        assert clock.elapsed == 6

    def test_a_spawned_greenlet_that_fails_is_none_of_the_groups(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with TaskGroup() as group:
            job = treadle.spawn(fail, Other)
            group.spawn(treadle.sleep, 1)
        with pytest.raises(Other):
            job.get()

    def test_a_gevent_group_in_a_task_group(self) -> None:
        with TaskGroup() as group:
            workers = Group()
            for _ in range(3):
                workers.spawn(treadle.sleep, 1)
            group.spawn(workers.join)
        assert len(workers) == 0
        assert clock.elapsed == 1

    def test_a_task_group_in_a_pool(self) -> None:
        def worker(number: int) -> int:
            with TaskGroup() as group:
                jobs = [group.spawn(lambda: number) for _ in range(3)]
            return sum(job.get() for job in jobs)

        assert Pool(2).map(worker, range(4)) == [0, 3, 6, 9]

    def test_killing_a_pool_of_task_groups(self) -> None:
        steps: list[Any] = []

        def worker() -> None:
            with TaskGroup() as group:
                group.spawn(stubborn, steps)

        pool = Pool(2)
        pool.spawn(worker)
        pool.spawn(worker)
        wait_all_blocked()
        pool.kill()
        assert steps == [("cleaned", 5)] * 2

    def test_joinall_of_children(self) -> None:
        with TaskGroup() as group:
            jobs = [group.spawn(treadle.sleep, seconds) for seconds in (1, 2, 3)]
            assert treadle.joinall(jobs, count=1) == jobs[:1]
            assert treadle.wait(jobs, timeout=1) == jobs[:2]

    def test_spawn_later_and_links_beside(self) -> None:
        seen: list[object] = []
        with TaskGroup() as group:
            child = group.spawn(lambda: 5)
            child.link_value(seen.append)
            treadle.spawn_later(1, seen.append, "later")
            group.spawn(treadle.sleep, 2)
        assert seen == [child, "later"]


# ---------------------------------------------------------------- adoption


class TestAdoption:
    def test_spawned_greenlets_become_children(self) -> None:
        jobs = []

        def child() -> None:
            jobs.append(treadle.spawn(treadle.sleep, 2))

        with TaskGroup(adopt=True) as group:
            jobs.append(treadle.spawn(treadle.sleep, 1))
            group.spawn(child)
        assert clock.elapsed == 2
        assert all(job.ready() for job in jobs)

    def test_so_do_those_of_theirs(self) -> None:
        def descend(depth: int) -> None:
            treadle.sleep(1)
            if depth:
                treadle.spawn(descend, depth - 1)

        with TaskGroup(adopt=True):
            treadle.spawn(descend, 3)
        assert clock.elapsed == 4

    def test_greenlets_that_are_started(self) -> None:
        with TaskGroup(adopt=True):
            job = Greenlet(treadle.sleep, 2)
            job.start()
            Greenlet.spawn(treadle.sleep, 1)
        assert job.ready()
        assert clock.elapsed == 2

    def test_a_greenlet_that_was_made_outside(self) -> None:
        job = Greenlet(treadle.sleep, 2)
        with TaskGroup(adopt=True):
            job.start()
        assert clock.elapsed == 2

    def test_failures_are_the_groups(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.RaisesGroup(Other) as caught, TaskGroup(adopt=True):
            treadle.spawn(fail, Other)
            treadle.spawn(forever)
        assert capsys.readouterr() == ("", "")
        assert "test_failures_are_the_groups" in caught.value.exceptions[0].__notes__[0]

    def test_they_are_cancelled(self) -> None:
        with TaskGroup(adopt=True) as group:
            job = treadle.spawn(forever)
            wait_all_blocked()
            group.cancel()
        assert isinstance(job.value, Cancelled)

    def test_they_count(self) -> None:
        with TaskGroup(adopt=True) as group:
            job = treadle.spawn(treadle.sleep, 1)
            assert list(group) == [job]

    def test_an_inner_group_that_does_not_adopt(self) -> None:
        """The nearest group that adopts takes what is spawned beneath."""
        with TaskGroup(adopt=True) as outer:
            with TaskGroup() as inner:
                job = treadle.spawn(treadle.sleep, 3)
                inner.spawn(treadle.sleep, 1)
            assert clock.elapsed == 1
            assert list(outer) == [job]
        assert clock.elapsed == 3

    def test_an_inner_group_that_adopts(self) -> None:
        with TaskGroup(adopt=True):
            with TaskGroup(adopt=True) as inner:
                job = treadle.spawn(treadle.sleep, 3)
                assert list(inner) == [job]
            assert clock.elapsed == 3

    def test_pools_and_groups(self) -> None:
        with TaskGroup(adopt=True) as group:
            pool = Pool(2)
            for _ in range(4):
                pool.spawn(treadle.sleep, 1)
            assert len(group) >= 2
        assert clock.elapsed == 2
        assert len(pool) == 0

    def test_off_by_default_and_after_the_group(self) -> None:
        with TaskGroup(adopt=True):
            pass
        job = treadle.spawn(treadle.sleep, 2)
        with TaskGroup():
            other = treadle.spawn(treadle.sleep, 2)
        assert clock.elapsed == 0
        treadle.joinall([job, other])

    def test_greenlets_of_others_are_not_taken(self) -> None:
        outside: list[Greenlet[None]] = []

        def stranger() -> None:
            treadle.sleep(1)
            outside.append(treadle.spawn(treadle.sleep, 10))

        job = treadle.spawn(stranger)
        with TaskGroup(adopt=True):
            treadle.sleep(2)
        assert clock.elapsed == 2
        treadle.joinall([job, *outside])

    def test_spawn_later(self) -> None:
        with TaskGroup(adopt=True):
            job = treadle.spawn_later(2, lambda: None)
        assert clock.elapsed in (0, 2)  # it starts later: adopted or not, it is not lost
        job.join()

    def test_an_adopted_failure_that_somebody_takes(self) -> None:
        with pytest.RaisesGroup(Other), TaskGroup(adopt=True):
            job = treadle.spawn(fail, Other)
            with suppress(Other):
                job.get()


# ---------------------------------------------------------------- misuse


class TestMisuse:
    def test_left_in_another_greenlet(self) -> None:
        group = TaskGroup()
        jobs = []
        done = Event()

        def first() -> None:
            group.__enter__()
            jobs.append(group.spawn(forever))
            done.set()
            with suppress(Cancelled):
                forever()

        owner = treadle.spawn(first)
        done.wait()
        wait_all_blocked()
        with pytest.raises(RuntimeError):
            group.__exit__(None, None, None)
        owner.join()
        jobs[0].join()
        assert jobs[0].ready()
        checkpoint()

    def test_left_while_an_inner_group_is_open(self) -> None:
        outer, inner = TaskGroup(), TaskGroup()
        outer.__enter__()
        inner.__enter__()
        one, two = outer.spawn(forever), inner.spawn(forever)
        wait_all_blocked()
        with pytest.raises((RuntimeError, BaseExceptionGroup)) as caught:
            outer.__exit__(None, None, None)
        assert "RuntimeError" in "".join(traceback.format_exception(caught.value))
        with suppress(RuntimeError, BaseExceptionGroup):
            inner.__exit__(None, None, None)
        for job in (one, two):
            job.join(timeout=1)
            assert job.ready()
        checkpoint()

    def test_the_scope_of_a_group_left_by_hand(self) -> None:
        with pytest.raises((RuntimeError, BaseExceptionGroup)) as caught, TaskGroup() as group:
            job = group.spawn(treadle.sleep, 5)
            group.cancel_scope.__exit__(None, None, None)
        assert "RuntimeError" in "".join(traceback.format_exception(caught.value))
        assert job.ready()

    def test_a_generator_that_yields_inside_a_group(self) -> None:
        jobs = []

        def values() -> Iterator[int]:
            with TaskGroup() as group:
                jobs.append(group.spawn(forever))
                yield 1
                yield 2

        with pytest.raises(RuntimeError), CancelScope() as outer:
            generator = values()
            next(generator)
        assert outer.cancelled
        with suppress(RuntimeError, BaseExceptionGroup, Cancelled):
            generator.close()  # type: ignore[attr-defined]
        jobs[0].join(timeout=1)
        assert jobs[0].ready()
        checkpoint()

    def test_a_generator_used_up_in_its_block_is_no_misuse(self) -> None:
        def values() -> Iterator[int]:
            with TaskGroup() as group:
                group.spawn(treadle.sleep, 1)
                yield 1
                yield 2

        with CancelScope():
            assert list(values()) == [1, 2]
        assert clock.elapsed == 1

    def test_a_child_that_ends_while_a_group_of_its_own_is_open(self) -> None:
        jobs = []

        def child() -> None:
            inner = TaskGroup()
            inner.__enter__()
            jobs.append(inner.spawn(treadle.sleep, 5))

        with suppress(RuntimeError, BaseExceptionGroup), TaskGroup() as group:
            group.spawn(child)
        jobs[0].join(timeout=10)
        assert jobs[0].ready()

    def test_an_exitstack_leaves_in_order(self) -> None:
        with ExitStack() as stack:
            outer = stack.enter_context(TaskGroup())
            stack.enter_context(move_on_after(5))
            inner = stack.enter_context(TaskGroup())
            outer.spawn(treadle.sleep, 1)
            inner.spawn(treadle.sleep, 2)
        assert clock.elapsed == 2

    def test_a_groups_own_child_may_not_leave_it(self) -> None:
        failures, steps = [], []

        def child() -> None:
            try:
                group.__exit__(None, None, None)
            except RuntimeError as exc:
                failures.append(exc)

        with suppress(RuntimeError), TaskGroup() as group:
            group.spawn(stubborn, steps)
            group.spawn(child)
            with suppress(Cancelled):
                treadle.sleep(1)
        assert len(failures) == 1
        assert steps == [("cleaned", 5)]


# ---------------------------------------------------------------- order


class TestSchedules:
    def test_a_child_that_ends_as_the_exit_begins(self) -> None:
        def program() -> None:
            with TaskGroup() as group:
                jobs = [group.spawn(checkpoint), group.spawn(lambda: None)]
            assert all(job.ready() for job in jobs)

        assert explore(program, strategy="dfs", bound=None, schedules=None).exhausted

    def test_a_failure_and_a_cancel(self) -> None:
        def program() -> None:
            with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
                group.spawn(fail, Other)
                group.spawn(group.cancel)
                jobs = [group.spawn(checkpoint)]
            assert [type(exc) for exc in caught.value.exceptions] == [Other]
            assert all(job.ready() for job in jobs)

        assert explore(program, strategy="dfs", bound=None, schedules=None).exhausted

    def test_a_limit(self) -> None:
        def program() -> None:
            running = [0]

            def child() -> None:
                running[0] += 1
                assert running[0] <= 1
                checkpoint()
                running[0] -= 1

            with TaskGroup(1) as group:
                jobs = [treadle.spawn(group.spawn, child) for _ in range(2)]
                group.spawn(child)
                treadle.joinall(jobs)
            assert running == [0]

        explore(program, strategy="dfs", bound=None, schedules=2000)

    def test_a_kill_of_the_owner_and_a_failure(self) -> None:
        def program() -> None:
            jobs: list[Greenlet[Any]] = []

            def owner() -> None:
                with TaskGroup() as group:
                    jobs.append(group.spawn(fail, Other))
                    jobs.append(group.spawn(checkpoint))

            job = treadle.spawn(owner)
            killer = treadle.spawn(job.kill)
            treadle.joinall([job, killer])
            assert all(each.ready() for each in jobs)
            if jobs:
                failed = jobs[0].exception is not None
                assert isinstance(job.exception, ExceptionGroup) == failed

        explore(program, strategy="dfs", bound=None, schedules=2000)

    def test_race(self) -> None:
        def program() -> None:
            def racer(number: int) -> int:
                checkpoint()
                return number

            assert race(partial(racer, 1), partial(racer, 2)) in (1, 2)

        assert explore(program, strategy="dfs", bound=None, schedules=None).exhausted
