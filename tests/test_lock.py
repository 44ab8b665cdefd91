"""Semaphores, locks and conditions, between greenlets and native threads."""

import _thread
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

import treadle
from treadle import queue, socket, thread
from treadle.exceptions import BlockingSwitchOutError
from treadle.lock import BoundedSemaphore, Condition, DummySemaphore, RLock, Semaphore
from treadle.thread import LockType

pytestmark = pytest.mark.treadle

HANDOVERS = 2000


def start(kind: str, function: Callable[[], object], done: list[str]) -> None:
    def run() -> None:
        if kind == "thread with hub":
            treadle.get_hub()
        function()
        done.append(kind)

    if kind == "greenlet":
        treadle.spawn(run)
    else:
        _thread.start_new_thread(run, ())


KINDS = ["greenlet", "thread", "thread with hub"]


@pytest.mark.parametrize("holder", KINDS)
@pytest.mark.parametrize("waiter", KINDS)
def test_semaphores_are_handed_over(holder: str, waiter: str) -> None:
    one, other = Semaphore(1), Semaphore(0)
    done: list[str] = []

    def play(mine: Semaphore, theirs: Semaphore) -> None:
        for _ in range(HANDOVERS):
            assert mine.acquire()
            theirs.release()

    start(holder, lambda: play(one, other), done)
    start(waiter, lambda: play(other, one), done)
    with treadle.Timeout(60):
        while len(done) < 2:
            treadle.sleep(0.001)
    assert (one.counter, other.counter) == (1, 0)


def test_permits_go_first_come_first_served() -> None:
    semaphore, order = Semaphore(0), []

    def wait(number: int) -> None:
        semaphore.acquire()
        order.append(number)

    waiters = [treadle.spawn(wait, number) for number in range(5)]
    treadle.sleep(0)
    for _ in waiters:
        semaphore.release()
    assert not semaphore.acquire(blocking=False)  # the permits are already reserved for the waiters
    treadle.joinall(waiters)
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore, LockType, RLock])
def test_no_permit_is_lost_to_kills_and_timeouts(make: Callable[[], Any]) -> None:
    rng = random.Random(7)
    lock = make()

    def work() -> None:
        for _ in range(20):
            try:
                with treadle.Timeout(rng.random() * 0.002, False), lock:
                    treadle.sleep(rng.random() * 0.001)
            finally:
                treadle.sleep(0)

    workers = [treadle.spawn(work) for _ in range(40)]
    while not all(workers[number].ready() for number in range(len(workers))):
        rng.choice(workers).kill(block=False)
        treadle.sleep(0.0005)
    assert lock.acquire(blocking=False)
    lock.release()


def test_timeouts_and_errors() -> None:
    semaphore = Semaphore(0)
    assert semaphore.acquire(timeout=0.01) is False
    assert semaphore.wait(timeout=0.01) == 0
    with pytest.raises(ValueError, match="must be >= 0"):
        Semaphore(-1)
    with pytest.raises(ValueError, match="too many times"):
        BoundedSemaphore(1).release()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        LockType().release()
    with pytest.raises(RuntimeError, match="un-acquired"):
        RLock().release()
    lock = LockType()
    with pytest.raises(ValueError, match="non-blocking"):
        lock.acquire(False, 1)
    with pytest.raises(ValueError, match="timeout value must be"):
        lock.acquire(True, -2)
    with pytest.raises(OverflowError):
        lock.acquire(True, 1e100)


def test_links_are_called_while_there_are_permits() -> None:
    semaphore, called = Semaphore(0), []
    semaphore.rawlink(called.append)
    treadle.sleep(0)
    assert called == []
    semaphore.release()
    treadle.sleep(0)
    assert called == [semaphore]


@pytest.mark.treadle(clock="real")  # it spins
def test_a_spinning_greenlet_lets_others_run() -> None:
    semaphore = Semaphore(0)
    treadle.spawn(semaphore.release)
    with treadle.Timeout(10):
        while not semaphore.acquire(blocking=False):
            pass


def test_rlock_counts_for_its_owner_only() -> None:
    lock = RLock()
    assert lock.acquire()
    assert lock.acquire()
    assert not treadle.spawn(lock.acquire, False).get()
    lock.release()
    assert lock._is_owned()
    lock.release()
    assert treadle.spawn(lock.acquire, False).get()


def test_a_counter_below_zero_is_paid_back_before_anybody_is_let_in() -> None:
    semaphore = Semaphore(0)
    semaphore.counter -= 2
    waiter = treadle.spawn(semaphore.acquire)
    for _ in range(2):
        waiter.join(timeout=0.01)
        assert not waiter.dead
        semaphore.release()
    assert semaphore.counter == 0
    treadle.sleep(0.01)
    assert not waiter.dead
    semaphore.release()
    waiter.join()
    assert semaphore.counter == 0


