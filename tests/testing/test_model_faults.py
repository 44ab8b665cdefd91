"""Small programs that broke a primitive once, each with the schedule under which it did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import treadle
from treadle.lock import BoundedSemaphore, Condition, Semaphore
from treadle.pool import Group, Pool, PoolFull
from treadle.queue import PriorityQueue, Queue, ShutDown
from treadle.testing import clock, explore, replay

FIFO = "t1:0:parks:"


def killed_wait_gives_a_permit() -> None:
    semaphore = Semaphore(0)
    waiter = treadle.spawn(semaphore.wait)
    treadle.sleep(0)
    semaphore.release()
    waiter.kill()
    assert semaphore.counter == 1


def bounded_semaphore_above_its_bound() -> None:
    semaphore = BoundedSemaphore(1)
    semaphore.acquire()
    waiter = treadle.spawn(semaphore.acquire)
    treadle.sleep(0)
    semaphore.release()  # to the waiter
    semaphore.release()  # once too often, which shows only if the waiter is killed
    waiter.kill()
    assert semaphore.counter <= 1


def timeout_after_its_block_beside_a_timeout() -> None:
    try:
        with treadle.Timeout(1), treadle.Timeout(1):
            treadle.sleep(5)
    except treadle.Timeout:
        pass
    treadle.sleep(1)


def timeout_after_its_block_beside_a_kill() -> None:
    def work() -> None:
        try:
            with treadle.Timeout(1):
                treadle.sleep(5)
        except (KeyError, treadle.Timeout):
            pass
        with suppress(KeyError):
            treadle.sleep(1)

    def kill() -> None:
        treadle.sleep(1)
        worker.kill(KeyError, block=False)

    treadle.spawn(kill)
    worker = treadle.spawn(work)
    worker.join()
    assert worker.exception is None


def timeout_after_its_block_while_a_lock_is_taken_again() -> None:
    condition = Condition()

    def hold() -> None:
        with condition:
            treadle.sleep(5)

    with condition:
        treadle.spawn(hold)
        try:
            with treadle.Timeout(1), treadle.Timeout(2):
                condition.wait()
        except treadle.Timeout:
            pass
    treadle.sleep(1)


class SlowLock:
    """A lock of the program's own; releasing it lets others run."""

    def __init__(self) -> None:
        self.semaphore = Semaphore(1)
        self.acquire = self.semaphore.acquire
        self.locked = self.semaphore.locked

    def release(self) -> None:
        self.semaphore.release()
        treadle.sleep(0)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *args: object) -> None:
        self.release()


def notify_while_the_lock_is_released() -> None:
    condition = Condition(SlowLock())

    def wait() -> bool:
        with condition:
            return bool(condition.wait(1))

    def notify() -> None:
        with condition:
            condition.notify()

    waiter, notifier = treadle.spawn(wait), treadle.spawn(notify)
    treadle.joinall([waiter, notifier], raise_error=True)


class BrokenLock:
    """A lock whose release() fails; *tries* counts the calls of acquire()."""

    tries = 0

    def acquire(self) -> bool:
        self.tries += 1
        return True

    def release(self) -> None:
        raise KeyError

    def locked(self) -> bool:
        return True


def wait_whose_release_fails_stays_queued() -> None:
    condition = Condition(BrokenLock())

    def wait() -> None:
        with pytest.raises(KeyError):
            condition.wait()
        treadle.sleep(1)

    waiter = treadle.spawn(wait)
    treadle.sleep(0)
    condition.notify()
    waiter.get()


def lock_with_its_own_acquire_is_bypassed() -> None:
    class Counting(Semaphore):
        held = 0

        def acquire(self, *args: Any) -> bool:
            self.held += 1
            return super().acquire(*args)

        def release(self) -> int:
            self.held -= 1
            return super().release()

    lock = Counting(1)
    condition = Condition(lock)
    lock.acquire()
    condition.wait(1)
    assert lock.held == 1


def pool_that_is_not_full_has_no_place() -> None:
    pool = Pool(1)
    pool.spawn(treadle.sleep, 1)
    treadle.spawn(pool.spawn, treadle.sleep, 1)
    treadle.sleep(1)  # the place is promised to the other
    full = pool.full()
    try:
        pool.add(treadle.Greenlet(int), blocking=False)
    except PoolFull:
        assert full
    treadle.sleep(5)


