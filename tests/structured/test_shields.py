"""What is raised in a wait, in which order, and what a shield holds back."""

from contextlib import suppress

import pytest

import treadle
from treadle import (
    Cancelled,
    CancelScope,
    GreenletExit,
    Timeout,
    checkpoint,
    fail_after,
    move_on_after,
    shield,
)
from treadle.event import Event
from treadle.hub import get_hub
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Pool
from treadle.queue import Channel, Queue
from treadle.testing import at_every_park, clock, explore, wait_all_blocked

from .common import Other, forever, is_cancelled

pytestmark = pytest.mark.treadle

# ---------------------------------------------------------------- shields


class TestShields:
    def test_a_shield_may_be_put_up_and_taken_down(self) -> None:
        with CancelScope() as outer:
            with CancelScope() as inner:
                checkpoint()
                outer.cancel()
                assert is_cancelled()
                assert inner.shield is False
                inner.shield = True
                assert inner.shield is True
                checkpoint()
                with CancelScope() as innermost:
                    innermost.cancel()
                    assert is_cancelled()  # it does not protect from what is inside
                checkpoint()
                inner.shield = False
                assert is_cancelled()
                inner.shield = True
                checkpoint()
                inner.cancel()  # nor from itself
                checkpoint()
                pytest.fail("not reached")
            assert inner.caught
            checkpoint()
        assert outer.caught

    def test_shield_is_put_up_before_entering(self) -> None:
        scope = CancelScope()
        scope.shield = True
        with CancelScope() as outer, scope:
            outer.cancel()
            checkpoint()
            scope.shield = False
            assert is_cancelled()

    def test_a_shield_with_a_time_limit(self) -> None:
        with CancelScope() as outer, CancelScope(2, shield=True) as inner:
            outer.cancel()
            forever()
        assert inner.caught
        assert clock.elapsed == 2

    def test_limits_that_are_shields(self) -> None:
        with CancelScope() as outer, move_on_after(2, shield=True) as inner:
            outer.cancel()
            checkpoint()
            inner.shield = False
            assert is_cancelled()
            inner.shield = True
            forever()
        assert inner.caught
        with pytest.raises(TimeoutError), CancelScope() as outer, fail_after(2, shield=True):
            outer.cancel()
            forever()
        assert clock.elapsed == 4

    def test_fail_after_inside_a_shield(self) -> None:
        with pytest.raises(TimeoutError), CancelScope() as outer, shield(), fail_after(2):
            outer.cancel()
            forever()
        assert clock.elapsed == 2

    def test_taking_a_shield_down_ends_the_waits_beneath(self) -> None:
        steps = []
        with CancelScope() as outer:
            scope = CancelScope(shield=True)

            def take_down() -> None:
                steps.append("down")
                scope.shield = False

            treadle.spawn_later(1, take_down)
            with scope:
                outer.cancel()
                try:
                    forever()
                except Cancelled as exc:
                    steps.append(exc.scope)
        assert steps == ["down", outer]
        assert clock.elapsed == 1

    def test_putting_a_shield_up_while_a_cancelled_passes(self) -> None:
        with CancelScope() as outer:
            with CancelScope() as inner:
                outer.cancel()
                try:
                    checkpoint()
                finally:
                    inner.shield = True
            pytest.fail("not reached")
        assert outer.caught
        assert not inner.caught

    def test_a_shield_ends_with_its_block(self) -> None:
        with CancelScope() as outer:
            outer.cancel()
            with shield():
                treadle.sleep(1)
            checkpoint()
            pytest.fail("not reached")
        assert outer.caught
        assert clock.elapsed == 1

    def test_shields_inside_each_other(self) -> None:
        with CancelScope() as outer:
            outer.cancel()
            with shield():
                with shield():
                    checkpoint()
                checkpoint()
            assert is_cancelled()

    def test_a_kill_is_held_until_the_end(self) -> None:
        steps = []

        def job() -> None:
            try:
                with shield():
                    treadle.sleep(3)
                    steps.append(("shielded", clock.elapsed))
                steps.append(("out", clock.elapsed))
                treadle.sleep(10)
            except GreenletExit:
                steps.append(("killed", clock.elapsed))
                raise

        running = treadle.spawn(job)
        treadle.sleep(1)
        running.kill()
        assert steps == [("shielded", 3), ("out", 3), ("killed", 3)]
        assert running.successful()

    def test_a_kill_is_delivered_once(self) -> None:
        def job() -> str:
            with pytest.raises(Other):
                with shield():
                    treadle.sleep(3)
                checkpoint()
            treadle.sleep(1)
            return "went on"

        running = treadle.spawn(job)
        treadle.sleep(1)
        running.kill(Other)
        assert running.get() == "went on"

    def test_held_kills_come_one_per_wait_in_their_order(self) -> None:
        found: list[object] = []
        first, second, third = Other(1), Other(2), Other(3)

        def job() -> None:
            with shield():
                treadle.sleep(3)
            for _ in range(4):
                try:
                    checkpoint()
                    found.append(None)
                except Other as exc:
                    found.append(exc)

        running = treadle.spawn(job)
        treadle.sleep(1)
        for each in (first, second, third):
            running.kill(each, block=False)
        running.join()
        assert found == [first, second, third, None]

    def test_held_kills_and_timeouts_keep_their_order(self) -> None:
        found: list[object] = []

        def job() -> None:
            with Timeout(2) as timeout:
                with shield():
                    treadle.sleep(5)
                for _ in range(4):
                    try:
                        checkpoint()
                        found.append(None)
                    except (Other, Timeout) as exc:
                        found.append(exc if isinstance(exc, Other) else exc is timeout)

        running = treadle.spawn(job)
        first, last = Other(1), Other(2)
        treadle.sleep(1)
        running.kill(first, block=False)
        treadle.sleep(2)
        running.kill(last, block=False)
        running.join()
        assert found == [first, True, last, None]

    def test_held_edges_come_before_a_cancellation(self) -> None:
        found: list[object] = []

        def job() -> None:
            with CancelScope() as scope:
                scope.cancel()
                with shield():
                    treadle.sleep(3)
                for _ in range(3):
                    try:
                        checkpoint()
                    except Other as exc:
                        found.append(exc)
                    except Cancelled:
                        found.append("cancelled")

        running = treadle.spawn(job)
        treadle.sleep(1)
        exc = Other()
        running.kill(exc)
        assert found == [exc, "cancelled", "cancelled"]

    def test_a_held_kill_reaches_the_code_after_all_shields(self) -> None:
        steps = []

        def job() -> None:
            with shield():
                with shield():
                    treadle.sleep(2)
                steps.append(clock.elapsed)
                treadle.sleep(2)
                steps.append(clock.elapsed)
            treadle.sleep(10)

        running = treadle.spawn(job)
        treadle.sleep(1)
        running.kill()
        assert steps == [2, 4]
        assert clock.elapsed == 4

    def test_a_timeout_from_outside_is_held(self) -> None:
        steps = []
        with pytest.raises(Timeout) as caught, Timeout(1) as timeout:
            with shield():
                treadle.sleep(3)
                steps.append(clock.elapsed)
            treadle.sleep(5)
        assert caught.value is timeout
        assert steps == [3]
        assert clock.elapsed == 3

    def test_a_held_timeout_may_be_cancelled(self) -> None:
        with Timeout(1) as timeout:
            with shield():
                treadle.sleep(3)
            timeout.cancel()
            treadle.sleep(5)
        assert clock.elapsed == 8
        with Timeout(1), shield():
            treadle.sleep(3)
        treadle.sleep(1)

    def test_a_held_timeout_is_pending(self) -> None:
        with Timeout(1, False) as timeout:
            with shield():
                treadle.sleep(3)
                assert timeout.pending
            treadle.sleep(1)
            pytest.fail("not reached")
        assert not timeout.pending

    def test_a_timeout_that_starts_inside_works(self) -> None:
        with CancelScope() as scope, shield():
            scope.cancel()
            with pytest.raises(Timeout), Timeout(1):
                treadle.sleep(5)
            with Timeout(1, False):
                treadle.sleep(5)
            assert Event().wait(timeout=1) is False
        assert clock.elapsed == 3

    def test_a_timeout_started_inside_works_after_it_too(self) -> None:
        timeout = Timeout(2)
        with pytest.raises(Timeout):
            try:
                with shield():
                    timeout.start()
                    treadle.sleep(1)
                treadle.sleep(5)
            finally:
                timeout.cancel()
        assert clock.elapsed == 2

    def test_a_timeout_started_in_the_outer_of_two_shields_is_held_by_the_inner(self) -> None:
        with shield(), pytest.raises(Timeout), Timeout(1):
            with shield():
                treadle.sleep(3)
            checkpoint()
        assert clock.elapsed == 3

    def test_waits_with_limits_of_their_own(self) -> None:
        with CancelScope() as scope, shield():
            scope.cancel()
            assert not Semaphore(0).acquire(timeout=1)
            with pytest.raises(treadle.queue.Empty):
                Queue[int]().get(timeout=1)
            job = treadle.spawn(treadle.sleep, 1)
            job.join(timeout=5)
            assert job.ready()

    def test_grace_lets_a_cancellation_through(self) -> None:
        with CancelScope() as outer:
            treadle.spawn_later(2, outer.cancel)
            with shield(grace=5):
                with pytest.raises(Cancelled) as caught:
                    forever()
                assert caught.value.scope is outer
                assert clock.elapsed == 7
                assert is_cancelled()  # it stays open
        assert clock.elapsed == 7

    def test_grace_counts_from_the_first_that_came(self) -> None:
        def job() -> None:
            with CancelScope() as outer:
                treadle.spawn_later(2, outer.cancel)
                with shield(grace=5):
                    forever()

        running = treadle.spawn(job)
        treadle.sleep(1)
        running.kill(block=False)
        treadle.sleep(0)
        running.join()
        assert clock.elapsed == 6

    def test_grace_lets_a_kill_through(self) -> None:
        def job() -> None:
            with shield(grace=5):
                forever()

        running = treadle.spawn(job)
        treadle.sleep(1)
        running.kill()
        assert clock.elapsed == 6
        assert running.successful()

    def test_grace_lets_a_timeout_through(self) -> None:
        with pytest.raises(Timeout), Timeout(1), shield(grace=2):
            forever()
        assert clock.elapsed == 3

    def test_what_came_before_the_shield_counts_from_its_beginning(self) -> None:
        with CancelScope() as outer:
            outer.cancel()
            treadle_started = clock.elapsed
            with shield(grace=2):
                forever()
        assert clock.elapsed - treadle_started == 2

    def test_a_shield_that_is_over_within_its_grace(self) -> None:
        timers = get_hub().timer_count()
        with CancelScope() as outer:
            outer.cancel()
            with shield(grace=5):
                treadle.sleep(4)
            assert get_hub().timer_count() == timers
            checkpoint()
            pytest.fail("not reached")
        assert clock.elapsed == 4
        treadle.sleep(10)

    def test_grace_of_nothing_shields_from_nothing(self) -> None:
        with CancelScope() as outer:
            outer.cancel()
            with shield(grace=0):
                forever()
            pytest.fail("not reached")
        assert clock.elapsed == 0

    def test_grace_does_not_run_without_need(self) -> None:
        with shield(grace=1):
            treadle.sleep(5)
        assert clock.elapsed == 5

    def test_a_shield_without_grace_is_no_end(self) -> None:
        with CancelScope() as outer:
            outer.cancel()
            with shield():
                treadle.sleep(3)
        assert clock.elapsed == 3

    def test_a_shield_that_holds_long_is_reported_once(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with CancelScope() as outer:
            treadle.spawn_later(1, outer.cancel)
            with shield():
                treadle.sleep(5.5)
                assert capsys.readouterr().err == ""
                treadle.sleep(100)
                treadle.sleep(100)
        err = capsys.readouterr().err
        assert "shield" in err
        assert "test_shields.py" in err
        assert err.count("treadle.sleep(100)") == 1

    def test_a_shield_that_holds_a_kill_long_is_reported(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def stubborn() -> None:
            with shield():
                treadle.sleep(60)

        job = treadle.spawn(stubborn)
        treadle.sleep(1)
        job.kill()
        assert "stubborn" in capsys.readouterr().err

    def test_a_shield_that_holds_nothing_is_not_reported(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with shield():
            treadle.sleep(60)
        with CancelScope() as scope, shield():
            treadle.sleep(60)
            scope.cancel()
            treadle.sleep(3)
        assert capsys.readouterr() == ("", "")

    def test_a_shield_with_grace_is_reported_no_later_than_it_opens(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with CancelScope() as outer:
            outer.cancel()
            with shield(grace=2):
                treadle.sleep(60)
        assert capsys.readouterr() == ("", "")

    def test_shield_is_a_scope(self) -> None:
        with shield() as scope:
            assert isinstance(scope, CancelScope)
            assert scope.shield
            scope.cancel()
            checkpoint()
            pytest.fail("not reached")
        assert scope.caught


# ---------------------------------------------------------------- kills and Timeouts beside scopes


class TestEdges:
    def test_a_kill_passes_a_scope(self) -> None:
        scopes = []

        def job() -> None:
            with CancelScope() as scope:
                scopes.append(scope)
                forever()

        running = treadle.spawn(job)
        wait_all_blocked()
        running.kill()
        assert running.successful()
        assert (scopes[0].cancelled, scopes[0].caught) == (False, False)

    def test_a_kill_replaces_a_cancelled_that_is_on_its_way(self) -> None:
        found: list[object] = []
        scope = CancelScope()

        def job() -> None:
            with scope:
                for _ in range(3):
                    try:
                        forever()
                    except Other as exc:
                        found.append(exc)
                    except Cancelled:
                        found.append("cancelled")

        running = treadle.spawn(job)
        wait_all_blocked()
        exc = Other()
        scope.cancel()
        running.kill(exc)
        assert found == [exc, "cancelled", "cancelled"]

    def test_a_cancel_does_not_replace_a_kill(self) -> None:
        found: list[object] = []
        scope = CancelScope()

        def job() -> None:
            with scope:
                for _ in range(3):
                    try:
                        forever()
                    except Other as exc:
                        found.append(exc)
                    except Cancelled:
                        found.append("cancelled")

        running = treadle.spawn(job)
        wait_all_blocked()
        exc = Other()
        running.kill(exc, block=False)
        scope.cancel()
        running.join()
        assert found == [exc, "cancelled", "cancelled"]

    def test_a_kill_is_raised_once_in_a_cancelled_scope(self) -> None:
        steps = []

        def job() -> None:
            try:
                forever()
            except GreenletExit:
                treadle.sleep(2)
                steps.append(clock.elapsed)

        running = treadle.spawn(job)
        wait_all_blocked()
        running.kill()
        assert steps == [2]

    def test_two_kills_come_one_after_the_other(self) -> None:
        found: list[object] = []

        def job() -> None:
            for _ in range(3):
                try:
                    treadle.sleep(1)
                    found.append(None)
                except Other as exc:
                    found.append(exc)

        running = treadle.spawn(job)
        wait_all_blocked()
        first, second = Other(1), Other(2)
        running.kill(first, block=False)
        running.kill(second, block=False)
        running.join()
        assert found == [first, second, None]

    def test_a_kill_after_a_wake_up_passes_on_what_was_granted(self) -> None:
        lock = Semaphore(0)
        got = []

        def first() -> None:
            lock.acquire()
            got.append("first")

        def second() -> None:
            lock.acquire()
            got.append("second")

        jobs = [treadle.spawn(first), treadle.spawn(second)]
        wait_all_blocked()
        lock.release()
        jobs[0].kill()
        jobs[1].join(timeout=1)
        assert got == ["second"]

    def test_a_cancel_after_a_wake_up_leaves_what_was_granted(self) -> None:
        lock = Semaphore(0)
        scope = CancelScope()
        got = []

        def first() -> None:
            with scope:
                lock.acquire()
                got.append("first")
                checkpoint()
                got.append("not reached")

        job = treadle.spawn(first)
        wait_all_blocked()
        lock.release()
        scope.cancel()
        job.join()
        assert got == ["first"]
        assert scope.caught

    def test_a_timeout_around_a_scope_wins_by_its_own_exception(self) -> None:
        with pytest.raises(Timeout) as caught, Timeout(1) as timeout, move_on_after(2) as scope:
            forever()
        assert caught.value is timeout
        assert not scope.cancelled

    def test_a_timeout_inside_a_scope(self) -> None:
        with move_on_after(2) as scope:
            with Timeout(1, False):
                forever()
            with Timeout(5, False):
                forever()
            pytest.fail("not reached")
        assert scope.caught
        assert clock.elapsed == 2

    @pytest.mark.parametrize("timeout_first", [True, False])
    def test_both_at_the_same_moment(self, timeout_first: bool) -> None:
        """The edge comes first, whichever was set first: the level comes again."""
        found = []

        def waits() -> None:
            for _ in range(2):
                try:
                    forever()
                except Timeout:
                    found.append("timeout")
                except Cancelled:
                    found.append("cancelled")

        if timeout_first:
            with Timeout(1), move_on_after(1):
                waits()
        else:
            with move_on_after(1), Timeout(1):
                waits()
        assert found == ["timeout", "cancelled"]

    def test_a_timeout_in_a_cancelled_scope_does_not_fire_later(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            with suppress(Cancelled), Timeout(1):
                forever()
        treadle.sleep(5)

    def test_a_greenlet_killed_before_it_starts(self) -> None:
        job = treadle.spawn(pytest.fail, "not reached")
        job.kill()
        assert job.successful()

    def test_a_kill_during_a_wait_that_is_settled_comes_at_the_next(self) -> None:
        channel, steps = Channel[int](), []

        def put() -> None:
            channel.put(1)
            steps.append("put")
            treadle.sleep(1)
            steps.append("not reached")

        job = treadle.spawn(put)
        wait_all_blocked()
        assert channel.get() == 1
        job.kill()
        assert steps == ["put"]

    def test_what_is_held_is_raised_before_the_greenlet_is_suspended(self) -> None:
        """A wait that could go on at once raises too, if it is a wait at all."""
        order = []

        def job() -> None:
            with shield():
                treadle.sleep(1)
            treadle.spawn(order.append, "other")
            try:
                treadle.sleep(0)
            except Other:
                order.append("raised")

        running = treadle.spawn(job)
        wait_all_blocked()
        running.kill(Other, block=False)
        running.join()
        treadle.sleep(0)
        assert order == ["raised", "other"]

    def test_the_handled_exception_is_that_of_the_greenlet(self) -> None:
        def job() -> None:
            try:
                raise KeyError
            except KeyError:
                with suppress(Other):
                    forever()
                raise

        running = treadle.spawn(job)
        wait_all_blocked()
        running.kill(Other)
        with pytest.raises(KeyError) as caught:
            running.get()
        assert caught.value.__context__ is None

    def test_what_is_raised_in_a_handler_has_its_context(self) -> None:
        def inner() -> None:
            try:
                raise IndexError
            except IndexError:
                forever()

        def job() -> None:
            try:
                raise KeyError
            except KeyError:
                inner()

        running = treadle.spawn(job)
        wait_all_blocked()
        running.kill(Other("text"))
        with pytest.raises(Other, match="text") as caught:
            running.get()
        assert isinstance(caught.value.__context__, IndexError)
        assert isinstance(caught.value.__context__.__context__, KeyError)


# ---------------------------------------------------------------- primitives under cancellation


class TestPrimitives:
    def test_a_semaphore_keeps_its_permits(self) -> None:
        scopes: list[CancelScope] = []
        locks: list[BoundedSemaphore] = []

        def use() -> None:
            scopes.append(scope := CancelScope())
            locks.append(lock := BoundedSemaphore(1))
            lock.acquire()
            treadle.spawn_later(1, lock.release)
            with scope, lock:
                treadle.sleep(1)
            with shield():
                treadle.sleep(2)

        def check() -> None:
            assert locks[-1].counter == 1

        assert at_every_park(use, call=lambda: scopes[-1].cancel(), check=check) >= 2

    def test_a_queue_keeps_its_items(self) -> None:
        scopes: list[CancelScope] = []

        def use() -> None:
            scopes.append(scope := CancelScope())
            queue, taken = Queue[int](1), []
            treadle.spawn_later(1, queue.put, 1)
            treadle.spawn_later(1, queue.put, 2)
            with scope:
                taken.append(queue.get())
                taken.append(queue.get())
            treadle.sleep(2)
            while len(taken) < 2:
                taken.append(queue.get(timeout=1))
            assert taken == [1, 2]

        assert at_every_park(use, call=lambda: scopes[-1].cancel()) >= 2

    @pytest.mark.parametrize("exc", ["cancel", "kill", "timeout"])
    def test_a_condition_takes_its_lock_again(self, exc: str) -> None:
        condition = Condition(RLock())
        scope = CancelScope()
        owned = []

        def waiter() -> None:
            with Timeout(1 if exc == "timeout" else None, False), scope, condition:
                try:
                    condition.wait()
                finally:
                    owned.append((condition._is_owned(), clock.elapsed))

        job = treadle.spawn(waiter)
        wait_all_blocked()
        with condition:
            if exc == "cancel":
                scope.cancel()
            elif exc == "kill":
                job.kill(block=False)
            treadle.sleep(3)
        job.join()
        assert owned == [(True, 3)]
        with condition:
            pass

    def test_the_exit_of_a_lock_does_not_raise(self) -> None:
        lock = Semaphore(1)
        with CancelScope() as scope, lock:
            scope.cancel()
        assert lock.counter == 1
        assert not scope.caught

    def test_joinall_in_a_cancelled_scope(self) -> None:
        jobs = [treadle.spawn(treadle.sleep, 1) for _ in range(3)]
        with CancelScope() as scope:
            scope.cancel()
            treadle.joinall(jobs)
            pytest.fail("not reached")
        assert not any(job.ready() for job in jobs)
        treadle.joinall(jobs)

    def test_a_pool_keeps_its_places(self) -> None:
        pool = Pool(1)
        pool.spawn(treadle.sleep, 2)
        with move_on_after(1) as scope:
            pool.spawn(pytest.fail, "not reached")
        assert scope.caught
        pool.spawn(treadle.sleep, 2)
        pool.join()
        assert clock.elapsed == 4
        assert pool.free_count() == 1

    def test_iwait_in_a_scope(self) -> None:
        jobs = [treadle.spawn(treadle.sleep, seconds) for seconds in (1, 3)]
        seen = []
        with move_on_after(2) as scope:
            seen.extend(treadle.iwait(jobs))
        assert scope.caught
        assert clock.elapsed == 2
        treadle.joinall(jobs)

    def test_killing_another_greenlet_in_a_cancelled_scope(self) -> None:
        job = treadle.spawn(forever)
        wait_all_blocked()
        with CancelScope() as scope:
            scope.cancel()
            job.kill()
        with shield():
            job.join()
        assert job.successful()

    def test_every_schedule_of_a_cancel_and_a_wake_up(self) -> None:
        """Either the waiter has the permit, or the semaphore has it."""

        def program() -> None:
            lock, scope, got = Semaphore(0), CancelScope(), []

            def take() -> None:
                with scope:
                    lock.acquire()
                    got.append(1)

            jobs = [
                treadle.spawn(take),
                treadle.spawn(scope.cancel),
                treadle.spawn(lock.release),
            ]
            treadle.joinall(jobs)
            assert len(got) + lock.counter == 1

        report = explore(program, strategy="dfs", bound=None, schedules=None)
        assert report.exhausted