class TestCondition:
    def test_notify_wakes_in_order(self) -> None:
        condition, woken = Condition(), []

        def wait(number: int) -> None:
            with condition:
                assert condition.wait(5)
                woken.append(number)

        waiters = [treadle.spawn(wait, number) for number in range(3)]
        treadle.sleep(0)
        with condition:
            condition.notify(2)
        treadle.sleep(0.01)
        assert woken == [0, 1]
        with condition:
            condition.notify_all()
        treadle.joinall(waiters)
        assert woken == [0, 1, 2]

    def test_a_timeout_while_taking_the_lock_again_leaves_it_taken(self) -> None:
        condition, held = Condition(), []

        def wait() -> None:
            with condition:
                try:
                    with treadle.Timeout(0.03):
                        condition.wait()
                except treadle.Timeout:
                    held.append(condition._is_owned())

        waiter = treadle.spawn(wait)
        treadle.sleep(0)
        with condition:
            condition.notify()
            treadle.sleep(0.06)  # the waiter wakes, cannot acquire the lock, and times out
        waiter.get()
        assert held == [True]
        assert condition.acquire(False)

    def test_a_kill_after_a_timeout_is_not_lost(self) -> None:
        condition, log = Condition(), []

        def wait() -> None:
            with condition, treadle.Timeout(0.01, False):
                condition.wait()
            treadle.sleep(5)
            log.append("lives on")

        waiter = treadle.spawn(wait)
        treadle.sleep(0)
        with condition:
            treadle.sleep(0.05)  # the timeout has expired, and the waiter waits for the lock
            waiter.kill(block=False)
            treadle.sleep(0)
        waiter.join(2)
        assert waiter.dead
        assert log == []

    def test_a_killed_waiter_passes_its_wake_up_on(self) -> None:
        condition, woken = Condition(), []

        def wait(number: int) -> None:
            with condition:
                condition.wait()
                woken.append(number)

        first, second = treadle.spawn(wait, 1), treadle.spawn(wait, 2)
        treadle.sleep(0)
        with condition:
            condition.notify()
            first.kill(block=False)
        treadle.joinall([first, second], timeout=30)
        assert woken == [2]

    def test_needs_the_lock(self) -> None:
        with pytest.raises(RuntimeError, match="un-acquired"):
            Condition().wait()
        with pytest.raises(RuntimeError, match="un-acquired"):
            Condition().notify()


def test_dummy_never_blocks() -> None:
    dummy = DummySemaphore()
    assert dummy.acquire()
    assert dummy.acquire(False)
    assert not dummy.locked()


@pytest.mark.parametrize("make", [thread.RLock, thread.allocate_lock])
def test_a_condition_of_threading_locks_again_despite_a_kill(make: Callable[[], Any]) -> None:
    condition = threading.Condition(make())
    held: list[bool] = []
    waiting = thread.allocate_lock()
    waiting.acquire()

    def waiter() -> None:
        with condition:
            state = condition._release_save()
            try:
                waiting.acquire()
            finally:
                try:
                    condition._acquire_restore(state)
                finally:
                    held.append(condition._is_owned())

    greenlet = treadle.spawn(waiter)
    treadle.sleep(0)
    with condition:
        waiting.release()
        treadle.sleep(0)
        greenlet.kill(block=False)
        treadle.sleep(0)
        assert held == []
    greenlet.join()
    assert held == [True]
    assert condition.acquire(False)


@pytest.mark.treadle(clock="real")  # it spins
@pytest.mark.parametrize("make", [thread.RLock, thread.allocate_lock])
def test_spinning_on_a_held_lock_lets_its_holder_run(make: Callable[[], Any]) -> None:
    lock = make()

    def hold() -> None:
        with lock:
            treadle.sleep(0.01)

    treadle.spawn(hold)
    treadle.sleep(0)
    with treadle.Timeout(30):
        while not lock.acquire(False):
            pass


@pytest.mark.treadle(clock="real")  # it spins
@pytest.mark.parametrize("make", [thread.RLock, thread.allocate_lock])
def test_who_only_takes_a_free_lock_lets_others_run(make: Callable[[], Any]) -> None:
    lock, asked, seen = make(), 0, []
    treadle.spawn(seen.append, "spawned")
    treadle.spawn_later(0.001, seen.append, "later")
    with treadle.Timeout(30):
        while len(seen) < 2:  # a loop over queue.Queue.empty() does this
            asked += 1
            with lock:
                pass
    assert seen == ["spawned", "later"]
    assert asked > 2000  # not every acquire() yields, which would be slow


@pytest.mark.parametrize("kind", [LockType, RLock])
def test_a_lock_that_cannot_be_waited_for_is_not_asked_for_ever(kind: Any) -> None:
    lock = kind()
    raised: list[type[BaseException]] = []

    def take_again() -> None:
        try:
            lock._acquire_restore((1, None))
        except BaseException as exc:
            raised.append(type(exc))

    lock.acquire()
    treadle.get_hub().loop.run_callback(take_again)
    treadle.sleep(0)
    lock.release()
    assert raised == [BlockingSwitchOutError]