def apply_async_blocks() -> None:
    pool = Pool(1)
    pool.spawn(treadle.sleep, 1)
    treadle.spawn(pool.spawn, treadle.sleep, 5)
    treadle.sleep(1)
    began = clock.elapsed
    pool.apply_async(int)
    waited = clock.elapsed - began
    treadle.sleep(9)
    assert waited == 0


def member_added_twice_takes_two_places() -> None:
    pool = Pool(2)
    pool.spawn(treadle.sleep, 1)
    pool.spawn(treadle.sleep, 1)
    member = treadle.Greenlet(int)
    adding = [treadle.spawn(pool.add, member) for _ in range(2)]
    treadle.joinall(adding)
    member.start()
    treadle.sleep(1)
    assert pool.wait_available(0) == 2


def join_of_a_group_with_members() -> None:
    group = Group()
    group.spawn(int)
    treadle.sleep(0)
    group.spawn(treadle.sleep, 1)
    treadle.sleep(0)
    assert not (len(group) and group.join(0))
    treadle.sleep(1)


class Backwards(treadle.Greenlet[Any]):
    """The later it was made, the earlier it comes in a set."""

    made = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        Backwards.made = Backwards.made + 1
        self.number = 7 - Backwards.made % 8

    def __hash__(self) -> int:
        return self.number


def group_kills_in_the_order_of_a_set() -> None:
    group, ended = Group(), []
    group.greenlet_class = Backwards
    Backwards.made = 0

    def member(number: int) -> None:
        try:
            treadle.sleep(9)
        finally:
            ended.append(number)

    for number in range(4):
        group.spawn(member, number)
    treadle.sleep(0)
    group.kill()
    assert ended == [0, 1, 2, 3]


def interrupted_next_makes_room() -> None:
    seen: list[int] = []

    def items() -> Iterator[int]:
        treadle.sleep(100)
        yield from range(20)

    results = Group().imap(seen.append, items(), maxsize=1)
    for _ in range(10):
        with treadle.Timeout(1, False):
            next(results)
    treadle.sleep(200)
    results.kill()
    treadle.sleep(0)
    assert len(seen) <= 3


class Item:
    """Compares by its number; *act* is called before."""

    def __init__(self, number: int, act: Callable[[], object] = int) -> None:
        self.number, self.act = number, act

    def __lt__(self, other: Item) -> bool:
        self.act()
        other.act()
        return self.number < other.number


def fail() -> None:
    raise KeyError


def put_that_fails_has_put() -> None:
    queue: PriorityQueue[Item] = PriorityQueue()
    queue.put(Item(1))
    with pytest.raises(KeyError):
        queue.put(Item(0, fail))
    assert queue.qsize() == 1


def get_that_fails_has_got() -> None:
    queue: PriorityQueue[Item] = PriorityQueue()
    bad = Item(3)
    for item in (Item(1), bad, Item(2)):
        queue.put(item)
    bad.act = fail
    with pytest.raises(KeyError):
        queue.get()
    assert queue.qsize() == 3


def comparison_that_switches() -> None:
    queue: PriorityQueue[Item] = PriorityQueue()

    def put() -> None:
        for number in (3, 1, 2):
            queue.put(Item(number, lambda: treadle.sleep(0)))

    def get() -> None:
        for _ in range(3):
            queue.get()

    workers = [treadle.spawn(each) for each in (put, put, get, get)]
    treadle.joinall(workers, raise_error=True)


class SlowQueue(Queue[int]):
    """Its hooks wait."""

    def _put(self, item: int) -> None:
        treadle.sleep(1)
        super()._put(item)

    def _get(self) -> int:
        item = super()._get()
        treadle.sleep(1)
        return item


def kill_of_a_getter_goes_to_a_putter() -> None:
    queue = SlowQueue(1)
    queue.put(1)
    putter = treadle.spawn(queue.put, 2)
    treadle.sleep(0)
    getter = treadle.spawn(queue.get)
    treadle.sleep(0.5)  # the getter is in _get()
    getter.kill(KeyError, block=False)
    getter.join()
    assert isinstance(getter.exception, KeyError)
    putter.get()  # the hook had taken the item before it was killed
    assert queue.get() == 2


def empty_beside_an_item() -> None:
    queue = SlowQueue()
    queue.put(1)
    queue.put(2)
    treadle.spawn(queue.get)
    treadle.sleep(0.5)
    assert queue.get(block=False) == 2


def shutdown_beside_an_item() -> None:
    queue = PriorityQueue[int]()

    def get() -> None:
        try:
            queue.get()
        except ShutDown:
            assert queue.qsize() == 0

    getters = [treadle.spawn(get) for _ in range(2)]
    treadle.sleep(0)
    queue.put(1)
    queue.shutdown()
    treadle.joinall(getters, raise_error=True)


FAULTS: list[tuple[Callable[[], None], str]] = [
    (killed_wait_gives_a_permit, FIFO),
    (bounded_semaphore_above_its_bound, FIFO),
    (timeout_after_its_block_beside_a_timeout, FIFO),
    (timeout_after_its_block_beside_a_kill, "t1:0:parks:2.1"),
    (timeout_after_its_block_while_a_lock_is_taken_again, FIFO),
    (notify_while_the_lock_is_released, "t1:0:parks:2.1"),
    (wait_whose_release_fails_stays_queued, FIFO),
    (lock_with_its_own_acquire_is_bypassed, FIFO),
    (pool_that_is_not_full_has_no_place, "t1:0:parks:3.1"),
    (apply_async_blocks, "t1:0:parks:3.1"),
    (member_added_twice_takes_two_places, FIFO),
    (join_of_a_group_with_members, "t1:0:ops:1.1"),
    (group_kills_in_the_order_of_a_set, FIFO),
    (interrupted_next_makes_room, FIFO),
    (put_that_fails_has_put, FIFO),
    (get_that_fails_has_got, FIFO),
    (comparison_that_switches, FIFO),
    (kill_of_a_getter_goes_to_a_putter, FIFO),
    (empty_beside_an_item, FIFO),
    (shutdown_beside_an_item, "t1:0:parks:2.1"),
]


NAMES = [program.__name__ for program, _ in FAULTS]


@pytest.mark.parametrize(("program", "token"), FAULTS, ids=NAMES)
def test_fault(program: Callable[[], None], token: str) -> None:
    replay(program, token)


def test_a_lock_that_cannot_be_acquired_again() -> None:
    """wait() must not try for ever."""

    class Lost(BrokenLock):
        def acquire(self) -> bool:
            self.tries += 1
            if self.tries < 1000:
                raise OSError("the lock's server is gone")
            return True

        def release(self) -> None:
            pass

    lock = Lost()
    waiter = treadle.spawn(Condition(lock).wait, 0)
    waiter.join()
    assert isinstance(waiter.exception, OSError)
    assert lock.tries < 1000


def test_a_heap_is_shared_by_threads() -> None:
    """Threads may switch while items are compared."""
    queue: PriorityQueue[Item] = PriorityQueue()
    errors: list[BaseException] = []
    number = 200

    def move(call: Callable[[int], object]) -> None:
        try:
            for i in range(number):
                call(i)
        except BaseException as exc:
            errors.append(exc)

    threads = [
        threading.Thread(
            target=move,
            args=(lambda i: queue.put(Item(i * 79 % 100, lambda: time.sleep(0.00001))),),
        ),
        threading.Thread(target=move, args=(lambda i: queue.get(timeout=2),)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_each_schedule_begins_at_0() -> None:
    def program() -> None:
        assert clock.elapsed == 0
        treadle.sleep(1)

    explore(program, schedules=3)


def test_priorities_do_not_starve_a_greenlet_that_is_killed_twice() -> None:
    def program() -> None:
        def work() -> None:
            for _ in range(2):
                with pytest.raises(treadle.GreenletExit):
                    treadle.sleep(1)

        worker = treadle.spawn(work)
        treadle.sleep(0)
        worker.kill(block=False)
        worker.kill(block=False)
        worker.join()

    explore(program, strategy="pct", schedules=200, limit=300)