def test_timeouts_of_a_condition_s_lock_do_not_hide_a_deadlock(fresh: Callable[..., str]) -> None:
    program = """
import treadle
from treadle.lock import Condition
condition = Condition()
condition.acquire()
treadle.spawn(condition.acquire)  # ends without release()
outer = treadle.Timeout(0.2)
outer.start()
try:
    with treadle.Timeout(0.1):
        condition.wait()
except treadle.exceptions.LoopExit:
    print("told", outer.pending)
outer.cancel()
"""
    assert fresh(program, timeout=20) == "told True\n"


def test_a_condition_s_lock_needs_only_acquire_and_release() -> None:
    class Least:
        def __init__(self) -> None:
            lock = treadle.thread.allocate_lock()
            self.acquire, self.release = lock.acquire, lock.release

    lock = Least()
    condition = treadle.lock.Condition(lock)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.notify()
    lock.acquire()
    condition.notify()
    assert condition.wait(0.01) is False


def test_a_condition_takes_the_lock_of_an_own_class_once_despite_a_kill() -> None:
    class Own(LockType):
        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            return super().acquire(blocking, timeout)

    condition = Condition(Own())  # type: ignore[arg-type]
    leaving = Semaphore(0)

    def hold() -> None:
        with condition:
            leaving.acquire()

    def wait() -> None:
        with condition:
            treadle.spawn(hold)
            treadle.sleep(0)
            condition.wait(0)  # "hold" has the lock when that is over

    waiting = treadle.spawn(wait)
    treadle.sleep(0.01)
    waiting.kill(ZeroDivisionError, block=False)
    treadle.sleep(0)
    leaving.release()
    waiting.join(1)
    assert isinstance(waiting.exception, ZeroDivisionError)
    assert not condition._lock.locked()


def end_granted(wait: Callable[[], object], grant: Callable[[], object]) -> None:
    """Have *grant* give a greenlet what it waits for; its thread ends before it runs."""
    parked, granted = threading.Event(), threading.Event()

    def run() -> None:
        treadle.spawn(wait)
        treadle.sleep(0.001)
        parked.set()
        granted.wait()

    ending = threading.Thread(target=run)
    ending.start()
    parked.wait()
    grant()
    granted.set()
    ending.join()


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore, LockType, RLock])
@pytest.mark.parametrize("waits", [False, True])
def test_a_permit_of_a_thread_that_has_ended_is_passed_on(make: Any, waits: bool) -> None:
    lock = make()
    lock.acquire()
    takers: list[Any] = []

    def release() -> None:
        if waits:
            takers.append(treadle.spawn(lock.acquire, timeout=1))
            treadle.sleep(0)
        lock.release()

    end_granted(lock.acquire, release)
    if not waits:
        takers.append(treadle.spawn(lock.acquire, timeout=1))
    assert takers[0].get() is True


def test_a_thread_that_has_ended_watched_a_semaphore() -> None:
    semaphore = Semaphore(0)
    end_granted(semaphore.wait, semaphore.release)
    assert semaphore.counter == 1


def test_a_notification_of_a_thread_that_has_ended_is_passed_on() -> None:
    condition = Condition()
    others: list[Any] = []

    def wait() -> bool:
        with condition:
            return bool(condition.wait(1))

    def notify() -> None:
        others.append(treadle.spawn(wait))
        treadle.sleep(0)
        with condition:
            condition.notify()

    end_granted(wait, notify)
    assert others[0].get() is True


class OwnQueue(queue.Queue[int]):
    def _get(self) -> int:
        return super()._get()


@pytest.mark.parametrize("make", [queue.Queue, queue.PriorityQueue, OwnQueue])
def test_what_a_queue_gave_to_a_thread_that_has_ended_is_passed_on(make: Any) -> None:
    items = make(1)
    end_granted(items.get, lambda: items.put(1))
    assert items.get(timeout=30) == 1
    if make is queue.Queue:
        return  # it puts the item of a waiting putter itself
    items.put(1)
    end_granted(lambda: items.put(2), items.get)
    items.put(3, timeout=30)
    assert items.get(timeout=30) == 3


def test_a_channel_gives_an_item_to_another_than_a_thread_that_has_ended() -> None:
    channel: queue.Channel[int] = queue.Channel()

    def put() -> None:
        treadle.spawn(channel.put, 5)
        treadle.sleep(0)

    end_granted(channel.get, put)
    assert channel.get(timeout=30) == 5


def test_what_came_for_a_thread_that_has_ended_is_received_by_another() -> None:
    left, right = socket.socketpair()
    others: list[Any] = []

    def send() -> None:
        others.append(treadle.spawn(left.recv, 1))
        treadle.sleep(0)
        right.send(b"x")
        treadle.sleep(0.01)

    left.settimeout(30)
    with left, right:
        end_granted(lambda: left.recv(1), send)
        assert others[0].get() == b"x"
